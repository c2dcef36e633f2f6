//! What the source of a page says: which scripts it loads, and what it calls its own address. No script is run.

use url::Url;

/// The addresses of its scripts.
pub(super) fn scripts(html: &str, page: &Url) -> Vec<Url> {
    let sources = tags(html, "script").into_iter().filter_map(|tag| attribute(&tag, "src"));
    sources.filter_map(|source| page.join(&source).ok()).collect()
}

/// What it calls its own address.
pub(super) fn canonical(html: &str, page: &Url) -> Option<Url> {
    let is = |tag: &&Vec<(String, String)>| {
        attribute(tag, "rel")
            .is_some_and(|rel| rel.split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case("canonical")))
    };
    let links = tags(html, "link");
    let href = attribute(links.iter().find(is)?, "href")?;
    page.join(&href).ok()
}

/// Whether scripts come through a tag manager, where nobody sees them in the source.
pub(super) fn has_tag_manager(html: &str) -> bool {
    html.contains("googletagmanager.com/gtm.js") || html.contains("googletagmanager.com/ns.html")
}

fn attribute(tag: &[(String, String)], name: &str) -> Option<String> {
    tag.iter().find(|(known, _)| known == name).map(|(_, value)| value.replace("&amp;", "&")).filter(|v| !v.is_empty())
}

/// The attributes of every tag of this name, outside comments.
fn tags(html: &str, name: &str) -> Vec<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end..]);
            continue;
        }
        let Some(inside) =
            rest.get(..name.len()).filter(|tag| tag.eq_ignore_ascii_case(name)).map(|_| &rest[name.len()..])
        else {
            continue;
        };
        if inside.starts_with(|c: char| c.is_ascii_whitespace() || c == '/') {
            let (attributes, end) = attributes(inside);
            found.push(attributes);
            rest = end;
        }
    }
    found
}

/// Attributes up to the end of the tag, and what follows.
fn attributes(mut text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        text = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if text.is_empty() {
            return (found, text);
        }
        if let Some(after) = text.strip_prefix('>') {
            return (found, after);
        }
        let end = text.find(|c: char| c.is_ascii_whitespace() || "=>/".contains(c)).unwrap_or(text.len());
        // A stray `=` is a name of its own; something has to be taken.
        let end = if end == 0 { 1 } else { end };
        let (name, after) = text.split_at(end);
        let after = after.trim_start();
        let Some(value) = after.strip_prefix('=').map(str::trim_start) else {
            found.push((name.to_ascii_lowercase(), String::new()));
            text = after;
            continue;
        };
        let quote = value.chars().next().filter(|c| "\"'".contains(*c));
        let (value, after) = match quote {
            Some(quote) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
            None => value.split_at(value.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(value.len())),
        };
        found.push((name.to_ascii_lowercase(), value.to_owned()));
        text = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Url {
        Url::parse("https://shop.example/mugs/?a=1").expect("valid")
    }

    #[test]
    fn scripts_are_found_however_they_are_written() {
        let html = r#"<!doctype html><head><!-- <script src="/commented.js"></script> -->
            <SCRIPT async SRC='/t.js?x=1&amp;y=2' data-name=relay></SCRIPT><script
            src = https://cdn.example/a.js ></script><script>var a = "<b>";</script><scripting src="/no.js">
            <script src="b.js"/><script src=""></script><script src"#;
        let found: Vec<String> = scripts(html, &page()).iter().map(Url::to_string).collect();
        let wanted =
            ["https://shop.example/t.js?x=1&y=2", "https://cdn.example/a.js", "https://shop.example/mugs/b.js"];
        assert_eq!(found, wanted);
    }

    #[test]
    fn the_canonical_address_is_found() {
        let html = r#"<link rel="icon" href="/i.png"><link href="//www.shop.example/mugs" rel="nofollow Canonical">"#;
        assert_eq!(canonical(html, &page()).expect("there").as_str(), "https://www.shop.example/mugs");
        assert_eq!(canonical("<link rel=icon href=x>", &page()), None);
    }

    #[test]
    fn broken_markup_ends() {
        for html in [
            "<",
            "<script",
            "<script =",
            "<script src=",
            "<script src='",
            "<!--",
            "<script ///",
            "<é<script é=ü>",
            "<scr",
        ] {
            assert!(scripts(html, &page()).len() <= 1, "{html}");
        }
    }
}
