//! A link as people write it: the JSON of `POST /v1/links`, a row of CSV, an entry of the links file.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{contact::free_text, destination_problem, read_slug};
use crate::model::{
    EventName, Link, LinkKey, LinkState, Problem, Split, Time, Utm, UtmRule, Variant, looks_like_contact_data,
};

/// The most characters of a name: a UTM value, an owner, an offer.
const NAME_CHARS_MAX: usize = 120;
/// The most characters of a note, and of the reason for an exception.
const NOTE_CHARS_MAX: usize = 1000;
/// Destinations that a link can have.
const SPLITS: std::ops::RangeInclusive<usize> = 2..=10;
/// The largest weight of one of them.
const WEIGHT_MAX: u32 = 1_000_000;

/// The hosts that serve links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// The configured link hosts, in lower case.
    pub own: Vec<String>,
    /// The relay's public host, which serves links below `/l/`.
    pub public: Option<String>,
}

/// A link as people write it. Nothing in it is checked yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkDraft {
    /// The last part of its address; one is made if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// A configured link host; without one the link is below `/l/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Where to. May be left out where `split` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// UTM values of its visitors.
    #[serde(default, skip_serializing_if = "none_of_utm")]
    pub utm: Option<Utm>,
    /// What it stands for.
    #[serde(default, skip_serializing_if = "none_of_variant")]
    pub variant: Option<Variant>,
    /// Where it is put.
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
    pub goal: Option<String>,
    /// What is offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<String>,
    /// Who decides about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whatever its owner wants to remember.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When it ends: RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Several destinations instead of the one, by weight.
    #[serde(default, skip_serializing_if = "none_of_splits")]
    pub split: Option<Vec<Split>>,
    /// Whose UTM values win, if not as configured for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utm_rule: Option<UtmRule>,
    /// Why it may break the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// Who makes or changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

fn none_of_utm(utm: &Option<Utm>) -> bool {
    utm.as_ref().is_none_or(Utm::is_empty)
}

fn none_of_variant(variant: &Option<Variant>) -> bool {
    variant.as_ref().is_none_or(Variant::is_empty)
}

fn none_of_splits(split: &Option<Vec<Split>>) -> bool {
    split.as_ref().is_none_or(Vec::is_empty)
}

impl LinkDraft {
    /// What `link` would have been written as.
    #[must_use]
    pub fn of(link: &Link) -> Self {
        Self {
            slug: Some(link.key.slug.clone()),
            host: link.key.host.clone(),
            destination: Some(link.destination.clone()),
            utm: Some(link.utm.clone()),
            variant: Some(link.variant.clone()),
            placement: link.placement.clone(),
            audience: link.audience.clone(),
            intent: link.intent.clone(),
            goal: link.goal.as_ref().map(ToString::to_string),
            offer: link.offer.clone(),
            owner: link.owner.clone(),
            note: link.note.clone(),
            expires_at: link.expires_at.as_ref().map(ToString::to_string),
            split: Some(link.split.clone()),
            utm_rule: link.utm_rule,
            exception: link.exception.clone(),
            by: None,
        }
    }

