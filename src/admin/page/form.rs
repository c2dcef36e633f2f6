//! Forms: what is in them, what was wrong with it, and what was sent.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use minijinja::{Value as Told, context};
use serde_json::{Map, Value};

use crate::{
    links::policy::{Field, Policy},
    web::{Problem, read_body},
};

/// What a form may send, with a CSV of ten thousand rows in it.
const FORM_BYTES_MAX: usize = 16 << 20;

/// What a browser sent.
#[derive(Default)]
pub(super) struct Sent(BTreeMap<String, String>);

impl Sent {
    /// Reads a form, also one with a file in it.
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        let bytes = read_body(body, FORM_BYTES_MAX).await?;
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if let Some(boundary) = kind.strip_prefix("multipart/form-data;").and_then(boundary) {
            return parts(&bytes, boundary).map(Self).ok_or_else(|| {
                Problem::invalid_request(None, "the form cannot be read: its parts are not separated as its head says")
            });
        }
        let pairs = url::form_urlencoded::parse(&bytes);
        Ok(Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()))
    }

    /// A field as it was sent, without space around it; nothing if it was left empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// A field as it was sent.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// All fields.
    pub(super) const fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

/// `boundary=…` among the parameters of a type.
fn boundary(parameters: &str) -> Option<&str> {
    let values = parameters.split(';').filter_map(|parameter| parameter.trim().strip_prefix("boundary="));
    values.map(|value| value.trim_matches('"')).find(|value| !value.is_empty() && value.len() <= 70)
}

/// The parts of a multipart body (RFC 7578) by their names, each as text. `None` if it is no such body.
fn parts(bytes: &[u8], boundary: &str) -> Option<BTreeMap<String, String>> {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = BTreeMap::new();
    let delimiter = format!("--{boundary}");
    let mut rest = text.strip_prefix(&delimiter)?;
    let next = format!("\r\n{delimiter}");
    while let Some(part) = rest.strip_prefix("\r\n") {
        let (part, behind) = part.split_once(&next)?;
        let (head, body) = part.split_once("\r\n\r\n")?;
        let disposition = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
        let name = disposition.split(';').find_map(|piece| piece.trim().strip_prefix("name="))?.trim_matches('"');
        parts.insert(name.to_owned(), body.to_owned());
        rest = behind;
    }
    rest.starts_with("--").then_some(parts)
}

/// A field of the form of a link: its name there, where it is in the link, what it is called, and what helps.
struct Line {
    name: &'static str,
    path: &'static str,
    label: &'static str,
    hint: &'static str,
    field: Option<Field>,
}

const fn line(
    name: &'static str,
    path: &'static str,
    label: &'static str,
    hint: &'static str,
    field: Option<Field>,
) -> Line {
    Line { name, path, label, hint, field }
}

/// The groups of the form.
const GROUPS: [(&str, &[Line]); 4] = [
    (
        "UTM values",
        &[
            line("source", "utm.source", "Source", "Which site, app or list", Some(Field::Source)),
            line("medium", "utm.medium", "Medium", "What kind of traffic", Some(Field::Medium)),
            line("campaign", "utm.campaign", "Campaign", "", Some(Field::Campaign)),
            line("content", "utm.content", "Content", "Which of several texts or pictures", Some(Field::Content)),
            line("term", "utm.term", "Term", "", Some(Field::Term)),
        ],
    ),
    (
        "Variant",
        &[
            line("model", "variant.model", "Model", "What made it", None),
            line("prompt_family", "variant.prompt_family", "Prompt family", "", None),
            line("angle", "variant.angle", "Angle", "", None),
        ],
    ),
    (
        "What it is for",
        &[
            line("placement", "placement", "Placement", "chat, pin, email, bio …", Some(Field::Placement)),
            line("audience", "audience", "Audience", "", Some(Field::Audience)),
            line("intent", "intent", "Intent", "", Some(Field::Intent)),
            line("goal", "goal", "Goal event", "such as purchase", None),
            line("offer", "offer", "Offer", "A campaign is for one offer", None),
        ],
    ),
    (
        "Who and until when",
        &[
            line("owner", "owner", "Owner", "Who decides about it", None),
            line("expires_at", "expires_at", "Ends at", "such as 2026-12-24T00:00:00Z", None),
            line("note", "note", "Note", "", None),
        ],
    ),
];

