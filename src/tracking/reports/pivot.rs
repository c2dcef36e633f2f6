//! Clicks by one or two dimensions.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value};

use super::{Figures, Uniques, site_of};
use crate::model::{Click, Link, LinkKey};

/// Groups of one table; rows of further ones are counted together.
const GROUPS_MAX: usize = 10_000;
/// Spellings that are shown of one group; further ones are left out.
const SPELLINGS_MAX: usize = 100;

/// What clicks are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// The link.
    Link,
    /// `utm_source`.
    Source,
    /// `utm_medium`.
    Medium,
    /// `utm_campaign`.
    Campaign,
    /// `utm_content`.
    Content,
    /// `utm_term`.
    Term,
    /// The link's model.
    Model,
    /// Its family of prompts.
    PromptFamily,
    /// Its angle.
    Angle,
    /// Its placement.
    Placement,
    /// Its audience.
    Audience,
    /// Its visitors' intent, as it was declared.
    Intent,
    /// Its offer.
    Offer,
    /// Its owner.
    Owner,
    /// The device.
    Device,
    /// The browser.
    Browser,
    /// The operating system.
    Os,
    /// The app whose built-in browser it was.
    InApp,
    /// The country.
    Country,
    /// The site it came from.
    Referrer,
    /// Which of several destinations.
    Split,
    /// The hour, in UTC.
    Hour,
    /// The day, in UTC.
    Day,
}

impl Dimension {
    /// Every dimension.
    pub const ALL: [Self; 23] = [
        Self::Link,
        Self::Source,
        Self::Medium,
        Self::Campaign,
        Self::Content,
        Self::Term,
        Self::Model,
        Self::PromptFamily,
        Self::Angle,
        Self::Placement,
        Self::Audience,
        Self::Intent,
        Self::Offer,
        Self::Owner,
        Self::Device,
        Self::Browser,
        Self::Os,
        Self::InApp,
        Self::Country,
        Self::Referrer,
        Self::Split,
        Self::Hour,
        Self::Day,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Source => "source",
            Self::Medium => "medium",
            Self::Campaign => "campaign",
            Self::Content => "content",
            Self::Term => "term",
            Self::Model => "model",
            Self::PromptFamily => "prompt_family",
            Self::Angle => "angle",
            Self::Placement => "placement",
            Self::Audience => "audience",
            Self::Intent => "intent",
            Self::Offer => "offer",
            Self::Owner => "owner",
            Self::Device => "device",
            Self::Browser => "browser",
            Self::Os => "os",
            Self::InApp => "in_app",
            Self::Country => "country",
            Self::Referrer => "referrer",
            Self::Split => "split",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// Reads what [`Dimension::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.as_str() == text)
    }

    /// Whether its values have spellings that the policy brings together.
    #[must_use]
    pub const fn is_spelled(self) -> bool {
        matches!(
            self,
            Self::Source
                | Self::Medium
                | Self::Campaign
                | Self::Content
                | Self::Term
                | Self::Placement
                | Self::Audience
                | Self::Intent
                | Self::Referrer
        )
    }

    const fn is_time(self) -> bool {
        matches!(self, Self::Hour | Self::Day)
    }

    /// The value of a row as it was written.
    fn raw<'a>(self, row: &'a Click, link: Option<&'a Link>) -> Option<Cow<'a, str>> {
        let of = |declared: fn(&Link) -> &Option<String>| link.and_then(|link| declared(link).as_deref());
        let text = match self {
            Self::Link => return Some(row.link.to_string().into()),
            Self::Hour => return Some(row.at.format("%Y-%m-%dT%H:00:00Z").into()),
            Self::Day => return Some(row.at.day().into()),
            Self::Split => return row.split.map(|split| split.to_string().into()),
            Self::Referrer => return row.referrer.as_deref().and_then(site_of).map(Cow::Owned),
            Self::Source => row.utm.source.as_deref(),
            Self::Medium => row.utm.medium.as_deref(),
            Self::Campaign => row.utm.campaign.as_deref(),
            Self::Content => row.utm.content.as_deref(),
            Self::Term => row.utm.term.as_deref(),
            Self::Model => of(|link| &link.variant.model),
            Self::PromptFamily => of(|link| &link.variant.prompt_family),
            Self::Angle => of(|link| &link.variant.angle),
            Self::Placement => of(|link| &link.placement),
            Self::Audience => of(|link| &link.audience),
            Self::Intent => of(|link| &link.intent),
            Self::Offer => of(|link| &link.offer),
            Self::Owner => of(|link| &link.owner),
            Self::Device => row.device.as_deref(),
            Self::Browser => row.browser.as_deref(),
            Self::Os => row.os.as_deref(),
            Self::InApp => row.in_app.as_deref(),
            Self::Country => row.country.as_deref(),
        };
        text.map(Cow::Borrowed)
    }
}

