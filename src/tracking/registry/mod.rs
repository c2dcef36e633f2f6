//! Changing links: what is asked for is checked by the rules for links and by the UTM policy in force, then stored. The API,
//! the admin page and the links file all change links here, so that what one refuses no other takes.

mod bulk;
mod file;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

pub use bulk::{Bulk, Rejection};
pub use file::Synced;

use super::{Links, LinksError, governance::Governance};
use crate::{
    links::{
        Hosts, LinkDraft, mint_slug,
        policy::{Broken, Judgement, Offers, Policy},
    },
    model::{Clock, Link, LinkKey, LinkState, Problem, Time},
    store::{Book, StoreError},
};

/// Slugs that are tried before it is said that none is free.
const TRIES_MAX: usize = 20;

/// Where links are, as the outside sees it.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// How the outside reaches the relay: `https://t.example.com`; `None` if nobody said.
    pub public_url: Option<String>,
    /// Link hosts, in lower case.
    pub hosts: Vec<String>,
}

impl Places {
    /// The address of a link; its path alone if nobody said how the outside reaches the relay.
    #[must_use]
    pub fn url(&self, key: &LinkKey) -> String {
        match (&key.host, &self.public_url) {
            (Some(host), _) => format!("https://{host}/{}", key.slug),
            (None, Some(url)) => format!("{}/l/{}", url.trim_end_matches('/'), key.slug),
            (None, None) => format!("/l/{}", key.slug),
        }
    }

    /// The hosts that serve links, by which drafts are checked.
    fn serving(&self) -> Hosts {
        let public = self.public_url.as_ref().and_then(|url| url::Url::parse(url).ok());
        let public = public.and_then(|url| url.host_str().map(str::to_owned));
        Hosts { own: self.hosts.clone(), public }
    }
}

/// Why a link was not made or changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// Fields are not what they have to be.
    Fields(Vec<Problem>),
    /// There is a link of this key.
    Taken(LinkKey),
    /// There is none.
    Unknown,
    /// What is asked for does not go with how the link is.
    State(&'static str),
    /// It breaks rules of the policy.
    Policy(Vec<Broken>),
    /// There are as many links as are allowed.
    Full(String),
    /// The store.
    Store(String),
}

impl From<LinksError> for Refused {
    fn from(error: LinksError) -> Self {
        match error {
            LinksError::Full(_) => Self::Full(error.to_string()),
            LinksError::Taken(key) => Self::Taken(key),
            LinksError::Store(error) => error.into(),
        }
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Fields(vec![problem])
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl Refused {
    fn field(field: &str, message: impl Into<String>) -> Self {
        Self::Fields(vec![Problem::new(field, message)])
    }

    /// Each thing that is wrong: the field, and a text that says what is. A field is empty where none is to blame.
    #[must_use]
    pub fn reasons(&self) -> Vec<(String, String)> {
        let one = |field: &str, message: &str| vec![(field.to_owned(), message.to_owned())];
        match self {
            Self::Fields(problems) => {
                problems.iter().map(|problem| (problem.key.clone(), problem.message.clone())).collect()
            }
            Self::Taken(_) => one("slug", "is taken by another link; choose another, or change that one"),
            Self::Unknown => one("", "there is no link of this key"),
            Self::State(message) => one("", message),
            Self::Policy(broken) => {
                // What is accepted is said once for each field.
                let last = |i: usize, one: &Broken| broken[i + 1..].iter().all(|later| later.field != one.field);
                let told = |(i, one): (usize, &Broken)| (one.field.to_owned(), told(one, last(i, one)));
                broken.iter().enumerate().map(told).collect()
            }
            Self::Full(message) | Self::Store(message) => one("", message),
        }
    }
}

/// A broken rule as the end of a sentence that begins with its field, and if wanted what would be right.
fn told(broken: &Broken, help: bool) -> String {
    let mut told = format!("{} (rule {})", broken.message, broken.rule);
    if help && !broken.accepted.is_empty() {
        told.push_str(&format!("; accepted: {}", broken.accepted.join(", ")));
    }
    if let Some(nearest) = broken.nearest.as_ref().filter(|_| help) {
        told.push_str(&format!("; did you mean {nearest}?"));
    }
    told
}

/// What an operator does with a link as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    /// It stops redirecting.
    Pause,
    /// It redirects again.
    Resume,
    /// It may break the policy.
    Approve,
}

/// The links, and the rules for changing them.
pub struct Registry {
    links: Arc<Links>,
    governance: Arc<Governance>,
    book: Arc<dyn Book>,
    clock: Arc<dyn Clock>,
    places: Places,
    hosts: Hosts,
    /// Held while a change is checked and made, so that two do not both find a slug free.
    changing: Mutex<()>,
}

impl Registry {
    /// Changes `links` by the rules of `governance`.
    #[must_use]
    pub fn new(
        links: Arc<Links>,
        governance: Arc<Governance>,
        book: Arc<dyn Book>,
        clock: Arc<dyn Clock>,
        places: Places,
    ) -> Self {
        let hosts = places.serving();
        Self { links, governance, book, clock, places, hosts, changing: Mutex::new(()) }
    }

