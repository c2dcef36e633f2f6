//! Finding the contact details of one posted person inside other text, without allocating.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::model::{Raw, RawUser, contains_email, kind};

/// How often a text may be percent-encoded: a link in a link in a link.
const ENCODINGS_MAX: usize = 4;
/// The shortest name, street or city that counts as found inside a longer text.
const WORD_CHARS_MIN: usize = 3;
/// The shortest one that counts as found if it is the whole text.
const WHOLE_CHARS_MIN: usize = 2;
/// So many last digits identify a phone number in any of its spellings, national or international.
const PHONE_DIGITS: u32 = 7;
/// So many do where a false alarm costs more than a removed parameter.
const PHONE_DIGITS_SURE: u32 = 9;

/// What an address of a page is divided by.
const SEPARATORS: [char; 6] = ['/', '\\', '?', '#', '&', '='];

/// The contact details of one person, ready to be looked for in many texts.
pub struct Posted<'a> {
    emails: &'a [Raw<kind::Email>],
    phones: Vec<Tails>,
    words: [Option<&'a str>; 5],
}

/// The last digits of a phone number, as many as each kind of search wants.
struct Tails {
    some: u64,
    sure: Option<u64>,
}

impl<'a> Posted<'a> {
    /// What was posted of `user`.
    #[must_use]
    pub fn of(user: &'a RawUser) -> Self {
        let edges = |text: &'a str| text.trim_matches(|c: char| !c.is_alphanumeric());
        let word = |text: &'a str| Some(edges(text)).filter(|word| word.chars().nth(WHOLE_CHARS_MIN - 1).is_some());
        Self {
            emails: &user.emails,
            phones: user.phones.iter().filter_map(|raw| Tails::of(raw.expose())).collect(),
            words: [
                user.first_name.as_ref().and_then(|raw| word(raw.expose())),
                user.last_name.as_ref().and_then(|raw| word(raw.expose())),
                user.street.as_ref().and_then(|raw| word(raw.expose())),
                user.city.as_ref().and_then(|raw| word(raw.expose())),
                user.date_of_birth.as_ref().and_then(|raw| word(raw.expose())),
            ],
        }
    }

    /// Whether `text` holds anything that was posted, or any e-mail address.
    pub(super) fn is_in(&self, text: &str) -> bool {
        any_decoding(text, |text| self.reach(text) || self.named(text))
    }

    /// Whether `text` holds an e-mail address.
    pub(super) fn email_is_in(&self, text: &str) -> bool {
        any_decoding(text, |text| self.email(text))
    }

    /// Whether `text` tells who the person is: an e-mail address, a posted phone number, both posted names, the posted
    /// street with its number or the posted date of birth. One name or a city alone also names products and campaigns.
    pub(super) fn identity_is_in(&self, text: &str) -> bool {
        any_decoding(text, |text| self.reach(text) || self.identified(text))
    }

    /// The same, where it is refused or dropped for good: a phone number has to be there with more of its digits.
    pub(super) fn identity_is_surely_in(&self, text: &str) -> bool {
        let called = |text: &str| self.phones.iter().any(|tails| tails.surely_in(text));
        any_decoding(text, |text| self.email(text) || called(text) || self.identified(text))
    }

    /// Whether a posted e-mail address is in `text` that has a separator of addresses of pages in it, so that it was
    /// not found in their parts.
    pub(super) fn divided_email_is_in(&self, text: &str) -> bool {
        let divided = |email: &&str| email.contains(SEPARATORS);
        self.emails().filter(divided).any(|email| any_decoding(text, |text| has(text, email, false)))
    }

    fn emails(&self) -> impl Iterator<Item = &'a str> {
        self.emails.iter().map(|raw| raw.expose().trim()).filter(|email| email.contains('@'))
    }

    fn reach(&self, text: &str) -> bool {
        self.email(text) || self.phones.iter().any(|tails| has_digits::<PHONE_DIGITS>(text, tails.some))
    }

    fn identified(&self, text: &str) -> bool {
        let [first, last, street, _, birth] = self.words;
        let has = |word: &str| has_word(text, word);
        let street = street.filter(|street| street.contains(|c: char| c.is_numeric()));
        first.is_some_and(has) && last.is_some_and(has) || street.is_some_and(has) || birth.is_some_and(has)
    }

    fn email(&self, text: &str) -> bool {
        text.contains('@') && (contains_email(text) || self.emails().any(|email| has(text, email, false)))
    }

    fn named(&self, text: &str) -> bool {
        self.words.iter().flatten().any(|word| has_word(text, word))
    }
}

/// Whether `test` holds for `text` or for what it is after percent-decoding, any number of times.
fn any_decoding(text: &str, test: impl Fn(&str) -> bool) -> bool {
    if test(text) {
        return true;
    }
    let mut current = Cow::Borrowed(text);
    for _ in 0..ENCODINGS_MAX {
        if !current.contains('%') {
            return false;
        }
        let decoded = percent_decode_str(&current).decode_utf8_lossy().into_owned();
        if decoded == current {
            return false;
        }
        if test(&decoded) {
            return true;
        }
        current = Cow::Owned(decoded);
    }
    false
}

/// Whether `word` is all of `text`, or is in it between word boundaries.
fn has_word(text: &str, word: &str) -> bool {
    if word.chars().nth(WORD_CHARS_MIN - 1).is_some() {
        return has(text, word, true);
    }
    let text = text.trim_matches(|c: char| !c.is_alphanumeric());
    text.len() <= 4 * WORD_CHARS_MIN && matched(text, word) == Some(text.len())
}

