//! What delivery tells others about its destinations, and how their operator stops one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    model::{DestinationName, Failure, Time},
    store::OperatorPause,
};

/// Whether a destination takes events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It does.
    #[default]
    Active,
    /// It refuses what we are set up with; it is probed until that works again.
    Paused {
        /// What it said.
        reason: Failure,
        /// Since when.
        since: Time,
    },
    /// Its operator stopped it; only he lets it go on.
    Stopped(OperatorPause),
}

/// The states of all destinations. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Status(Arc<Mutex<HashMap<DestinationName, Known>>>);

#[derive(Debug, Default)]
struct Known {
    state: State,
    /// Told when the operator changed something: the worker is to look at once.
    wake: Arc<Notify>,
}

impl Status {
    fn all(&self) -> MutexGuard<'_, HashMap<DestinationName, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of a destination.
    #[must_use]
    pub fn of(&self, name: &DestinationName) -> State {
        self.all().get(name).map(|known| known.state.clone()).unwrap_or_default()
    }

    /// Stops a destination: nothing more is sent, not even a probe; requests in flight are finished. In memory only: the
    /// caller has it recorded by the store first.
    pub fn stop(&self, name: &DestinationName, pause: OperatorPause) {
        let mut all = self.all();
        let known = all.entry(name.clone()).or_default();
        known.state = State::Stopped(pause);
        known.wake.notify_one();
    }

    /// Lets a destination go on at once, in memory as [`Status::stop`]. One that is paused because it refuses our settings
    /// is probed at once, and stays paused until that works.
    pub fn go_on(&self, name: &DestinationName) {
        let mut all = self.all();
        let known = all.entry(name.clone()).or_default();
        if matches!(known.state, State::Stopped(_)) {
            known.state = State::Active;
        }
        known.wake.notify_one();
    }

    /// Returns when the operator has stopped the destination, or let it go on.
    pub(super) async fn changed(&self, name: &DestinationName) {
        let wake = Arc::clone(&self.all().entry(name.clone()).or_default().wake);
        wake.notified().await;
    }

    /// Notes that a destination refuses our settings. Whether that is news. What the operator stopped stays stopped.
    pub(super) fn refused(&self, name: &DestinationName, reason: Failure, now: Time) -> bool {
        let mut all = self.all();
        let known = all.entry(name.clone()).or_default();
        let since = match known.state {
            State::Active => None,
            State::Paused { since, .. } => Some(since),
            State::Stopped(_) => return false,
        };
        known.state = State::Paused { reason, since: since.unwrap_or(now) };
        since.is_none()
    }

    /// Notes that a destination took something. Whether it was paused.
    pub(super) fn works(&self, name: &DestinationName) -> bool {
        let mut all = self.all();
        let Some(known) = all.get_mut(name) else { return false };
        let paused = matches!(known.state, State::Paused { .. });
        if paused {
            known.state = State::Active;
        }
        paused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_stopped_stays_stopped_whatever_the_platform_says() {
        let (status, name) = (Status::default(), DestinationName::new("meta").expect("valid"));
        let now = Time::from_secs(1_763_626_500);
        let (failure, pause) = (Failure::default(), OperatorPause { reason: "audit".into(), since: now });
        assert!(status.refused(&name, failure.clone(), now), "news");
        assert!(!status.refused(&name, failure.clone(), now.plus(std::time::Duration::from_secs(9))));
        assert_eq!(status.of(&name), State::Paused { reason: failure.clone(), since: now });
        status.stop(&name, pause.clone());
        assert!(!status.refused(&name, failure.clone(), now) && !status.works(&name));
        assert_eq!(status.of(&name), State::Stopped(pause));
        status.go_on(&name);
        assert_eq!(status.of(&name), State::Active);
        assert!(status.refused(&name, failure.clone(), now));
        status.go_on(&name);
        assert_eq!(status.of(&name), State::Paused { reason: failure, since: now }, "until a probe works");
        assert!(status.works(&name));
        assert_eq!(status.of(&name), State::Active);
    }
}
