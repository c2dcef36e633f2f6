//! The fields of a link whose values a policy rules.

use serde::{Deserialize, Serialize};

use crate::model::{Link, Utm};

/// A field whose values are to be spelled in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// `utm_source`: which site, app or list sends the visitor.
    Source,
    /// `utm_medium`: by what kind of channel.
    Medium,
    /// `utm_campaign`: for which effort.
    Campaign,
    /// `utm_content`: which of its texts or pictures.
    Content,
    /// `utm_term`: which words were paid for.
    Term,
    /// Where a link is put.
    Placement,
    /// For whom it is.
    Audience,
    /// What its visitors want.
    Intent,
}

impl Field {
    /// Every field.
    pub const ALL: [Self; 8] = [
        Self::Source,
        Self::Medium,
        Self::Campaign,
        Self::Content,
        Self::Term,
        Self::Placement,
        Self::Audience,
        Self::Intent,
    ];

    /// The five that are parameters of an address.
    pub const UTM: [Self; 5] = [Self::Source, Self::Medium, Self::Campaign, Self::Content, Self::Term];

    /// Its name in the configuration, in links and in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Medium => "medium",
            Self::Campaign => "campaign",
            Self::Content => "content",
            Self::Term => "term",
            Self::Placement => "placement",
            Self::Audience => "audience",
            Self::Intent => "intent",
        }
    }

    /// Reads what [`Field::as_str`] writes, and `utm_source`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let utm = text.strip_prefix("utm_");
        let of = if utm.is_some() { &Self::ALL[..Self::UTM.len()] } else { &Self::ALL[..] };
        of.iter().copied().find(|field| field.as_str() == utm.unwrap_or(text))
    }

    /// Whether it is a parameter of an address.
    #[must_use]
    pub const fn is_utm(self) -> bool {
        !matches!(self, Self::Placement | Self::Audience | Self::Intent)
    }

    /// Its value in a set of UTM values; `None` for what is no UTM field.
    #[must_use]
    pub fn of_utm(self, utm: &Utm) -> Option<&str> {
        match self {
            Self::Source => utm.source.as_deref(),
            Self::Medium => utm.medium.as_deref(),
            Self::Campaign => utm.campaign.as_deref(),
            Self::Content => utm.content.as_deref(),
            Self::Term => utm.term.as_deref(),
            Self::Placement | Self::Audience | Self::Intent => None,
        }
    }

    /// Its value in a link.
    #[must_use]
    pub fn of(self, link: &Link) -> Option<&str> {
        match self {
            Self::Placement => link.placement.as_deref(),
            Self::Audience => link.audience.as_deref(),
            Self::Intent => link.intent.as_deref(),
            utm => utm.of_utm(&link.utm),
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}
