//! Cells that a spreadsheet cannot run, without changing one of them.
//!
//! Platforms read import files, but people open them in spreadsheets, and those run a cell that begins like a formula.
//! The usual guard, an apostrophe in front, changes the value, while ids and names have to match byte for byte. So
//! nothing is ever changed: what a spreadsheet could run is refused.
//!
//! - **Free text** (order ids, conversion names, postal codes): refused when it begins with `=`, `+`, `@` (or their
//!   full-width forms), or with a `-` that no plain number follows. As a spreadsheet may split at other separators than
//!   we do, and then disregards our quotes, each part between `,` and `;` is held to the same. Control characters (tab,
//!   CR, LF) are refused anywhere.
//! - **Click ids**: `[A-Za-z0-9_-]` and nothing else, which is all that platforms use; anything else is no click id.
//!   They may begin with `-`, as that alphabet has none of the brackets, quotes, bars and colons without which no
//!   formula calls or links anything.
//! - **The rest** is ours: hex digests, numbers, times, currency codes and fixed words.
//!
//! Source: OWASP ASVS 1.2.10 (<https://asvs.emil.hemdal.se/1.2.10>), read 2026-11-20. The full-width forms and the other
//! separators are our own caution.

use crate::{
    destinations::Unsendable,
    model::{Choice, Failure, Money, Time},
};

/// The most bytes of a click id that is believed to be one.
const CLICK_ID_BYTES_MAX: usize = 1024;

/// One line of a CSV file, quoted where it has to be, with its line end.
pub(super) fn line(cells: &[&str]) -> String {
    // A small buffer: the writer's own default is 8 KiB for each line.
    let mut writer = csv::WriterBuilder::new().buffer_capacity(512).from_writer(Vec::with_capacity(256));
    writer.write_record(cells).expect("memory takes every write");
    let bytes = writer.into_inner().expect("memory takes every flush");
    String::from_utf8(bytes).expect("cells are text")
}

/// `text`, unchanged, or why it cannot stand in a cell.
pub(super) fn free_text<'t>(field: &str, text: &'t str) -> Result<&'t str, Unsendable> {
    if !is_unsafe(text) {
        return Ok(text);
    }
    Err(Unsendable::Reject(Failure {
        code: "unsafe_cell".into(),
        field: Some(field.to_owned()),
        message: "would run as a formula in a spreadsheet, and changing it would break matching: post a value whose \
                  parts do not begin with = + - @ and that has no control characters"
            .into(),
    }))
}

/// Whether a spreadsheet could take `text` for a formula, or for more than one line.
pub(super) fn is_unsafe(text: &str) -> bool {
    text.chars().any(char::is_control) || text.split([',', ';']).any(is_formula)
}

fn is_formula(part: &str) -> bool {
    let part = part.trim_start_matches([' ', '"']);
    if part.starts_with(['=', '+', '@', '＝', '＋', '＠', '－']) {
        return true;
    }
    part.strip_prefix('-').is_some_and(|rest| {
        let number = rest.bytes().all(|b| b.is_ascii_digit() || b == b'.') && rest.bytes().any(|b| b.is_ascii_digit());
        !number
    })
}

/// Whether `text` is made of what click ids are made of.
pub(super) fn is_click_id(text: &str) -> bool {
    let alphabet = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    alphabet && !text.is_empty() && text.len() <= CLICK_ID_BYTES_MAX
}

/// The one form in which Google's files give a time: with its zone, so that no zone has to be set elsewhere.
///
/// Source: <https://support.google.com/google-ads/answer/7014069>, read 2026-11-20.
pub(super) fn google_time(time: Time) -> String {
    time.format("%Y-%m-%d %H:%M:%S+0000")
}

/// Value and currency; both empty where there is none, for which the platform takes the conversion's default value.
pub(super) fn value(money: Option<Money>) -> (String, &'static str) {
    money.map_or((String::new(), ""), |money| (money.text(), money.currency().code()))
}

/// A choice as Google's files spell it. Unknown is empty: it is never stated as granted.
///
/// Source: <https://support.google.com/google-ads/answer/7014069>, read 2026-11-20.
pub(super) const fn choice(choice: Choice) -> &'static str {
    match choice {
        Choice::Unknown => "",
        Choice::Granted => "Granted",
        Choice::Denied => "Denied",
    }
}
