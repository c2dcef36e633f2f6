//! The upper half of the diagram: what happens to an event between its parsing and its acknowledgement. No network.
//!
//! ```text
//! RawEvent ─▶ hash ─▶ find the visitor ─▶ attribute ─▶ route and consent ─▶ NewEvent ─▶ store
//! ```

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::{
    attribution,
    context::{self, Found},
    delivery,
    destinations::{Destination, OnUnknownConsent},
    model::{
        ActionSource, Awaited, Choice, ClickRule, Clock, Context, DestinationId, DestinationName, Digest, EventId,
        EventName, IdentityKey, IdentityKind, Item, JoinedBy, Lookup, Money, NewDelivery, NewEvent, NewState,
        Observation, Place, Properties, RawEvent, SealedEvent, Sensitive, SkipReason, SourceName, Time, TransactionId,
        Utm, Visitor, VisitorId, WaitReason,
    },
    privacy::{
        self, Country,
        scrub::{self, Posted},
    },
    store::{Accepted, StoreError, Stores, Waiting},
    tracking::Twins,
};

/// Larger batches are sealed where blocking is allowed.
const INLINE_MAX: usize = 16;
/// Between a conversion and its browser's telling of it lies no more than this.
const TOLD_WITHIN: Duration = Duration::from_secs(3600);
/// Lookups that may be wanted at once without being looked for on disk.
const LOOKUPS_MAX: usize = 1024;

/// Settings of the pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Region of phone numbers written without a country code; `[intake] default_country`.
    pub default_country: Option<Country>,
    /// How long an event waits for the visit of the visitor it names; `[join] wait_for_visit`.
    pub wait_for_visit: Duration,
}

/// Where events may go, and which.
pub struct Route {
    /// The destination's name.
    pub name: DestinationName,
    /// The store's number for it.
    pub id: DestinationId,
    /// Its rules.
    pub destination: Arc<dyn Destination>,
    /// The events it maps.
    pub events: BTreeSet<EventName>,
    /// The sources it takes from; `None` for all.
    pub sources: Option<HashSet<SourceName>>,
    /// What to do when nobody told what the visitor allowed.
    pub on_unknown_consent: OnUnknownConsent,
    /// Whether it gets only what another destination hands over to it.
    pub fallback: bool,
    /// Which of the visitor's clicks it takes.
    pub click: ClickRule,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IntakeLabels {
    source: String,
    status: &'static str,
}

/// What the pipeline counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    events: Family<IntakeLabels, Counter>,
    visits: Counter,
    completed: Counter,
}

impl Metrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("events", "Events by source and what became of them at intake", self.events.clone());
        registry.register("visits", "Visits stored", self.visits.clone());
        registry.register("late_joins", "Events completed by a visit that came after them", self.completed.clone());
    }

    /// Counts an event that was answered with `status`.
    pub fn answered(&self, source: &SourceName, status: &'static str) {
        self.events.get_or_create(&IntakeLabels { source: source.to_string(), status }).inc();
    }
}

/// Joins, seals, routes and stores events.
pub struct Pipeline {
    stores: Stores,
    routes: Vec<Route>,
    /// By which clicks are chosen: every destination's rule, each once.
    rules: Vec<ClickRule>,
    config: Config,
    clock: Arc<dyn Clock>,
    /// What it counts.
    pub metrics: Metrics,
    /// Conversions that servers and browsers told of.
    pub twins: Twins,
    outcomes: delivery::Metrics,
    lookups: mpsc::Sender<Lookup>,
    wanted: Mutex<Option<mpsc::Receiver<Lookup>>>,
}

