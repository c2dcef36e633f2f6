//! `[sources.map]`: our fields as expressions over what a provider posts.
//!
//! The language is that of minijinja expressions, as far as `language` lets it: `order.total`, `items[0].sku |
//! default('none')`, `'refund' if type == 'return' else 'purchase'`. Variables are the fields of the entry; `_body` is the
//! whole entry, `_root` the whole body it is an entry of, `_headers` the headers of the request by lower-case name, `_event`
//! the event's name as far as it is known. What is not there, null or empty leaves its field as it is.

mod fields;
mod filters;
mod language;
#[cfg(test)]
mod tests;

use axum::http::HeaderMap;
use minijinja::value::Value as Mini;
use serde_json::{Map, Value};

use crate::{
    intake::{draft::Draft, read::Reader, wire::Post},
    model::{Settings, SourceName, Time},
    web::{Problem, read_json},
};
use fields::{ITEM, is_essential, is_known, shaped};
pub(super) use filters::unix_time;
pub(super) use language::{Formula, LIST_MAX, variables};

/// Values that are left out of an event one by one: each has everything read anew. After these, what is like them goes with
/// them.
const MISFITS_MAX: usize = 32;

/// A whole body of which a report is one entry, for `_root`; its entries share it.
#[derive(Clone)]
pub struct Root(Mini);

impl Root {
    /// That of these variables.
    pub(super) fn of(known: &Mini) -> Self {
        Self(known.get_attr("_root").unwrap_or_default())
    }
}

/// The expressions of one source.
pub struct Mapping {
    fields: Vec<(String, Formula)>,
    /// The fields that the table names, also those whose expressions are wrong.
    named: Vec<String>,
}

impl Mapping {
    /// Reads the table `map`, if it is there: our field, as a dotted path into an event, and its expression.
    pub(crate) fn read(settings: &mut Settings) -> Option<Self> {
        const WHAT: &str = "a table of our fields and expressions: \"user.email\" = \"customer.email\"";
        settings.table("map", WHAT, |map| {
            let mut mapping = Self { fields: Vec::new(), named: Vec::new() };
            expressions(map, "", &mut mapping);
            mapping
        })
    }

    /// The names of the fields it sets.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(String::as_str)
    }

    /// Whether it sets this field.
    pub(crate) fn sets(&self, field: &str) -> bool {
        self.fields().any(|known| known == field)
    }

    /// Writes what the expressions say of `body` over `draft`. What does not fit its field is left out and told in the list.
    ///
    /// # Errors
    /// If what says what happened, when, and what it is worth cannot be computed or does not fit.
    pub(crate) fn apply(
        &self,
        body: &Value,
        root: Option<&Root>,
        headers: &HeaderMap,
        draft: &mut Draft,
    ) -> Result<Vec<Problem>, Problem> {
        self.over(body, root, headers, draft, is_essential)
    }

    /// [`Mapping::apply`] of what a provider told later of an event that is known: what cannot be computed from that was told
    /// before, so it is left out, whatever it is.
    pub(crate) fn add(&self, body: &Value, root: Option<&Root>, draft: &mut Draft) -> Vec<Problem> {
        self.over(body, root, &HeaderMap::new(), draft, |_| false).unwrap_or_else(|problem| vec![problem])
    }

    fn over(
        &self,
        body: &Value,
        root: Option<&Root>,
        headers: &HeaderMap,
        draft: &mut Draft,
        is_essential: fn(&str) -> bool,
    ) -> Result<Vec<Problem>, Problem> {
        let root = root.map(|Root(root)| root);
        let known = variables(body, headers, draft.event.as_deref(), root);
        let mut said = Value::Object(Map::new());
        let mut left_out = Vec::new();
        for (field, formula) in self.fields.iter().filter(|(field, _)| !field.starts_with("item.")) {
            let value = match field.as_str() {
                "items" => self.items(formula, &known, headers, &mut left_out),
                _ => formula.value(&known),
            };
            match value.map(|value| shaped(field, value)) {
                Ok(Some(value)) => put(&mut said, field, value),
                Ok(None) => {}
                Err(why) if is_essential(field) => return Err(failed(field, &why)),
                Err(why) => left_out.push(failed(field, &why)),
            }
        }
        loop {
            match read(&said) {
                Ok(told) => {
                    draft.overlay(told);
                    return Ok(left_out);
                }
                Err(problem) => {
                    let pointer = problem.pointer.clone().unwrap_or_default();
                    let field = pointer.trim_start_matches('/').replace('/', ".");
                    let detail = problem.detail.trim_start_matches(&format!("{field}: "));
                    let named = Problem::invalid(pointer.as_str(), format!("{field}: {detail} ([sources.map])"));
                    let one_by_one = left_out.len() < MISFITS_MAX;
                    let taken = if one_by_one { take(&mut said, &pointer) } else { take_alike(&mut said, &pointer) };
                    if is_essential(&field) || !taken {
                        return Err(named);
                    }
                    left_out.push(named);
                }
            }
        }
    }

    /// Writes what the expressions say of `body` into `said`, the JSON of an event, for whoever can correct both.
    ///
    /// # Errors
    /// The first expression that cannot be computed.
    pub(crate) fn write(&self, body: &Value, said: &mut Value) -> Result<(), Problem> {
        let headers = HeaderMap::new();
        let known = variables(body, &headers, None, None);
        for (field, formula) in self.fields.iter().filter(|(field, _)| !field.starts_with("item.")) {
            let mut wrong = Vec::new();
            let value = match field.as_str() {
                "items" => self.items(formula, &known, &headers, &mut wrong),
                _ => formula.value(&known),
            };
            let value = value.map_err(|why| failed(field, &why))?;
            wrong.into_iter().next().map_or(Ok(()), Err)?;
            write_field(said, field, value);
        }
        Ok(())
    }

    /// The items: the entries of the list that `items` gives, each as the expressions of `item.…` read it, or as it is.
    fn items(
        &self,
        list: &Formula,
        known: &Mini,
        headers: &HeaderMap,
        left_out: &mut Vec<Problem>,
    ) -> Result<Value, String> {
        let entries = list.entries(known)?;
        let parts: Vec<(&str, &Formula)> = ITEM
            .iter()
            .filter_map(|name| {
                let (_, formula) = self.fields.iter().find(|(field, _)| field.strip_prefix("item.") == Some(name))?;
                Some((*name, formula))
            })
            .collect();
        if parts.is_empty() {
            return Ok(entries.into());
        }
        let Root(root) = Root::of(known);
        let item = |(i, entry): (usize, Value)| {
            let known = variables(&entry, headers, None, Some(&root));
            let mut item = Map::new();
            for (name, formula) in &parts {
                match formula.value(&known) {
                    Ok(value) => drop(item.insert((*name).to_owned(), value)),
                    // The first tell of the others.
                    Err(why) if left_out.len() < MISFITS_MAX => {
                        left_out.push(failed(&format!("items.{i}.{name}"), &why));
                    }
                    Err(_) => {}
                }
            }
            Value::Object(item)
        };
        Ok(entries.into_iter().enumerate().map(item).collect())
    }
}

