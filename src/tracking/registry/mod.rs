//! Changing links: what is asked for is checked by the rules for links and by the UTM policy in force, then stored. The API,
//! the admin page and the links file all change links here, so that what one refuses no other takes.

mod bulk;
mod file;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

pub use bulk::{Bulk, Rejection};
pub use file::Synced;

use super::{Governance, Links, LinksError};
use crate::{
    links::{
        destination_problem,
        draft::LinkDraft,
        mint_slug,
        policy::{Broken, Judgement, Offers, Policy},
        read_slug,
    },
    model::{Clock, Link, LinkKey, LinkState, Time},
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

    fn public_host(&self) -> Option<String> {
        let url = url::Url::parse(self.public_url.as_ref()?).ok()?;
        url.host_str().map(str::to_owned)
    }
}

/// Why a link was not made or changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// A field is not what it has to be.
    Field {
        /// Which: `utm.source`.
        field: String,
        /// What it has to be.
        message: String,
    },
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

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl Refused {
    fn field(field: &str, message: impl Into<String>) -> Self {
        Self::Field { field: field.to_owned(), message: message.into() }
    }

    /// Each thing that is wrong: the field, and a text that says what is. A field is empty where none is to blame.
    #[must_use]
    pub fn reasons(&self) -> Vec<(String, String)> {
        let one = |field: &str, message: &str| vec![(field.to_owned(), message.to_owned())];
        match self {
            Self::Field { field, message } => one(field, message),
            Self::Taken(_) => one("slug", "is taken by another link; choose another, or change that one"),
            Self::Unknown => one("", "there is no link of this key"),
            Self::State(message) => one("", message),
            Self::Policy(broken) => broken.iter().map(|one| (one.field.to_owned(), told(one))).collect(),
            Self::Full(message) | Self::Store(message) => one("", message),
        }
    }
}

/// A broken rule as a sentence that begins with its field.
fn told(broken: &Broken) -> String {
    let mut told = format!("{} (rule {})", broken.message, broken.rule);
    if !broken.accepted.is_empty() {
        told.push_str(&format!("; accepted: {}", broken.accepted.join(", ")));
    }
    if let Some(nearest) = &broken.nearest {
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
        Self { links, governance, book, clock, places, changing: Mutex::new(()) }
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
        let key = self.key(draft.slug.as_deref(), draft.host.as_deref(), |key| self.links.get(key).is_some())?;
        let link = self.link(draft, key, now)?;
        let mut link = judged(&policy, link, |link| {
            let all = self.links.all();
            policy.check(link, all.iter().map(Arc::as_ref))
        })?;
        link.created_at = now;
        if !dry_run {
            self.links.create(vec![link.clone()], by, now).await?;
            tracing::info!(link = %link.key, by, "a link was made");
        }
        Ok(link)
    }

    /// Changes a link by a JSON merge patch (RFC 7396) of the fields it was made with.
    ///
    /// # Errors
    /// Why not; then nothing was changed.
    pub async fn patch(&self, key: &LinkKey, patch: &Map<String, Value>, by: &str) -> Result<Link, Refused> {
        let _changing = self.changing.lock().await;
        let (policy, now) = (self.governance.policy(), self.clock.now());
        let before = self.links.get(key).ok_or(Refused::Unknown)?;
        let mut fields = fields(&before);
        for (name, value) in [("slug", json!(before.key.slug)), ("host", json!(before.key.host))] {
            if patch.get(name).is_some_and(|given| *given != value) {
                let message = "cannot be changed, as clicks are counted by it: make another link, and pause this one";
                return Err(Refused::field(name, message));
            }
        }
        let patch: Map<String, Value> =
            patch.iter().filter(|(name, _)| !["slug", "host"].contains(&name.as_str())).map(|(name, value)| (name.clone(), value.clone())).collect();
        merge(&mut fields, &patch);
        let draft = LinkDraft::read(&Value::Object(fields)).map_err(|problem| Refused::field(&problem.key, problem.message))?;
        let link = self.link(draft, key.clone(), now)?;
        let mut link = judged(&policy, link, |link| {
            let all = self.links.all();
            policy.check(link, all.iter().map(Arc::as_ref))
        })?;
        link.created_at = before.created_at;
        // Its state is its operator's; only what newly needs approval waits for it.
        let approved = before.approved_by.is_some() && link.exception.is_some() && link.exception == before.exception;
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
                return Err(Refused::State("the link waits for approval, as it breaks the UTM policy: approve it first"));
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
    fn key(&self, slug: Option<&str>, host: Option<&str>, taken: impl Fn(&LinkKey) -> bool) -> Result<LinkKey, Refused> {
        let host = match host.map(str::trim).filter(|host| !host.is_empty()) {
            None => None,
            Some(host) => {
                let host = host.to_ascii_lowercase();
                if !self.places.hosts.contains(&host) {
                    let known = self.places.hosts.join(", ");
                    let known = if known.is_empty() { "none is configured".to_owned() } else { known };
                    return Err(Refused::field("host", format!("must be one of [links] hosts: {known}")));
                }
                Some(host)
            }
        };
        if let Some(slug) = slug.map(str::trim).filter(|slug| !slug.is_empty()) {
            let slug = read_slug(slug).map_err(|why| Refused::field("slug", why))?;
            let key = LinkKey { host, slug };
            return if taken(&key) { Err(Refused::Taken(key)) } else { Ok(key) };
        }
        let minted = (0..TRIES_MAX).map(|_| LinkKey { host: host.clone(), slug: mint_slug(rand::random()) });
        let free = minted.into_iter().find(|key| !taken(key));
        free.ok_or_else(|| Refused::field("slug", "no free one was found; give one"))
    }

    /// The link that a draft describes, with every address in it checked.
    fn link(&self, draft: LinkDraft, key: LinkKey, now: Time) -> Result<Link, Refused> {
        let link = draft.into_link(key, now).map_err(|problem| Refused::field(&problem.key, problem.message))?;
        let public = self.places.public_host();
        let problem = |address: &str| destination_problem(address, &self.places.hosts, public.as_deref());
        if let Some(why) = problem(&link.destination) {
            return Err(Refused::field("destination", why));
        }
        for (i, split) in link.split.iter().enumerate() {
            if let Some(why) = problem(&split.destination) {
                return Err(Refused::field(&format!("split.{i}.destination"), why));
            }
        }
        Ok(link)
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
    let Ok(Value::Object(mut fields)) = serde_json::to_value(link) else { return Map::new() };
    for name in ["key", "state", "approved_by", "created_at", "updated_at"] {
        fields.remove(name);
    }
    fields.insert("slug".to_owned(), link.key.slug.clone().into());
    if let Some(host) = &link.key.host {
        fields.insert("host".to_owned(), host.clone().into());
    }
    if let Some(at) = link.expires_at {
        fields.insert("expires_at".to_owned(), at.to_string().into());
    }
    fields
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