impl Pipeline {
    /// A pipeline into these stores and routes. Deliveries that end before they begin are counted in `outcomes`.
    #[must_use]
    pub fn new(
        stores: Stores,
        routes: Vec<Route>,
        config: Config,
        clock: Arc<dyn Clock>,
        outcomes: delivery::Metrics,
    ) -> Self {
        let (lookups, wanted) = mpsc::channel(LOOKUPS_MAX);
        let wanted = Mutex::new(Some(wanted));
        let mut rules: BTreeSet<ClickRule> = routes.iter().map(|route| route.click).collect();
        if rules.is_empty() {
            // A destination may be added later, and be sent what came before.
            rules.insert(attribution::DEFAULT_RULE);
        }
        Self {
            stores,
            routes,
            rules: rules.into_iter().collect(),
            config,
            clock,
            metrics: Metrics::default(),
            twins: Twins::default(),
            outcomes,
            lookups,
            wanted,
        }
    }

    /// The lookups that newly accepted events wait for, for the one who does them; `None` for everybody after the first.
    pub fn wanted_lookups(&self) -> Option<mpsc::Receiver<Lookup>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Where events may go.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Brings events to where they are durable. One answer for each, in their order. One that reports a known conversion
    /// with another value is accepted as a restatement of that, which the answer [`Accepted::Restates`] then holds.
    ///
    /// # Errors
    /// Of the store; then none of these events was acknowledged, and all may be sent again.
    pub async fn accept(self: &Arc<Self>, events: Vec<RawEvent>) -> Result<Vec<Accepted>, StoreError> {
        let sources: Vec<SourceName> = events.iter().map(|event| event.source.clone()).collect();
        let values: Vec<Option<Money>> = events.iter().map(|event| event.money).collect();
        let new = self.seal_all(events).await?;
        let awaited: Vec<Awaited> = new.iter().filter_map(|new| new.waits_for.clone()).collect();
        let deliveries: Vec<Vec<NewDelivery>> = new.iter().map(|new| new.deliveries.clone()).collect();
        let conversions: Vec<_> = new.iter().map(|new| self.conversion(&new.event)).collect();
        let accepted = self.stores.events.accept(new).await?;
        let accepted = self.restate(accepted, &values).await?;
        for (answer, conversion) in accepted.iter().zip(conversions) {
            if let Some((name, digest)) = conversion.filter(|_| *answer == Accepted::New) {
                self.twins.by_server(&name, digest, self.clock.now());
            }
        }
        for ((answer, source), deliveries) in accepted.iter().zip(&sources).zip(deliveries) {
            let status = match answer {
                Accepted::New | Accepted::Restates(_) => "accepted",
                Accepted::Duplicate(_) => "duplicate",
                Accepted::Conflict(_) => "rejected",
            };
            self.metrics.answered(source, status);
            if *answer == Accepted::New {
                self.count(&deliveries);
            }
        }
        for awaited in awaited {
            match awaited {
                // Its visit may have been stored after it was looked for and before the event could be seen to wait.
                Awaited::Visit(visitor) => {
                    if let Err(error) = self.complete(&visitor).await {
                        tracing::warn!(%error, "an event was not completed with its visit");
                    }
                }
                // A full list is no loss: whoever looks up also looks through what waits.
                Awaited::Lookup(lookup) => drop(self.lookups.try_send(lookup)),
            }
        }
        Ok(accepted)
    }

    /// What a browser would have told of it too: a conversion on a website with a transaction, of a name that pages report.
    fn conversion(&self, event: &SealedEvent) -> Option<(EventName, Digest)> {
        let transaction = event.transaction_id.as_ref().filter(|_| event.action_source == ActionSource::Website)?;
        let told = !event.name.is_change() && self.twins.is_told_by_browsers(&event.name);
        let key = || IdentityKey::of_conversion(event.name.as_str(), transaction.as_str());
        told.then(|| (event.name.clone(), key().digest))
    }

