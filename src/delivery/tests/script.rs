//! A store that says what a test wants about other events, receipts and deadlines, and keeps what it is told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::*;
use crate::{
    model::{Awaited, EventId, FileMark, IdentityKey, NewEvent, TransactionId, VisitorId},
    store::{
        Accepted, Answer, Audit, Balance, Ended, Exhibit, Forget, Forgotten, Health, LeaseKey, Receipt, Reported,
        Requeue, Settlement, Spill, Standing, StoreError, Takes, Timeline, Waiting,
    },
};

/// What a test sets, and what it was told.
#[derive(Default)]
pub(super) struct Script {
    pub(super) original: Option<(SealedEvent, Standing)>,
    pub(super) changes: Vec<SealedEvent>,
    pub(super) expiring: u64,
    pub(super) expired: Vec<Leased>,
    pub(super) receipts: Vec<Receipt>,
    pub(super) paused: Option<OperatorPause>,
    pub(super) failed: bool,
    pub(super) deferred: Vec<Time>,
    pub(super) exhibits: Vec<Exhibit>,
    pub(super) reports: Vec<(u64, Answer)>,
}

/// Everything else is left to the store behind it.
pub(super) struct Scripted {
    inner: Arc<dyn EventStore>,
    script: Mutex<Script>,
}

impl Scripted {
    pub(super) fn new(inner: Arc<dyn EventStore>) -> Self {
        Self { inner, script: Mutex::default() }
    }

    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl EventStore for Scripted {
    async fn settle(&self, settlement: Settlement) -> Result<usize, StoreError> {
        self.script().exhibits.extend(settlement.exhibits.iter().map(|(_, exhibit)| exhibit.clone()));
        self.inner.settle(settlement).await
    }

    fn defer(&self, destination: DestinationId, keys: &[LeaseKey], due: Time) {
        self.script().deferred.extend(keys.iter().map(|_| due));
        self.inner.defer(destination, keys, due);
    }

    fn hold(&self, destination: DestinationId, keys: &[LeaseKey], until: Time) -> Vec<LeaseKey> {
        self.inner.hold(destination, keys, until)
    }

    fn expiring(&self, _: DestinationId, _: Time) -> u64 {
        self.script().expiring
    }

    async fn lease_expired(&self, _: DestinationId, max: usize, _: Time, _: Time) -> Result<Vec<Leased>, StoreError> {
        let mut script = self.script();
        let count = script.expired.len().min(max);
        Ok(script.expired.drain(..count).collect())
    }

    async fn original(
        &self,
        _: DestinationId,
        _: &TransactionId,
        names: &[EventName],
    ) -> Result<Option<(SealedEvent, Standing)>, StoreError> {
        assert!(names.iter().all(|name| !name.is_change()) && !names.is_empty(), "{names:?}");
        Ok(self.script().original.clone())
    }

    async fn changes(&self, _: &TransactionId) -> Result<Vec<SealedEvent>, StoreError> {
        Ok(self.script().changes.clone())
    }

    fn paused(&self, _: DestinationId) -> Option<OperatorPause> {
        self.script().paused.clone()
    }

    async fn receipts(&self, _: DestinationId, _: Time, max: usize) -> Result<Vec<Receipt>, StoreError> {
        Ok(self.script().receipts.iter().take(max).cloned().collect())
    }

    fn next_receipt(&self, _: DestinationId) -> Option<Time> {
        self.script().receipts.first().map(|receipt| receipt.sent_at)
    }

    async fn report(&self, _: DestinationId, receipt: u64, answer: Answer) -> Result<(), StoreError> {
        self.script().reports.push((receipt, answer));
        Ok(())
    }

    async fn register(&self, names: &[DestinationName]) -> Result<Vec<DestinationId>, StoreError> {
        self.inner.register(names).await
    }

    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Accepted>, StoreError> {
        self.inner.accept(events).await
    }

    async fn waiting_for(&self, awaited: &Awaited) -> Result<Vec<Waiting>, StoreError> {
        self.inner.waiting_for(awaited).await
    }

    fn visitor_of(&self, keys: &[IdentityKey]) -> Result<Option<(VisitorId, IdentityKey)>, StoreError> {
        self.inner.visitor_of(keys)
    }

    fn awaited(&self) -> Vec<Awaited> {
        self.inner.awaited()
    }

    async fn complete(&self, event: u64, completed: NewEvent) -> Result<(), StoreError> {
        self.inner.complete(event, completed).await
    }

    async fn lease(&self, id: DestinationId, max: usize, now: Time, until: Time) -> Result<Vec<Leased>, StoreError> {
        self.inner.lease(id, max, now, until).await
    }

    fn release(&self, destination: DestinationId, keys: &[LeaseKey]) {
        self.inner.release(destination, keys);
    }

    async fn pause(&self, id: DestinationId, pause: Option<OperatorPause>) -> Result<(), StoreError> {
        self.inner.pause(id, pause).await
    }

    async fn dead_letters(&self, id: DestinationId, after: u64, max: usize) -> Result<Vec<Ended>, StoreError> {
        self.inner.dead_letters(id, after, max).await
    }

    async fn ended(
        &self,
        id: DestinationId,
        from: Time,
        to: Time,
        after: u64,
        max: usize,
    ) -> Result<Vec<Ended>, StoreError> {
        self.inner.ended(id, from, to, after, max).await
    }

    async fn requeue(&self, requeue: Requeue) -> Result<u64, StoreError> {
        self.inner.requeue(requeue).await
    }

    async fn discard(&self, id: DestinationId, events: &[u64], reason: String, at: Time) -> Result<u64, StoreError> {
        self.inner.discard(id, events, reason, at).await
    }

    async fn spill(
        &self,
        from: DestinationId,
        to: DestinationId,
        takes: Takes,
        max: usize,
        at: Time,
    ) -> Result<Spill, StoreError> {
        self.inner.spill(from, to, takes, max, at).await
    }

    fn reported(&self, destination: DestinationId) -> Reported {
        self.inner.reported(destination)
    }

    async fn audit(&self) -> Result<Audit, StoreError> {
        self.inner.audit().await
    }

    async fn forget(&self, forget: &Forget, at: Time) -> Result<Forgotten, StoreError> {
        self.inner.forget(forget, at).await
    }

    fn next_due(&self, destination: DestinationId) -> Option<Time> {
        self.inner.next_due(destination)
    }

    fn due(&self, destination: DestinationId, now: Time, enough: usize) -> usize {
        self.inner.due(destination, now, enough)
    }

    async fn changed(&self, destination: DestinationId) {
        self.inner.changed(destination).await;
    }

    fn mark(&self, destination: DestinationId) -> Option<FileMark> {
        self.inner.mark(destination)
    }

    async fn timeline(&self, id: &EventId) -> Result<Option<Timeline>, StoreError> {
        self.inner.timeline(id).await
    }

    fn balance(&self) -> Balance {
        self.inner.balance()
    }

    fn oldest(&self, destination: DestinationId) -> Option<Time> {
        self.inner.oldest(destination)
    }

    async fn retain(&self, now: Time) -> Result<(), StoreError> {
        self.inner.retain(now).await
    }

    fn health(&self) -> Health {
        if self.script().failed { Health::Failed("full".into()) } else { self.inner.health() }
    }

    async fn recover(&self) -> Result<(), StoreError> {
        self.inner.recover().await
    }

    fn metrics(&self) -> &crate::store::Metrics {
        self.inner.metrics()
    }
}
