//! The operator's own list.

use super::*;

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

fn with(list: &str) -> Agents {
    Agents::new(parse_overlay(list).expect("a list")).expect("compiles")
}

fn of(agents: &Agents, user_agent: &str) -> Option<(String, Category)> {
    agents.read(Some(user_agent)).automation.map(|found| (found.product.into_owned(), found.category))
}

#[test]
fn entries_of_the_published_form_count() {
    let agents = with(
        r#"[
        {"pattern": "[aA]cme\\/", "url": "https://acme.example", "tags": ["monitoring"], "instances": ["acme/1"], "addition_date": "2026/01/02"},
        {"pattern": "^Sales App"},
        {"pattern": "Quux", "tags": ["unheard-of", "ai_agent"]}
    ]"#,
    );
    assert_eq!(of(&agents, &format!("{BROWSER} Acme/2")), Some(("acme".to_owned(), Category::Monitoring)));
    assert_eq!(of(&agents, "Sales App iPhone"), Some(("Sales App".to_owned(), Category::Other)));
    assert_eq!(of(&agents, &format!("{BROWSER} Quux")), Some(("Quux".to_owned(), Category::AiAgent)));
    assert_eq!(of(&agents, BROWSER), None);
}

#[test]
fn published_tags_have_their_category() {
    for (tag, category) in [
        ("search-engine", Category::Search),
        ("social-preview", Category::SocialPreview),
        ("ai-crawler", Category::AiCrawler),
        ("feed-reader", Category::Feed),
        ("http-library", Category::HttpLibrary),
        ("browser-automation", Category::Automation),
        ("seo", Category::Seo),
        ("monitoring", Category::Monitoring),
        ("scanner", Category::Scanner),
        ("advertising", Category::Advertising),
        ("archiver", Category::Archiver),
        ("academic", Category::Other),
    ] {
        let agents = with(&format!(r#"[{{"pattern": "Acme", "tags": ["{tag}"]}}]"#));
        assert_eq!(of(&agents, &format!("{BROWSER} Acme")).expect("a machine").1, category, "{tag}");
    }
}

#[test]
fn the_operator_has_the_last_word() {
    let googlebot = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
    let without_kind = with(r#"[{"pattern": "Googlebot"}]"#);
    assert_eq!(of(&without_kind, googlebot), Some(("Googlebot".to_owned(), Category::Search)), "ours knows the kind");
    let other_kind = with(r#"[{"pattern": "Googlebot", "tags": ["other"]}]"#);
    assert_eq!(of(&other_kind, googlebot).expect("a machine").1, Category::Other);
    let person = with(r#"[{"pattern": "Acme"}, {"pattern": "AcmeBot", "tags": ["human"]}]"#);
    assert_eq!(of(&person, "AcmeBot/1.0"), None);
    assert_eq!(of(&person, "Acme/1.0"), Some(("Acme".to_owned(), Category::Other)));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let deep = format!(r#"[{{"pattern": "{}"}}]"#, "(?:a{90}){90}{90}");
    let long = format!(r#"[{{"pattern": "{}"}}]"#, "a".repeat(600));
    let many = format!("[{}]", vec![r#"{"pattern": "a"}"#; OVERLAY_ENTRIES_MAX + 1].join(","));
    for (list, error) in [
        ("{}", OverlayError::NotAnArray { line: 1, column: 0 }),
        ("[{]", OverlayError::NotAnArray { line: 1, column: 3 }),
        (r#"[{"pattern": "a"}, {"tags": []}]"#, OverlayError::Shape(1)),
        (r#"[{"pattern": 7}]"#, OverlayError::Shape(0)),
        (r#"[{"pattern": "a", "tags": "seo"}]"#, OverlayError::Shape(0)),
        (r#"[{"pattern": "a"}, {"pattern": "b"}, {"pattern": "("}]"#, OverlayError::Pattern(2)),
        (r#"[{"pattern": "a(?=b)"}]"#, OverlayError::Pattern(0)),
        (deep.as_str(), OverlayError::Pattern(0)),
        (r#"[{"pattern": ""}]"#, OverlayError::MatchesAll(0)),
        (r#"[{"pattern": "a*"}]"#, OverlayError::MatchesAll(0)),
        (long.as_str(), OverlayError::PatternTooLong(0)),
        (many.as_str(), OverlayError::TooMany(OVERLAY_ENTRIES_MAX + 1)),
    ] {
        assert_eq!(parse_overlay(list), Err(error), "{}", &list[..list.len().min(60)]);
    }
    let bytes = " ".repeat(OVERLAY_BYTES_MAX + 1);
    assert_eq!(parse_overlay(&bytes), Err(OverlayError::TooLong(OVERLAY_BYTES_MAX + 1)));
    assert_eq!(
        OverlayError::Pattern(2).to_string(),
        "entry 2 (from 0): its `pattern` is not a regular expression of the `regex` crate, or is too large"
    );
}

#[test]
fn patterns_that_are_too_large_together_are_refused() {
    let list = vec![r#"{"pattern": "\\pL{3}x"}"#; 1_000].join(",");
    let entries = parse_overlay(&format!("[{list}]")).expect("each compiles");
    assert_eq!(Agents::new(entries).expect_err("too large"), OverlayError::Together);
}
