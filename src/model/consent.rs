//! What a visitor allowed.

use serde::{Deserialize, Serialize};

/// One answer of a visitor. Unknown is a state of its own: it is never treated as granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Nobody has told us.
    #[default]
    Unknown,
    /// Yes.
    Granted,
    /// No.
    Denied,
}

impl Choice {
    /// This choice, or `earlier` where this one is unknown.
    #[must_use]
    pub const fn or(self, earlier: Self) -> Self {
        match self {
            Self::Unknown => earlier,
            known => known,
        }
    }
}

/// The two choices the ad platforms ask for, by the names Google's consent mode gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Consent {
    /// Personal data may be sent to ad platforms.
    pub ad_user_data: Choice,
    /// The data may be used to personalise ads.
    pub ad_personalization: Choice,
}

impl Consent {
    /// These choices, with those of `earlier` where they are unknown: what was said at the visit holds for the sale.
    #[must_use]
    pub const fn or(self, earlier: Self) -> Self {
        Self {
            ad_user_data: self.ad_user_data.or(earlier.ad_user_data),
            ad_personalization: self.ad_personalization.or(earlier.ad_personalization),
        }
    }
}
