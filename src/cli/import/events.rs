//! From a row to the JSON of an event.

use std::{cell::RefCell, collections::BTreeSet};

use anyhow::bail;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
    ser::{SerializeMap as _, Serializer},
};
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};
use sha2::{Digest as _, Sha256};

use super::{
    Refused,
    rows::{Row, Rows},
    time::Times,
};
use crate::{
    intake::sources::{Mapping, is_field, write_field},
    model::looks_like_contact_data,
};

/// So many bytes of a row's hash tell it from others.
const HASH_BYTES: usize = 16;
/// The parts of an event that are objects.
const OBJECTS: [&str; 4] = ["user", "context", "consent", "properties"];
/// The column of CSV that holds JSON.
const JSON_COLUMN: &str = "items";

/// How rows become events.
pub(super) struct Shape {
    /// The names of the columns, and whether each is taken as the field it is called; `None` for lines of JSON.
    columns: Option<Vec<(String, bool)>>,
    /// The expressions, and the fields they set.
    mapping: Option<(Mapping, BTreeSet<String>)>,
    /// Those of the fields that no row had anything for so far.
    silent: RefCell<BTreeSet<String>>,
    /// Nothing is taken but what they set.
    only_mapped: bool,
    times: Times,
}

impl Shape {
    /// For a file with these columns, or of lines of JSON.
    ///
    /// # Errors
    /// If nobody says what a column is.
    pub(super) fn new(
        columns: Option<Vec<String>>,
        mapping: Option<Mapping>,
        only_mapped: bool,
        times: Times,
    ) -> anyhow::Result<Self> {
        let mapping = mapping.map(|mapping| {
            let fields: BTreeSet<String> = mapping.fields().map(str::to_owned).collect();
            (mapping, fields)
        });
        // The parts of an item are seen in `items` alone.
        let fields = mapping.iter().flat_map(|(_, fields)| fields).filter(|field| !field.starts_with("item."));
        let silent = RefCell::new(fields.cloned().collect());
        let mut shape = Self { columns: None, mapping, silent, only_mapped, times };
        shape.columns = columns.map(|columns| shape.named(columns)).transpose()?;
        Ok(shape)
    }

    fn named(&self, columns: Vec<String>) -> anyhow::Result<Vec<(String, bool)>> {
        let mut wrong = Vec::new();
        let mut seen = BTreeSet::new();
        for (i, name) in columns.iter().enumerate() {
            let column = format!("  column {}{}", i + 1, told(name));
            if !name.is_empty() && !seen.insert(name) {
                wrong.push(format!("{column}: is there twice"));
            } else if self.mapping.is_none() && !is_field(name) {
                wrong.push(format!("{column}: is no field of an event"));
            }
        }
        if !wrong.is_empty() {
            bail!(
                "the columns have to be called as the fields of an event are (event, transaction_id, value, user.email …), \
                 or --map has to say what they are:\n{}",
                wrong.join("\n")
            );
        }
        let taken = |name: &str| is_field(name) && !self.only_mapped && !self.is_mapped(name);
        Ok(columns.into_iter().map(|name| (taken(&name), name)).map(|(taken, name)| (name, taken)).collect())
    }

    fn is_mapped(&self, field: &str) -> bool {
        self.mapping.as_ref().is_some_and(|(_, fields)| fields.contains(field))
    }

    /// What is made of the columns, for people.
    pub(super) fn plan(&self) -> Vec<String> {
        let list = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let mut plan = Vec::new();
        if let Some(columns) = &self.columns {
            let of =
                |which: bool| columns.iter().filter(move |(_, taken)| *taken == which).map(|(name, _)| name.as_str());
            plan.push(format!("columns taken as they are: {}", list(of(true).collect())));
            if self.mapping.is_some() {
                let others = of(false).map(|name| if looks_like_contact_data(name) { "(withheld)" } else { name });
                plan.push(format!("columns for expressions alone: {}", list(others.collect())));
            }
        }
        if let Some((_, fields)) = &self.mapping {
            plan.push(format!("fields by expression: {}", list(fields.iter().map(String::as_str).collect())));
        }
        plan
    }

    /// The fields whose expressions gave nothing for any row so far: a column may be called otherwise than they say.
    pub(super) fn silent(&self) -> Vec<String> {
        self.silent.borrow().iter().cloned().collect()
    }

