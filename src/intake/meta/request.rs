//! What a request carries, in every form that Meta's clients give it: JSON (Node, the gateways), a form (Python), or parts
//! (PHP, Java, `curl -F`); the events as objects, or each as a text of JSON.

use std::borrow::Cow;

use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{answer::Refused, multipart};

/// The names of a token; the second is the gateway's word.
const TOKENS: [&str; 2] = ["access_token", "accessKey"];
/// The most fields of a form or query.
const FIELDS_MAX: usize = 256;

/// The fields of a request, from its query and its body. What is not named here (`partner_agent`, `appsecret_proof`,
/// `namespace_id`, `upload_*`) is for Meta alone and says nothing to us.
pub(super) struct Posted(Map<String, Value>);

/// Reads the body by its type; of a field that is in the query too, the body's counts.
///
/// # Errors
/// If it cannot be read as what it says it is.
pub(super) fn read(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Result<Posted, Refused> {
    let mut fields = form(query.unwrap_or_default().as_bytes())?;
    match Form::of(headers, body) {
        Form::Parts(kind) => {
            let parts = multipart::fields(kind, body)
                .ok_or_else(|| Refused::unreadable("the body is no multipart/form-data with the boundary it names"))?;
            fields.extend(parts.into_iter().map(|(name, value)| (name, Value::String(value))));
        }
        Form::Encoded => fields.extend(form(body)?),
        Form::Json => {
            let object: Map<String, Value> = serde_json::from_slice(body).map_err(|error| no_object(&error))?;
            fields.extend(object);
        }
    }
    Ok(Posted(fields))
}

/// How a body is written.
enum Form<'a> {
    /// In parts, with the type that may name their boundary.
    Parts(&'a str),
    Encoded,
    Json,
}

impl<'a> Form<'a> {
    fn of(headers: &'a HeaderMap, body: &[u8]) -> Self {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        // `curl --data` and others say "form" of everything.
        let is_object = body.trim_ascii_start().starts_with(b"{");
        match essence.as_str() {
            "multipart/form-data" => Self::Parts(kind),
            "" if body.starts_with(b"--") => Self::Parts(kind),
            "application/x-www-form-urlencoded" if !is_object => Self::Encoded,
            _ => Self::Json,
        }
    }
}

fn no_object(error: &serde_json::Error) -> Refused {
    let (line, column) = (error.line(), error.column());
    Refused::unreadable(format!("the body is no JSON object (line {line}, column {column})"))
}

fn form(text: &[u8]) -> Result<Map<String, Value>, Refused> {
    // Whoever has no key yet may not make us keep a million of them.
    if url::form_urlencoded::parse(text).nth(FIELDS_MAX).is_some() {
        return Err(Refused::unreadable(format!("the body has more than {FIELDS_MAX} fields")));
    }
    let owned = |(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into_owned(), Value::String(value.into_owned()));
    Ok(url::form_urlencoded::parse(text).map(owned).collect())
}

/// The token in a body of JSON, without keeping anything else of it: what a stranger posts may be large.
///
/// # Errors
/// If it is none.
fn token_in_json(body: &[u8]) -> Result<Option<String>, Refused> {
    #[derive(Deserialize)]
    struct Tokens<'a> {
        #[serde(borrow)]
        access_token: Option<&'a RawValue>,
        #[serde(borrow, rename = "accessKey")]
        access_key: Option<&'a RawValue>,
    }
    let tokens: Tokens<'_> = match serde_json::from_slice(body) {
        Ok(tokens) if body.trim_ascii_start().starts_with(b"{") => tokens,
        Err(error) if !error.is_data() => return Err(no_object(&error)),
        _ => return Ok(None),
    };
    let text = |token: &RawValue| serde_json::from_str(token.get()).ok().and_then(|token: String| said(&token));
    Ok(tokens.access_token.and_then(text).or_else(|| tokens.access_key.and_then(text)))
}