    /// Where links are.
    #[must_use]
    pub const fn places(&self) -> &Places {
        &self.places
    }

    /// Makes a link. With `dry_run` it is only checked.
    ///
    /// # Errors
    /// Why not; then nothing was stored.
    pub async fn create(&self, draft: LinkDraft, by: &str, dry_run: bool) -> Result<Link, Refused> {
        let _changing = self.changing.lock().await;
        let (policy, now) = (self.governance.policy(), self.clock.now());
        let key = self.key(&draft, |key| self.links.get(key).is_some())?;
        let link = draft.into_link(key, now, &self.hosts).map_err(Refused::Fields)?;
        let link = judged(&policy, link, |link| {
            let all = self.links.all();
            policy.check(link, all.iter().map(Arc::as_ref))
        })?;
        if !dry_run {
            self.links.create(vec![link.clone()], by, now).await?;
            tracing::info!(link = %link.key, by, "a link was made");
        }
        Ok(link)
    }

    /// The link that a draft describes, wherever it would be: nothing is stored, and a slug that is taken is no problem.
    ///
    /// # Errors
    /// What is wrong with it, but for the policy.
    pub fn drafted(&self, draft: LinkDraft, now: Time) -> Result<Link, Refused> {
        let key = self.key(&draft, |_| false)?;
        draft.into_link(key, now, &self.hosts).map_err(Refused::Fields)
    }

    /// Changes a link by a JSON merge patch (RFC 7396) of the fields it was made with.
    ///
    /// # Errors
    /// Why not; then nothing was changed.
    pub async fn patch(&self, key: &LinkKey, patch: &Map<String, Value>, by: &str) -> Result<Link, Refused> {
        let _changing = self.changing.lock().await;
        let (policy, now) = (self.governance.policy(), self.clock.now());
        let before = self.links.get(key).ok_or(Refused::Unknown)?;
        for (name, value) in [("slug", json!(before.key.slug)), ("host", json!(before.key.host))] {
            if patch.get(name).is_some_and(|given| *given != value) {
                let message = "cannot be changed, as clicks are counted by it: make another link, and pause this one";
                return Err(Refused::field(name, message));
            }
        }
        let mut fields = fields(&before);
        merge(&mut fields, patch);
        let draft = LinkDraft::read(Value::Object(fields))?;
        let link = draft.change(&before, now, &self.hosts).map_err(Refused::Fields)?;
        let mut link = judged(&policy, link, |link| {
            let all = self.links.all();
            policy.check(link, all.iter().map(Arc::as_ref))
        })?;
        // Its state is its operator's; only what newly needs approval waits for it.
        let all = self.links.all();
        let rules = |link: &Link| -> Vec<_> {
            let broken = policy.check(link, all.iter().map(Arc::as_ref)).into_iter();
            broken.map(|one| (one.rule, one.field, one.value)).collect()
        };
        let approved = before.approved_by.is_some() && link.exception.is_some() && rules(&before) == rules(&link);
        if approved || link.exception.is_none() {
            link.approved_by = before.approved_by.clone().filter(|_| approved);
            link.state = if before.state == LinkState::Paused { LinkState::Paused } else { LinkState::Live };
        }
        if Self::differs(&before, &link) {
            self.links.put(link.clone(), by, now).await?;
            tracing::info!(link = %key, by, "a link was changed");
        }
        Ok(link)
    }