    /// Accepts a restatement for each known conversion that was reported with another value.
    async fn restate(&self, mut answers: Vec<Accepted>, values: &[Option<Money>]) -> Result<Vec<Accepted>, StoreError> {
        let now = self.clock.now();
        let (mut places, mut restatements) = (Vec::new(), Vec::new());
        for (place, (answer, value)) in answers.iter_mut().zip(values).enumerate() {
            let Accepted::Restates(known) = answer else { continue };
            let known_id = known.event_id.clone();
            match value.and_then(|value| restatement(known, value, now)) {
                Some(event) => {
                    let deliveries = self.route(&event, None);
                    restatements.push(NewEvent { event, deliveries, waits_for: None });
                    places.push(place);
                }
                None => *answer = Accepted::Duplicate(known_id),
            }
        }
        if restatements.is_empty() {
            return Ok(answers);
        }
        let accepted = self.stores.events.accept(restatements.clone()).await?;
        for ((place, accepted), NewEvent { event, deliveries, .. }) in
            places.into_iter().zip(accepted).zip(restatements)
        {
            answers[place] = match accepted {
                Accepted::New => {
                    self.count(&deliveries);
                    Accepted::Restates(Box::new(event))
                }
                // The same value was reported before.
                Accepted::Restates(_) => Accepted::Duplicate(event.event_id),
                Accepted::Duplicate(_) | Accepted::Conflict(_) => accepted,
            };
        }
        Ok(answers)
    }

