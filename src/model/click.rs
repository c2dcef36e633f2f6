//! Ad clicks: the identifiers that platforms put on landing URLs, and the cookies their tags keep.

use serde::{Deserialize, Serialize};

use super::Time;

/// Which platform's click identifier it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClickKind {
    /// Google Ads click.
    Gclid,
    /// Google Ads click towards an iOS app.
    Gbraid,
    /// Google Ads click towards the web on iOS.
    Wbraid,
    /// Display & Video 360 / Campaign Manager click.
    Dclid,
    /// Meta.
    Fbclid,
    /// Microsoft Advertising.
    Msclkid,
    /// `TikTok`.
    Ttclid,
    /// `LinkedIn`.
    LiFatId,
    /// Pinterest.
    Epik,
    /// Snapchat.
    Sccid,
    /// Reddit.
    RdtCid,
    /// X.
    Twclid,
    /// `OpenAI` Ads.
    Oppref,
    /// Which of Google's ad products a landing came from: no click id, the same for many people.
    GadSource,
    /// Google's id of the campaign: no click id either.
    GadCampaignid,
}

impl ClickKind {
    /// Every kind, with the query parameter that carries it.
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::Gclid, "gclid"),
        (Self::Gbraid, "gbraid"),
        (Self::Wbraid, "wbraid"),
        (Self::Dclid, "dclid"),
        (Self::Fbclid, "fbclid"),
        (Self::Msclkid, "msclkid"),
        (Self::Ttclid, "ttclid"),
        (Self::LiFatId, "li_fat_id"),
        (Self::Epik, "epik"),
        (Self::Sccid, "ScCid"),
        (Self::RdtCid, "rdt_cid"),
        (Self::Twclid, "twclid"),
        (Self::Oppref, "oppref"),
        (Self::GadSource, "gad_source"),
        (Self::GadCampaignid, "gad_campaignid"),
    ];

    /// Whether it names one click. What does not is kept, but joins nobody and is sent nowhere as a click.
    /// Source: <https://support.google.com/google-ads/answer/16193746>, read 2026-11-20.
    #[must_use]
    pub const fn names_a_click(self) -> bool {
        !matches!(self, Self::GadSource | Self::GadCampaignid)
    }

    /// The query parameter that carries it.
    #[must_use]
    pub fn parameter(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, parameter)| parameter)
    }
}

/// A click identifier and when it was seen. Its text is opaque and case-sensitive: it is never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClickId {
    /// Whose it is.
    pub kind: ClickKind,
    /// The identifier, byte for byte.
    pub value: String,
    /// When it was first seen: the click's time as far as we can know it. `None` if it came without one, on an event.
    pub first_seen: Option<Time>,
    /// When it was last seen.
    pub last_seen: Time,
}

/// What platform tags keep in first-party cookies, next to click identifiers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cookies {
    /// Meta's `_fbc`: a click with its own time inside.
    pub fbc: Option<String>,
    /// Meta's `_fbp`: the browser.
    pub fbp: Option<String>,
    /// Google Analytics client id.
    pub ga_client_id: Option<String>,
    /// Google Analytics session id.
    pub ga_session_id: Option<String>,
}

impl Cookies {
    /// Takes from `other` what is missing here.
    pub fn fill_from(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.fbc, &other.fbc),
            (&mut self.fbp, &other.fbp),
            (&mut self.ga_client_id, &other.ga_client_id),
            (&mut self.ga_session_id, &other.ga_session_id),
        ] {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        }
    }
}

/// Which of a visitor's clicks on a platform's ads gets the credit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credit {
    /// The newest.
    #[default]
    Last,
    /// The oldest.
    First,
    /// The newest that was paid for: Meta puts its click id on links that nobody paid for, too.
    LastPaid,
}

/// By what a destination chooses a click: `click`, `click_window` and `click_exclusive` of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClickRule {
    /// Which.
    pub credit: Credit,
    /// Clicks that are older than this at the conversion, in seconds, are none.
    pub window_s: u32,
    /// Whether it goes without when another platform was clicked later.
    pub exclusive: bool,
}

/// Why a click was chosen, or none was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceReason {
    /// It came on the event itself.
    OnEvent,
    /// It is the only one.
    Only,
    /// It is the newest of several.
    Newest,
    /// It is the oldest of several.
    Oldest,
    /// It is the newest that was paid for.
    NewestPaid,
    /// None: all of them were paid by nobody.
    NonePaid,
    /// None: all of them are older than the window.
    Stale,
    /// None: all of them came after the conversion.
    Later,
    /// None: another platform was clicked later.
    OtherPlatform,
}

/// What a rule chose for one platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClickChoice {
    /// The rule.
    pub rule: ClickRule,
    /// The platform, by the first of its kinds of click ids.
    pub platform: ClickKind,
    /// When the chosen click was; `None` if there is none.
    pub at: Option<Time>,
    /// Why.
    pub reason: ChoiceReason,
    /// How many clicks of this platform were looked at.
    pub of: u16,
}
