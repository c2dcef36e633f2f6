//! User agents as they are sent: of people, of machines, of neither.

mod machines;
mod overlays;
mod people;

use proptest::prelude::*;

use super::*;

fn read(user_agent: &str) -> Agent {
    Agents::default().read(Some(user_agent))
}

#[test]
fn names_are_those_of_the_rows() {
    for device in [Device::Desktop, Device::Mobile, Device::Tablet, Device::Tv, Device::Other] {
        assert_eq!(serde_json::to_value(device).expect("serialises"), device.as_str());
        assert_eq!(device.to_string(), device.as_str());
    }
    for category in Category::ALL {
        assert_eq!(serde_json::to_value(category).expect("serialises"), category.as_str());
        assert_eq!(category.to_string(), category.as_str());
    }
    let previews = Category::ALL.into_iter().filter(|category| category.is_preview());
    assert_eq!(previews.collect::<Vec<_>>(), [Category::SocialPreview]);
}

#[test]
fn what_is_beyond_the_bound_is_not_looked_at() {
    let browser = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let padded = format!("{browser} {} Googlebot/2.1", "x".repeat(READ_MAX));
    assert_eq!(read(&padded).automation, None);
    // A character that the bound would cut in two.
    let split = format!("{browser} {}é", "x".repeat(READ_MAX - browser.len() - 2));
    assert_eq!(read(&split).automation, None);
}

#[test]
fn letters_of_other_alphabets_are_read_around() {
    let agent = read(
        "Mozilla/5.0 (Linux; Android 14; Телефон é) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36 爬虫Fetcher/2",
    );
    assert_eq!((agent.browser, agent.browser_version), (Some("Chrome"), Some(126)));
    assert_eq!(agent.automation.expect("a machine").product, "Fetcher");
    assert_eq!(read("Паук").automation.expect("a machine").category, Category::Malformed);
}

#[test]
fn what_may_be_a_person_is_not_kept_as_a_name() {
    let agent =
        read("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36 ada.lovelace@example.com");
    assert_eq!(agent.automation, Some(Automation::of("unnamed", Category::Other)));
    assert_eq!(read("ada@example.com").automation.expect("a machine").product, "unnamed");
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in ".{0,200}", more in r"[ -~]{0,200}") {
        for text in [text.clone(), more.clone(), format!("Mozilla/5.0 ({text}) {more}"), format!("{more} bot+http://{text}")] {
            let agent = read(&text);
            if let Some(automation) = agent.automation {
                prop_assert!(!automation.product.is_empty() && automation.product.chars().count() <= 64);
            }
        }
    }
}