    /// The event that a row is, as one line of JSON.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn event(&self, rows: &Rows, row: Row) -> Result<Vec<u8>, Refused> {
        let bytes = row.bytes?;
        let Some(columns) = &self.columns else { return self.line(row.number, &bytes) };
        let cells = rows.cells(&bytes)?;
        if cells.len() != columns.len() {
            let so_far = match row.last_line {
                last if last == row.line => String::new(),
                last => format!(" and goes on to line {last}: is there a quote too many?"),
            };
            let why = format!("has {} columns, but there are {} names{so_far}", cells.len(), columns.len());
            return Err(Refused::row(why));
        }
        let hash = hash(row.number, cells.iter().map(Vec::as_slice));
        let mut said = Value::Object(Map::new());
        let mut body = Map::new();
        for ((name, taken), cell) in columns.iter().zip(cells) {
            let field = |why: &str| Refused { field: name.clone(), why: why.to_owned() };
            let text = String::from_utf8(cell)
                .map_err(|_| field("is no UTF-8; save the file as UTF-8 (in a spreadsheet: \"CSV UTF-8\")"))?;
            if *taken && !text.trim().is_empty() {
                write_field(&mut said, name, of_cell(name, text.trim()).map_err(field)?);
            }
            if self.mapping.is_some() {
                body.insert(name.clone(), text.into());
            }
        }
        self.written(&body.into(), said, &hash)
    }

    /// What the expressions say of `body`, over what is `said`.
    fn written(&self, body: &Value, mut said: Value, hash: &Hash) -> Result<Vec<u8>, Refused> {
        if let Some((mapping, _)) = &self.mapping {
            mapping.write(body, &mut said).map_err(|problem| {
                // There is no configuration here.
                let why = problem.detail.replacen("the expression of [sources.map]", "the expression", 1);
                Refused::of(problem.pointer.as_deref(), &why)
            })?;
            self.silent.borrow_mut().retain(|field| said.pointer(&format!("/{}", field.replace('.', "/"))).is_none());
        }
        if let Some(time) = self.time(&said["time"])? {
            write_field(&mut said, "time", time.into());
        }
        let text = |name: &str| said[name].as_str().filter(|text| !text.is_empty());
        if text("event_id").is_none() && text("transaction_id").is_none() {
            let id = hash.id(text("event").unwrap_or_default());
            write_field(&mut said, "event_id", id.into());
        }
        serde_json::to_vec(&said).map_err(|_| Refused::row("cannot be written as JSON"))
    }

    /// A line of JSON. Without expressions its values stay byte for byte as they are.
    fn line(&self, number: u64, line: &[u8]) -> Result<Vec<u8>, Refused> {
        let line = line.trim_ascii();
        let hash = hash(number, [line]);
        let no_object = |error: serde_json::Error| {
            // The kind and the place alone: the rest may quote the line.
            Refused::row(format!("is no JSON object (at column {})", error.column()))
        };
        if self.mapping.is_some() {
            let body: Map<String, Value> = serde_json::from_slice(line).map_err(no_object)?;
            let taken = |name: &str| is_field(name) || OBJECTS.contains(&name);
            let inside = |name: &str, field: &str| {
                field == name || field.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
            };
            let mapped =
                |name: &str| self.mapping.iter().any(|(_, fields)| fields.iter().any(|field| inside(name, field)));
            let said = body.iter().filter(|(name, _)| !self.only_mapped && taken(name) && !mapped(name));
            let said = said.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>();
            return self.written(&body.into(), said.into(), &hash);
        }
        let mut fields: Fields = serde_json::from_slice(line).map_err(no_object)?;
        if let Some(given) = fields.get("time")
            && let Some(time) = self.time(&given)?
        {
            fields.set("time", &time)?;
        }
        let text = |name: &str| fields.get(name).and_then(|value| value.as_str().map(str::to_owned));
        let known = |name: &str| text(name).is_some_and(|text| !text.is_empty());
        if !known("event_id") && !known("transaction_id") {
            let id = hash.id(&text("event").unwrap_or_default());
            fields.set("event_id", &id)?;
        }
        serde_json::to_vec(&fields).map_err(|_| Refused::row("cannot be written as JSON"))
    }

    fn time(&self, given: &Value) -> Result<Option<String>, Refused> {
        let text = match given {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return Ok(None),
        };
        let refused = |why: &str| Refused { field: "time".to_owned(), why: why.to_owned() };
        self.times.read(&text).map(|time| Some(time.to_string())).map_err(refused)
    }
}

/// The name of a column for a message: a file without names has values there.
fn told(name: &str) -> String {
    match name {
        "" => ", without a name".to_owned(),
        name if looks_like_contact_data(name) || name.chars().count() > 64 => String::new(),
        name => format!(", `{name}`"),
    }
}

/// The value of a cell.
fn of_cell(name: &str, text: &str) -> Result<Value, &'static str> {
    if name == JSON_COLUMN {
        return serde_json::from_str(text).map_err(|_| "has to hold JSON");
    }
    Ok(text.into())
}