    /// Reads JSON, with a problem that names the field and repeats no value.
    ///
    /// # Errors
    /// The first field that does not fit.
    pub fn read(value: Value) -> Result<Self, Problem> {
        // A derived `Deserialize` would take a list of values too.
        if !value.is_object() {
            return Err(Problem::new("", "must be a table of a link's fields"));
        }
        serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.[]-".contains(&b));
            let told = plain && path.len() <= 64 && !looks_like_contact_data(&path);
            let key = if told { path.trim_start_matches('.').to_owned() } else { "(name withheld)".to_owned() };
            Problem::new(key, unfit(&error.into_inner().to_string()))
        })
    }

    /// What it is to be known by; a slug is made by `mint` if it has none.
    ///
    /// # Errors
    /// What is wrong with its slug or host.
    pub fn key(&self, hosts: &Hosts, mint: impl FnOnce() -> String) -> Result<LinkKey, Problem> {
        let host = match given(self.host.as_deref()) {
            None => None,
            Some(host) => {
                let host = host.to_ascii_lowercase();
                if !hosts.own.contains(&host) {
                    return Err(Problem::new("host", no_such_host(&hosts.own)));
                }
                Some(host)
            }
        };
        let slug = match given(self.slug.as_deref()) {
            None => mint(),
            Some(slug) => read_slug(slug).map_err(|why| Problem::new("slug", why))?,
        };
        Ok(LinkKey { host, slug })
    }

    /// The link, as it is made at `now`. It is live; whether it may be, the policy says.
    ///
    /// # Errors
    /// Everything that is wrong with it, by field.
    pub fn into_link(self, key: LinkKey, now: Time, hosts: &Hosts) -> Result<Link, Vec<Problem>> {
        let mut reading = Reading { hosts, problems: Vec::new() };
        let split = reading.split(self.split.unwrap_or_default());
        let destination = match (self.destination, split.first()) {
            (None, Some(first)) => first.destination.clone(),
            (destination, _) => reading.destination("destination", destination),
        };
        let utm = self.utm.unwrap_or_default();
        let variant = self.variant.unwrap_or_default();
        let goal = given(self.goal.as_deref()).map(EventName::new);
        let goal = goal.and_then(|goal| reading.taken("goal", goal.map_err(|error| error.to_string())));
        let expires_at = given(self.expires_at.as_deref()).map(Time::parse);
        let expires_at =
            expires_at.and_then(|at| reading.taken("expires_at", at.map_err(|error| format!("is {error}"))));
        let link = Link {
            key,
            destination,
            utm: Utm {
                source: reading.name("utm.source", utm.source),
                medium: reading.name("utm.medium", utm.medium),
                campaign: reading.name("utm.campaign", utm.campaign),
                content: reading.name("utm.content", utm.content),
                term: reading.name("utm.term", utm.term),
            },
            variant: Variant {
                model: reading.name("variant.model", variant.model),
                prompt_family: reading.name("variant.prompt_family", variant.prompt_family),
                angle: reading.name("variant.angle", variant.angle),
            },
            placement: reading.name("placement", self.placement),
            audience: reading.name("audience", self.audience),
            intent: reading.name("intent", self.intent),
            goal,
            offer: reading.name("offer", self.offer),
            owner: reading.name("owner", self.owner),
            note: reading.note("note", self.note),
            expires_at,
            split,
            utm_rule: self.utm_rule,
            state: LinkState::Live,
            exception: reading.note("exception", self.exception),
            approved_by: None,
            created_at: now,
            updated_at: now,
        };
        if reading.problems.is_empty() { Ok(link) } else { Err(reading.problems) }
    }

    /// `link` as this draft, all of it, says it from `now` on. Its key, age and state stay, and who approved it.
    ///
    /// # Errors
    /// Everything that is wrong with it, by field.
    pub fn change(self, link: &Link, now: Time, hosts: &Hosts) -> Result<Link, Vec<Problem>> {
        let changed = self.into_link(link.key.clone(), now, hosts)?;
        let approved_by = link.approved_by.clone();
        Ok(Link { created_at: link.created_at, state: link.state, approved_by, ..changed })
    }
}

