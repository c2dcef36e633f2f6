//! Which rules a link breaks.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{Field, OnViolation, Policy, clean, fold, joined, lower, pattern::Misfit};
use crate::model::{Link, LinkKey, Time};

/// So many accepted values are named at most.
const ACCEPTED_MAX: usize = 100;

/// A rule of the policy, by the key that makes it one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// `required`: there is a value.
    Required,
    /// `require_goal`: there is an event that the link is there for.
    RequireGoal,
    /// `require_variant`: there is at least one of model, prompt family and angle.
    RequireVariant,
    /// `require_owner`: somebody decides about it.
    RequireOwner,
    /// `values_max_chars`.
    ValuesMaxChars,
    /// `lowercase`.
    Lowercase,
    /// `delimiter`.
    Delimiter,
    /// `values`: it is one of those.
    Values,
    /// `pattern`: it is made of the right segments.
    Pattern,
    /// `registered`: the campaign was registered before.
    Registered,
    /// `from` and `until` of the campaign.
    Dates,
    /// A campaign is for one offer only.
    OneOffer,
    /// A value that is called something else in reports. Only told, never a reason to refuse.
    Alias,
}

impl Rule {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::RequireGoal => "require_goal",
            Self::RequireVariant => "require_variant",
            Self::RequireOwner => "require_owner",
            Self::ValuesMaxChars => "values_max_chars",
            Self::Lowercase => "lowercase",
            Self::Delimiter => "delimiter",
            Self::Values => "values",
            Self::Pattern => "pattern",
            Self::Registered => "registered",
            Self::Dates => "dates",
            Self::OneOffer => "one_offer",
            Self::Alias => "alias",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A rule that a link breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Which rule.
    pub rule: Rule,
    /// Which field of the link: `source`, `goal`.
    pub field: &'static str,
    /// What is wrong, as the end of a sentence that begins with the field.
    pub message: String,
    /// What the field says, or the part of it that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What it may say; not more than a hundred.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<String>,
    /// Which of that may be meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// The link that stands against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<LinkKey>,
}

impl Broken {
    pub(super) fn new(rule: Rule, field: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { rule, field, message, value: None, accepted: Vec::new(), nearest: None, first: None }
    }

    pub(super) fn of_misfit(field: Field, misfit: Misfit) -> Self {
        let accepted: Vec<String> = misfit.accepted.into_iter().take(ACCEPTED_MAX).collect();
        let value = misfit.value;
        let nearest = value
            .as_ref()
            .and_then(|value| super::nearest::nearest(value, accepted.iter().map(String::as_str)).map(str::to_owned));
        Self { value, accepted, nearest, ..Self::new(Rule::Pattern, field.as_str(), misfit.message) }
    }
}

/// In one line, without the value: that comes from outside.
impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (rule {})", self.field, self.message, self.rule)?;
        if !self.accepted.is_empty() {
            write!(f, "; accepted: {}", self.accepted.join(", "))?;
        }
        Ok(())
    }
}

/// What becomes of a link, as far as the policy decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It breaks no rule.
    Live,
    /// It waits for somebody to approve that it breaks some, for this reason.
    Pending(String),
    /// It breaks some.
    Refused,
}

/// Which offers the campaigns of many links are for.
#[derive(Debug, Default)]
pub struct Offers(BTreeMap<String, Vec<Offered>>);

/// One offer of a campaign.
#[derive(Debug)]
struct Offered {
    folded: String,
    /// The two oldest links that make it, the older first, as each spells it: a link does not stand against itself.
    oldest: Vec<(Time, LinkKey, String)>,
}

impl Offers {
    /// Those of `links`.
    #[must_use]
    pub fn of<'a>(policy: &Policy, links: impl IntoIterator<Item = &'a Link>) -> Self {
        let mut offers = Self::default();
        links.into_iter().for_each(|link| offers.add(policy, link));
        offers
    }

    /// Takes one more link into account.
    pub fn add(&mut self, policy: &Policy, link: &Link) {
        let Some((campaign, offer)) = campaign_and_offer(policy, link) else { return };
        let (all, folded) = (self.0.entry(campaign).or_default(), fold(&offer));
        let made = (link.created_at, link.key.clone(), offer);
        match all.iter_mut().find(|offered| offered.folded == folded) {
            None => all.push(Offered { folded, oldest: vec![made] }),
            Some(offered) => {
                // Of those made at once, the first stays in front.
                let place = offered.oldest.partition_point(|(at, _, _)| *at <= made.0);
                offered.oldest.insert(place, made);
                offered.oldest.truncate(2);
            }
        }
    }

    /// The oldest link that has the same campaign for another offer.
    fn against(&self, policy: &Policy, link: &Link) -> Option<(&LinkKey, &str)> {
        let (campaign, offer) = campaign_and_offer(policy, link)?;
        let folded = fold(&offer);
        let others = self.0.get(&campaign)?.iter().filter(|offered| offered.folded != folded);
        let oldest = others.filter_map(|offered| offered.oldest.iter().find(|(_, key, _)| *key != link.key));
        // Of those made at once, the first.
        oldest.min_by_key(|(at, _, _)| *at).map(|(_, key, offer)| (key, offer.as_str()))
    }
}

