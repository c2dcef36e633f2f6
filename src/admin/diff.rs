//! Where two requests differ.

use serde_json::{Value, json};

/// Differences told of one request; the others are counted.
const DIFFERENCES_MAX: usize = 50;

/// What differs between the request that failed and the one that would go now.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// Each with its JSON pointer, what was there and what is there now.
    pub(super) list: Vec<Value>,
    /// Differences that are not in the list.
    pub(super) more: u64,
}

impl Differences {
    /// Compares two bodies: by their fields if both are JSON, else as texts.
    pub(super) fn between(was: &str, now: &str) -> Self {
        let mut found = Self::default();
        match (serde_json::from_str(was), serde_json::from_str(now)) {
            (Ok(was), Ok(now)) => found.compare(&mut String::new(), &was, &now),
            _ if was.trim_end() != now.trim_end() => found.note("", Some(&Value::from(was)), Some(&Value::from(now))),
            _ => {}
        }
        found
    }

    fn compare(&mut self, path: &mut String, was: &Value, now: &Value) {
        let length = path.len();
        match (was, now) {
            (Value::Object(was), Value::Object(now)) => {
                let new = now.keys().filter(|name| !was.contains_key(*name));
                for name in was.keys().chain(new) {
                    path.push('/');
                    path.push_str(&name.replace('~', "~0").replace('/', "~1"));
                    self.either(path, was.get(name), now.get(name));
                    path.truncate(length);
                }
            }
            (Value::Array(was), Value::Array(now)) => {
                for i in 0..was.len().max(now.len()) {
                    path.push_str(&format!("/{i}"));
                    self.either(path, was.get(i), now.get(i));
                    path.truncate(length);
                }
            }
            _ if was != now => self.note(path, Some(was), Some(now)),
            _ => {}
        }
    }

    fn either(&mut self, path: &mut String, was: Option<&Value>, now: Option<&Value>) {
        match (was, now) {
            (Some(was), Some(now)) => self.compare(path, was, now),
            _ => self.note(path, was, now),
        }
    }

    /// What was not there, or is not any more, is left out rather than null, which a request may hold too.
    fn note(&mut self, path: &str, was: Option<&Value>, now: Option<&Value>) {
        if self.list.len() == DIFFERENCES_MAX {
            self.more += 1;
            return;
        }
        let mut difference = json!({ "path": path });
        for (name, value) in [("was", was), ("now", now)] {
            if let Some(value) = value {
                difference[name] = value.clone();
            }
        }
        self.list.push(difference);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(was: &Value, now: &Value) -> Vec<Value> {
        Differences::between(&was.to_string(), &now.to_string()).list
    }

    #[test]
    fn each_difference_has_its_place_and_both_values() {
        let was = json!({"data": [{"event_name": "Purchase", "value": 1, "same": null, "gone": null}], "code": "T"});
        let now = json!({"data": [{"event_name": "Lead", "value": 1.5, "same": null, "a/b": [1]}, {}], "code": "T"});
        assert_eq!(
            told(&was, &now),
            [
                json!({"path": "/data/0/event_name", "was": "Purchase", "now": "Lead"}),
                json!({"path": "/data/0/gone", "was": null}),
                json!({"path": "/data/0/value", "was": 1, "now": 1.5}),
                json!({"path": "/data/0/a~1b", "now": [1]}),
                json!({"path": "/data/1", "now": {}}),
            ]
        );
        assert!(told(&was, &was).is_empty());
    }

    #[test]
    fn a_row_is_compared_as_it_is() {
        assert!(Differences::between("a,b\n", "a,b").list.is_empty());
        assert_eq!(Differences::between("a,b", "a,c").list, [json!({"path": "", "was": "a,b", "now": "a,c"})]);
    }

    #[test]
    fn there_is_a_bound_and_a_count_of_the_rest() {
        let was = Value::from((0..60).collect::<Vec<_>>());
        let found = Differences::between(&was.to_string(), "[]");
        assert_eq!((found.list.len(), found.more), (DIFFERENCES_MAX, 10));
    }
}
