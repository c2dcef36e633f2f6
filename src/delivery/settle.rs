//! What followed for deliveries, made durable and counted.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{
    send::{INLINE_MAX, blocking, unless_panicked},
    worker::{LEASE_GRACE, STORE_AGAIN, Transport, Worker},
};
use crate::{
    destinations::{HttpRequest, Request},
    model::{Attempt, Failure, FailureClass, FileMark, Outcome, SealedEvent},
    store::{Exhibit, LeaseKey, Settlement, Step},
};

/// Dead letters of one request share this for the copies of its answer.
const ANSWERS_BYTES_MAX: usize = 4 << 20;
/// But get at least this each.
const ANSWER_BYTES_MIN: usize = 1 << 10;

/// What follows for deliveries, to be recorded in one durable write.
#[derive(Default)]
pub(super) struct Conclusion {
    pub(super) attempt: Option<Attempt>,
    pub(super) steps: Vec<(LeaseKey, Step)>,
    pub(super) mark: Option<FileMark>,
    pub(super) exhibits: Vec<(LeaseKey, Exhibit)>,
}

impl Worker {
    /// Records what followed. Rows that cannot be recorded are taken back; other outcomes are kept trying, as the
    /// platform has the events already.
    pub(super) async fn settle(&self, conclusion: Conclusion) {
        let at = self.tools.clock.now();
        let Conclusion { attempt, steps, mark, exhibits } = conclusion;
        let settlement = Settlement { destination: self.place.id, at, attempt, steps, mark, exhibits };
        let give_up = at.plus(LEASE_GRACE);
        loop {
            match self.tools.store.settle(settlement.clone()).await {
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(destination = %self.place.name, %error, "cannot record outcomes");
                    if settlement.mark.is_some() {
                        self.take_back_unsettled().await;
                    } else if self.tools.clock.now() < give_up {
                        tokio::time::sleep(STORE_AGAIN).await;
                        continue;
                    }
                    let keys: Vec<LeaseKey> = settlement.steps.iter().map(|(key, _)| *key).collect();
                    self.tools.store.release(self.place.id, &keys);
                    let now = self.tools.clock.now();
                    self.rest(now, now.plus(STORE_AGAIN));
                    return;
                }
            }
        }
        self.keep_order(&settlement.steps);
        self.count(&settlement.steps);
    }

    /// Cuts off rows that were written and could not be recorded: they are written again.
    pub(super) async fn take_back_unsettled(&self) {
        let Transport::File(sink) = &self.transport else { return };
        let mark = self.tools.store.mark(self.place.id);
        if let Err(error) = blocking(sink, move |sink| sink.roll_back(mark.as_ref())).await {
            tracing::error!(destination = %self.place.name, %error, "cannot take back unsettled rows");
        }
    }

    fn keep_order(&self, steps: &[(LeaseKey, Step)]) {
        let mut order = self.order();
        for (key, step) in steps {
            match step {
                Step::Ended(_) => order.ended(key.event),
                Step::Again { due, .. } => order.again(key.event, *due),
                Step::Wait { .. } | Step::Sending => {}
            }
        }
    }

    fn count(&self, steps: &[(LeaseKey, Step)]) {
        let (name, metrics) = (&self.place.name, &self.tools.metrics);
        let (mut plain, mut dead) = (BTreeMap::<_, u64>::new(), BTreeMap::<_, (FailureClass, &Failure, u64)>::new());
        for (_, step) in steps {
            match step {
                Step::Ended(Outcome::Delivered) => *plain.entry(("delivered", "")).or_default() += 1,
                Step::Ended(Outcome::Skipped(reason)) => *plain.entry(("skipped", reason.as_str())).or_default() += 1,
                Step::Ended(Outcome::Expired) => *plain.entry(("expired", "")).or_default() += 1,
                Step::Ended(Outcome::Dead { class, failure }) => {
                    dead.entry((class.as_str(), &failure.code)).or_insert((*class, failure, 0)).2 += 1;
                }
                Step::Wait { .. } | Step::Sending => {}
                Step::Again { failure, .. } => metrics.retried(name, &failure.code, 1),
            }
        }
        for ((outcome, reason), count) in plain {
            metrics.ended(name, outcome, reason, count);
        }
        for ((_, code), (class, failure, events)) in dead {
            let Failure { field, message, .. } = failure;
            metrics.died(name, class, code, events);
            match class {
                FailureClass::Event => {
                    tracing::warn!(destination = %name, events, code, field, message, "events dead-lettered");
                }
                FailureClass::Unknown => {
                    tracing::warn!(destination = %name, events, message, "events dead-lettered: nobody knows whether the platform has them");
                }
                FailureClass::Settings => {
                    tracing::error!(destination = %name, events, code, field, message, "events dead-lettered because of our settings: correct them, then replay these events");
                }
            }
        }
        let again = steps.iter().find_map(|(_, step)| match step {
            Step::Again { failure, due, .. } => Some((failure, due)),
            Step::Ended(_) | Step::Wait { .. } | Step::Sending => None,
        });
        if let Some((failure, due)) = again {
            let Failure { code, message, .. } = failure;
            tracing::warn!(destination = %name, events = steps.len(), code, message, %due, "to be tried again");
        }
    }

    /// What dead letters failed with: the request of each alone, and the answer.
    pub(super) async fn exhibits(
        &self,
        dead: Vec<(LeaseKey, SealedEvent)>,
        request: Option<Bytes>,
        answer: Bytes,
    ) -> Vec<(LeaseKey, Exhibit)> {
        if dead.is_empty() {
            return Vec::new();
        }
        let room = (ANSWERS_BYTES_MAX / dead.len()).max(ANSWER_BYTES_MIN);
        let answer = answer.slice(..answer.len().min(room));
        let destination = Arc::clone(&self.place.destination);
        let few = dead.len() <= INLINE_MAX;
        let work = move || {
            let exhibit = |(key, event): (LeaseKey, SealedEvent)| {
                let request = request.clone().unwrap_or_else(|| body_of(destination.prepare(&[event])));
                (key, Exhibit::new(&request, &answer))
            };
            dead.into_iter().map(exhibit).collect()
        };
        if few {
            return work();
        }
        unless_panicked(tokio::task::spawn_blocking(work).await)
    }

    pub(super) fn exhibit(&self, event: &SealedEvent, request: Option<Bytes>, answer: &[u8]) -> Exhibit {
        let alone = || body_of(self.place.destination.prepare(std::slice::from_ref(event)));
        Exhibit::new(&request.unwrap_or_else(alone), answer)
    }
}

/// What a dead letter shows of a request.
fn body_of(request: Request) -> Bytes {
    match request {
        Request::Http(HttpRequest { body, .. }) => body,
        Request::Rows(rows) => Bytes::from(rows.rows),
    }
}