/// The figures of the rows with the same values.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Their values, one for each dimension; `None` where a row has none.
    pub values: Vec<Option<String>>,
    /// Their figures.
    pub figures: Figures,
    /// How the values were written, and how often; of a dimension that is not spelled: nothing.
    pub raw: Vec<BTreeMap<String, u64>>,
}

impl Group {
    /// One row of the table.
    #[must_use]
    pub fn json(&self, by: &[Dimension]) -> Value {
        let mut told = Map::new();
        let mut raw = Map::new();
        for ((dimension, value), spellings) in by.iter().zip(&self.values).zip(&self.raw) {
            told.insert(dimension.as_str().to_owned(), value.clone().into());
            if dimension.is_spelled() {
                let spellings: Map<String, Value> =
                    spellings.iter().map(|(text, count)| (text.clone(), (*count).into())).collect();
                raw.insert(dimension.as_str().to_owned(), spellings.into());
            }
        }
        if let Value::Object(figures) = self.figures.json() {
            told.extend(figures);
        }
        if !raw.is_empty() {
            told.insert("raw".to_owned(), raw.into());
        }
        told.into()
    }
}

/// How a value of a dimension is spelled by the policy in force.
pub type Spell<'a> = &'a (dyn Fn(Dimension, &str) -> String + Sync);

/// A table that is being filled, with rows newest first.
pub struct Pivot<'a> {
    by: &'a [Dimension],
    links: &'a HashMap<LinkKey, Arc<Link>>,
    spell: Spell<'a>,
    uniques: Uniques,
    /// Spellings that were met, so that each is brought into form once.
    known: HashMap<(u8, String), String>,
    groups: HashMap<Vec<Option<String>>, Group>,
    beyond: u64,
}

impl<'a> Pivot<'a> {
    /// An empty table.
    #[must_use]
    pub fn new(
        by: &'a [Dimension],
        links: &'a HashMap<LinkKey, Arc<Link>>,
        spell: Spell<'a>,
        unique_window: Duration,
    ) -> Self {
        let (known, groups) = (HashMap::new(), HashMap::new());
        Self { by, links, spell, uniques: Uniques::new(unique_window), known, groups, beyond: 0 }
    }

    /// Counts a row.
    pub fn add(&mut self, row: &Click) {
        let link = self.links.get(&row.link).map(Arc::as_ref);
        let raw: Vec<Option<Cow<'_, str>>> = self.by.iter().map(|dimension| dimension.raw(row, link)).collect();
        let mut values = Vec::with_capacity(raw.len());
        for (dimension, raw) in self.by.iter().zip(&raw) {
            values.push(raw.as_deref().map(|raw| self.spelled(*dimension, raw)));
        }
        if !self.groups.contains_key(&values) && self.groups.len() >= GROUPS_MAX {
            self.beyond += u64::from(!row.head);
            return;
        }
        let mut hash = DefaultHasher::new();
        values.hash(&mut hash);
        let by = self.by;
        let group = self.groups.entry(values.clone()).or_insert_with(|| Group {
            values,
            raw: vec![BTreeMap::new(); by.len()],
            ..Group::default()
        });
        group.figures.add(row, hash.finish(), &mut self.uniques);
        if row.head {
            return;
        }
        for ((dimension, raw), met) in by.iter().zip(raw).zip(&mut group.raw) {
            let Some(raw) = raw.filter(|_| dimension.is_spelled()) else { continue };
            if met.len() < SPELLINGS_MAX || met.contains_key(raw.as_ref()) {
                *met.entry(raw.into_owned()).or_default() += 1;
            }
        }
    }

    fn spelled(&mut self, dimension: Dimension, raw: &str) -> String {
        if !dimension.is_spelled() {
            return raw.to_owned();
        }
        let key = (dimension as u8, raw.to_owned());
        if self.known.len() >= GROUPS_MAX {
            self.known.clear();
        }
        let spell = self.spell;
        self.known.entry(key).or_insert_with(|| spell(dimension, raw)).clone()
    }

