//! Tracked links, and what came of each request for one.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{EventName, Time, Utm, VisitorId};

/// What a link is known by: its slug, on a host of its own or on the relay's.
///
/// As text it is `slug`, or `host/slug`; neither part holds a `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey {
    /// A configured link host in lower case; `None` for the relay's own `/l/`.
    pub host: Option<String>,
    /// The last part of its address, in lower case.
    pub slug: String,
}

impl LinkKey {
    /// Reads what `Display` writes. Case is folded; nothing else is checked.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        match text.split_once('/') {
            Some((host, slug)) => Self { host: Some(host.to_owned()), slug: slug.to_owned() },
            None => Self { host: None, slug: text },
        }
    }
}

impl fmt::Display for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{host}/{}", self.slug),
            None => f.write_str(&self.slug),
        }
    }
}

impl Serialize for LinkKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LinkKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::of(&text))
    }
}

/// What a link stands for next to its UTM values: which of several texts or pictures brought the visitor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// The model that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The family of prompts it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_family: Option<String>,
    /// Its creative angle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub angle: Option<String>,
}

impl Variant {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One of several destinations of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Where to: an http or https address.
    pub destination: String,
    /// Its share of the visitors, out of the sum of all weights; at least 1.
    pub weight: u32,
}

/// Whose UTM value wins where the destination has one of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UtmRule {
    /// The destination's.
    #[default]
    Keep,
    /// The link's.
    Replace,
}

/// Whether a link redirects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// It does.
    #[default]
    Live,
    /// Its operator stopped it.
    Paused,
    /// It breaks a rule of the UTM policy, and waits for somebody to approve that.
    Pending,
}

/// A tracked link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What it is known by.
    pub key: LinkKey,
    /// Where to: an http or https address, kept byte for byte.
    pub destination: String,
    /// UTM values of its visitors.
    #[serde(default, skip_serializing_if = "Utm::is_empty")]
    pub utm: Utm,
    /// What it stands for.
    #[serde(default, skip_serializing_if = "Variant::is_empty")]
    pub variant: Variant,
    /// Where it is put: chat, pin, email, bio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// For whom it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// What its visitors want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// The event that it is there for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<EventName>,
    /// What is offered; a campaign is bound to one offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<String>,
    /// Who decides about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whatever its owner wants to remember.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// Several destinations instead of the one, by weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<Split>,
    /// Whose UTM values win, if not as configured for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utm_rule: Option<UtmRule>,
    /// Whether it redirects.
    #[serde(default)]
    pub state: LinkState,
    /// Why it may break the policy; set where a rule is broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// Who approved that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// When it was made.
    pub created_at: Time,
    /// When it was changed last.
    pub updated_at: Time,
}

/// What a request for a link was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClickVerdict {
    /// A person's click.
    Human,
    /// A program's.
    Bot,
    /// A chat or network that shows what is behind the link.
    Preview,
    /// A browser that loads ahead.
    Prefetch,
    /// The operator's own people, testing.
    Qa,
    /// The same visitor's once more.
    Duplicate,
    /// One of many at once, as scanners of mails make them.
    Burst,
}

impl ClickVerdict {
    /// Every verdict.
    pub const ALL: [Self; 7] =
        [Self::Human, Self::Bot, Self::Preview, Self::Prefetch, Self::Qa, Self::Duplicate, Self::Burst];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Bot => "bot",
            Self::Preview => "preview",
            Self::Prefetch => "prefetch",
            Self::Qa => "qa",
            Self::Duplicate => "duplicate",
            Self::Burst => "burst",
        }
    }

    /// Reads what [`ClickVerdict::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == text)
    }
}

/// One request for a link: a click, unless its verdict says otherwise. Nothing in it tells who the visitor is but an id
/// that was minted here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Click {
    /// What it is known by: a ULID.
    pub id: String,
    /// When.
    pub at: Time,
    /// Of which link.
    pub link: LinkKey,
    /// What it was, as it was judged first or relabelled later.
    pub verdict: ClickVerdict,
    /// Everything that speaks for a verdict other than human: `head`, `known_bot: GPTBot (ai_crawler)`, `duplicate`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Whether the answer had no body to be looked at: HEAD. Such a request is no click, and in no total.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub head: bool,
    /// desktop, mobile, tablet, tv or other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The browser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub browser: Option<String>,
    /// Its operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// The app whose built-in browser it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_app: Option<String>,
    /// ISO 3166-1 alpha-2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Where from, without query and fragment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referrer: Option<String>,
    /// Whose; `None` without consent, and for what is no person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visitor_id: Option<VisitorId>,
    /// Address and browser, hashed with a key that changes every day: tells visitors without an id apart within a day.
    #[serde(default)]
    pub fingerprint: u64,
    /// The UTM values the landing page got, as they were written.
    #[serde(default, skip_serializing_if = "Utm::is_empty")]
    pub utm: Utm,
    /// Which of the link's destinations it went to, counted from 0; `None` where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<u16>,
    /// When the tag reported the page that it led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landed: Option<Time>,
    /// Who relabelled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relabelled_by: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_text() {
        for (text, host, slug) in [("mugs", None, "mugs"), ("Go.Brand.example/Mugs", Some("go.brand.example"), "mugs")]
        {
            let key = LinkKey::of(text);
            assert_eq!((key.host.as_deref(), key.slug.as_str()), (host, slug));
            assert_eq!(key.to_string(), text.to_ascii_lowercase());
        }
    }

    #[test]
    fn a_link_needs_little_and_reads_what_it_wrote() {
        let text = r#"{"key":"mugs","destination":"https://shop.example/","created_at":1,"updated_at":1}"#;
        let link: Link = serde_json::from_str(text).expect("reads");
        assert_eq!((link.state, link.utm.is_empty()), (LinkState::Live, true));
        let again = serde_json::to_string(&link).expect("writes");
        assert_eq!(serde_json::from_str::<Link>(&again).expect("reads"), link);
    }

    #[test]
    fn every_verdict_is_known_by_its_name() {
        for verdict in ClickVerdict::ALL {
            assert_eq!(ClickVerdict::parse(verdict.as_str()), Some(verdict));
            assert_eq!(serde_json::to_value(verdict).expect("writes"), verdict.as_str());
        }
    }
}