fn failed(field: &str, why: &str) -> Problem {
    let detail = format!("{field}: the expression of [sources.map] failed: {why}");
    Problem::invalid(format!("/{}", field.replace('.', "/")), detail)
}

/// Reads the expressions of a table, and of tables inside it, each by its dotted path.
fn expressions(map: &mut Settings, prefix: &str, mapping: &mut Mapping) {
    for name in map.names() {
        let field = format!("{prefix}{name}");
        if map.is_table(&name) {
            map.section(&name, |inner| expressions(inner, &format!("{field}."), mapping));
            continue;
        }
        let text = map.text(&name);
        if !is_known(&field) {
            map.problem(&name, "is no field of an event; see the fields in docs/sources/mapping.md");
        } else if mapping.named.contains(&field) {
            map.problem(&name, format!("is set twice: {field} stands in a table too"));
        } else {
            match text.map(Formula::compile).transpose() {
                Ok(formula) => mapping.fields.extend(formula.map(|formula| (field.clone(), formula))),
                Err(why) => map.problem(&name, why),
            }
            mapping.named.push(field);
        }
    }
    let items = mapping.sets("items");
    if prefix.is_empty() && !items && mapping.fields().any(|field| field.starts_with("item.")) {
        map.problem("items", "is missing: the list that the item.… expressions are for");
    }
}

/// Whether it is a field of an event that a value alone can be.
pub(crate) fn is_field(field: &str) -> bool {
    is_known(field) && !field.starts_with("item.")
}

/// Writes `value` at `field` of the JSON of an event, in the form that the field has; nothing if it says nothing.
pub(crate) fn write_field(said: &mut Value, field: &str, value: Value) {
    if let Some(value) = shaped(field, value) {
        put(said, field, value);
    }
}

/// Writes `value` at the dotted path `field`.
fn put(said: &mut Value, field: &str, value: Value) {
    let mut place = said;
    for name in field.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[name];
    }
    *place = value;
}

/// Takes what is at or around `pointer` out; whether there was anything.
fn take(said: &mut Value, pointer: &str) -> bool {
    let mut pointer = pointer;
    while let Some((parent, name)) = pointer.rsplit_once('/') {
        let taken = match said.pointer_mut(parent) {
            Some(Value::Object(fields)) => fields.remove(name).is_some(),
            Some(Value::Array(list)) => {
                let place = name.parse().ok().filter(|place| *place < list.len());
                place.map(|place| list.remove(place)).is_some()
            }
            _ => false,
        };
        if taken {
            return true;
        }
        pointer = parent;
    }
    false
}

/// Takes out what is at `pointer` and everything of its kind: that field of every item, or the list it is in.
fn take_alike(said: &mut Value, pointer: &str) -> bool {
    match pointer.split('/').collect::<Vec<_>>().as_slice() {
        ["", "items", _, name] => {
            let items = said.get_mut("items").and_then(Value::as_array_mut);
            let fields = items.into_iter().flatten().filter_map(Value::as_object_mut);
            fields.filter_map(|fields| fields.remove(*name)).count() > 0
        }
        _ => {
            let around = pointer.rsplit_once('/').map_or("", |(around, _)| around);
            let listed = said.pointer(around).is_some_and(Value::is_array);
            take(said, if listed { around } else { pointer })
        }
    }
}

/// The event that `said` is the JSON of, as far as it goes.
fn read(said: &Value) -> Result<Draft, Problem> {
    let bytes = serde_json::to_vec(said).map_err(|_| Problem::internal())?;
    let post: Post<'_> = read_json(&bytes, "")?;
    let source = SourceName::new("map").map_err(|_| Problem::internal())?;
    Reader { base: "", source: &source, now: Time::default() }.draft(post)
}
