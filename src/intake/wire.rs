//! The JSON of an event, as it is typed: shapes only. What the values have to be is checked in `read`.

use std::fmt;

use rust_decimal::Decimal;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    model::{ActionSource, Utm, parse_decimal},
    web::{ConsentWire, Object, UserWire, Word},
};

/// Levels of lists and objects that `properties` may nest, themselves counted.
pub(super) const NESTING_MAX: usize = 32;

/// An event, or a batch of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Post<'a> {
    #[serde(borrow, default)]
    pub(super) events: Option<Vec<&'a RawValue>>,
    pub(super) event: Option<String>,
    pub(super) event_id: Option<String>,
    pub(super) time: Option<String>,
    pub(super) visitor_id: Option<String>,
    pub(super) transaction_id: Option<String>,
    pub(super) value: Option<Amount>,
    pub(super) currency: Option<String>,
    pub(super) action_source: Option<Word<ActionSource>>,
    pub(super) items: Option<Vec<Object<ItemWire>>>,
    pub(super) user: Option<Object<UserWire>>,
    pub(super) context: Option<Object<ContextWire>>,
    pub(super) consent: Option<Object<ConsentWire>>,
    pub(super) properties: Option<PropertiesWire>,
}

impl Post<'_> {
    /// Whether it holds nothing of an event.
    pub(super) fn is_empty(&self) -> bool {
        matches!(
            self,
            Post {
                events: _,
                event: None,
                event_id: None,
                time: None,
                visitor_id: None,
                transaction_id: None,
                value: None,
                currency: None,
                action_source: None,
                items: None,
                user: None,
                context: None,
                consent: None,
                properties: None,
            }
        )
    }
}

/// A batch, and nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch<'a> {
    #[serde(borrow, rename = "events")]
    _events: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ItemWire {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) quantity: Option<Amount>,
    pub(super) price: Option<Amount>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct ContextWire {
    pub(super) ip: Option<String>,
    pub(super) user_agent: Option<String>,
    pub(super) url: Option<String>,
    pub(super) referrer: Option<String>,
    pub(super) gclid: Option<String>,
    pub(super) gbraid: Option<String>,
    pub(super) wbraid: Option<String>,
    pub(super) dclid: Option<String>,
    pub(super) fbclid: Option<String>,
    pub(super) msclkid: Option<String>,
    pub(super) ttclid: Option<String>,
    pub(super) li_fat_id: Option<String>,
    pub(super) epik: Option<String>,
    #[serde(alias = "ScCid")]
    pub(super) sccid: Option<String>,
    pub(super) rdt_cid: Option<String>,
    pub(super) twclid: Option<String>,
    pub(super) oppref: Option<String>,
    pub(super) fbc: Option<String>,
    pub(super) fbp: Option<String>,
    pub(super) ga_client_id: Option<String>,
    pub(super) ga_session_id: Option<String>,
    pub(super) checkout_token: Option<String>,
    pub(super) cart_token: Option<String>,
    pub(super) utm: Option<Object<Utm>>,
}

/// A decimal number, as a string or a JSON number; exact, or refused.
#[derive(Clone, Copy)]
pub(super) struct Amount(pub(super) Decimal);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Amount;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal number, as a string or a number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                parse_decimal(text).map(Amount).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Amount, E> {
                Ok(Amount(number.into()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Amount, E> {
                Ok(Amount(number.into()))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Amount, E> {
                // The shortest text that means this double is what was typed, up to 15 digits.
                let text = number.to_string();
                let digits = text.bytes().filter(u8::is_ascii_digit).skip_while(|b| *b == b'0').count();
                if digits > 15 {
                    return Err(E::custom("has more digits than a JSON number keeps; send it as a string"));
                }
                self.visit_str(&text)
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// Custom properties: any JSON object without repeated names, nested up to a bound.
pub(super) struct PropertiesWire(pub(super) Map<String, Value>);

impl<'de> Deserialize<'de> for PropertiesWire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = PropertiesWire;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PropertiesWire, A::Error> {
                object(map, 1).map(PropertiesWire)
            }
        }
        deserializer.deserialize_any(Object)
    }
}

fn object<'de, A: MapAccess<'de>>(mut map: A, depth: usize) -> Result<Map<String, Value>, A::Error> {
    let mut object = Map::new();
    while let Some(name) = map.next_key::<String>()? {
        if object.contains_key(&name) {
            return Err(de::Error::custom(format_args!("duplicate field `{name}`")));
        }
        let value = map.next_value_seed(Bounded { depth: depth + 1 })?;
        object.insert(name, value);
    }
    Ok(object)
}

/// A JSON value of which `depth` levels are used up.
struct Bounded {
    depth: usize,
}

impl Bounded {
    fn inside<E: de::Error>(&self) -> Result<(), E> {
        if self.depth > NESTING_MAX {
            return Err(E::custom(format_args!("nests deeper than {NESTING_MAX} levels")));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Bounded {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        self.inside()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Self { depth: self.depth + 1 })? {
            values.push(value);
        }
        Ok(values.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        self.inside()?;
        object(map, self.depth).map(Value::Object)
    }
}