/// A text that says something: "null" is what the Java SDK makes of a field that is not set.
fn said(text: &str) -> Option<String> {
    Some(text.trim()).filter(|text| !matches!(*text, "" | "null")).map(str::to_owned)
}

/// The token of a request: outside its body, where that is not looked at yet, or in it.
///
/// # Errors
/// If the token would be in a body that cannot be read.
pub(super) fn token(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Result<Option<String>, Refused> {
    if let Some(token) = token_outside(query, headers) {
        return Ok(Some(token));
    }
    match Form::of(headers, body) {
        Form::Json => token_in_json(body),
        Form::Parts(_) | Form::Encoded => Ok(read(None, headers, body)?.token()),
    }
}

/// The token of a request's query or of its `Authorization` header.
fn token_outside(query: Option<&str>, headers: &HeaderMap) -> Option<String> {
    let in_query = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(name, value)| TOKENS.contains(&&**name) && !value.is_empty())
        .map(|(_, value)| value.into_owned());
    in_query.or_else(|| {
        let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        let token = Some(token.trim()).filter(|token| !token.is_empty())?;
        ["bearer", "oauth"].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then(|| token.to_owned())
    })
}

impl Posted {
    /// The token among the fields.
    fn token(&self) -> Option<String> {
        TOKENS.iter().find_map(|name| self.text(name))
    }

    /// Whether the events are a test.
    pub(super) fn is_test(&self) -> bool {
        self.text("test_event_code").is_some() || self.0.get("test_event_code").is_some_and(Value::is_number)
    }

    /// The events, 1 to `most`, and nothing else.
    ///
    /// # Errors
    /// If they are missing, too many, or one is no object.
    pub(super) fn data(mut self, most: usize) -> Result<Vec<Map<String, Value>>, Refused> {
        let wrong = |why: &str| Refused::field("data", why);
        let given = self.0.remove("data").filter(|data| !data.is_null()).ok_or_else(|| wrong("is missing"))?;
        let Some(Value::Array(list)) = unpacked(given) else { return Err(wrong("must be a list of events")) };
        if list.is_empty() || list.len() > most {
            return Err(wrong(&format!("must hold 1 to {most} events")));
        }
        let event = |(place, event): (usize, Value)| match unpacked(event) {
            Some(Value::Object(event)) => Ok(event),
            _ => Err(Refused::field("", "must be an object, or a text that holds one as JSON").of_event(place)),
        };
        list.into_iter().enumerate().map(event).collect()
    }

    fn text(&self, name: &str) -> Option<String> {
        said(self.0.get(name)?.as_str()?)
    }
}

