//! The UTM policy at work: what is configured, and what people decided since. Decisions are in the book, so that each has a
//! date and a name; whoever reads values asks for the policy of the moment, also for rows of last month.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;
use tracing::warn;

use crate::{
    links::policy::{Decision, DecisionKey, Policy},
    model::{Problem, Time},
    store::{Book, Changed, Entry, StoreError},
};

/// Decisions that can stand at once.
const DECISIONS_MAX: usize = 20_000;

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    /// It cannot be: the field of the decision, and why.
    #[error("{0}")]
    Refused(Problem),
    /// Too much was decided already.
    #[error("there are {DECISIONS_MAX} decisions already; move those that are to stay into the configuration")]
    Full,
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The policy in force.
pub struct Governance {
    configured: Policy,
    book: Arc<dyn Book>,
    policy: RwLock<Arc<Policy>>,
    /// One change after the other.
    changing: Mutex<()>,
}

impl Governance {
    /// The configured policy, with what the book says was decided.
    #[must_use]
    pub fn new(configured: Policy, book: Arc<dyn Book>) -> Self {
        let policy = in_force(&configured, &decided(&*book));
        Self { configured, book, policy: RwLock::new(Arc::new(policy)), changing: Mutex::new(()) }
    }

    /// The policy of the moment.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a decision, in place of an earlier one about the same. It holds, and is durable, when this returns.
    ///
    /// # Errors
    /// [`DecisionError`]; then nothing has changed.
    pub async fn decide(&self, decision: &Decision, by: &str, at: Time) -> Result<(), DecisionError> {
        let _changing = self.changing.lock().await;
        let key = decision.key();
        let mut decisions = decided(&*self.book);
        // It has to go with the others, not with the one that it replaces.
        decisions.retain(|other| other.key() != key);
        if decisions.len() >= DECISIONS_MAX {
            return Err(DecisionError::Full);
        }
        self.configured.with(&decisions).0.allows(decision).map_err(DecisionError::Refused)?;
        let value = serde_json::to_string(decision).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.book.write(vec![entry(&key, Some(value), by, at)]).await?;
        decisions.push(decision.clone());
        self.take(&decisions);
        Ok(())
    }

    /// Takes a decision back: what is configured holds again. Whether there was one.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing has changed.
    pub async fn undo(&self, key: &DecisionKey, by: &str, at: Time) -> Result<bool, StoreError> {
        let _changing = self.changing.lock().await;
        if self.book.get(key.shelf, &key.key).is_none() {
            return Ok(false);
        }
        self.book.write(vec![entry(key, None, by, at)]).await?;
        self.take(&decided(&*self.book));
        Ok(true)
    }

    /// What stands decided, by what it is about.
    #[must_use]
    pub fn decisions(&self) -> Vec<Decision> {
        decided(&*self.book)
    }

    /// The latest decisions, newest first, with who made them and what they replaced; up to `max`.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub fn history(&self, max: usize) -> Result<Vec<Changed>, StoreError> {
        let mut changes = Vec::new();
        for shelf in DecisionKey::SHELVES {
            changes.extend(self.book.history(shelf, None, max)?);
        }
        changes.sort_by_key(|change| std::cmp::Reverse(change.entry.at));
        changes.truncate(max);
        Ok(changes)
    }

    fn take(&self, decisions: &[Decision]) {
        let policy = Arc::new(in_force(&self.configured, decisions));
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }
}

/// What stands in the book.
fn decided(book: &dyn Book) -> Vec<Decision> {
    let (mut decisions, mut unread) = (Vec::new(), 0);
    for (_, value) in DecisionKey::SHELVES.into_iter().flat_map(|shelf| book.list(shelf)) {
        match serde_json::from_str(&value) {
            Ok(decision) => decisions.push(decision),
            Err(_) => unread += 1,
        }
    }
    if unread > 0 {
        warn!(count = unread, "decisions about UTM values cannot be read, and do not hold: a newer relay wrote them");
    }
    decisions
}

fn in_force(configured: &Policy, decisions: &[Decision]) -> Policy {
    let (policy, left_out) = configured.with(decisions);
    if left_out > 0 {
        warn!(count = left_out, "decisions about UTM values contradict the configuration by now, and do not hold");
    }
    policy
}

