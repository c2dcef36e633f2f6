//! `multipart/form-data` of text fields (RFC 7578), as the PHP and Java SDKs and `curl -F` post: the whole body is there
//! already, and is bounded.

use std::borrow::Cow;

/// The most fields that are read.
const FIELDS_MAX: usize = 64;

/// The fields by name; `None` if it is not what `content_type` says.
/// Source: facebook-java-business-sdk, `APIRequest.java`; facebook-php-business-sdk, `EventRequestAsync.php`; read
/// 2026-11-20.
pub(super) fn fields(content_type: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    // The Java SDK writes the low byte of each character, which is Latin-1.
    let latin = || body.iter().map(|&byte| char::from(byte)).collect::<String>();
    let body = str::from_utf8(body).map_or_else(|_| Cow::Owned(latin()), Cow::Borrowed);
    let body = &*body;
    // The PHP SDK's asynchronous requests name no type: their body tells.
    let first_line = || body.lines().next()?.strip_prefix("--");
    let delimiter = format!("--{}", boundary(content_type).or_else(first_line).filter(|it| !it.is_empty())?);
    // What stands before the first delimiter is no part. A delimiter begins a line.
    let mut rest = body.strip_prefix(&delimiter).or_else(|| Some(body.split_once(&format!("\r\n{delimiter}"))?.1))?;
    let delimiter = format!("\r\n{delimiter}");
    let mut fields = Vec::new();
    while !rest.starts_with("--") {
        let (part, next) = rest.split_once(&delimiter)?;
        let (head, value) = part.split_once("\r\n\r\n")?;
        if fields.len() == FIELDS_MAX {
            return None;
        }
        fields.push((name(head)?, value.to_owned()));
        rest = next;
    }
    Some(fields)
}

fn boundary(content_type: &str) -> Option<&str> {
    let value = content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    let value = value.trim().trim_matches('"');
    (1..=70).contains(&value.len()).then_some(value)
}

/// The name in a part's `Content-Disposition`.
fn name(head: &str) -> Option<String> {
    let disposition = head.lines().find_map(|line| {
        let (header, value) = line.split_once(':')?;
        header.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let name = disposition.split(';').find_map(|parameter| {
        let (key, value) = parameter.trim().split_once('=')?;
        key.eq_ignore_ascii_case("name").then_some(value)
    })?;
    Some(name.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; charset=utf-8; boundary=\"--x-1\"";

    #[test]
    fn fields_keep_their_text_byte_for_byte() {
        let body = "preamble\r\n----x-1\r\nContent-Disposition: form-data; name=\"data\"\r\nContent-Type: \
                    text/plain\r\n\r\n[1,\r\n\r\n--x ä]\r\n----x-1 \r\ncontent-disposition: form-data; name=empty\r\n\r\n\r\n\
                    ----x-1--\r\nepilogue";
        let read = fields(TYPE, body.as_bytes()).expect("reads");
        assert_eq!(read, [("data".into(), "[1,\r\n\r\n--x ä]".into()), ("empty".into(), String::new())]);
        assert_eq!(fields(TYPE, b"----x-1--\r\n"), Some(Vec::new()));
        let latin = b"----x-1\r\nContent-Disposition: form-data; name=a\r\n\r\nCaf\xe9\r\n----x-1--";
        assert_eq!(fields(TYPE, latin), Some(vec![("a".into(), "Café".into())]));
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let part = "----x-1\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n";
        for body in ["", "data", part, "----x-1\r\nname\r\n----x-1--", "----x-1\r\nX: y\r\n\r\nb\r\n----x-1--"] {
            assert_eq!(fields(TYPE, body.as_bytes()), None, "{body}");
        }
        let whole = format!("{part}----x-1--");
        assert!(fields(TYPE, whole.as_bytes()).is_some());
        assert_eq!(fields("multipart/form-data; boundary=y", whole.as_bytes()), None);
        for kind in ["", "multipart/form-data", "multipart/form-data; boundary="] {
            assert!(fields(kind, whole.as_bytes()).is_some(), "{kind}");
        }
        assert_eq!(fields("", b"--\r\n\r\n--"), None);
        let many = format!("{}----x-1--", part.repeat(FIELDS_MAX + 1));
        assert_eq!(fields(TYPE, many.as_bytes()), None);
    }
}
