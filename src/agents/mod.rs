//! What a user agent says it is: device, browser, operating system, in-app browser, and whether a machine sent it. Pure.
//!
//! # Where the knowledge comes from
//!
//! No maintained crate holds a list of bots (checked 2026-11-20 with `cargo info`): `isbot` 0.1.3 is of 2022 and misses
//! WhatsApp, `woothee` 0.13.0 is of 2021 and finds fewer than half, `ua-parser` 0.2.2 holds no data of its own. So there is a
//! table of our own (`table`), made of the names that crawlers publish, with rules for what calls itself a machine without
//! being in it (`generic`, `shape`), and beside it the operator's own list ([`parse_overlay`]) in the form of
//! `crawler-user-agents.json`, which is published often and may be put there as it is.
//!
//! # What it cannot tell
//!
//! A machine that sends a browser's user agent; that takes the request's other headers and what follows it. An iPad that
//! asks for desktop pages: it says it is a Mac.

mod bots;
mod browser;
mod generic;
mod in_app;
mod marks;
mod overlay;
mod platform;
mod shape;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::{
    bots::{Automation, Category},
    overlay::{OVERLAY_BYTES_MAX, OVERLAY_ENTRIES_MAX, OverlayEntry, OverlayError, parse_overlay},
};

/// How much of a user agent is looked at, in bytes. The longest of browsers, those of in-app browsers, have about 600.
const READ_MAX: usize = 1024;

/// What kind of device a browser runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// A computer.
    Desktop,
    /// A phone.
    Mobile,
    /// A tablet or an e-book reader.
    Tablet,
    /// A television, a box at one, a game console at one.
    Tv,
    /// A car, a watch, glasses, or not told.
    Other,
}

impl Device {
    /// Its name in rows and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Mobile => "mobile",
            Self::Tablet => "tablet",
            Self::Tv => "tv",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a user agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// The kind of device.
    pub device: Device,
    /// The browser's name.
    pub browser: Option<&'static str>,
    /// The first number of its version.
    pub browser_version: Option<u32>,
    /// The operating system's name.
    pub os: Option<&'static str>,
    /// The app whose built-in browser it is.
    pub in_app: Option<&'static str>,
    /// What sent it, unless it was a person's browser.
    pub automation: Option<Automation>,
}

/// Reads user agents. Made once, and again when the operator's list changes.
#[derive(Clone, Debug, Default)]
pub struct Agents {
    overlay: overlay::Overlay,
}

impl Agents {
    /// A reader that knows our own table and `overlay`. The table is compiled once for all readers; a list of 1,500 entries
    /// takes some tens of milliseconds.
    ///
    /// # Errors
    /// [`OverlayError::Together`] if the patterns are too large all together.
    pub fn new(overlay: Vec<OverlayEntry>) -> Result<Self, OverlayError> {
        Ok(Self { overlay: overlay::Overlay::new(overlay)? })
    }

    /// What the header `user_agent` says. Without one, a machine without a name sent the request.
    #[must_use]
    pub fn read(&self, user_agent: Option<&str>) -> Agent {
        let text = cut(user_agent.unwrap_or_default().trim());
        let lower = plain(text);
        let os = platform::os(&lower);
        let (browser, browser_version) = browser::read(&lower).unzip();
        Agent {
            device: platform::device(&lower, os),
            browser,
            browser_version: browser_version.flatten(),
            os,
            in_app: in_app::read(&lower),
            automation: self.automation(text, &lower),
        }
    }

    /// The operator's list first where it says of what kind its entry is, then our own, then the operator's without a kind.
    fn automation(&self, text: &str, lower: &str) -> Option<Automation> {
        let listed = self.overlay.find(text);
        match listed {
            Some(overlay::Listed::Person) => None,
            Some(overlay::Listed::Machine { product, category: Some(category) }) => {
                Some(Automation { product, category })
            }
            Some(overlay::Listed::Machine { product, category: None }) => {
                Some(bots::find(text, lower).unwrap_or(Automation { product, category: Category::Other }))
            }
            None => bots::find(text, lower),
        }
    }
}

/// At most [`READ_MAX`] bytes of `text`.
fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(READ_MAX)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// `text` in lower case, every byte that is not ASCII as a question mark: places in it are places in `text`.
fn plain(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.bytes().map(|b| if b.is_ascii() { char::from(b.to_ascii_lowercase()) } else { '?' }).collect()
}