/// What was wrong, by field; what no field is to blame for is under the empty name.
pub(super) type Wrong = Vec<(String, String)>;

fn wrong_at(wrong: &Wrong, path: &str) -> Option<String> {
    let last = path.rsplit('.').next().unwrap_or(path);
    let of = |field: &str| field == path || field == last || (path == "split" && field.starts_with("split"));
    let told: Vec<&str> = wrong.iter().filter(|(field, _)| of(field)).map(|(_, reason)| reason.as_str()).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// What of that no field of the form shows.
fn elsewhere(wrong: &Wrong) -> Vec<String> {
    let lines = GROUPS.iter().flat_map(|(_, lines)| lines.iter()).map(|line| line.path);
    let shown: Vec<&str> = lines.chain(["destination", "slug", "host", "split", "exception"]).collect();
    let hidden = |(field, _): &&(String, String)| {
        !shown.iter().any(|path| wrong_at(&vec![(field.clone(), String::new())], path).is_some())
    };
    let told = |(field, reason): &(String, String)| {
        if field.is_empty() { reason.clone() } else { format!("{field}: {reason}") }
    };
    wrong.iter().filter(hidden).map(told).collect()
}

/// The form of a link, with what was sent or is stored in it.
pub(super) fn told(values: &BTreeMap<String, String>, wrong: &Wrong, policy: &Policy, hosts: &[String]) -> Told {
    let value = |name: &str| values.get(name).cloned().unwrap_or_default();
    let groups: Vec<Told> = GROUPS
        .iter()
        .map(|(title, lines)| {
            let lines: Vec<Told> = lines
                .iter()
                .map(|line| {
                    let accepted = line.field.into_iter().flat_map(|field| policy.accepted(field));
                    let options: Vec<String> = accepted.map(str::to_owned).collect();
                    context! {
                        name => line.name, label => line.label, hint => line.hint, value => value(line.name),
                        wrong => wrong_at(wrong, line.path), options,
                        wide => line.name == "note",
                    }
                })
                .collect();
            context! { title => *title, lines }
        })
        .collect();
    let builder = policy.pattern(Field::Campaign).map(|pattern| {
        let segments = pattern.segments().iter().map(|segment| {
            let name = format!("segment.{}", segment.name);
            let value = value(&name);
            context! { name, label => segment.name.clone(), values => segment.values.clone(), value }
        });
        context! { pattern => pattern.written(), segments => segments.collect::<Vec<_>>() }
    });
    context! {
        destination => value("destination"), slug => value("slug"), host => value("host"), split => value("split"),
        exception => value("exception"), by => value("by"), hosts => hosts.to_vec(), groups, builder,
        wrong_destination => wrong_at(wrong, "destination"), wrong_slug => wrong_at(wrong, "slug"),
        wrong_host => wrong_at(wrong, "host"), wrong_split => wrong_at(wrong, "split"),
        wrong => elsewhere(wrong),
    }
}

/// A link's fields as the form has them.
pub(super) fn values(fields: &Map<String, Value>) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut values = BTreeMap::new();
    for name in ["destination", "slug", "host", "exception"] {
        values.extend(fields.get(name).and_then(text).map(|value| (name.to_owned(), value)));
    }
    for line in GROUPS.iter().flat_map(|(_, lines)| lines.iter()) {
        let value = line.path.split('.').try_fold(&Value::Null, |at, part| match at {
            Value::Null => fields.get(part),
            at => at.get(part),
        });
        values.extend(value.and_then(text).map(|value| (line.name.to_owned(), value)));
    }
    let split = fields.get("split").and_then(Value::as_array).into_iter().flatten();
    let split: Vec<String> =
        split.map(|one| format!("{} {}", one["weight"], one["destination"].as_str().unwrap_or_default())).collect();
    values.insert("split".to_owned(), split.join("\n"));
    values
}

