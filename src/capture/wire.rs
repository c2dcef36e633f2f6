//! The JSON of a visit, as it is typed: shapes only. What the values have to be is checked in `visits`.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::{
    model::{Choice, Screen},
    web::{Object, UserWire, Word},
};

/// What the tag, or a server, posts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VisitWire {
    pub(super) visitor_id: Option<String>,
    pub(super) url: Option<String>,
    pub(super) referrer: Option<String>,
    pub(super) cookies: Option<CookiesWire>,
    pub(super) consent: Option<Object<AllowedWire>>,
    pub(super) gpc: Option<bool>,
    pub(super) user: Option<Object<UserWire>>,
    pub(super) checkout_token: Option<String>,
    pub(super) cart_token: Option<String>,
    pub(super) screen: Option<Word<Screen>>,
    pub(super) page: Option<bool>,
    pub(super) engaged_ms: Option<u64>,
    pub(super) scroll: Option<u64>,
    pub(super) event: Option<ActionWire>,
}

/// What the visitor allowed, in the four words of Google's consent mode.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct AllowedWire {
    pub(super) ad_user_data: Option<Word<Choice>>,
    pub(super) ad_personalization: Option<Word<Choice>>,
    pub(super) ad_storage: Option<Word<Choice>>,
    pub(super) analytics_storage: Option<Word<Choice>>,
}

/// Something the visitor did: a name, or an object with one.
pub(super) struct ActionWire {
    pub(super) name: String,
    /// Fields of an event (design of `POST /v1/events`), each as it came.
    pub(super) fields: Map<String, Value>,
}

/// What an action may tell next to its name.
const ACTION_FIELDS: [&str; 6] = ["event_id", "transaction_id", "value", "currency", "items", "properties"];

impl<'de> Deserialize<'de> for ActionWire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Action;
        impl<'de> Visitor<'de> for Action {
            type Value = ActionWire;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an event, or an object with a name")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<ActionWire, E> {
                Ok(ActionWire { name: name.to_owned(), fields: Map::new() })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ActionWire, A::Error> {
                let (mut name, mut fields) = (None, Map::new());
                while let Some(key) = map.next_key::<String>()? {
                    if key == "name" && name.is_none() {
                        name = Some(map.next_value()?);
                    } else if !ACTION_FIELDS.contains(&key.as_str()) {
                        return Err(de::Error::unknown_field(&key, &ACTION_FIELDS));
                    } else if fields.contains_key(&key) {
                        return Err(de::Error::custom(format_args!("duplicate field `{key}`")));
                    } else {
                        fields.insert(key, map.next_value()?);
                    }
                }
                fields.retain(|_, value| !value.is_null());
                Ok(ActionWire { name: name.ok_or_else(|| de::Error::missing_field("name"))?, fields })
            }
        }
        deserializer.deserialize_any(Action)
    }
}

/// Cookies by name, each name once.
#[derive(Default)]
pub(super) struct CookiesWire(pub(super) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for CookiesWire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;
        impl<'de> Visitor<'de> for Named {
            type Value = CookiesWire;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CookiesWire, A::Error> {
                let mut cookies = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if cookies.contains_key(&name) {
                        return Err(de::Error::custom(format_args!("duplicate field `{name}`")));
                    }
                    cookies.insert(name, map.next_value()?);
                }
                Ok(CookiesWire(cookies))
            }
        }
        deserializer.deserialize_map(Named)
    }
}
