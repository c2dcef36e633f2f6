//! A Salesforce record as an event: its standard fields by their names, its own fields by what their names say.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::super::{crm, json};
use crate::{
    intake::Draft,
    model::{Currency, Raw, Time},
};

/// The first three characters of a record's id say what it is.
const PREFIXES: [(&str, &str); 4] = [("00Q", "Lead"), ("006", "Opportunity"), ("003", "Contact"), ("001", "Account")];
/// Click ids that a field may be named after, with anything around: `Google_GCLID__c`.
const CLICKS: [&str; 6] = ["gclid", "gbraid", "wbraid", "fbclid", "msclkid", "ttclid"];

/// How long what happened is surely remembered: `retention.dedupe` is 30 days by default, and a message comes up to a day late.
const REMEMBERED: Duration = Duration::from_secs(28 * 86_400);

/// The fields of a record, each by its name in lower case without `_` and the `__c` of custom ones; those of a record it
/// refers to (`Contact.Email`) by both names: `contactemail`.
pub(super) struct Record<'a> {
    value: &'a Value,
    fields: BTreeMap<String, String>,
}

impl<'a> Record<'a> {
    pub(super) fn new(value: &'a Value) -> Self {
        let mut fields = BTreeMap::new();
        for (name, field) in value.as_object().into_iter().flatten().filter(|(name, _)| *name != "attributes") {
            if let Some(text) = said(field) {
                fields.entry(plain(name)).or_insert(text);
            }
            for (inner, field) in field.as_object().into_iter().flatten() {
                if let Some(text) = said(field) {
                    fields.entry(plain(name) + &plain(inner)).or_insert(text);
                }
            }
        }
        Self { value, fields }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// Its id, in the form of 18 characters.
    pub(super) fn id(&self) -> Option<String> {
        self.get("id").or(self.get("recordid")).map(whole_id)
    }

    /// What kind of record it is.
    pub(super) fn kind(&self) -> Option<String> {
        let told = json::first(self.value, &["/attributes/type", "/sobject", "/sObject", "/object"]);
        told.or_else(|| {
            let id = self.id()?;
            PREFIXES.iter().find(|(prefix, _)| id.starts_with(prefix)).map(|(_, kind)| (*kind).to_owned())
        })
    }

    /// What stage it is in: an opportunity's stage, a lead's status.
    pub(super) fn stage(&self) -> Option<&str> {
        self.first(&["stagename", "status"])
    }

    /// Whether it is an opportunity that was won.
    pub(super) fn is_won(&self) -> bool {
        self.get("iswon").is_some_and(|won| won.eq_ignore_ascii_case("true"))
    }

    /// Writes what it tells into `draft`.
    pub(super) fn tell(&self, kind: &str, currency: Option<Currency>, draft: &mut Draft) {
        let person = ["Lead", "Contact"].iter().any(|person| kind.eq_ignore_ascii_case(person));
        let id = self.id();
        if person {
            draft.user.external_ids.extend(id.map(Raw::new));
        } else {
            let sale = draft.event.as_deref().is_some_and(crm::is_sale);
            draft.transaction_id = id.filter(|_| sale);
            draft.user.external_ids.extend(self.get("contactid").map(whole_id).map(Raw::new));
            // An amount in a currency that is not known is not one in another.
            let currency = self.get("currencyisocode").map_or(currency, |code| Currency::parse(code).ok());
            crm::worth(draft, &self.get("amount").into(), currency);
        }
        self.person(person, draft);
        self.carried(draft);
    }

    /// When it was made, or came to where it is.
    pub(super) fn time(&self, made: bool) -> Option<Time> {
        let names: &[&str] =
            if made { &["createddate"] } else { &["laststagechangedate", "lastmodifieddate", "systemmodstamp"] };
        self.first(names).and_then(|text| Time::parse(text).ok())
    }

    /// Whether what it tells of happened so long before it was saved that nobody remembers whether it was told already:
    /// every change of an old lead would make it a new one.
    pub(super) fn is_long_past(&self, made: bool) -> bool {
        let saved = self.first(&["lastmodifieddate", "systemmodstamp"]).and_then(|text| Time::parse(text).ok());
        saved.zip(self.time(made)).is_some_and(|(saved, happened)| happened < saved.minus(REMEMBERED))
    }

    fn person(&self, person: bool, draft: &mut Draft) {
        let all = |names: &[&str]| {
            let mut texts: Vec<&str> = Vec::new();
            for text in names.iter().filter_map(|name| self.get(name)) {
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
            texts
        };
        let user = &mut draft.user;
        let emails = ["email", "contactemail", "leademail", "personemail", "customeremail", "accountpersonemail"];
        user.emails.extend(all(&emails).into_iter().map(Raw::new));
        let phones = [
            "mobilephone",
            "phone",
            "contactmobilephone",
            "contactphone",
            "leadmobilephone",
            "leadphone",
            "personmobilephone",
            "customerphone",
            "accountpersonmobilephone",
        ];
        user.phones.extend(all(&phones).into_iter().map(Raw::new));
        user.first_name =
            self.first(&["firstname", "contactfirstname", "leadfirstname", "customerfirstname"]).map(Raw::new);
        user.last_name = self.first(&["lastname", "contactlastname", "leadlastname", "customerlastname"]).map(Raw::new);
        // The name of a deal or a company is nobody's.
        let whole = if person { self.get("name") } else { self.first(&["contactname", "leadname"]) };
        if let Some(whole) = whole.filter(|_| user.first_name.is_none() && user.last_name.is_none()) {
            json::name(whole, user);
        }
        let place = |part: &str| {
            let names = ["", "mailing", "contactmailing", "personmailing", "billing", "accountbilling"];
            names.iter().find_map(|whose| self.get(&format!("{whose}{part}")))
        };
        user.street = place("street").map(Raw::new);
        user.city = place("city").map(Raw::new);
        user.region = place("statecode").or_else(|| place("state")).map(Raw::new);
        user.postal_code = place("postalcode").map(Raw::new);
        user.country = place("countrycode").or_else(|| place("country")).map(Raw::new);
    }

    /// Custom fields that carry the visitor id, click ids and UTM values from the form to here.
    fn carried(&self, draft: &mut Draft) {
        for (name, value) in self.value.as_object().into_iter().flatten() {
            let Some(value) = said(value) else { continue };
            let name = custom(name);
            if draft.carry(name, &value) {
                continue;
            }
            let plain = plain(name);
            let click = CLICKS.iter().find(|click| plain.contains(*click));
            if let Some(click) = click {
                draft.carry(click, &value);
            } else if plain.contains("visitor") {
                draft.carry("visitor_id", &value);
            } else if plain.ends_with("leadid") {
                draft.carry("lead_id", &value);
            }
        }
    }
}

/// A text, number or flag that says something.
fn said(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

/// A field's name without the ending of custom fields.
fn custom(name: &str) -> &str {
    name.strip_suffix("__c").or_else(|| name.strip_suffix("__pc")).unwrap_or(name)
}

fn plain(name: &str) -> String {
    custom(name).chars().filter(|c| *c != '_').collect::<String>().to_lowercase()
}

/// An id of 15 characters, whose case matters, in the form of 18, whose last three say the case: one record has one id.
///
/// Source: Salesforce Help, "Record Id" (how the suffix is computed), read 2026-11-20.
pub(super) fn whole_id(id: &str) -> String {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    if id.len() != 15 || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return id.to_owned();
    }
    let suffix = id.as_bytes().chunks(5).map(|five| {
        let upper = five.iter().enumerate().filter(|(_, b)| b.is_ascii_uppercase()).map(|(i, _)| 1 << i).sum::<usize>();
        char::from(DIGITS[upper])
    });
    format!("{id}{}", suffix.collect::<String>())
}
