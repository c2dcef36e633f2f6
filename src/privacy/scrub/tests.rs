//! What gets through and what does not.

use proptest::prelude::*;
use serde_json::json;

use super::Posted;
use crate::model::{Raw, RawUser};
use serde_json::{Map, Value};

fn page(url: &str, user: &RawUser) -> String {
    super::page(url, &Posted::of(user))
}

fn properties(map: Map<String, Value>, user: &RawUser) -> Map<String, Value> {
    super::properties(map, &Posted::of(user))
}

fn text(text: String, user: &RawUser) -> Option<String> {
    super::text(text, &Posted::of(user))
}

fn identifies(text: &str, user: &RawUser) -> bool {
    super::identifies(text, &Posted::of(user))
}

fn agent(text: String, user: &RawUser) -> Option<String> {
    super::agent(text, &Posted::of(user))
}

fn ada() -> RawUser {
    RawUser {
        emails: vec![Raw::new(" Ada.Lovelace@Example.com")],
        phones: vec![Raw::new("+44 7911 123456")],
        first_name: Some(Raw::new("Ada")),
        last_name: Some(Raw::new("Lovelace")),
        street: Some(Raw::new("12 St. James's Square")),
        city: Some(Raw::new("London")),
        date_of_birth: Some(Raw::new("1815-12-10")),
        ..RawUser::default()
    }
}

#[test]
fn a_page_without_contact_data_stays_as_it_is() {
    for url in [
        "",
        "https://shop.example",
        "https://shop.example/?",
        "https://shop.example/#",
        "https://shop.example/?&&a&=b&c=&",
        "https://shop.example/thanks?order=1001&utm_source=google&gclid=Cj0KCQiA_AbC-D%2F1.EAIaIQ~%zz#top",
        "https://shop.example/a%20b/%E4%B8%AD?x=%C3%A4&y=%e4+z#/checkout?step=2&q=a=b",
        "https://medium.example/@someone/post?via=@someone",
        "https://shop.example/hotel?name=Blue+Mug&mobile=1&email_campaign=7&headphones=red#section-2",
        "//shop.example/a//b?u=https://other.example/?q=1",
        "/checkout/thank_you?order=44791112",
        "android-app://com.example.app/path",
        "not a url at all",
    ] {
        assert_eq!(page(url, &ada()), url);
        assert_eq!(page(url, &RawUser::default()), url);
    }
}

#[test]
fn contact_data_leaves_a_page_and_the_rest_stays_byte_for_byte() {
    for (url, wanted) in [
        ("https://s.example/t?a=%2F&email=x&b=+", "https://s.example/t?a=%2F&b=+"),
        ("https://s.example/t?email=x", "https://s.example/t"),
        ("https://s.example/t?email=x#top", "https://s.example/t#top"),
        ("https://s.example/t?q=ada%40example.com&gclid=A-b_C", "https://s.example/t?gclid=A-b_C"),
        ("https://s.example/t?q=bob%2540example.com&x=1", "https://s.example/t?x=1"),
        ("https://s.example/t?bob@example.com&x=1", "https://s.example/t?x=1"),
        ("https://s.example/t?x=1&next=https%3A%2F%2Fo.example%3Fe%3Dbob%2540b.example", "https://s.example/t?x=1"),
        ("https://s.example/t?user%5Bfirst_name%5D=Bob&x=1", "https://s.example/t?x=1"),
        ("https://s.example/t?x=1&amp;phone=12345&amp;y=2", "https://s.example/t?x=1&amp;y=2"),
        ("https://s.example/t?p=07911+123-456&x=1", "https://s.example/t?x=1"),
        ("https://s.example/t?p=%2B447911123456", "https://s.example/t"),
        ("https://s.example/t?for=ada&by=Adam&w=ADA%20LOVELACE", "https://s.example/t?by=Adam"),
        ("https://s.example/t?ship=12+st.+james%27s+square&c=london&d=1815%2F12%2F10", "https://s.example/t"),
        ("https://ada:secret@s.example:8080/t", "https://s.example:8080/t"),
        ("https://a%40b.example:x@y@s.example", "https://s.example"),
        ("https://s.example/u/ada%40example.com/orders?x=1", "https://s.example/u/redacted/orders?x=1"),
        ("https://s.example/u/bob@example.com", "https://s.example/u/redacted"),
        ("https://s.example/u/+447911123456/", "https://s.example/u/redacted/"),
        ("https://s.example/u/ada-lovelace", "https://s.example/u/redacted"),
        ("mailto:bob@example.com?subject=hi", "redacted?subject=hi"),
        ("https://s.example/#email=bob&x=1", "https://s.example/#x=1"),
        ("https://s.example/#/u/bob@b.example?phone=123&x=1", "https://s.example/#/u/redacted?x=1"),
        ("https://s.example/#email=bob", "https://s.example/"),
        ("/t?email=bob&x=1", "/t?x=1"),
    ] {
        assert_eq!(page(url, &ada()), wanted, "{url}");
    }
}

#[test]
fn click_ids_and_utm_values_stay_unless_they_are_an_address() {
    let kept =
        "https://s.example/?gclid=Ada&gbraid=07911123456&wbraid=Lovelace&fbclid=London&msclkid=a&ttclid=b&utm_id=Ada";
    assert_eq!(page(kept, &ada()), kept);
    for name in ["gclid", "fbclid", "utm_content"] {
        assert_eq!(page(&format!("https://s.example/?{name}=bob%40example.com&x=1"), &ada()), "https://s.example/?x=1");
    }
    assert_eq!(page("https://s.example/?utm_term=07911123456&x=1", &ada()), "https://s.example/?x=1");
}

