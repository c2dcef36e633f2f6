//! Order inside one transaction: a refund or a restatement goes out only after the conversion that it changes was
//! delivered, and one change of a transaction after the other.
//!
//! What waits is looked at again and again. That it waits is recorded once, so that the timeline tells; after that it only
//! waits in memory, and a restart makes it look at once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use rust_decimal::Decimal;

use super::worker::Worker;
use crate::{
    destinations::Original,
    model::{Change, Currency, Money, SealedEvent, SkipReason, Time, TransactionId, WaitReason},
    store::{Standing, StoreError},
};

/// A conversion that is queued is on its way: how soon to look again, at first and at most.
const QUEUED_LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A dead letter waits for a person.
const DEAD_LOOKS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15 * 60));
/// How long a change waits for a conversion that nobody has reported.
const UNREPORTED_MAX: Duration = Duration::from_secs(3600);
/// How much longer than until its next try a change keeps its place before later ones of its transaction.
const PLACE_GRACE: Duration = Duration::from_secs(600);
/// The most deliveries, and transactions, that are kept in mind. Forgetting one costs a record, or at worst an order.
const KEPT_MAX: usize = 50_000;

/// What the worker keeps in mind about changes.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// How often each waiting delivery was looked at, by its event.
    looks: HashMap<u64, u32>,
    /// Transactions with a change under way: its event, and until when it has the place.
    under_way: HashMap<TransactionId, (u64, Time)>,
    /// The same by the event.
    places: BTreeMap<u64, TransactionId>,
}

/// Whether a change may go now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It may; it carries what it changes, if that is known.
    Go,
    /// It has to wait, and that is to be recorded.
    Wait(Time, WaitReason),
    /// It still has to wait.
    Defer(Time),
    /// It never will.
    Skip(SkipReason),
}

impl Order {
    fn wait(&mut self, event: u64, now: Time, (first, most): (Duration, Duration)) -> Turn {
        if self.looks.len() >= KEPT_MAX {
            self.looks.clear();
        }
        let looks = self.looks.entry(event).or_default();
        let due = now.plus((first * 2_u32.saturating_pow(*looks)).min(most));
        *looks = (*looks + 1).min(16);
        if *looks == 1 { Turn::Wait(due, WaitReason::Original) } else { Turn::Defer(due) }
    }

    /// Gives the place of `transaction` to `event`, unless another change has it.
    fn take_place(&mut self, transaction: &TransactionId, event: u64, now: Time, until: Time) -> bool {
        if self.under_way.get(transaction).is_some_and(|&(other, held)| other != event && held > now) {
            return false;
        }
        if self.under_way.len() >= KEPT_MAX {
            self.under_way.retain(|_, (_, held)| *held > now);
            let kept = &self.under_way;
            self.places.retain(|event, transaction| kept.get(transaction).is_some_and(|(other, _)| other == event));
        }
        if self.under_way.len() < KEPT_MAX {
            if let Some((other, _)) = self.under_way.insert(transaction.clone(), (event, until)) {
                self.places.remove(&other);
            }
            self.places.insert(event, transaction.clone());
        }
        true
    }

    /// Forgets a delivery that has ended.
    pub(super) fn ended(&mut self, event: u64) {
        self.looks.remove(&event);
        if let Some(transaction) = self.places.remove(&event) {
            self.under_way.remove(&transaction);
        }
    }

    /// Keeps the place of a delivery that is tried again at `due`.
    pub(super) fn again(&mut self, event: u64, due: Time) {
        let place = self.places.get(&event).and_then(|transaction| self.under_way.get_mut(transaction));
        if let Some((_, until)) = place {
            *until = due.plus(PLACE_GRACE);
        }
    }
}

impl Worker {
    pub(super) fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is the turn of a change, the store's number of which is `number`; then what it changes is attached to it.
    /// The lease ends at `until`.
    ///
    /// # Errors
    /// Of the store.
    pub(super) async fn turn(
        &self,
        number: u64,
        event: &mut SealedEvent,
        now: Time,
        until: Time,
    ) -> Result<Turn, StoreError> {
        let Some(transaction) = event.transaction_id.clone() else { return Ok(Turn::Go) };
        let store = &self.tools.store;
        let names: Vec<_> = self.place.events.iter().filter(|name| !name.is_change()).cloned().collect();
        let needs = self.place.destination.original(event);
        let found = if names.is_empty() { None } else { store.original(self.place.id, &transaction, &names).await? };
        match (found, needs) {
            // Without any name, its conversions go to the platform another way, as with a file of adjustments only.
            (None, Original::Here | Original::Elsewhere)
                if !names.is_empty() && now < event.received_at.plus(UNREPORTED_MAX) =>
            {
                return Ok(self.order().wait(number, now, QUEUED_LOOKS));
            }
            (Some((_, Standing::Queued)), Original::Here | Original::Unneeded) => {
                return Ok(self.order().wait(number, now, QUEUED_LOOKS));
            }
            // If its operator sends it after all, the change comes after it; if he discards it, the change is free.
            (Some((_, Standing::Dead)), Original::Here | Original::Unneeded) => {
                return Ok(self.order().wait(number, now, DEAD_LOOKS));
            }
            (Some((_, Standing::Over)), Original::Here) => return Ok(Turn::Skip(SkipReason::NoOriginal)),
            (None, _) => {}
            (Some((original, _)), Original::Unneeded) => tell_whose(event, &original),
            (Some((original, _)), Original::Here | Original::Elsewhere) => {
                let changes = store.changes(&transaction).await?;
                // Whichever of them is sent last, or again, says what is left by now.
                let latest = changes.last().filter(|_| changes.iter().any(|other| other.event_id == event.event_id));
                let worth = worth(&original, &changes, latest.unwrap_or(event));
                event.time = after_the_others(&changes, event);
                event.change = Some(Box::new(Change { original, worth }));
                let hold = self.place.destination.hold(event).filter(|(until, _)| *until > now);
                if let Some((until, reason)) = hold {
                    return Ok(Turn::Wait(until, reason));
                }
            }
        }
        let mut order = self.order();
        if order.take_place(&transaction, number, now, until) {
            return Ok(Turn::Go);
        }
        Ok(order.wait(number, now, QUEUED_LOOKS))
    }
}