/// A value, or what it holds if it is a text of JSON; `None` if that is no JSON.
fn unpacked(value: Value) -> Option<Value> {
    match value {
        Value::String(text) => serde_json::from_str(&text).ok(),
        value => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn headers(kind: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().expect("a header"))])
    }

    fn names(kind: &str, body: &str) -> Result<Vec<String>, String> {
        let posted = read(None, &headers(kind), body.as_bytes()).map_err(|refused| refused.message)?;
        let events = posted.data(3).map_err(|refused| refused.message)?;
        Ok(events.iter().map(|event| event["event_name"].as_str().unwrap_or_default().to_owned()).collect())
    }

    #[test]
    fn the_events_are_the_same_in_every_form() {
        let objects = json!([{"event_name": "A"}, {"event_name": "B"}]);
        let texts = json!([r#"{"event_name":"A"}"#, r#"{"event_name":"B"}"#]);
        for data in [&objects, &texts] {
            let form: String = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("data", &data.to_string())
                .append_pair("access_token", "k")
                .finish();
            let parts = format!(
                "--b\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\n{data}\r\n--b\r\nContent-Disposition: \
                 form-data; name=\"access_token\"\r\n\r\nk\r\n--b--\r\n"
            );
            for (kind, body) in [
                ("application/json", json!({"data": data, "access_token": "k", "id": null}).to_string()),
                ("application/json; charset=utf-8", json!({"data": data.to_string(), "accessKey": "k"}).to_string()),
                ("text/plain", json!({"data": data, "access_token": "k"}).to_string()),
                ("application/x-www-form-urlencoded", form),
                ("application/x-www-form-urlencoded", json!({"data": data, "access_token": "k"}).to_string()),
                ("", parts.clone()),
                ("multipart/form-data; boundary=b", parts),
            ] {
                assert_eq!(names(kind, &body), Ok(vec!["A".to_owned(), "B".to_owned()]), "{kind}");
                let posted = read(None, &headers(kind), body.as_bytes()).expect("reads");
                assert_eq!((posted.token().as_deref(), posted.is_test()), (Some("k"), false));
            }
        }
    }

    #[test]
    fn what_holds_no_events_is_refused_and_says_where() {
        for (body, message) in [
            ("[]", "the body is no JSON object (line 1, column 0)"),
            ("{", "the body is no JSON object (line 1, column 1)"),
            ("{}", "data: is missing"),
            (r#"{"data": null}"#, "data: is missing"),
            (r#"{"data": {}}"#, "data: must be a list of events"),
            (r#"{"data": "["}"#, "data: must be a list of events"),
            (r#"{"data": []}"#, "data: must hold 1 to 3 events"),
            (r#"{"data": [{}, {}, {}, {}]}"#, "data: must hold 1 to 3 events"),
            (r#"{"data": [{}, 7]}"#, "data[1]: must be an object, or a text that holds one as JSON"),
            (r#"{"data": ["{}", "{"]}"#, "data[1]: must be an object, or a text that holds one as JSON"),
        ] {
            assert_eq!(names("application/json", body), Err(message.to_owned()), "{body}");
        }
    }

    #[test]
    fn of_a_strangers_body_no_more_is_kept_than_its_token() {
        let json = |body: &str| token_in_json(body.as_bytes()).map_err(|refused| refused.message);
        assert_eq!(json(r#"{"data": [0, 0], "access_token": " k "}"#), Ok(Some("k".to_owned())));
        assert_eq!(json(r#"{"access_token": "null", "accessKey": "\u006b"}"#), Ok(Some("k".to_owned())));
        for none in [r#"{"access_token": 7, "accessKey": null}"#, "{}", "[]", r#"["k", "k"]"#, "7"] {
            assert_eq!(json(none), Ok(None), "{none}");
        }
        assert_eq!(json(r#"{"access_token": "k""#), Err("the body is no JSON object (line 1, column 20)".to_owned()));
        let form = "a&".repeat(FIELDS_MAX + 1);
        let refused = token(None, &headers("application/x-www-form-urlencoded"), form.as_bytes());
        let refused = refused.err().map(|refused| refused.message);
        assert_eq!(refused.as_deref(), Some("the body has more than 256 fields"));
    }

    #[test]
    fn the_token_is_found_wherever_it_may_stand() {
        let with = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().expect("a header"))]);
        assert_eq!(
            token_outside(Some("access_token=k%2F1&appsecret_proof=x"), &HeaderMap::new()).as_deref(),
            Some("k/1")
        );
        assert_eq!(token_outside(Some("access_token="), &with("Bearer k")).as_deref(), Some("k"));
        assert_eq!(token_outside(None, &with("OAuth k")).as_deref(), Some("k"));
        assert_eq!((token_outside(None, &with("Basic k")), token_outside(None, &HeaderMap::new())), (None, None));
        let test = read(Some("test_event_code=TEST1"), &HeaderMap::new(), b"{}").expect("reads");
        assert!(test.is_test());
        let number = read(None, &HeaderMap::new(), br#"{"test_event_code": 7}"#).expect("reads");
        assert!(number.is_test(), "rather too few are taken for sales");
        let unset = br#"{"test_event_code": "null", "access_token": "null", "accessKey": " k "}"#;
        let unset = read(None, &HeaderMap::new(), unset).expect("reads");
        assert_eq!((unset.is_test(), unset.token().as_deref()), (false, Some("k")));
    }
}