    /// Whether anything but the time of the change is different.
    fn differs(before: &Link, after: &Link) -> bool {
        Link { updated_at: before.updated_at, ..after.clone() } != *before
    }

    /// Pauses, resumes or approves a link.
    ///
    /// # Errors
    /// Why not; then nothing was changed.
    pub async fn steer(&self, key: &LinkKey, steer: Steer, by: &str) -> Result<Link, Refused> {
        let _changing = self.changing.lock().await;
        let now = self.clock.now();
        let before = self.links.get(key).ok_or(Refused::Unknown)?;
        let mut link = (*before).clone();
        match steer {
            Steer::Pause => link.state = LinkState::Paused,
            Steer::Approve if link.exception.is_none() => {
                return Err(Refused::State("the link breaks no rule: there is nothing to approve"));
            }
            Steer::Approve => {
                link.approved_by = Some(by.to_owned());
                link.state = LinkState::Live;
            }
            Steer::Resume if link.exception.is_some() && link.approved_by.is_none() => {
                return Err(Refused::State(
                    "the link waits for approval, as it breaks the UTM policy: approve it first",
                ));
            }
            Steer::Resume => link.state = LinkState::Live,
        }
        link.updated_at = now;
        if Self::differs(&before, &link) {
            self.links.put(link.clone(), by, now).await?;
            tracing::info!(link = %key, by, state = ?link.state, "a link was steered");
        }
        Ok(link)
    }

    /// Removes a link. Its clicks stay.
    ///
    /// # Errors
    /// Why not.
    pub async fn remove(&self, key: &LinkKey, by: &str) -> Result<(), Refused> {
        let _changing = self.changing.lock().await;
        if !self.links.remove(key, by, self.clock.now()).await? {
            return Err(Refused::Unknown);
        }
        tracing::info!(link = %key, by, "a link was removed");
        Ok(())
    }

    /// The key of a new link. A slug is made up if none is given.
    fn key(&self, draft: &LinkDraft, taken: impl Fn(&LinkKey) -> bool) -> Result<LinkKey, Refused> {
        for _ in 0..TRIES_MAX {
            let key = draft.key(&self.hosts, || mint_slug(rand::random()))?;
            if !taken(&key) {
                return Ok(key);
            }
            if draft.slug.as_ref().is_some_and(|slug| !slug.trim().is_empty()) {
                return Err(Refused::Taken(key));
            }
        }
        Err(Refused::field("slug", "no free one was found; give one"))
    }
}

/// What becomes of a link by the policy: live, or pending with its exception.
fn judged(policy: &Policy, mut link: Link, check: impl FnOnce(&Link) -> Vec<Broken>) -> Result<Link, Refused> {
    let broken = check(&link);
    match policy.judge(&broken, link.exception.as_deref()) {
        Judgement::Live => (link.state, link.exception, link.approved_by) = (LinkState::Live, None, None),
        Judgement::Pending(why) => {
            (link.state, link.exception, link.approved_by) = (LinkState::Pending, Some(why), None);
        }
        Judgement::Refused => return Err(Refused::Policy(broken)),
    }
    Ok(link)
}

/// A link as the fields it is made with.
#[must_use]
pub fn fields(link: &Link) -> Map<String, Value> {
    let fields = match serde_json::to_value(LinkDraft::of(link)) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    };
    // UTM values that are not there are no fields.
    let keep = |value: Value| match value {
        Value::Object(inner) => Value::Object(inner.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        value => value,
    };
    fields.into_iter().map(|(name, value)| (name, keep(value))).collect()
}

/// A JSON merge patch: null takes out, objects are merged, everything else replaces.
fn merge(into: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => drop(into.remove(name)),
            Value::Object(patch) => {
                let inner = into.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
                if !inner.is_object() {
                    *inner = Value::Object(Map::new());
                }
                if let Value::Object(inner) = inner {
                    merge(inner, patch);
                }
            }
            value => drop(into.insert(name.clone(), value.clone())),
        }
    }
}

/// The offers of all links, for checking many new ones.
fn offers(policy: &Policy, links: &[Arc<Link>]) -> Offers {
    Offers::of(policy, links.iter().map(Arc::as_ref))
}
