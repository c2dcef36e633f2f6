//! What two spellings of one value have in common.

use icu_normalizer::ComposingNormalizerBorrowed;

const NFC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfc();

/// Whether `c` divides the words of a value: what people type, and what their word processors make of it.
pub(super) fn divides(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '_' | '|' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// Whether nobody can see `c`: copied along from documents and web pages.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}') || (c.is_control() && !c.is_whitespace())
}

/// `text` in Unicode's composed form, without what cannot be seen and without space around it.
pub(super) fn clean(text: &str) -> String {
    if text.is_ascii() && !text.bytes().any(|b| b.is_ascii_control()) {
        return text.trim().to_owned();
    }
    let seen: String = text.chars().filter(|&c| !is_invisible(c)).collect();
    NFC.normalize(seen.trim()).into_owned()
}

/// `text`, a clean one, in lower case.
pub(super) fn lower(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    NFC.normalize(&text.to_lowercase()).into_owned()
}

/// The words of `text` with one `delimiter` between them. A text without words stays as it is.
pub(super) fn joined(text: &str, delimiter: char) -> String {
    let mut joined = String::with_capacity(text.len());
    for word in text.split(divides).filter(|word| !word.is_empty()) {
        if !joined.is_empty() {
            joined.push(delimiter);
        }
        joined.push_str(word);
    }
    if joined.is_empty() { text.to_owned() } else { joined }
}

/// What all spellings of a value have in common that differ in case, delimiters and space only.
pub(super) fn fold(text: &str) -> String {
    joined(&lower(&clean(text)), '-')
}

/// The same without any delimiter: `insta gram` and `Insta-Gram` are `instagram`.
pub(super) fn squeezed(text: &str) -> String {
    lower(&clean(text)).chars().filter(|&c| !divides(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_value_are_one() {
        for text in ["Paid Social", "paid-social", " PAID__social ", "paid – social", "paid\u{a0}social", "Paid|Social"]
        {
            assert_eq!(fold(text), "paid-social", "{text}");
            assert_eq!(squeezed(text), "paidsocial", "{text}");
        }
        assert_eq!(fold("Cafe\u{301}"), fold("CAFÉ"));
        assert_eq!(fold("insta\u{200b}gram"), "instagram");
        assert_eq!(fold("J\u{30c}"), "\u{1f0}");
    }

    #[test]
    fn a_value_without_words_is_not_lost() {
        assert_eq!(fold("--"), "--");
        assert_eq!(joined("", '-'), "");
    }
}