    /// Seals a few at once here, and many where blocking is allowed: hashing and looking up takes milliseconds then.
    async fn seal_all(self: &Arc<Self>, events: Vec<RawEvent>) -> Result<Vec<NewEvent>, StoreError> {
        if events.len() <= INLINE_MAX {
            return events.into_iter().map(|event| self.seal(event)).collect();
        }
        let pipeline = Arc::clone(self);
        let work = move || events.into_iter().map(|event| pipeline.seal(event)).collect();
        match tokio::task::spawn_blocking(work).await {
            Ok(sealed) => sealed,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Stores what was seen of a visitor, and completes the events that wait for it.
    ///
    /// # Errors
    /// Of the store.
    pub async fn visit(&self, seen: Observation) -> Result<(), StoreError> {
        let visitor = seen.visitor_id.clone();
        let landing = seen.place == Place::Landing;
        context::remember(&self.stores, seen).await?;
        self.metrics.visits.inc_by(u64::from(landing));
        self.complete(&visitor).await
    }

    /// The visitor of this id, or else the first that one of `keys` leads to.
    ///
    /// # Errors
    /// Of the store.
    pub fn visitor(&self, id: Option<&VisitorId>, keys: &[IdentityKey]) -> Result<Option<Visitor>, StoreError> {
        Ok(context::find(&self.stores, id, || keys.to_vec())?.map(|found| found.visitor))
    }

    /// Stores what was seen of several visitors, or several times of one, at once, and completes the events that wait for
    /// them. `landings` of it are counted as visits.
    ///
    /// # Errors
    /// Of the store.
    pub async fn saw(&self, seen: Vec<Observation>, landings: u64) -> Result<(), StoreError> {
        let visitors: BTreeSet<VisitorId> = seen.iter().map(|seen| seen.visitor_id.clone()).collect();
        self.stores.visits.remember(seen).await?;
        self.metrics.visits.inc_by(landings);
        for visitor in visitors {
            self.complete(&visitor).await?;
        }
        Ok(())
    }

    /// Completes events whose visit was stored just before the process died.
    ///
    /// # Errors
    /// Of the store.
    pub async fn complete_all(&self) -> Result<(), StoreError> {
        for awaited in self.stores.events.awaited() {
            if let Awaited::Visit(visitor) = awaited {
                self.complete(&visitor).await?;
            }
        }
        Ok(())
    }

    /// The lookups that events wait for.
    #[must_use]
    pub fn lookups(&self) -> Vec<Lookup> {
        let lookup = |awaited| match awaited {
            Awaited::Lookup(lookup) => Some(lookup),
            Awaited::Visit(_) => None,
        };
        self.stores.events.awaited().into_iter().filter_map(lookup).collect()
    }

    /// The events that wait for `lookup`.
    ///
    /// # Errors
    /// Of the store.
    pub async fn waiting_for(&self, lookup: &Lookup) -> Result<Vec<Waiting>, StoreError> {
        self.stores.events.waiting_for(&Awaited::Lookup(lookup.clone())).await
    }

    /// Completes an event that waits for a lookup: fills in what `learnt`, the same event as far as its source told of it,
    /// says, looks for its visitor again, and makes its deliveries due.
    ///
    /// # Errors
    /// Of the store; then the event waits on.
    pub async fn looked_up(&self, waiting: Waiting, learnt: Option<RawEvent>) -> Result<(), StoreError> {
        let mut event = waiting.sealed;
        let mut checkout_tokens = Vec::new();
        if let Some(learnt) = learnt {
            checkout_tokens.clone_from(&learnt.context.checkout_tokens);
            let (learnt, utm) = sealed(learnt, self.config.default_country);
            event.fill_from(&learnt);
            event.properties.add(&learnt.properties);
            if event.attribution.last.is_none() {
                event.attribution = attribution::attribute(None, &utm, event.time);
            }
        }
        // Its visit may have come meanwhile: it waited for nothing but the lookup.
        let keys = || lookup_keys(&event, &checkout_tokens);
        let found = context::find(&self.stores, event.visitor_id.as_ref(), keys)?;
        let its_own = |found: &Found| found.joined_by != JoinedBy::Transaction || is_its_own(&event, &found.visitor);
        if let Some(found) = found.filter(its_own) {
            join(&mut event, &found.visitor, found.joined_by, &self.rules);
        }
        let mut deliveries = self.route(&event, None);
        // What was handed over to a fallback is on its way there, and nowhere else.
        deliveries.retain(|delivery| delivery.state != NewState::Skipped(SkipReason::Fallback));
        self.stores.events.complete(waiting.event, NewEvent { event, deliveries, waits_for: None }).await
    }

    async fn complete(&self, id: &VisitorId) -> Result<(), StoreError> {
        let waiting = self.stores.events.waiting_for(&Awaited::Visit(id.clone())).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        let found = context::find(&self.stores, Some(id), Vec::new)?;
        let Some(Found { visitor, .. }) = found else { return Ok(()) };
        for waiting in waiting {
            let mut event = waiting.sealed;
            join(&mut event, &visitor, JoinedBy::VisitorId, &self.rules);
            let mut deliveries = self.route(&event, None);
            // What was handed over to a fallback is on its way there, and nowhere else.
            deliveries.retain(|delivery| delivery.state != NewState::Skipped(SkipReason::Fallback));
            self.metrics.completed.inc();
            self.stores.events.complete(waiting.event, NewEvent { event, deliveries, waits_for: None }).await?;
        }
        Ok(())
    }

    /// Finds the visitor, attributes, hashes and routes: everything but storing.
    ///
    /// # Errors
    /// Of the store.
    pub fn seal(&self, raw: RawEvent) -> Result<NewEvent, StoreError> {
        let checkout_tokens = raw.context.checkout_tokens.clone();
        let lookup = raw.lookup.clone();
        let (mut event, utm) = sealed(raw, self.config.default_country);
        let keys = || lookup_keys(&event, &checkout_tokens);
        let found = context::find(&self.stores, event.visitor_id.as_ref(), keys)?;
        let found =
            found.filter(|found| found.joined_by != JoinedBy::Transaction || is_its_own(&event, &found.visitor));
        let known = matches!(&found, Some(found) if found.joined_by == JoinedBy::VisitorId);
        let unseen = event.visitor_id.clone().filter(|_| !known && !self.config.wait_for_visit.is_zero());
        // With the answer to a lookup the visit is looked for again.
        let (waits_for, wait) = match (lookup, unseen) {
            (Some((lookup, limit)), _) => (Some(Awaited::Lookup(lookup)), Some((limit, WaitReason::Lookup))),
            (None, Some(visitor)) => {
                (Some(Awaited::Visit(visitor)), Some((self.config.wait_for_visit, WaitReason::Visit)))
            }
            (None, None) => (None, None),
        };
        event.attribution = attribution::attribute(None, &utm, event.time);
        if let Some(found) = found {
            join(&mut event, &found.visitor, found.joined_by, &self.rules);
        }
        let deliveries = self.route(&event, wait);
        Ok(NewEvent { event, deliveries, waits_for })
    }

    /// How the delivery to each destination starts; `wait` says how long for what is still to come, and why.
    fn route(&self, event: &SealedEvent, wait: Option<(Duration, WaitReason)>) -> Vec<NewDelivery> {
        let state = |route: &Route| {
            let skip = |reason| NewState::Skipped(reason);
            if route.fallback {
                return skip(SkipReason::Fallback);
            }
            if !route.events.contains(&event.name) {
                return skip(SkipReason::Unmapped);
            }
            if route.sources.as_ref().is_some_and(|sources| !sources.contains(&event.source)) {
                return skip(SkipReason::Source);
            }
            // What is still to come may bring the consent, and a change has that of its conversion; the worker asks
            // once more before it sends.
            let later = wait.is_some() || (event.name.is_change() && event.consent.ad_user_data == Choice::Unknown);
            if !later && !route.on_unknown_consent.allows(event.consent) {
                return skip(SkipReason::Consent);
            }
            let now = self.clock.now();
            let deadline = route.destination.deadline(event);
            if deadline <= now {
                return NewState::Expired;
            }
            let hold = route.destination.hold(event).filter(|(until, _)| *until > now);
            let wait = wait.map(|(span, reason)| (now.plus(span), reason));
            match [hold, wait].into_iter().flatten().max_by_key(|(until, _)| *until) {
                Some((due, reason)) => NewState::Queued { due, deadline, wait: Some(reason) },
                None => NewState::Queued { due: now, deadline, wait: None },
            }
        };
        self.routes.iter().map(|route| NewDelivery { destination: route.id, state: state(route) }).collect()
    }

    fn count(&self, deliveries: &[NewDelivery]) {
        for (delivery, route) in deliveries.iter().zip(&self.routes) {
            match delivery.state {
                NewState::Queued { .. } => {}
                NewState::Skipped(reason) => self.outcomes.ended(&route.name, "skipped", reason.as_str(), 1),
                NewState::Expired => self.outcomes.ended(&route.name, "expired", "", 1),
            }
        }
    }
}

/// Everything about the event that needs no visitor, hashed. UTM values of the event itself are kept apart: they count as
/// the last touch.
fn sealed(raw: RawEvent, default_country: Option<Country>) -> (SealedEvent, Utm) {
    let user = &raw.user;
    let posted = Posted::of(user);
    let page = |page: Option<Sensitive<String>>| page.map(|page| Sensitive::new(scrub::page(page.expose(), &posted)));
    let agent = |agent: Option<Sensitive<String>>| scrub::agent(agent?.into_inner(), &posted).map(Sensitive::new);
    let text = |text: Option<String>| text.and_then(|text| scrub::text(text, &posted));
    let items = raw.items.into_iter().map(|item| Item { id: text(item.id), name: text(item.name), ..item }).collect();
    let utm = scrub::utm(raw.context.utm, &posted);
    let context = Context {
        ip: raw.context.ip,
        user_agent: agent(raw.context.user_agent),
        url: page(raw.context.url),
        referrer: page(raw.context.referrer),
        clicks: raw.context.clicks,
        cookies: raw.context.cookies,
        choices: Vec::new(),
    };
    let properties = Properties::new(&scrub::properties(raw.properties, &posted)).unwrap_or_default();
    let event = SealedEvent {
        source: raw.source,
        name: raw.name,
        event_id: raw.event_id,
        time: raw.time,
        received_at: raw.received_at,
        visitor_id: raw.visitor_id,
        joined_by: None,
        transaction_id: raw.transaction_id,
        money: raw.money,
        action_source: raw.action_source.unwrap_or(ActionSource::Website),
        items,
        user: privacy::seal_user(user, default_country),
        context,
        attribution: Default::default(),
        consent: raw.consent,
        properties,
        change: None,
    };
    (event, utm)
}

/// The event that gives `known` another value. Everything about the person and the browser is that of `known`.
fn restatement(known: &SealedEvent, value: Money, now: Time) -> Option<SealedEvent> {
    let transaction = known.transaction_id.clone().map_or_else(|| TransactionId::new(known.event_id.as_str()), Ok);
    Some(SealedEvent {
        name: EventName::new(EventName::RESTATEMENT).ok()?,
        event_id: restatement_id(known.event_id.as_str(), &value)?,
        time: now,
        received_at: now,
        transaction_id: Some(transaction.ok()?),
        money: Some(value),
        // What was bought for the new value was not said.
        items: Vec::new(),
        properties: Properties::default(),
        change: None,
        ..known.clone()
    })
}

/// The id of the restatement that gives the conversion called `known` this value: the same for every report of it.
#[must_use]
pub fn restatement_id(known: &str, value: &Money) -> Option<EventId> {
    let id = format!("{known}.worth.{}{}", value.text(), value.currency().code());
    // One that is too long, or would look like an address, is known by its hash.
    let hashed = |id: String| {
        let hex: String = Sha256::digest(id).iter().map(|byte| format!("{byte:02x}")).collect();
        EventId::new(format!("worth.{hex}"))
    };
    EventId::new(id.clone()).or_else(|_| hashed(id)).ok()
}

/// What the visitor may be found by, in the order it is tried.
fn lookup_keys(event: &SealedEvent, checkout_tokens: &[String]) -> Vec<IdentityKey> {
    event
        .user
        .identity_keys()
        .chain(checkout_tokens.iter().map(|token| IdentityKey::of_token(IdentityKind::CheckoutToken, token)))
        .chain(IdentityKey::of_cookies(&event.context.cookies))
        .chain(event.transaction_id.iter().map(|id| IdentityKey::of_conversion(event.name.as_str(), id.as_str())))
        // A link with a click id in it gets passed on: it leads to somebody else than the visitor who is named.
        .chain(event.context.clicks.iter().filter(|_| event.visitor_id.is_none()).filter_map(IdentityKey::of_click))
        .collect()
}

/// Whether the browser that told of this conversion is likely to be that of its customer. Numbers of orders can be guessed,
/// and those of two shops can be the same: it has to have told at the time, from where the shop saw its customer.
fn is_its_own(event: &SealedEvent, visitor: &Visitor) -> bool {
    let Some(transaction) = &event.transaction_id else { return false };
    let digest = IdentityKey::of_conversion(event.name.as_str(), transaction.as_str()).digest;
    let near = |at: Time| at.since(event.time).max(event.time.since(at)) <= TOLD_WITHIN;
    let told = visitor.actions.iter().any(|action| action.transaction == Some(digest) && near(action.at));
    let differs = |one: Option<String>, other: Option<String>| one.is_some() && other.is_some() && one != other;
    let ip = |ip: &Option<Sensitive<std::net::IpAddr>>| ip.as_ref().map(|ip| ip.expose().to_string());
    let agent = |agent: &Option<Sensitive<String>>| agent.as_ref().map(|agent| agent.expose().clone());
    let context = &event.context;
    told && !differs(ip(&context.ip), ip(&visitor.ip))
        && !differs(agent(&context.user_agent), agent(&visitor.user_agent))
}

/// Fills an event from its visitor: what the event itself says wins.
fn join(event: &mut SealedEvent, visitor: &Visitor, joined_by: JoinedBy, rules: &[ClickRule]) {
    let context = &mut event.context;
    // Ids without a time came on the event itself; those with one were found with an earlier visitor of it.
    let (on_event, mut stored): (Vec<_>, Vec<_>) =
        std::mem::take(&mut context.clicks).into_iter().partition(|click| click.first_seen.is_none());
    stored.retain(|click| !visitor.clicks.iter().any(|known| known.kind == click.kind && known.value == click.value));
    stored.extend(visitor.clicks.iter().cloned());
    let (clicks, choices) = attribution::choose_clicks(&on_event, &stored, Some(visitor), event.time, rules);
    (context.clicks, context.choices) = (clicks, choices);
    let given = context.cookies.fbc.is_some();
    context.cookies.fill_from(&visitor.cookies);
    if !given {
        attribution::drop_unchosen_cookie(context);
    }
    let landing = visitor.last_visit();
    context.ip = context.ip.take().or_else(|| visitor.ip.clone());
    context.user_agent = context.user_agent.take().or_else(|| visitor.user_agent.clone());
    context.url = context.url.take().or_else(|| landing.url.clone());
    context.referrer = context.referrer.take().or_else(|| landing.referrer.clone());
    // Anybody can name an order: that is no yes.
    if joined_by != JoinedBy::Transaction || visitor.consent.ad_user_data == Choice::Denied {
        event.consent = event.consent.or(visitor.consent);
    }
    let given = event.attribution.last.take();
    event.attribution = attribution::attribute(Some(visitor), &Utm::default(), event.time);
    event.attribution.last = given.or(event.attribution.last.take());
    event.visitor_id.get_or_insert_with(|| visitor.id.clone());
    event.joined_by = Some(joined_by);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        destinations,
        model::{ClickId, ClickKind, Currency, MockClock, Visit, parse_decimal},
        store::{conformance, memory},
    };

    const NOW: Time = Time::from_secs(1_763_626_500);

    fn usd(amount: &str) -> Money {
        let currency = Currency::parse("USD").expect("known");
        Money::new(parse_decimal(amount).expect("a number"), currency).expect("not negative")
    }

    #[test]
    fn a_restatement_is_the_known_conversion_with_another_value_and_an_id_of_its_own() {
        let mut known = conformance::purchase("order-1", NOW);
        known.money = Some(usd("50"));
        known.user.country_code = Some(Sensitive::new("GB".into()));
        let later = NOW.plus(Duration::from_secs(60));
        let event = restatement(&known, usd("40.5"), later).expect("can be made");
        assert_eq!(event.event_id.as_str(), "order-1.worth.40.50USD");
        assert_eq!(event.name.as_str(), EventName::RESTATEMENT);
        assert_eq!((event.time, event.received_at, event.money), (later, later, Some(usd("40.50"))));
        assert_eq!(event.transaction_id.as_ref().map(TransactionId::as_str), Some("order-1"), "for want of another");
        assert_eq!((&event.user, &event.source), (&known.user, &known.source));
        known.transaction_id = TransactionId::new("1001").ok();
        let event = restatement(&known, usd("40.5"), later).expect("can be made");
        assert_eq!(event.transaction_id, known.transaction_id);
    }

    /// A file that takes purchases; with `fallback`, only what another destination hands over.
    fn file(name: &str, id: DestinationId, fallback: bool) -> Route {
        let purchase = EventName::new("purchase").expect("valid");
        let name = DestinationName::new(name).expect("valid");
        let kind = destinations::REGISTRY.iter().find(|kind| kind.kind == "file").expect("is known");
        let common = destinations::Common {
            name: name.clone(),
            events: [(purchase.clone(), "Purchase".to_owned())].into(),
            hold_after_click: None,
            fallback_for: None,
        };
        let table = "format = \"jsonl\"\npath = \"unused\"".parse().expect("TOML");
        let destination = (kind.build)(common, table).unwrap_or_else(|problems| panic!("{problems:?}"));
        let (events, destination) = ([purchase].into(), destination.into());
        Route {
            name,
            id,
            destination,
            events,
            sources: None,
            on_unknown_consent: OnUnknownConsent::Send,
            fallback,
            click: attribution::DEFAULT_RULE,
        }
    }

    #[tokio::test]
    async fn a_visit_that_comes_after_handing_over_takes_nothing_back() {
        let stores = memory::open(memory::SimulatedDisk::default(), conformance::config("unused".as_ref()));
        let stores = stores.expect("opens");
        let names = ["meta", "google", "spare"].map(|name| DestinationName::new(name).expect("valid"));
        let ids = stores.events.register(&names).await.expect("registers");
        let wait_for_visit = Duration::from_secs(30);
        let config = Config { default_country: None, wait_for_visit };
        let routes = [("meta", false), ("google", false), ("spare", true)];
        let routes = routes.iter().zip(&ids).map(|((name, fallback), id)| file(name, *id, *fallback)).collect();
        let clock = Arc::new(MockClock::at(NOW));
        let pipeline = Pipeline::new(stores.clone(), routes, config, clock, delivery::Metrics::default());
        let mut event = conformance::purchase("e", NOW);
        let visitor = VisitorId::new("v").expect("valid");
        event.visitor_id = Some(visitor.clone());
        let deliveries = pipeline.route(&event, Some((wait_for_visit, WaitReason::Visit)));
        let new = NewEvent { event, deliveries, waits_for: Some(Awaited::Visit(visitor.clone())) };
        stores.events.accept(vec![new]).await.expect("accepts");
        assert_eq!(stores.events.spill(ids[0], ids[2], Arc::new(|_| true), 9, NOW).await.expect("spills").moved, 1);
        let seen = Observation::new(visitor, Visit { at: NOW, ..Visit::default() });
        pipeline.visit(seen).await.expect("stores");
        let counts = stores.events.balance().destinations[2].1;
        assert_eq!((counts.queued, counts.skipped), (1, 0), "it goes to the one that it was handed to");
        let leased = stores.events.lease(ids[2], 9, NOW, NOW.plus(wait_for_visit)).await.expect("leases");
        assert_eq!(leased[0].event.joined_by, Some(JoinedBy::VisitorId), "with what the visit told");
    }

    #[test]
    fn a_link_that_was_passed_on_joins_nobody_to_the_one_who_clicked_first() {
        let click = ClickId { kind: ClickKind::Fbclid, value: "IwAR-1".into(), first_seen: None, last_seen: NOW };
        let key = IdentityKey::of_click(&click).expect("names a click");
        let mut event = conformance::purchase("e", NOW);
        event.context.clicks = vec![click];
        event.visitor_id = None;
        assert!(lookup_keys(&event, &[]).contains(&key), "a CRM knows nothing else");
        event.visitor_id = VisitorId::new("second").ok();
        assert!(!lookup_keys(&event, &[]).contains(&key), "who is named is waited for");
    }

    #[test]
    fn every_report_of_one_value_has_one_id_however_it_is_written() {
        assert_eq!(restatement_id("o", &usd("40.5")), restatement_id("o", &usd("40.50")));
        assert_ne!(restatement_id("o", &usd("40.5")), restatement_id("o", &usd("40.51")));
        let (long, other) = ("x".repeat(256), format!("{}y", "x".repeat(255)));
        let id = restatement_id(&long, &usd("1")).expect("is hashed");
        assert!(id.as_str().starts_with("worth.") && id.as_str().len() == 70, "{id}");
        assert_ne!(Some(id), restatement_id(&other, &usd("1")));
        assert!(restatement_id("order@2x", &usd("1")).is_some(), "an id with an @ does not become an address");
    }
}
