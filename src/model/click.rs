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
