//! What Meta calls an event, and what we do.
//!
//! Source: developers.facebook.com/docs/meta-pixel/reference, read 2026-11-20.

use crate::model::EventName;

/// Meta's standard names that ours are not made of by spelling alone.
const OTHERWISE: [(&str, &str); 4] = [
    ("CompleteRegistration", "sign_up"),
    ("InitiateCheckout", "begin_checkout"),
    ("Lead", "generate_lead"),
    ("ViewContent", "view_item"),
];

/// Meta's event that needs a value and a currency.
pub(super) const PURCHASE: &str = "Purchase";

/// Our name of Meta's event: of a standard event the GA4 name, of another one the same in our spelling, so that
/// `SubmitApplication`, `Submit Application` and `submit-application` are all `submit_application`.
pub(super) fn ours(theirs: &str) -> Option<EventName> {
    let theirs = theirs.trim();
    let known = OTHERWISE.iter().find(|(standard, _)| *standard == theirs);
    let name = known.map_or_else(|| spelled(theirs), |(_, ours)| (*ours).to_owned());
    EventName::new(name).ok()
}

/// Words in lower case with `_` between them.
fn spelled(theirs: &str) -> String {
    let mut name = String::with_capacity(theirs.len() + 4);
    let mut letters = theirs.chars().peekable();
    let mut before = None;
    while let Some(letter) = letters.next() {
        if letter.is_alphanumeric() {
            let within = match before {
                Some(before) if char::is_ascii_uppercase(&before) => {
                    !letters.peek().is_some_and(char::is_ascii_lowercase)
                }
                Some(before) => !before.is_ascii_alphanumeric(),
                None => true,
            };
            // `AddToCart`, `LTVUpdate`, `step2Done`; but not the letters of `LTV`.
            if letter.is_ascii_uppercase() && !within {
                name.push('_');
            }
            // What is no ASCII letter stays and is refused: leaving it out might make two events one.
            name.push(letter.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
        before = Some(letter);
    }
    let end = name.trim_end_matches('_').len();
    name.truncate(end);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_names_are_those_of_ga4_and_others_keep_their_words() {
        for (theirs, name) in [
            ("Purchase", "purchase"),
            ("CompleteRegistration", "sign_up"),
            ("Lead", "generate_lead"),
            ("AddToCart", "add_to_cart"),
            ("AddToWishlist", "add_to_wishlist"),
            ("AddPaymentInfo", "add_payment_info"),
            ("InitiateCheckout", "begin_checkout"),
            ("ViewContent", "view_item"),
            ("PageView", "page_view"),
            ("Search", "search"),
            ("StartTrial", "start_trial"),
            ("SubmitApplication", "submit_application"),
            ("CustomizeProduct", "customize_product"),
            ("Qualified lead", "qualified_lead"),
            ("marketing-qualified-lead", "marketing_qualified_lead"),
            ("LTVUpdate", "ltv_update"),
            ("step2Done", "step2_done"),
            (" generate_lead ", "generate_lead"),
            ("Deal won!", "deal_won"),
        ] {
            assert_eq!(ours(theirs).as_ref().map(EventName::as_str), Some(name), "{theirs}");
        }
        let long = "x".repeat(41);
        for theirs in ["", "  ", "購入", "Größe", "2ndPurchase", "_", &long] {
            assert_eq!(ours(theirs), None, "{theirs}");
        }
    }
}