/// What tells a row from others that have no id of their own: its content and its number.
///
/// The same file, read again, gives the same. Which of several equal rows it is would do as well, and would not change when
/// rows above it do, but cannot be told without remembering every row of the file.
struct Hash(Sha256);

fn hash<'a>(number: u64, cells: impl IntoIterator<Item = &'a [u8]>) -> Hash {
    let mut hash = Sha256::new();
    hash.update(number.to_be_bytes());
    for cell in cells {
        hash.update((cell.len() as u64).to_be_bytes());
        hash.update(cell);
    }
    Hash(hash)
}

impl Hash {
    /// The id of the event of this name that the row is: one row may be a sale in one import and a lead in another.
    fn id(&self, event: &str) -> String {
        let hash = self.0.clone().chain_update(event).finalize();
        let hex: String = hash.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect();
        format!("import.{hex}")
    }
}

/// The fields of a JSON object in their order, also those that are there twice: the API refuses them.
struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    fn get(&self, name: &str) -> Option<Value> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        serde_json::from_str(value.get()).ok()
    }

    fn set(&mut self, name: &str, text: &str) -> Result<(), Refused> {
        let value = to_raw_value(text).map_err(|_| Refused::row("cannot be written as JSON"))?;
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.to_owned(), value)),
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::import::time, model::Settings};

    fn mapping(map: &[(&str, &str)]) -> Option<Mapping> {
        let map: toml::Table = map.iter().map(|&(field, text)| (field.to_owned(), text.into())).collect();
        let mut settings = Settings::new("", toml::Table::from_iter([("map".to_owned(), map.into())]));
        let mapping = Mapping::read(&mut settings);
        assert_eq!(settings.finish(), []);
        mapping
    }

    /// The events of a file, or why a row is none.
    fn events(text: &str, csv: bool, map: &[(&str, &str)], only_mapped: bool) -> Vec<Result<String, Refused>> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("writes");
        let mut rows = Rows::open(file.path(), csv.then_some(b',')).expect("opens");
        let columns = csv.then(|| rows.columns().expect("columns"));
        let times = Times { zone: time::zone("+02:00").ok(), format: None };
        let map = (!map.is_empty()).then(|| mapping(map)).flatten();
        let shape = Shape::new(columns, map, only_mapped, times).expect("is sound");
        let mut events = Vec::new();
        while let Some(row) = rows.next().expect("reads") {
            events.push(shape.event(&rows, row).map(|event| String::from_utf8(event).expect("text")));
        }
        events
    }

    #[test]
    fn a_line_of_json_stays_as_it_is_but_for_its_time_and_id() {
        let line = r#"{"event":"purchase","value":12345678901234567.890,"event":"x","transaction_id":"1"}"#;
        assert_eq!(events(line, false, &[], false), [Ok(line.to_owned())], "what is wrong is told by the relay");
        let line = r#"{"event":"purchase","event_id":"1","time":"2026-11-20 10:15:00"}"#;
        let expected = line.replace("2026-11-20 10:15:00", "2026-11-20T08:15:00Z");
        assert_eq!(events(line, false, &[], false), [Ok(expected)]);
        let refused = events("[1]\nada@example.com\n", false, &[], false);
        let why: Vec<String> = refused.into_iter().map(|event| event.expect_err("no object").why).collect();
        assert_eq!(why, ["is no JSON object (at column 0)", "is no JSON object (at column 1)"]);
    }

    #[test]
    fn a_row_without_an_id_gets_one_of_its_content_its_number_and_its_event() {
        let ids = |text: &str, map: &[(&str, &str)]| -> Vec<String> {
            let id = |event: Result<String, Refused>| {
                let event: Value = serde_json::from_str(&event.expect("an event")).expect("JSON");
                event["event_id"].as_str().map(str::to_owned).unwrap_or_default()
            };
            events(text, true, map, false).into_iter().map(id).collect()
        };
        let first = ids("event,value\nlead,1\nlead,1\nlead,2\n", &[]);
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3, "equal rows are several events");
        assert_eq!(ids("event,value\r\n\r\n\"lead\",1\r\nlead,\"1\"\r\nlead,2", &[]), first, "however it is written");
        assert_ne!(ids("event,value\nlead,1\n", &[("event", "'sign_up'")])[0], first[0]);
        assert_eq!(ids("event,value\nlead,1\n", &[("currency", "'EUR'")])[0], first[0], "however it is mapped");
        assert_eq!(ids("event,transaction_id\npurchase,1\n", &[]), [""]);
    }

    #[test]
    fn columns_are_taken_by_their_name_and_expressions_win() {
        let text = "event,value,Order ID,user.email,items,context.utm.source\n\
                    purchase, 1.50 ,A-1,ada@example.com,\"[{\"\"id\"\":\"\"x\"\"}]\",\n";
        let map = [("transaction_id", "_body['Order ID']"), ("event", "'refund' if value == '0' else 'purchase'")];
        let expected = concat!(
            r#"{"event":"purchase","items":[{"id":"x"}],"transaction_id":"A-1","user":{"email":"ada@example.com"},"#,
            r#""value":"1.50"}"#
        );
        assert_eq!(events(text, true, &map, false), [Ok(expected.to_owned())]);
        assert_eq!(
            events(text, true, &map, true),
            [Ok(r#"{"event":"purchase","transaction_id":"A-1"}"#.to_owned())],
            "nothing else with --only-mapped"
        );
    }

    #[test]
    fn the_mapping_of_the_documentation_works() {
        let text = "Order ID,Amount,Currency,E-mail,Stage\nA-1,\"49,99\",,ada@example.com,Won\nA-2,5,USD,,Open\n";
        let map = [
            ("event", "'purchase' if Stage == 'Won' else 'generate_lead'"),
            ("transaction_id", "_body['Order ID']"),
            ("value", "Amount | replace(',', '.')"),
            ("currency", "Currency or 'EUR'"),
            ("user.email", "_body['E-mail']"),
        ];
        let expected = [
            concat!(
                r#"{"currency":"EUR","event":"purchase","transaction_id":"A-1","user":{"email":"ada@example.com"},"#,
                r#""value":"49.99"}"#
            ),
            r#"{"currency":"USD","event":"generate_lead","transaction_id":"A-2","value":"5"}"#,
        ];
        assert_eq!(events(text, true, &map, false), expected.map(|event| Ok(event.to_owned())));
    }

    #[test]
    fn an_expression_that_never_gives_anything_is_known() {
        let shape = Shape::new(None, mapping(&[("value", "Amuont"), ("user.city", "City")]), false, Times::default());
        let shape = shape.expect("is sound");
        assert_eq!(shape.silent(), ["user.city", "value"]);
        shape.line(1, br#"{"Amount":"1","City":""}"#).expect("an event");
        shape.line(2, br#"{"Amount":"1","City":"Rome"}"#).expect("an event");
        assert_eq!(shape.silent(), ["value"]);
    }

    #[test]
    fn a_mapped_line_keeps_what_is_an_event_already() {
        let line = r#"{"event_id":"1","order":{"sum":4999},"user":{"email":"a@b.c"},"consent":{},"value":1}"#;
        let map = [("value", "order.sum|minor('EUR')"), ("currency", "'EUR'"), ("user.city", "'Rome'")];
        let expected = r#"{"consent":{},"currency":"EUR","event_id":"1","user":{"city":"Rome"},"value":"49.99"}"#;
        assert_eq!(events(line, false, &map, false), [Ok(expected.to_owned())]);
    }

    #[test]
    fn what_is_wrong_with_a_row_is_told_without_a_value_of_it() {
        let text = "event,time,items\nlead,soon,\nlead,,x\nlead\nlead,,,\nlead,,\"a\nb\",c\n";
        let refused = events(text, true, &[], false);
        let told: Vec<(String, String)> =
            refused.into_iter().map(|event| event.expect_err("is refused")).map(|r| (r.field, r.why)).collect();
        assert_eq!(told[0].0, "time");
        let failed = events("a\nx\n", true, &[("value", "a|minor('EUR')")], false);
        let Refused { field, why } = failed[0].as_ref().expect_err("no number");
        assert_eq!(field, "value");
        assert!(why.starts_with("the expression failed: "), "{why}");
        assert_eq!(told[1], ("items".to_owned(), "has to hold JSON".to_owned()));
        assert_eq!(told[2].1, "has 1 columns, but there are 3 names");
        assert_eq!(told[4].1, "has 4 columns, but there are 3 names and goes on to line 7: is there a quote too many?");
    }

    #[test]
    fn a_column_that_nobody_knows_is_told_before_anything_is_sent() {
        let shape = |columns: &[&str]| {
            let columns = columns.iter().map(|&column| column.to_owned()).collect();
            Shape::new(Some(columns), None, false, Times::default()).err().map(|error| error.to_string())
        };
        let told = shape(&["event", "amount", "value", "value", "ada@example.com"]).expect("is refused");
        for expected in
            ["column 2, `amount`: is no field", "column 4, `value`: is there twice", "column 5: is no field"]
        {
            assert!(told.contains(expected), "{told}");
        }
        assert!(!told.contains("ada@"), "{told}");
    }
}
