//! Who changed what, when, and how it was before.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    extract::{Path, RawQuery, State},
    response::Response,
};
use serde_json::{Value, json};

use super::{super::Admin, super::answer, super::asked::Asked, key, refusal};
use crate::{
    model::{LinkKey, Time},
    store::{Changed, StoreError},
    tracking::registry::Refused,
    web::Problem,
};

/// Changes in one list.
const CHANGES_MAX: u64 = 1000;
const CHANGES: u64 = 100;

/// `GET /v1/links/{slug}/history`
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut asked = Asked::query(query.as_deref())?;
    let key = key(&slug, asked.text("host")?);
    let max = asked.number("limit", 1..=CHANGES_MAX)?.unwrap_or(CHANGES);
    asked.finish()?;
    let history = history_of(&admin, &key, usize::try_from(max).unwrap_or(usize::MAX))?;
    if history.is_empty() && admin.tracked.links.get(&key).is_none() {
        return Ok(refusal(&Refused::Unknown));
    }
    Ok(answer(&json!({ "link": key, "history": history })))
}

/// What was done to a link, newest first.
pub(in crate::admin) fn history_of(admin: &Admin, key: &LinkKey, max: usize) -> Result<Vec<Value>, StoreError> {
    Ok(admin.tracked.links.history(Some(key), max)?.iter().map(diff).collect())
}

/// A change with the fields that it changed.
pub(in crate::admin) fn diff(changed: &Changed) -> Value {
    let read = |text: &Option<String>| -> BTreeMap<String, Value> {
        let value = text.as_ref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
        let mut flat = BTreeMap::new();
        flatten("", &value, &mut flat);
        flat
    };
    let (before, after) = (read(&changed.before), read(&changed.entry.value));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let told = |name: &&String| {
        !["created_at", "updated_at", "key"].contains(&name.as_str()) && before.get(*name) != after.get(*name)
    };
    let fields: Vec<Value> = names
        .into_iter()
        .filter(told)
        .map(|name| json!({ "field": name, "before": before.get(name), "after": after.get(name) }))
        .collect();
    let what = match (&changed.before, &changed.entry.value) {
        (None, _) => "made",
        (_, None) => "removed",
        _ => "changed",
    };
    let entry = &changed.entry;
    json!({ "at": entry.at.to_string(), "by": entry.by, "key": entry.key, "what": what, "changes": fields })
}

/// Fields with the names of those around them; times as texts.
fn flatten(name: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                flatten(&name, value, into);
            }
        }
        Value::Null => {}
        Value::Number(ms) if name.ends_with("_at") => {
            let time = ms.as_i64().map(|ms| Time::from_ms(ms).to_string());
            into.insert(name.to_owned(), time.into());
        }
        value => drop(into.insert(name.to_owned(), value.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Entry;

    #[test]
    fn a_change_tells_what_was_before_and_after() {
        let entry = |value: Option<&str>| Entry {
            at: Time::from_secs(1),
            by: "ada".into(),
            shelf: "link".into(),
            key: "mugs".into(),
            value: value.map(str::to_owned),
            audited: true,
        };
        let one = r#"{"destination":"https://a.example/","utm":{"source":"x"},"updated_at":1}"#;
        let two = r#"{"destination":"https://b.example/","utm":{"source":"x"},"updated_at":2,"expires_at":0}"#;
        let told = diff(&Changed { entry: entry(Some(two)), before: Some(one.into()) });
        assert_eq!((&told["by"], &told["what"]), (&json!("ada"), &json!("changed")));
        assert_eq!(
            told["changes"],
            json!([
                { "field": "destination", "before": "https://a.example/", "after": "https://b.example/" },
                { "field": "expires_at", "before": null, "after": "1970-01-01T00:00:00Z" },
            ])
        );
        assert_eq!(diff(&Changed { entry: entry(Some(one)), before: None })["what"], "made");
        assert_eq!(diff(&Changed { entry: entry(None), before: Some(one.into()) })["what"], "removed");
    }
}