fn entry(key: &DecisionKey, value: Option<String>, by: &str, at: Time) -> Entry {
    Entry { at, by: by.to_owned(), shelf: key.shelf.to_owned(), key: key.key.clone(), value, audited: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        links::policy::{Campaign, Field, Rule},
        model::{Link, Settings},
        store::{book::FileBook, memory::SimulatedDisk},
    };

    fn configured() -> Policy {
        let table = "[source]\nvalues = [\"instagram\", \"meta\"]\naliases = { ig = \"instagram\" }";
        let mut settings = Settings::new("utm.", table.parse().expect("TOML"));
        let policy = Policy::read(&mut settings);
        assert_eq!(settings.finish(), []);
        policy
    }

    fn alias(from: &str, to: &str) -> Decision {
        Decision::Alias { field: Field::Source, from: from.to_owned(), to: to.to_owned() }
    }

    fn normal(governance: &Governance, raw: &str) -> String {
        governance.policy().normal(Field::Source, raw).into_owned()
    }

    #[tokio::test]
    async fn an_alias_of_today_holds_at_once_is_audited_and_survives_a_restart() {
        let book: Arc<dyn Book> = Arc::new(FileBook::open(Arc::new(SimulatedDisk::default())).expect("opens"));
        let governance = Governance::new(configured(), Arc::clone(&book));
        let before = governance.policy();
        assert_eq!(normal(&governance, "IGshopping"), "igshopping");
        governance.decide(&alias("IGShopping", "ig"), "ada", Time::from_secs(1)).await.expect("is decided");
        assert_eq!(normal(&governance, "igshopping"), "instagram");
        assert_eq!(before.normal(Field::Source, "igshopping"), "igshopping", "who has begun ends with the same policy");
        assert_eq!(normal(&Governance::new(configured(), Arc::clone(&book)), "IGSHOPPING"), "instagram");
        governance.decide(&alias("igshopping", "meta"), "grace", Time::from_secs(2)).await.expect("is decided");
        assert_eq!((normal(&governance, "igshopping"), governance.decisions().len()), ("meta".to_owned(), 1));
        let key = DecisionKey::alias(Field::Source, "IG Shopping");
        assert!(!governance.undo(&key, "ada", Time::from_secs(3)).await.expect("works"), "another name");
        let key = DecisionKey::alias(Field::Source, "IGSHOPPING");
        assert!(governance.undo(&key, "ada", Time::from_secs(3)).await.expect("works"));
        assert_eq!(normal(&governance, "igshopping"), "igshopping");
        let history = governance.history(10).expect("reads");
        let who: Vec<&str> = history.iter().map(|change| change.entry.by.as_str()).collect();
        assert_eq!(who, ["ada", "grace", "ada"]);
        assert!(history[1].before.as_deref().is_some_and(|before| before.contains("\"to\":\"ig\"")));
        assert_eq!(governance.history(1).expect("reads").len(), 1);
    }

    #[tokio::test]
    async fn what_cannot_hold_is_refused_and_leaves_no_trace() {
        let governance =
            Governance::new(configured(), Arc::new(FileBook::open(Arc::new(SimulatedDisk::default())).expect("opens")));
        let shared = &governance;
        let decide = |decision| async move { shared.decide(&decision, "ada", Time::from_secs(1)).await.map(|()| "ok") };
        let error = decide(alias("instagram", "ig")).await.expect_err("a circle").to_string();
        assert!(error.starts_with("to: is itself called by"), "{error}");
        // Once the other way is out, this one is free.
        let none = Decision::NoAlias { field: Field::Source, from: "ig".to_owned() };
        decide(none).await.expect("is decided");
        decide(Decision::Value { field: Field::Source, value: "igshop".to_owned() }).await.expect("is decided");
        assert!(decide(alias("x", "nowhere")).await.is_err());
        assert_eq!(governance.history(10).expect("reads").len(), 2);
        // A decision may take the place of one that it would contradict.
        decide(alias("a", "meta")).await.expect("is decided");
        decide(alias("b", "a")).await.expect("is decided");
        assert!(decide(alias("a", "b")).await.is_err());
        decide(alias("a", "instagram")).await.expect("is decided");
        assert_eq!(normal(&governance, "b"), "instagram");
        let again = Governance::new(configured(), Arc::clone(&governance.book));
        assert_eq!(normal(&again, "b"), "instagram", "in whatever order they are read");
    }

    #[tokio::test]
    async fn a_campaign_that_is_registered_can_be_used() {
        let mut settings = Settings::new("utm.", "[campaign]\nregistered = true".parse().expect("TOML"));
        let governance = Governance::new(
            Policy::read(&mut settings),
            Arc::new(FileBook::open(Arc::new(SimulatedDisk::default())).expect("opens")),
        );
        let text = r#"{"key":"a","destination":"https://x.example/","utm":{"campaign":"spring"},"created_at":1,"updated_at":1}"#;
        let link: Link = serde_json::from_str(text).expect("reads");
        assert_eq!(governance.policy().check(&link, [])[0].rule, Rule::Registered);
        let campaign = Campaign { offer: Some("mugs".to_owned()), ..Campaign::default() };
        let decision = Decision::Campaign { name: "spring".to_owned(), campaign };
        governance.decide(&decision, "ada", Time::from_secs(1)).await.expect("is decided");
        assert_eq!(governance.policy().check(&link, []), []);
        let other = Link { offer: Some("hats".to_owned()), ..link };
        assert_eq!(governance.policy().check(&other, [])[0].rule, Rule::OneOffer);
    }
}