/// What was sent as the JSON of `POST /v1/links`; what was left empty is null, so that it is also a merge patch.
pub(super) fn link(sent: &Sent) -> Result<Map<String, Value>, Wrong> {
    let mut link = Map::new();
    let text = |name: &str| sent.text(name).map_or(Value::Null, Value::from);
    for name in ["destination", "exception"] {
        link.insert(name.to_owned(), text(name));
    }
    for line in GROUPS.iter().flat_map(|(_, lines)| lines.iter()) {
        match line.path.split_once('.') {
            None => drop(link.insert(line.path.to_owned(), text(line.name))),
            Some((outer, inner)) => {
                link.entry(outer).or_insert_with(|| Value::Object(Map::new()))[inner] = text(line.name);
            }
        }
    }
    let mut split = Vec::new();
    for line in sent.raw("split").lines().map(str::trim).filter(|line| !line.is_empty()) {
        let read = line.split_once(char::is_whitespace);
        let Some((Ok(weight), to)) = read.map(|(weight, to)| (weight.parse::<u32>(), to.trim())) else {
            let message = "each line is a weight, a space and an address: 70 https://shop.example/a";
            return Err(vec![("split".to_owned(), message.to_owned())]);
        };
        split.push(serde_json::json!({ "destination": to, "weight": weight }));
    }
    link.insert("split".to_owned(), if split.is_empty() { Value::Null } else { split.into() });
    Ok(link)
}

/// Without its nulls, as a draft wants it.
pub(super) fn without_nulls(fields: Map<String, Value>) -> Map<String, Value> {
    let keep = |value: Value| match value {
        Value::Object(inner) => Value::Object(without_nulls(inner)),
        other => other,
    };
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
    fields
        .map(|(name, value)| (name, keep(value)))
        .filter(|(_, value)| value.as_object().is_none_or(|inner| !inner.is_empty()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_with_a_file_is_read() {
        let body = "--xyz\r\nContent-Disposition: form-data; name=\"by\"\r\n\r\nada\r\n--xyz\r\nContent-Disposition: \
                    form-data; name=\"file\"; filename=\"a.csv\"\r\nContent-Type: text/csv\r\n\r\nslug,destination\r\na,b\r\n\r\n--xyz--\r\n";
        let parts = parts(body.as_bytes(), "xyz").expect("reads");
        assert_eq!((parts["by"].as_str(), parts["file"].as_str()), ("ada", "slug,destination\r\na,b\r\n"));
        for broken in ["", "--xyz", "--xyz\r\n", &body[..body.len() - 6], "--abc\r\n\r\n--abc--"] {
            assert!(super::parts(broken.as_bytes(), "xyz").is_none(), "{broken:?}");
        }
        assert_eq!(boundary(" charset=utf-8; boundary=\"xyz\""), Some("xyz"));
        assert_eq!(boundary(" boundary="), None);
    }

    #[test]
    fn what_is_stored_comes_back_as_it_was() {
        let stored = serde_json::json!({
            "destination": "https://shop.example/", "slug": "mugs", "utm": { "source": "x", "campaign": "c" },
            "variant": { "angle": "joy" }, "goal": "purchase",
            "split": [{ "destination": "https://a.example/", "weight": 7 }, { "destination": "https://b.example/", "weight": 3 }],
        });
        let stored = stored.as_object().expect("an object").clone();
        let sent = Sent(values(&stored));
        let mut read = without_nulls(link(&sent).expect("reads"));
        read.insert("slug".into(), "mugs".into());
        assert_eq!(Value::Object(read), Value::Object(stored));
        let odd = Sent(BTreeMap::from([("split".to_owned(), "https://a.example/".to_owned())]));
        assert_eq!(link(&odd).expect_err("is refused")[0].0, "split");
    }

    #[test]
    fn what_is_wrong_stands_at_its_field_or_above_all() {
        let wrong = vec![
            ("utm.source".to_owned(), "a".to_owned()),
            ("source".to_owned(), "b".to_owned()),
            ("split.1.destination".to_owned(), "c".to_owned()),
            ("variant".to_owned(), "d".to_owned()),
            (String::new(), "e".to_owned()),
        ];
        assert_eq!(wrong_at(&wrong, "utm.source").as_deref(), Some("a; b"));
        assert_eq!(wrong_at(&wrong, "split").as_deref(), Some("c"));
        assert_eq!(elsewhere(&wrong), ["variant: d", "e"]);
    }
}