/// Checks fields one by one, and notes what is wrong.
struct Reading<'a> {
    hosts: &'a Hosts,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn taken<T>(&mut self, field: &str, read: Result<T, String>) -> Option<T> {
        read.map_err(|why| self.problems.push(Problem::new(field, why))).ok()
    }

    /// A name in one line. One that is empty is none.
    fn name(&mut self, field: &str, text: Option<String>) -> Option<String> {
        let text = text.filter(|text| !text.trim().is_empty())?;
        let sound = if text.chars().any(char::is_control) {
            Err("must not contain control characters or line ends".to_owned())
        } else {
            free_text(&text, NAME_CHARS_MAX)
        };
        self.taken(field, sound.map(|()| text))
    }

    fn note(&mut self, field: &str, text: Option<String>) -> Option<String> {
        let text = text.filter(|text| !text.trim().is_empty())?;
        let sound = free_text(&text, NOTE_CHARS_MAX);
        self.taken(field, sound.map(|()| text))
    }

    fn destination(&mut self, field: &str, address: Option<String>) -> String {
        let Some(address) = address.map(|address| address.trim().to_owned()).filter(|address| !address.is_empty())
        else {
            self.problems.push(Problem::new(field, "is missing: the http or https address that the link leads to"));
            return String::new();
        };
        let problem = destination_problem(&address, &self.hosts.own, self.hosts.public.as_deref());
        let problem = problem.or_else(|| free_text(&address, usize::MAX).err());
        self.problems.extend(problem.map(|why| Problem::new(field, why)));
        address
    }

    fn split(&mut self, split: Vec<Split>) -> Vec<Split> {
        if !split.is_empty() && !SPLITS.contains(&split.len()) {
            let why = format!("must have {} to {} destinations", SPLITS.start(), SPLITS.end());
            self.problems.push(Problem::new("split", why));
            return Vec::new();
        }
        let mut checked = Vec::with_capacity(split.len());
        for (i, Split { destination, weight }) in split.into_iter().enumerate() {
            let destination = self.destination(&format!("split[{i}].destination"), Some(destination));
            if weight == 0 || weight > WEIGHT_MAX {
                let why = format!("must be a whole number from 1 to {WEIGHT_MAX}");
                self.problems.push(Problem::new(format!("split[{i}].weight"), why));
            }
            checked.push(Split { destination, weight });
        }
        checked
    }
}

/// A text without space around it, if there is one.
fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn no_such_host(own: &[String]) -> String {
    match own {
        [] => "cannot be chosen: there is no link host; name it in [links] hosts".to_owned(),
        own => format!("must be a configured link host: {}", own.join(", ")),
    }
}

