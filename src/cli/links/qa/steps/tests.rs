use reqwest::header::{HeaderMap, HeaderName};
use serde_json::json;

use super::*;

fn answer(status: u16, headers: &[(&'static str, &str)]) -> Answer {
    let pairs = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")));
    Answer { status, headers: HeaderMap::from_iter(pairs), body: String::new() }
}

fn wanted() -> Wanted {
    Wanted::of(
        &json!({
            "slug": "mugs", "host": "go.brand.example", "url": "https://go.brand.example/mugs", "state": "live",
            "destination": "https://shop.example/mugs?utm_medium=own&a=1", "placement": "bio", "goal": "purchase",
            "utm": { "source": "Insta gram", "medium": "social", "campaign": null },
        }),
        UtmRule::Keep,
    )
}

const IDS: &str = "gclid=Te-St_AbCdEfG-09xYz&fbclid=IwZXh0bgNhZW0CMTEAAR-Te_StQaLiNk";

/// Everything as it should be.
fn walk() -> Walk {
    let to = format!("https://shop.example/mugs?utm_medium=own&a=1&utm_source=Insta+gram&{IDS}");
    let headers =
        [("location", to.as_str()), ("cache-control", "private, no-store"), ("x-request-id", "0123456789abcdef")];
    let answered = answer(302, &headers);
    Walk {
        get: Ok(answered.clone()),
        head: Ok(answered),
        hops: vec![Url::parse(&to).expect("valid")],
        end: Some(Ok(answer(200, &[]))),
        tag: TagSeen::Yes,
    }
}

fn of(walk: &Walk, step: &str) -> (Verdict, String) {
    let found = judge(&wanted(), walk, "desktop").into_iter().find(|finding| finding.step == step);
    found.map(|finding| (finding.result, finding.note)).unwrap_or_else(|| panic!("{step} was not judged"))
}

fn fails(walk: &Walk, step: &str, with: &str) {
    let (result, note) = of(walk, step);
    assert!(result == Verdict::Fail && note.contains(with), "{step}: {result} {note}");
}

fn hop(text: &str) -> Url {
    Url::parse(text).expect("valid")
}

#[test]
fn a_sound_link_passes_every_step() {
    let findings = judge(&wanted(), &walk(), "desktop");
    let steps: Vec<&str> = findings.iter().map(|finding| finding.step).collect();
    assert_eq!(steps, ["link host", "redirect", "chain", "destination", "utm", "click ids", "tag"]);
    let wrong: Vec<_> = findings.iter().filter(|finding| finding.result != Verdict::Pass).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_host_that_is_not_there_or_not_ours_is_told() {
    let lost = Walk { get: Err(Lost::Certificate), hops: Vec::new(), end: None, ..walk() };
    fails(&lost, "link host", "certificate");
    assert_eq!(judge(&wanted(), &lost, "desktop").len(), 1, "nothing else can be said");
    let parked = Walk { get: Ok(answer(200, &[])), hops: Vec::new(), end: None, ..walk() };
    fails(&parked, "link host", "is no relay");
    fails(&parked, "redirect", "answers 200");
}

#[test]
fn the_redirect_is_as_promised() {
    let with = |status, headers: &[(&'static str, &str)]| Walk { get: Ok(answer(status, headers)), ..walk() };
    fails(&with(301, &[("location", "https://shop.example/mugs")]), "redirect", "answers 301");
    fails(&with(302, &[("location", "https://shop.example/mugs")]), "redirect", "no-store");
    let head = Walk { head: Ok(answer(405, &[])), ..walk() };
    fails(&head, "redirect", "HEAD is answered otherwise");
}

#[test]
fn chains_that_go_round_or_leave_https_fail() {
    let round =
        Walk { hops: vec![hop("https://a.example/"), hop("https://b.example/"), hop("https://a.example/")], ..walk() };
    fails(&round, "chain", "goes round");
    let down = Walk { hops: vec![hop("https://a.example/"), hop("http://a.example/")], ..walk() };
    fails(&down, "chain", "leaves https");
    let on = answer(302, &[("location", "intent://x")]);
    fails(&Walk { end: Some(Ok(on)), ..walk() }, "chain", "nowhere on the web");
}

#[test]
fn the_destination_is_the_stored_one_and_there() {
    let elsewhere = answer(302, &[("location", "https://shop.example/"), ("cache-control", "no-store")]);
    fails(&Walk { get: Ok(elsewhere), ..walk() }, "destination", "elsewhere");
    fails(&Walk { end: Some(Ok(answer(404, &[]))), ..walk() }, "destination", "answers 404");
    fails(&Walk { end: Some(Err(Lost::Time)), ..walk() }, "destination", "no answer");
    let canonical = "<link rel=canonical href='https://other.example/mugs'>".to_owned();
    let page = Answer { body: canonical, ..answer(200, &[]) };
    let (result, note) = of(&Walk { end: Some(Ok(page)), ..walk() }, "destination");
    assert!(result == Verdict::Warn && note.contains("other.example"), "{note}");
    let moved = Walk { hops: vec![hop("https://other.example/mugs")], ..walk() };
    assert_eq!(of(&moved, "destination").0, Verdict::Warn);
}

#[test]
fn utm_values_arrive_as_declared_and_once() {
    let ending = |query: &str| {
        let mut hops = walk().hops;
        hops.push(hop(&format!("https://shop.example/new?{query}")));
        Walk { hops, ..walk() }
    };
    fails(&ending("utm_medium=own"), "utm", "utm_source is missing, since the redirect of shop.example/mugs");
    fails(&ending("utm_medium=own&utm_source=insta%20gram"), "utm", "another value");
    fails(&ending("utm_medium=own&utm_source=Insta%20gram&utm_source=Insta%20gram"), "utm", "2 times");
    fails(&ending("utm_medium=own&utm_source=Insta%20gram&utm_term=x"), "utm", "utm_term is there, and neither");
    assert_eq!(of(&ending("utm_source=Insta%20gram&utm_medium=own"), "utm").0, Verdict::Pass);
    let replace = Wanted { rule: UtmRule::Replace, ..wanted() };
    let found = judge(&replace, &walk(), "desktop");
    assert!(
        found.iter().any(|f| f.step == "utm" && f.note.contains("utm_medium has another value, already")),
        "{found:?}"
    );
}

#[test]
fn click_ids_arrive_byte_for_byte() {
    let ending = |query: &str| {
        let mut hops = walk().hops;
        hops.push(hop(&format!("https://shop.example/?{query}")));
        Walk { hops, ..walk() }
    };
    fails(&ending(&IDS.to_lowercase()), "click ids", "gclid does not arrive as it was, since the redirect of");
    fails(&ending(&IDS.replace('_', "%5F")), "click ids", "fbclid");
    fails(&ending(""), "click ids", "gclid");
    fails(&ending(&format!("{IDS}&{IDS}")), "click ids", "gclid");
    assert_eq!(of(&ending(&format!("x=1&{IDS}")), "click ids").0, Verdict::Pass);
}

#[test]
fn a_page_without_the_tag_fails_and_a_tag_manager_is_a_doubt() {
    fails(&Walk { tag: TagSeen::No, ..walk() }, "tag", "no tag");
    assert_eq!(of(&Walk { tag: TagSeen::Perhaps, ..walk() }, "tag").0, Verdict::Warn);
}

#[test]
fn the_goal_is_known_to_fire_or_it_is_not_passed() {
    let goal = |link: Value| goal(&wanted(), &link, |seen| seen.parse().ok()).expect("has a goal").result;
    assert_eq!(goal(json!({})), Verdict::Warn);
    assert_eq!(goal(json!({ "goal_last_seen": null })), Verdict::Fail);
    assert_eq!(goal(json!({ "goal_last_seen": "3" })), Verdict::Pass);
    assert_eq!(goal(json!({ "goal_last_seen": "9" })), Verdict::Warn);
    assert!(super::goal(&Wanted { goal: None, ..wanted() }, &json!({}), |_| None).is_none());
}

#[test]
fn of_several_destinations_any_is_right() {
    let split = Wanted {
        destinations: vec!["https://shop.example/other".into(), "https://shop.example/mugs?utm_medium=own&a=1".into()],
        ..wanted()
    };
    let found = judge(&split, &walk(), "desktop");
    assert!(found.iter().all(|finding| finding.result == Verdict::Pass), "{found:?}");
}