/// What a link's campaign is called, folded, and its offer.
fn campaign_and_offer(policy: &Policy, link: &Link) -> Option<(String, String)> {
    let campaign = fold(&policy.normal(Field::Campaign, Field::Campaign.of(link)?));
    let offer = clean(link.offer.as_deref()?);
    (!campaign.is_empty() && !offer.is_empty()).then_some((campaign, offer))
}

impl Policy {
    /// Every rule that `link` breaks, seen beside all `others`; those of them that have its own key do not count.
    #[must_use]
    pub fn check<'a>(&self, link: &Link, others: impl IntoIterator<Item = &'a Link>) -> Vec<Broken> {
        let campaign = campaign_and_offer(self, link).map(|(campaign, _)| campaign);
        let same = |other: &&Link| {
            campaign.is_some() && campaign_and_offer(self, other).map(|(campaign, _)| campaign) == campaign
        };
        self.check_among(link, &Offers::of(self, others.into_iter().filter(same)))
    }

    /// [`Policy::check`], for many links one after the other.
    #[must_use]
    pub fn check_among(&self, link: &Link, others: &Offers) -> Vec<Broken> {
        if !self.stated {
            return Vec::new();
        }
        let mut broken = self.missing(link);
        for field in Field::ALL {
            if let Some(value) = given(field, link) {
                self.check_value(field, value, &mut broken);
            }
        }
        broken.extend(self.check_dates(link));
        broken.extend(self.check_offer(link, others));
        broken
    }

    /// Every rule of spelling and of values that UTM values alone break, such as those of an address.
    #[must_use]
    pub fn check_utm(&self, utm: &crate::model::Utm) -> Vec<Broken> {
        let mut broken = Vec::new();
        if !self.stated {
            return broken;
        }
        for field in Field::UTM {
            match field.of_utm(utm).filter(|value| !clean(value).is_empty()) {
                Some(value) => self.check_value(field, value, &mut broken),
                None if self.required.contains(&field) => broken.push(self.absent(field)),
                None => {}
            }
        }
        broken
    }

    /// What is worth knowing of a link although it breaks no rule: values that reports call otherwise, and that nobody
    /// said what it is there for.
    #[must_use]
    pub fn advice(&self, link: &Link) -> Vec<Broken> {
        let mut told: Vec<Broken> = Field::ALL
            .into_iter()
            .filter_map(|field| {
                let value = given(field, link)?;
                let normal = self.normal(field, value);
                // What differs in spelling only is told by its rule.
                let alias = fold(&normal) != fold(value);
                alias.then(|| Broken {
                    value: Some(value.to_owned()),
                    accepted: vec![normal.into_owned()],
                    ..Broken::new(Rule::Alias, field.as_str(), "is an alias: reports show its value")
                })
            })
            .collect();
        if link.goal.is_none() && !self.require_goal {
            told.push(Broken::new(Rule::RequireGoal, "goal", "is missing: nobody can tell what the link is there for"));
        }
        told
    }

    /// What becomes of a link that breaks these rules, if `exception` says why it should be allowed to.
    #[must_use]
    pub fn judge(&self, broken: &[Broken], exception: Option<&str>) -> Judgement {
        let asked = exception.map(str::trim).filter(|why| !why.is_empty());
        match (broken, asked, self.on_violation) {
            ([], _, _) => Judgement::Live,
            (_, Some(why), _) => Judgement::Pending(why.to_owned()),
            (broken, None, OnViolation::Pending) => {
                let rules: Vec<String> = broken.iter().map(|one| format!("{} ({})", one.field, one.rule)).collect();
                Judgement::Pending(format!("breaks the policy: {}", rules.join(", ")))
            }
            (_, None, OnViolation::Refuse) => Judgement::Refused,
        }
    }

    fn missing(&self, link: &Link) -> Vec<Broken> {
        let fields = self.required.iter().filter(|field| given(**field, link).is_none());
        let mut broken: Vec<Broken> = fields.map(|field| self.absent(*field)).collect();
        if self.require_goal && link.goal.is_none() {
            let why = "is missing: the event that the link is there for, such as purchase";
            broken.push(Broken::new(Rule::RequireGoal, "goal", why));
        }
        if self.require_variant && link.variant.is_empty() {
            let why = "is missing: at least one of model, prompt_family and angle";
            broken.push(Broken::new(Rule::RequireVariant, "variant", why));
        }
        if self.require_owner && link.owner.as_deref().is_none_or(|owner| clean(owner).is_empty()) {
            broken.push(Broken::new(Rule::RequireOwner, "owner", "is missing: who decides about the link"));
        }
        broken
    }

    fn absent(&self, field: Field) -> Broken {
        let message = "is missing: the policy requires a value";
        Broken { accepted: self.some_accepted(field), ..Broken::new(Rule::Required, field.as_str(), message) }
    }

    fn some_accepted(&self, field: Field) -> Vec<String> {
        let accepted = if self.is_closed(field) { ACCEPTED_MAX } else { 0 };
        self.accepted(field).take(accepted).map(str::to_owned).collect()
    }

    fn check_value(&self, field: Field, value: &str, broken: &mut Vec<Broken>) {
        let name = field.as_str();
        let known = self.is_known(field, value);
        let tidy = self.tidy(field, value);
        // How it should have been written, if that is all that is wrong.
        let meant = if known || !self.is_closed(field) { Some(tidy) } else { None };
        let nearest = meant.or_else(|| self.nearest(field, value).map(str::to_owned));
        let accepted = self.some_accepted(field);
        let mut tell = |rule, message: String| {
            let (accepted, nearest) = (accepted.clone(), nearest.clone());
            broken.push(Broken {
                value: Some(value.to_owned()),
                accepted,
                nearest,
                ..Broken::new(rule, name, message)
            });
        };
        if value.chars().count() > self.values_max_chars {
            tell(Rule::ValuesMaxChars, format!("must have at most {} characters", self.values_max_chars));
        }
        let plain = clean(value);
        if self.lowercase && field.is_utm() && lower(&plain) != plain {
            tell(Rule::Lowercase, "must be in lower case".to_owned());
        }
        if let Some(delimiter) = self.delimiter.filter(|_| field.is_utm())
            && (joined(&plain, delimiter) != plain || plain != value)
        {
            tell(
                Rule::Delimiter,
                format!("must have {delimiter} between its words: no space, nothing else, and not twice"),
            );
        }
        if self.is_closed(field) && !known {
            if field == Field::Campaign && self.registered {
                tell(Rule::Registered, "is not registered: a campaign is registered before links use it".to_owned());
            } else {
                tell(Rule::Values, "is none of the accepted values".to_owned());
            }
        }
        if let Some(pattern) = self.pattern(field) {
            let misfits = pattern.misfits(&self.normal(field, value));
            broken.extend(misfits.into_iter().map(|misfit| {
                let mut one = Broken::of_misfit(field, misfit);
                one.value.get_or_insert_with(|| value.to_owned());
                one
            }));
        }
    }

    fn check_dates(&self, link: &Link) -> Option<Broken> {
        let (_, campaign) = self.campaign(given(Field::Campaign, link)?)?;
        // A link that is changed is judged by the day of the change.
        let today = link.updated_at.day();
        let tell = |message| Some(Broken::new(Rule::Dates, "campaign", message));
        if let Some(until) = campaign.until.as_ref().filter(|until| **until < today) {
            return tell(format!("ended on {until}"));
        }
        let ends = link.expires_at?.day();
        match campaign.from.as_ref().filter(|from| ends < **from) {
            Some(from) => tell(format!("begins on {from}, when the link has expired")),
            None => None,
        }
    }

    fn check_offer(&self, link: &Link, others: &Offers) -> Option<Broken> {
        let tell = |message: String, offer: &str, first: Option<&LinkKey>| {
            let (value, accepted, first) = (link.offer.clone(), vec![offer.to_owned()], first.cloned());
            Some(Broken { value, accepted, first, ..Broken::new(Rule::OneOffer, "offer", message) })
        };
        let (_, offer) = campaign_and_offer(self, link)?;
        let registered =
            self.campaign(given(Field::Campaign, link)?).and_then(|(_, campaign)| campaign.offer.as_deref());
        if let Some(registered) = registered {
            let other = fold(registered) != fold(&offer);
            return if other {
                tell("is not the one that the campaign is registered for".to_owned(), registered, None)
            } else {
                None
            };
        }
        let (key, first) = others.against(self, link)?;
        tell(format!("is not the one that the campaign is used for by the link {key}"), first, Some(key))
    }
}

/// What a link says in a field, if anything.
fn given(field: Field, link: &Link) -> Option<&str> {
    field.of(link).filter(|value| !clean(value).is_empty())
}