#[test]
fn an_address_that_the_url_itself_divides_is_found_too() {
    let user = RawUser { emails: vec![Raw::new("a&b@c.1")], ..RawUser::default() };
    for url in ["https://u:p@s.example/t?x=1&q=a&b@c.1", "https://u:p@s.example/t?q=a&b%40c.1&x=1"] {
        assert_eq!(page(url, &user), "https://s.example");
    }
}

#[test]
fn properties_lose_contact_data_at_any_depth_and_nothing_else() {
    let Value::Object(posted) = json!({
        "plan": "pro", "seats": 3, "trial": true, "none": null, "email": "x", "note": "called Ada today",
        "tags": ["a", "bob@example.com", {"phone": "1", "tel": "23"}],
        "contact": {"firstName": "B", "city": "London", "name": "Blue Mug"}, "billing_address": {"x": 1},
        "number": 447_911_123_456_u64, "other": 447_911_123_457_u64, "bob@example.com": 1, "gclid": "Ada",
        "newsletter_email": true, "phone": 5, "utm_email": "bob@example.com",
    }) else {
        unreachable!("an object")
    };
    let wanted = json!({
        "plan": "pro", "seats": 3, "trial": true, "none": null, "tags": ["a", {"phone": "1"}],
        "contact": {"name": "Blue Mug"}, "other": 447_911_123_457_u64, "gclid": "Ada", "newsletter_email": true,
    });
    assert_eq!(Value::Object(properties(posted, &ada())), wanted);
}

#[test]
fn names_of_items_stay_unless_they_reach_somebody() {
    for kept in ["Blue Mug", "Ada's favourite", "iPhone 15", "1234567", ""] {
        assert_eq!(text(kept.to_owned(), &ada()).as_deref(), Some(kept));
    }
    for dropped in ["Mug for bob@example.com", "bob%40example.com", "call 07911 123456"] {
        assert_eq!(text(dropped.to_owned(), &ada()), None);
    }
}

/// Percent-encodes every byte.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

proptest! {
    #[test]
    fn a_posted_address_never_survives(
        email in "[!-~]{1,8}@[!-~]{1,8}\\.[a-z0-9]{1,4}",
        before in "(https?://)?[a-z./?&=#%@+]{0,20}",
        after in "[a-z./?&=#%@+]{0,20}",
        encodings in 0..3,
    ) {
        let user = RawUser { emails: vec![Raw::new(email.clone())], ..RawUser::default() };
        let mut written = email.clone();
        for _ in 0..encodings {
            written = encoded(&written);
        }
        let url = page(&format!("{before}{written}{after}"), &user).to_lowercase();
        prop_assert!(!url.contains(&email.to_lowercase()), "{url}");
        prop_assert!(encodings == 0 || !url.contains(&written.to_lowercase()), "{url}");
    }

    #[test]
    fn a_page_that_holds_nothing_is_the_same_bytes(
        host in "[a-z]{1,9}\\.example", path in "(/[a-z0-9%._~!$'()*+,;:-]{0,9}){0,4}",
        query in "(\\?([a-d]{1,3}=[a-z0-9%._~!$'()*+,;:/?-]{0,9}&?){0,6})?", fragment in "(#[a-z0-9%._/?-]{0,9})?",
    ) {
        let url = format!("https://{host}{path}{query}{fragment}");
        let user = RawUser { first_name: Some(Raw::new("Zebediah")), phones: vec![Raw::new("000000000000")], ..ada() };
        let user = RawUser { city: None, street: None, last_name: None, ..user };
        prop_assume!(!url.contains("0000000") && !url.contains("ada"));
        // An encoded `@` may make an address of what stands around it.
        prop_assume!(!url.contains("%40") && !url.contains("%25"));
        prop_assert_eq!(page(&url, &user), url);
    }

    #[test]
    fn scrubbing_takes_any_text_and_is_done_after_once(url in ".*", value in ".*") {
        let user = ada();
        let once = page(&url, &user);
        prop_assert_eq!(page(&once, &user), once.clone());
        let map = Map::from_iter([(url.clone(), Value::String(value.clone()))]);
        let map = properties(map, &user);
        prop_assert_eq!(properties(map.clone(), &user), map);
        let _ = text(value, &user);
    }
}

#[test]
fn what_tells_who_the_person_is_is_found_in_ids_and_user_agents() {
    for id in [
        "order-ada@example.org",
        "order-ada%40example.org",
        "07911 123456",
        "447911123456-1",
        "Lovelace.Ada-7",
        "12-st.-james's-square",
        "born 1815/12/10",
    ] {
        assert!(identifies(id, &ada()), "{id}");
    }
    for id in ["", "1001", "ada-1", "London", "9991123456", "fb.1.1794000000123.987654", "Cj0KCQ%2F"] {
        assert!(!identifies(id, &ada()), "{id}");
    }
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0";
    assert_eq!(agent(firefox.to_owned(), &ada()).as_deref(), Some(firefox));
    assert_eq!(agent(format!("{firefox} (bot@x.example)"), &ada()).as_deref(), Some(firefox));
    assert_eq!(agent("App/1 +44 7911 123456".to_owned(), &ada()), None);
}

#[test]
fn names_of_properties_and_numbers_count_too() {
    let given =
        json!({"+44 7911 123456": 1, "Ada Lovelace": true, "x": 447_911_123_456_u64, "y": 447911123456.0, "z": 7});
    let Value::Object(given) = given else { unreachable!("is an object") };
    assert_eq!(Value::Object(properties(given, &ada())), json!({"z": 7}));
}
