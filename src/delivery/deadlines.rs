//! Deadlines: what is past its own ends `expired`, whenever it would have been tried again; before that, its operator is
//! warned. Also while the destination is paused or stopped: then nobody else looks.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{settle::Conclusion, unknown, worker::Worker};
use crate::{
    model::{Outcome, Time},
    store::{Leased, Step},
};

/// How often deadlines are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often the log warns.
const WARN_EVERY: Duration = Duration::from_secs(3600);
/// Deliveries that are ended in one durable write.
const AT_ONCE: usize = 1000;

impl Worker {
    /// Looks at the deadlines until `stopped`.
    pub(super) async fn watch_deadlines(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut warned_at = None;
        while !*stopped.borrow() {
            let now = self.tools.clock.now();
            self.expire(now).await;
            self.warn_of_deadlines(now, &mut warned_at);
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// Ends what is past its deadline.
    pub(super) async fn expire(&self, now: Time) {
        loop {
            let until = now.plus(LOOK_EVERY);
            let leased = match self.tools.store.lease_expired(self.place.id, AT_ONCE, now, until).await {
                Ok(leased) => leased,
                Err(error) => {
                    tracing::error!(destination = %self.place.name, %error, "cannot look for expired deliveries");
                    return;
                }
            };
            let all = leased.len() < AT_ONCE;
            if !leased.is_empty() {
                let destination = &self.place.destination;
                let travel = destination.profile().timeout;
                let end = |leased: Leased| {
                    let dedupe = destination.dedupe(&leased.event);
                    let since = leased.unknown_since.filter(|&since| unknown::is_too_late(dedupe, since, now, travel));
                    (leased.key, Step::Ended(since.map_or(Outcome::Expired, unknown::outcome)))
                };
                let steps = leased.into_iter().map(end).collect();
                self.settle(Conclusion { steps, ..Conclusion::default() }).await;
            }
            if all {
                return;
            }
        }
    }

    fn warn_of_deadlines(&self, now: Time, warned_at: &mut Option<Time>) {
        let count = self.tools.store.expiring(self.place.id, now.plus(self.tools.config.warn_before));
        self.tools.metrics.deadline_soon(&self.place.name, count);
        // A clock that went back does not silence it.
        let due = warned_at.is_none_or(|at| now < at || now.since(at) >= WARN_EVERY);
        if count > 0 && due {
            let within = self.tools.config.warn_before;
            tracing::warn!(destination = %self.place.name, deliveries = count, ?within, "deadlines are near: what is not delivered by then expires");
            *warned_at = Some(now);
        }
    }
}