/// What serde says does not fit, without the value.
fn unfit(message: &str) -> String {
    let expected = message.rsplit_once(", expected ").map_or("something else", |(_, expected)| expected);
    if message.starts_with("unknown field") {
        format!("is not a field here; known: {}", expected.trim_start_matches("one of "))
    } else if message.starts_with("missing field") {
        "has a part that is missing; a destination of a split has a destination and a weight".to_owned()
    } else {
        format!("must be {}", expected.replace("a string", "a text").replace("a sequence", "a list"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Time = Time::from_secs(1_795_161_600);

    fn made(value: Value) -> Result<Link, Vec<String>> {
        let hosts = Hosts { own: vec!["go.brand.example".to_owned()], public: None };
        let told = |problem: Problem| problem.to_string();
        let draft = LinkDraft::read(value).map_err(|problem| vec![told(problem)])?;
        let key = draft.key(&hosts, || "minted".to_owned()).map_err(|problem| vec![told(problem)])?;
        draft.into_link(key, NOW, &hosts).map_err(|problems| problems.into_iter().map(told).collect())
    }

    fn full() -> Value {
        json!({
            "slug": "Mugs", "host": "GO.brand.example", "destination": "https://shop.example/mugs?a=1#x",
            "utm": { "source": "IG", "medium": "social", "campaign": "spring", "content": "a", "term": "t" },
            "variant": { "model": "m", "prompt_family": "p", "angle": "hook-a" },
            "placement": "bio", "audience": "new", "intent": "buy", "goal": "purchase", "offer": "mugs",
            "owner": "growth", "note": "=HYPERLINK(1)\nsecond line", "expires_at": "2026-12-24T18:00:00+01:00",
            "split": [
                { "destination": "https://shop.example/a", "weight": 1 },
                { "destination": "https://shop.example/b", "weight": 3 }
            ],
            "utm_rule": "replace", "exception": "a trial", "by": "ada",
        })
    }

    #[test]
    fn a_link_with_every_field_is_taken_and_written_again() {
        let link = made(full()).expect("sound");
        assert_eq!(link.key.to_string(), "go.brand.example/mugs");
        assert_eq!((link.utm.source.as_deref(), link.split.len()), (Some("IG"), 2), "values stay as they are");
        assert_eq!(link.expires_at.expect("a time").to_string(), "2026-12-24T17:00:00Z");
        assert_eq!(
            (link.state, link.created_at, link.note.as_deref()),
            (LinkState::Live, NOW, Some("=HYPERLINK(1)\nsecond line"))
        );
        let again = serde_json::to_value(LinkDraft::of(&link)).expect("writes");
        assert_eq!(made(again).expect("sound"), link);
    }

    #[test]
    fn a_link_needs_a_destination_only_and_gets_a_slug() {
        let link = made(json!({ "destination": " https://shop.example/ ", "owner": " ", "utm": null })).expect("sound");
        assert_eq!((link.key.to_string().as_str(), link.owner), ("minted", None));
        assert_eq!(link.destination, "https://shop.example/");
        let split = json!([{ "destination": "https://a.example/", "weight": 1 }, { "destination": "https://b.example/", "weight": 1 }]);
        assert_eq!(made(json!({ "split": split })).expect("sound").destination, "https://a.example/");
    }

    #[test]
    fn everything_wrong_is_told_with_its_field_and_without_the_value() {
        let long = "x".repeat(1001);
        let address = "https://shop.example/";
        for (field, value, told) in [
            ("slug", json!("a b"), "slug: must be 1 to 64"),
            ("slug", json!("healthz"), "slug: is a path of the relay itself"),
            ("host", json!("evil.example"), "host: must be a configured link host: go.brand.example"),
            ("destination", json!("javascript:alert(1)"), "destination: must be a whole http or https address"),
            ("destination", json!("https://go.brand.example/x"), "destination: is on a host of tracked links"),
            (
                "destination",
                json!("https://shop.example/?email=ada%40example.com"),
                "destination: must not contain an e-mail",
            ),
            ("destination", json!(null), "destination: is missing"),
            ("utm", json!({ "source": "x".repeat(121) }), "utm.source: must have at most 120 characters"),
            ("utm", json!({ "sauce": "x" }), "utm.sauce: is not a field here; known: `source`, `medium`"),
            ("variant", json!({ "angle": "a\nb" }), "variant.angle: must not contain control characters or line ends"),
            ("owner", json!("ada@example.com"), "owner: must not contain an e-mail address"),
            ("note", json!("call +1 650 555 1212"), "note: must not contain an e-mail address or a telephone number"),
            ("note", json!(long), "note: must have at most 1000 characters"),
            ("goal", json!("Purchase!"), "goal: must match [a-z]"),
            ("expires_at", json!("tomorrow"), "expires_at: is not an RFC 3339 time"),
            ("split", json!([{ "destination": address, "weight": 1 }]), "split: must have 2 to 10"),
            (
                "split",
                json!([{ "destination": address, "weight": 1 }, { "destination": "x", "weight": 0 }]),
                "split[1].destination: must be",
            ),
            ("split", json!([{ "destination": address }]), "split[0]: has a part that is missing"),
            ("utm_rule", json!("ours"), "utm_rule: must be `keep` or `replace`"),
            ("utm_rule", json!(7), "utm_rule: must be"),
            ("placement", json!(["ada@example.com"]), "placement: must be a text"),
            ("colour", json!("ada"), "colour: is not a field here; known: `slug`, `host`"),
            ("ada@example.com", json!(1), "(name withheld): is not a field here"),
        ] {
            let mut link = json!({ "destination": address });
            link[field] = value;
            let problems = made(link).expect_err(told);
            assert!(problems[0].starts_with(told), "{problems:?}");
            assert!(problems.iter().all(|problem| !problem.contains("ada@")), "{problems:?}");
        }
        assert_eq!(made(json!(["mugs"])).expect_err("a list"), [": must be a table of a link's fields"]);
    }

    #[test]
    fn a_change_keeps_what_is_not_written() {
        let link =
            Link { state: LinkState::Paused, approved_by: Some("grace".to_owned()), ..made(full()).expect("sound") };
        let draft = LinkDraft { destination: Some("https://shop.example/new".to_owned()), ..LinkDraft::of(&link) };
        let changed =
            draft.change(&link, NOW.plus(std::time::Duration::from_secs(1)), &Hosts::default()).expect("sound");
        assert_eq!(changed.destination, "https://shop.example/new");
        assert!(changed.updated_at > changed.created_at);
        assert_eq!(Link { destination: link.destination.clone(), updated_at: NOW, ..changed }, link);
    }
}