    /// The table, most clicks first, or in the order of time; and the clicks of groups that are too many to be told.
    #[must_use]
    pub fn finish(self) -> (Vec<Group>, u64) {
        let by_time = self.by.first().is_some_and(|dimension| dimension.is_time());
        let mut groups: Vec<Group> = self.groups.into_values().filter(|group| group.figures.all > 0).collect();
        groups.sort_by(|a, b| {
            let order = if by_time { a.values[0].cmp(&b.values[0]) } else { std::cmp::Ordering::Equal };
            order.then_with(|| b.figures.all.cmp(&a.figures.all)).then_with(|| a.values.cmp(&b.values))
        });
        (groups, self.beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::figures::tests::click, *};
    use crate::model::{ClickVerdict, LinkState, Time, Utm, Variant};

    fn link(key: &str, family: &str, angle: &str) -> (LinkKey, Arc<Link>) {
        let key = LinkKey::of(key);
        let variant = Variant { prompt_family: Some(family.into()), angle: Some(angle.into()), model: None };
        let link = Link {
            key: key.clone(),
            destination: "https://shop.example/".into(),
            utm: Utm::default(),
            variant,
            placement: None,
            audience: None,
            intent: None,
            goal: None,
            offer: None,
            owner: None,
            note: None,
            expires_at: None,
            split: Vec::new(),
            utm_rule: None,
            state: LinkState::Live,
            exception: None,
            approved_by: None,
            created_at: Time::from_secs(0),
            updated_at: Time::from_secs(0),
        };
        (key, Arc::new(link))
    }

    fn told(by: &[Dimension], rows: &[Click], spell: Spell<'_>) -> Vec<Value> {
        let links =
            HashMap::from([link("hook-a", "x", "fear"), link("hook-b", "x", "joy"), link("hook-c", "y", "joy")]);
        let mut pivot = Pivot::new(by, &links, spell, Duration::from_secs(86_400));
        rows.iter().rev().for_each(|row| pivot.add(row));
        pivot.finish().0.iter().map(|group| group.json(by)).collect()
    }

    const AS_IT_IS: Spell<'static> = &|_, raw| raw.to_owned();

    fn from(seconds: i64, source: &str) -> Click {
        let utm = Utm { source: Some(source.into()), ..Utm::default() };
        Click { utm, ..click(seconds, "hook-a", &format!("v{seconds}")) }
    }

    #[test]
    fn an_alias_brings_rows_together_and_leaves_their_spellings_to_be_seen() {
        let rows = [from(1, "ig"), from(2, "IG"), from(3, "instagram"), from(4, "ig"), from(5, "google")];
        assert_eq!(told(&[Dimension::Source], &rows, AS_IT_IS).len(), 4);
        let alias: Spell<'_> = &|_, raw| match raw.to_lowercase().as_str() {
            "ig" => "instagram".to_owned(),
            other => other.to_owned(),
        };
        let table = told(&[Dimension::Source], &rows, alias);
        assert_eq!(table.len(), 2);
        assert_eq!((&table[0]["source"], &table[0]["all"]), (&"instagram".into(), &4.into()));
        assert_eq!(table[0]["raw"]["source"], serde_json::json!({ "ig": 2, "IG": 1, "instagram": 1 }));
    }

    #[test]
    fn two_dimensions_of_a_link_are_independent() {
        let rows =
            [click(1, "hook-a", "v1"), click(2, "hook-b", "v2"), click(3, "hook-c", "v3"), click(4, "gone", "v4")];
        let table = told(&[Dimension::PromptFamily], &rows, AS_IT_IS);
        assert_eq!((&table[0]["prompt_family"], &table[0]["human"]), (&"x".into(), &2.into()));
        let table = told(&[Dimension::Angle], &rows, AS_IT_IS);
        assert_eq!((&table[0]["angle"], &table[0]["human"]), (&"joy".into(), &2.into()));
        let table = told(&[Dimension::PromptFamily, Dimension::Angle], &rows, AS_IT_IS);
        assert_eq!(table.len(), 4, "and the link that is gone has neither: {table:?}");
        assert!(table.iter().any(|row| row["angle"].is_null() && row["prompt_family"].is_null()));
    }

    #[test]
    fn hours_stand_in_their_order() {
        let rows = [click(10, "hook-a", "v1"), click(4000, "hook-a", "v2"), click(4001, "hook-a", "v3")];
        let table = told(&[Dimension::Hour], &rows, AS_IT_IS);
        assert_eq!(
            (&table[0]["hour"], &table[1]["hour"]),
            (&"1970-01-01T00:00:00Z".into(), &"1970-01-01T01:00:00Z".into())
        );
    }

    #[test]
    fn bots_are_in_the_table_as_what_they_are() {
        let bot = Click { verdict: ClickVerdict::Bot, ..click(1, "hook-a", "v1") };
        let head = Click { head: true, ..click(2, "hook-b", "v1") };
        let table = told(&[Dimension::Link], &[bot, head], AS_IT_IS);
        assert_eq!((table.len(), &table[0]["all"], &table[0]["human"]), (1, &1.into(), &0.into()));
    }

    #[test]
    fn every_dimension_is_known_by_its_name() {
        for dimension in Dimension::ALL {
            assert_eq!(Dimension::parse(dimension.as_str()), Some(dimension));
        }
    }
}