/// Whether `part` is in `text`: in any case, any separator for any other, on request only between word boundaries.
fn has(text: &str, part: &str, words: bool) -> bool {
    let Some(first) = part.chars().next() else { return false };
    let mut inside = false;
    for (at, c) in text.char_indices() {
        let starts = !(words && inside) && alike(c, first);
        if starts && let Some(length) = matched(&text[at..], part) {
            let next = text[at + length..].chars().next();
            if !words || next.is_none_or(|c| !c.is_alphanumeric()) {
                return true;
            }
        }
        inside = c.is_alphanumeric();
    }
    false
}

/// The length of what matches `part` at the start of `text`.
fn matched(text: &str, part: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    for wanted in part.chars() {
        let (_, c) = chars.next()?;
        if !alike(c, wanted) {
            return None;
        }
    }
    Some(chars.offset())
}

fn alike(a: char, b: char) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(&b) || (separates(a) && separates(b));
    }
    a == b || a.to_lowercase().eq(b.to_lowercase()) || (separates(a) && separates(b))
}

/// What stands between words, and is `+`, `-` or `_` in addresses of pages. An `@` is only ever itself.
fn separates(c: char) -> bool {
    !c.is_alphanumeric() && c != '@'
}

impl Tails {
    fn of(phone: &str) -> Option<Self> {
        Some(Self { some: tail::<PHONE_DIGITS>(phone)?, sure: tail::<PHONE_DIGITS_SURE>(phone) })
    }

    /// Whether nine of the number's digits are in `text`, or seven if it has no more.
    fn surely_in(&self, text: &str) -> bool {
        match self.sure {
            Some(tail) => has_digits::<PHONE_DIGITS_SURE>(text, tail),
            None => has_digits::<PHONE_DIGITS>(text, self.some),
        }
    }
}

/// The last digits of a phone number, if it has enough of them; an extension does not count.
fn tail<const N: u32>(phone: &str) -> Option<u64> {
    let mut digits = Digits::<N>::default();
    for c in phone.chars() {
        match digit(c) {
            Some(digit) => digits.push(digit),
            None if c.is_alphabetic() && digits.count >= PHONE_DIGITS => break,
            None => {}
        }
    }
    digits.tail()
}

/// Whether `text` holds a phone number with these last digits, in any grouping.
fn has_digits<const N: u32>(text: &str, tail: u64) -> bool {
    let mut digits = Digits::<N>::default();
    for c in text.chars() {
        if let Some(digit) = digit(c) {
            digits.push(digit);
            if digits.tail() == Some(tail) {
                return true;
            }
        } else if c.is_alphanumeric() || matches!(c, '&' | '=' | '?' | '#' | ',' | ';' | ':') {
            digits = Digits::default();
        }
    }
    false
}

/// The digit that `c` is in the scripts people type phone numbers in.
fn digit(c: char) -> Option<u64> {
    let zero = match c {
        '0'..='9' => '0',
        '０'..='９' => '０',
        '٠'..='٩' => '٠',
        '۰'..='۹' => '۰',
        _ => return None,
    };
    Some(u64::from(c) - u64::from(zero))
}

/// The last `N` digits seen.
#[derive(Default)]
struct Digits<const N: u32> {
    count: u32,
    value: u64,
}

impl<const N: u32> Digits<N> {
    fn push(&mut self, digit: u64) {
        self.value = (self.value * 10 + digit) % 10_u64.pow(N);
        self.count = self.count.saturating_add(1);
    }

    fn tail(&self) -> Option<u64> {
        (self.count >= N).then_some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_any_case_between_any_separators_and_only_whole() {
        for (text, word) in [
            ("Ada", "ada"),
            ("by+ADA+Lovelace", "Ada"),
            ("12-main_st", "12 Main St"),
            ("ÉLOÏSE", "éloïse"),
            ("li", "Li"),
            ("x 山田太", "山田太"),
        ] {
            assert!(has_word(text, word), "{text} {word}");
        }
        for (text, word) in
            [("Adam", "Ada"), ("Canada", "ada"), ("", "Ada"), ("a li", "Li"), ("Ad", "Ada"), ("lia", "Li")]
        {
            assert!(!has_word(text, word), "{text} {word}");
        }
    }

    #[test]
    fn phone_numbers_are_found_in_any_spelling() {
        let number = tail::<PHONE_DIGITS>("+44 7911 123456").expect("long enough");
        for text in ["07911123456", "+447911123456", "(07911) 123-456", "id 07911/123456", "０７９１１１２３４５６"]
        {
            assert!(has_digits::<PHONE_DIGITS>(text, number), "{text}");
        }
        for text in ["", "123456", "1112345", "11a123456", "order=11;23456", "9171234567"] {
            assert!(!has_digits::<PHONE_DIGITS>(text, number), "{text}");
        }
        assert_eq!(tail::<PHONE_DIGITS>("123456"), None);
        assert_eq!(tail::<PHONE_DIGITS>("+1 650 555 1212 ext. 34"), Some(5_551_212));
        let has_number = |text, phone| Tails::of(phone).expect("long enough").surely_in(text);
        assert!(has_number("order-650.555.1212", "+1 (650) 555-1212") && has_number("5551212", "555-1212"));
        assert!(!has_number("100005551212", "+1 (650) 555-1212"), "seven digits are too few to refuse an order");
    }

    #[test]
    fn encoded_text_is_searched_decoded() {
        let user = RawUser { emails: vec![Raw::new("x@localhost")], ..RawUser::default() };
        let posted = Posted::of(&user);
        for text in [
            "ada@example.com",
            "ada%40example.com",
            "ada%2540example.com",
            "ada%252540example%252Ecom",
            "X%40LOCALHOST",
        ] {
            assert!(posted.is_in(text) && posted.email_is_in(text), "{text}");
        }
        for text in ["100%", "%zz%40", "a%40b", "%25%25%25"] {
            assert!(!posted.is_in(text), "{text}");
        }
    }
}