/// A refund seldom tells whose it is; its conversion does. What was bought is what came back only if the whole value did.
fn tell_whose(change: &mut SealedEvent, original: &SealedEvent) {
    let in_part = change.name.is_refund() && change.money.is_some() && change.money != original.money;
    let items = in_part.then(|| change.items.clone());
    change.fill_from(original);
    if let Some(items) = items {
        change.items = items;
    }
}

/// The time that `change` is told with: later than those accepted before it, by the second that platforms count in. They
/// would take one that is not newer for the old state of things.
fn after_the_others(changes: &[SealedEvent], change: &SealedEvent) -> Time {
    let before = changes.iter().take_while(|other| other.event_id != change.event_id);
    let second = Duration::from_secs(1);
    let told = before.fold(None, |told: Option<Time>, other| {
        Some(told.map_or(other.time, |last| other.time.max(last.plus(second))))
    });
    told.map_or(change.time, |last| change.time.max(last.plus(second)))
}

/// What `original` is worth after all of `changes` (those of its transaction, as they were accepted) up to `change`.
///
/// The latest restatement says what it was worth without refunds; every refund takes away its value, or everything if it
/// names none. `None` when that cannot be said: there never was a value, or a refund is in another currency.
fn worth(original: &SealedEvent, changes: &[SealedEvent], change: &SealedEvent) -> Option<Money> {
    let known = changes.iter().position(|other| other.event_id == change.event_id);
    let (before, this) = match known {
        Some(at) => (&changes[..=at], None),
        None => (changes, Some(change)),
    };
    let all = || before.iter().chain(this);
    let (refunds, restatements): (Vec<_>, Vec<_>) = all().partition(|change| change.name.is_refund());
    let base = restatements.iter().rev().find_map(|change| change.money).or(original.money);
    if refunds.iter().any(|refund| refund.money.is_none()) {
        let refunded = refunds.iter().find_map(|refund| refund.money);
        let currency = base.or(refunded).map(|money| money.currency());
        // Nothing is nothing in every currency; platforms still want one.
        let currency = currency.or_else(|| Currency::parse("USD").ok())?;
        return Money::new(Decimal::ZERO, currency).ok();
    }
    let base = base?;
    let mut left = base.amount();
    for refund in refunds.iter().filter_map(|refund| refund.money) {
        if refund.currency() != base.currency() {
            return None;
        }
        left = left.checked_sub(refund.amount())?.max(Decimal::ZERO);
    }
    Money::new(left, base.currency()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse_decimal;

    const NOW: Time = Time::from_secs(1_763_626_500);

    fn event(name: &str, id: &str, value: Option<(&str, &str)>) -> SealedEvent {
        let mut event = super::super::tests::event(name, id);
        event.money = value.map(|(amount, currency)| {
            let amount = parse_decimal(amount).expect("a number");
            Money::new(amount, Currency::parse(currency).expect("known")).expect("valid")
        });
        event
    }

    fn text(money: Option<Money>) -> Option<String> {
        money.map(|money| format!("{money:?}"))
    }

    #[test]
    fn a_refund_in_part_gives_back_no_goods_that_it_does_not_name() {
        let item = |id: &str| crate::model::Item { id: Some(id.to_owned()), name: None, quantity: None, price: None };
        let mut purchase = event("purchase", "p", Some(("50.00", "USD")));
        purchase.items = vec![item("mug"), item("cup")];
        let goods = |value: Option<&str>, named: &[&str]| {
            let mut refund = event("refund", "r", value.map(|value| (value, "USD")));
            refund.items = named.iter().map(|id| item(id)).collect();
            tell_whose(&mut refund, &purchase);
            refund.items.len()
        };
        assert_eq!((goods(Some("20.00"), &[]), goods(Some("20.00"), &["mug"])), (0, 1));
        assert_eq!((goods(Some("50.00"), &[]), goods(None, &[])), (2, 2));
    }

    #[test]
    fn what_is_left_is_the_latest_value_less_every_refund_up_to_the_change() {
        let usd = |amount| Some((amount, "USD"));
        let purchase = event("purchase", "p", usd("50.00"));
        let changes = [
            event("refund", "r1", usd("10.00")),
            event("restatement", "s1", usd("60.00")),
            event("refund", "r2", usd("15.50")),
            event("refund", "r3", usd("100.00")),
            event("refund", "r4", None),
            event("restatement", "s2", usd("70.00")),
        ];
        for (i, expected) in
            ["40.00 USD", "50.00 USD", "34.50 USD", "0.00 USD", "0.00 USD", "0.00 USD"].iter().enumerate()
        {
            let left = worth(&purchase, &changes, &changes[i]);
            assert_eq!(text(left).as_deref(), Some(*expected), "after {}", changes[i].event_id);
        }
        let unlisted = event("refund", "r9", usd("1.00"));
        assert_eq!(text(worth(&purchase, &changes[..1], &unlisted)).as_deref(), Some("39.00 USD"));
    }

    #[test]
    fn each_change_is_told_with_a_later_time_than_those_before_it() {
        let at =
            |id, seconds| SealedEvent { time: NOW.plus(Duration::from_secs(seconds)), ..event("refund", id, None) };
        let changes = [at("a", 50), at("b", 50), at("c", 7), at("d", 90)];
        let told = |i: usize| after_the_others(&changes, &changes[i]).since(NOW).as_secs();
        assert_eq!([told(0), told(1), told(2), told(3)], [50, 51, 52, 90]);
        let unlisted = at("e", 10);
        assert_eq!(after_the_others(&changes[..1], &unlisted).since(NOW).as_secs(), 51);
    }

    #[test]
    fn what_cannot_be_told_is_not_guessed() {
        let refund = event("refund", "r", Some(("10.00", "EUR")));
        let purchase = event("purchase", "p", Some(("50.00", "USD")));
        assert_eq!(worth(&purchase, &[], &refund), None, "another currency");
        let restated = event("restatement", "s", Some(("45.00", "EUR")));
        assert_eq!(text(worth(&purchase, &[restated], &refund)).as_deref(), Some("35.00 EUR"), "restated in that one");
        let without = event("purchase", "p", None);
        assert_eq!(worth(&without, &[], &refund), None, "never had a value");
        let whole = event("refund", "r2", None);
        let change = Change { worth: worth(&without, &[], &whole), original: without };
        assert!(change.is_total(), "but refunded as a whole nothing is left of it");
        assert_eq!(text(worth(&purchase, &[refund], &whole)).as_deref(), Some("0.00 USD"));
    }

    #[test]
    fn looking_again_is_recorded_once_and_becomes_rarer() {
        let mut order = Order::default();
        let seconds = |turn: &Turn| match turn {
            Turn::Wait(due, WaitReason::Original) | Turn::Defer(due) => due.since(NOW).as_secs(),
            other => panic!("{other:?}"),
        };
        let turns: Vec<Turn> = (0..40).map(|_| order.wait(7, NOW, QUEUED_LOOKS)).collect();
        assert!(matches!(turns[0], Turn::Wait(..)), "the first is for the timeline");
        assert!(turns[1..].iter().all(|turn| matches!(turn, Turn::Defer(_))));
        let waits: Vec<u64> = turns.iter().map(seconds).collect();
        assert_eq!(waits[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(waits[39], 60);
        order.ended(7);
        assert!(matches!(order.wait(7, NOW, DEAD_LOOKS), Turn::Wait(..)));
    }

    #[test]
    fn changes_of_one_transaction_go_one_after_the_other() {
        let (mut order, minute) = (Order::default(), Duration::from_secs(60));
        let id = |text: &str| TransactionId::new(text).expect("valid");
        assert!(order.take_place(&id("1"), 10, NOW, NOW.plus(minute)));
        assert!(order.take_place(&id("2"), 11, NOW, NOW.plus(minute)), "others do not wait");
        assert!(!order.take_place(&id("1"), 12, NOW, NOW.plus(minute)));
        order.again(10, NOW.plus(minute * 30));
        assert!(!order.take_place(&id("1"), 12, NOW.plus(minute * 31), NOW.plus(minute * 32)), "it is tried again");
        assert!(order.take_place(&id("1"), 10, NOW.plus(minute * 31), NOW.plus(minute * 32)));
        order.ended(10);
        assert!(order.take_place(&id("1"), 12, NOW.plus(minute * 31), NOW.plus(minute * 32)));
        let later = NOW.plus(minute * 33);
        assert!(order.take_place(&id("1"), 13, later, later.plus(minute)), "one that went away blocks nobody for good");
        order.ended(12);
        assert!(!order.take_place(&id("1"), 14, later, later.plus(minute)), "and takes nobody's place with it");
    }
}
