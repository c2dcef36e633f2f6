//! What free texts of links must not hold: links are kept and shown in clear.

use percent_encoding::percent_decode_str;

use crate::model::contains_email;

/// A text behind a `+` with so many digits is a telephone number.
const PHONE_DIGITS_MIN: usize = 9;
/// How often a text may be percent-encoded.
const ENCODINGS_MAX: usize = 3;

/// Whether `text`, or what it is once decoded, holds an e-mail address or an international telephone number. Numbers
/// without a `+` are left: ids of ads and campaigns are such.
#[must_use]
pub fn holds(text: &str) -> bool {
    let mut text = text.to_owned();
    for _ in 0..=ENCODINGS_MAX {
        if contains_email(&text) || contains_phone(&text) {
            return true;
        }
        let decoded = percent_decode_str(&text).decode_utf8_lossy().into_owned();
        if decoded == text {
            return false;
        }
        text = decoded;
    }
    false
}

fn contains_phone(text: &str) -> bool {
    text.match_indices('+').any(|(at, _)| {
        let apart = text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric());
        let number = text[at + 1..].chars().take_while(|c| c.is_ascii_digit() || " -./()\u{a0}".contains(*c));
        apart && number.filter(char::is_ascii_digit).count() >= PHONE_DIGITS_MIN
    })
}

/// Checks a text that people write for themselves.
///
/// # Errors
/// What it has to be.
pub fn free_text(text: &str, chars_max: usize) -> Result<(), String> {
    if text.chars().count() > chars_max {
        return Err(format!("must have at most {chars_max} characters"));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err("must not contain control characters".to_owned());
    }
    if holds(text) {
        return Err("must not contain an e-mail address or a telephone number: links are kept in clear".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contact_data_is_found_also_when_it_is_encoded() {
        for yes in
            ["ask ada@example.com", "ada%40example.com", "ada%2540example.com", "+1 650 555 1212", "tel:+49(30)1234567"]
        {
            assert!(holds(yes), "{yes}");
        }
        for no in ["120210000000000", "spring+20261120", "18+ 123456789", "a@b", "2026-11-20", "50%", "+1 free"] {
            assert!(!holds(no), "{no}");
        }
    }
}
