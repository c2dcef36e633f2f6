mod races;

use std::path::Path;

use super::*;
use crate::store::{
    Exhibit, Stores,
    conformance::{self, START, lease, purchase, queued, settle, two},
    memory::{self, SimulatedDisk},
};

fn open(disk: &SimulatedDisk) -> Stores {
    memory::open(disk.clone(), conformance::config(Path::new("unused"))).expect("opens")
}

/// What a restart must not change of one destination.
type Standing = (super::super::Counts, Option<OperatorPause>, Reported, Option<Time>, Vec<u64>);

/// Everything a restart must not change.
fn state(stores: &Stores) -> (u64, Vec<Standing>) {
    let balance = stores.events.balance();
    let hours = |hours: u64| START.plus(std::time::Duration::from_secs(hours * 3600));
    let standing = |(id, counts)| {
        let expiring = (0..200).step_by(12).map(|hour| stores.events.expiring(id, hours(hour))).collect();
        let events = &stores.events;
        (counts, events.paused(id), events.reported(id), events.next_receipt(id), expiring)
    };
    (balance.accepted, balance.destinations.into_iter().map(standing).collect())
}

async fn letters(stores: &Stores, id: DestinationId) -> Vec<(u64, Outcome, Option<Exhibit>)> {
    let letters = stores.events.dead_letters(id, 0, 1000).await.expect("lists");
    letters.into_iter().map(|letter| (letter.number, letter.outcome, letter.exhibit)).collect()
}

#[tokio::test]
async fn the_journal_does_what_a_store_has_to() {
    conformance::suite(|| async { open(&SimulatedDisk::default()) }).await;
}

#[tokio::test]
async fn a_full_queue_is_refused_not_grown() {
    let config = Config { queue_max: 5, ..conformance::config(Path::new("unused")) };
    let stores = memory::open(SimulatedDisk::default(), config).expect("opens");
    conformance::refuses_over_its_bound(&stores, 5).await;
}

#[tokio::test]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    for torn in [0, 1, 7, 9, 200, usize::MAX] {
        let disk = SimulatedDisk::default();
        let stores = open(&disk);
        let ids = two(&stores).await;
        for i in 0..20 {
            stores.events.accept(vec![queued(purchase(&format!("e{i}"), START), &ids)]).await.expect("accepts");
        }
        let leased = lease(&stores, ids[0], START).await;
        settle(&stores, ids[0], vec![(leased[0].key, Step::Ended(Outcome::Delivered))], START).await;
        let before = state(&stores);
        // A write that was under way when the power went: never acknowledged.
        let last = disk.open("00000001.log").expect("opens");
        let torn_write = record::encode(&Record::Destinations { names: vec!["x".repeat(50)], missed: Vec::new() });
        let length = last.length().expect("reads");
        last.write_at(&torn_write[..torn_write.len() - 1], length).expect("writes");
        let stores = open(&disk.after_power_cut(torn));
        assert_eq!(state(&stores), before, "{torn} bytes of the torn write survived");
        let answers = stores.events.accept(vec![queued(purchase("e7", START), &ids)]).await.expect("accepts");
        assert!(matches!(answers[..], [Accepted::Duplicate(_)]), "ids are remembered over a restart");
        assert_eq!(lease(&stores, ids[0], START).await.len(), 10);
    }
}

#[tokio::test]
async fn what_is_no_news_takes_no_room_in_the_journal() {
    let disk = SimulatedDisk::default();
    let stores = open(&disk);
    let ids = two(&stores).await;
    for id in ["e0", "e0", "e0", "e1", "e1", "e2"] {
        stores.events.accept(vec![queued(purchase(id, START), &ids)]).await.expect("accepts");
    }
    let file = disk.open("00000001.log").expect("opens");
    let mut bytes = vec![0; usize::try_from(file.length().expect("reads")).expect("fits")];
    file.read_at(&mut bytes, 0).expect("reads");
    let (mut rest, mut records) = (&bytes[..], 0);
    while let Some(frame) = record::frame(rest) {
        (rest, records) = (&rest[frame.len()..], records + 1);
    }
    assert_eq!((rest.len(), records), (0, 4), "the destinations and three events, and nothing between them");
}

#[tokio::test]
async fn nothing_is_acknowledged_before_its_sync() {
    let disk = SimulatedDisk::default();
    let stores = open(&disk);
    let ids = two(&stores).await;
    for i in 0..10 {
        let before = disk.syncs();
        stores.events.accept(vec![queued(purchase(&format!("e{i}"), START), &ids)]).await.expect("accepts");
        assert!(disk.syncs() > before);
        let cut = open(&disk.after_power_cut(0));
        assert_eq!(cut.events.balance().accepted, i + 1);
    }
}

#[tokio::test]
async fn a_disk_that_fails_acknowledges_nothing_and_recovers() {
    let disk = SimulatedDisk::default();
    let stores = open(&disk);
    let ids = two(&stores).await;
    stores.events.accept(vec![queued(purchase("e0", START), &ids)]).await.expect("accepts");
    for writes in 0..3 {
        disk.fail_after(Some(writes % 2));
        let refused = stores.events.accept(vec![queued(purchase("e1", START), &ids)]).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))));
        assert!(matches!(stores.events.health(), Health::Failed(_)));
        assert_eq!(stores.events.balance().accepted, 1);
    }
    assert!(stores.events.recover().await.is_err());
    disk.fail_after(None);
    stores.events.recover().await.expect("recovers");
    assert_eq!(stores.events.health(), Health::Ok, "without waiting for somebody's event");
    let answers = stores.events.accept(vec![queued(purchase("e1", START), &ids)]).await.expect("accepts");
    assert_eq!(answers, [Accepted::New], "what was refused was not kept in secret");
    assert_eq!(stores.events.health(), Health::Ok);
    let before = state(&stores);
    drop(stores);
    assert_eq!(state(&open(&disk)), before);
}

#[tokio::test]
async fn a_restart_over_many_segments_changes_nothing() {
    let disk = SimulatedDisk::default();
    let stores = open(&disk);
    let ids = two(&stores).await;
    // Segments are small here, and properties fill them with few events.
    let filler = serde_json::Map::from_iter([("x".to_owned(), serde_json::Value::from("y".repeat(1 << 10)))]);
    for i in 0..150 {
        let mut event = purchase(&format!("e{i}"), START);
        event.properties = crate::model::Properties::new(&filler).expect("serialises");
        stores.events.accept(vec![queued(event, &ids)]).await.expect("accepts");
        if i % 3 == 0 {
            let leased = stores.events.lease(ids[0], 2, START, START.plus(std::time::Duration::from_secs(60))).await;
            let steps = leased.expect("leases").iter().map(|l| (l.key, Step::Ended(Outcome::Delivered))).collect();
            settle(&stores, ids[0], steps, START).await;
        }
    }
    let before = state(&stores);
    drop(stores);
    assert!(disk.list().expect("lists").contains(&"checkpoint".to_owned()), "segments were rolled");
    let stores = open(&disk);
    assert_eq!(state(&stores), before);
    let first = EventId::new("e0").expect("valid");
    let timeline = stores.events.timeline(&first).await.expect("reads").expect("found through a full segment's index");
    assert_eq!(timeline.deliveries[0].outcome, Some(Outcome::Delivered));
    let answers = stores.events.accept(vec![queued(purchase("e3", START), &ids)]).await.expect("accepts");
    assert!(matches!(answers[..], [Accepted::Duplicate(_)]));
    drop(stores);
    for lost in [disk::Disk::remove(&disk, "00000001.idx"), disk::Disk::remove(&disk, "checkpoint")] {
        lost.expect("removes");
        assert_eq!(state(&open(&disk)), before, "index and checkpoint can be made again");
    }
}

#[tokio::test]
async fn retention_deletes_what_is_over_and_keeps_what_is_queued() {
    let disk = SimulatedDisk::default();
    let stores = open(&disk);
    let ids = two(&stores).await;
    let filler = serde_json::Map::from_iter([("x".to_owned(), serde_json::Value::from("y".repeat(8 << 10)))]);
    for i in 0..20 {
        let mut event = purchase(&format!("e{i}"), START);
        event.properties = crate::model::Properties::new(&filler).expect("serialises");
        stores.events.accept(vec![queued(event, &ids)]).await.expect("accepts");
    }
    let later = START.plus(std::time::Duration::from_secs(40 * 86_400));
    stores.events.retain(later).await.expect("retains");
    assert!(disk.list().expect("lists").contains(&"00000001.log".to_owned()), "still queued");
    for id in ids {
        for _ in 0..2 {
            let leased = lease(&stores, id, START).await;
            let steps = leased.iter().map(|leased| (leased.key, Step::Ended(Outcome::Delivered))).collect();
            settle(&stores, id, steps, START).await;
        }
    }
    let before = state(&stores);
    stores.events.retain(START).await.expect("retains");
    assert!(disk.list().expect("lists").contains(&"00000001.log".to_owned()), "not old enough");
    stores.events.retain(later).await.expect("retains");
    assert!(!disk.list().expect("lists").contains(&"00000001.log".to_owned()));
    assert_eq!(state(&stores), before, "totals outlive the events");
    drop(stores);
    assert_eq!(state(&open(&disk)), before);
}

#[tokio::test]
async fn damage_is_noticed_and_costs_only_what_it_hit() {
    let disk = SimulatedDisk::default();
    let stores = open(&disk);
    let ids = two(&stores).await;
    for i in 0..5 {
        stores.events.accept(vec![queued(purchase(&format!("e{i}"), START), &ids)]).await.expect("accepts");
    }
    // In the live process: the record is read when it is leased.
    disk.damage("00000001.log", |bytes| {
        let at = bytes.windows(2).position(|window| window == b"e2").expect("is there");
        bytes[at] ^= 0x20;
    });
    let leased = lease(&stores, ids[0], START).await;
    assert_eq!(leased.len(), 4);
    let counts = stores.events.balance().destinations[0].1;
    assert_eq!((counts.dead, counts.sum()), (1, 5), "its delivery ends dead, in the open");
    drop(stores);
    // On a restart: the records behind it are still read.
    assert_eq!(open(&disk).events.balance().accepted, 4);
}

fn decoded(fixture: &[u8]) -> Vec<Record> {
    let mut at = 0;
    let mut records = Vec::new();
    while let Some(frame) = record::frame(&fixture[at..]) {
        records.push(record::decode(frame).expect("decodes"));
        at += frame.len();
    }
    assert_eq!(at, fixture.len());
    records
}

/// The journals of all versions, byte for byte: what a released version wrote must stay readable.
#[test]
fn records_of_every_released_form_still_decode() {
    assert_eq!(decoded(include_bytes!("fixtures/v3.log")), sample_records());
    let mut second = sample_records();
    for record in &mut second {
        if let Record::Accepted { event, .. } | Record::Changed { event, .. } = record {
            event.context.choices.clear();
        }
    }
    assert_eq!(decoded(include_bytes!("fixtures/v2.log")), second);
    let mut first = second;
    first.truncate(4);
    if let Record::Settled { attempt: Some(attempt), steps, exhibits, .. } = &mut first[3] {
        attempt.receipt = false;
        exhibits.clear();
        steps.truncate(3);
        if let Step::Again { unknown, .. } = &mut steps[1].1 {
            *unknown = false;
        }
    }
    assert_eq!(decoded(include_bytes!("fixtures/v1.log")), first);
}

/// One record of each kind with every field set.
fn sample_records() -> Vec<Record> {
    use crate::model::{
        ActionSource, Attempt, Choice, ChoiceReason, ClickChoice, ClickId, ClickKind, ClickRule, Consent, Credit,
        Currency, Digest, Item, JoinedBy, Money, Properties, Sensitive, Spelled, TransactionId, Utm, WaitReason,
        parse_decimal,
    };
    let digest = Spelled { meta: Some(Digest::of_token("m")), google: Some(Digest::of_token("g")) };
    let mut event = purchase("order-1001", START);
    event.visitor_id = VisitorId::new("v1").ok();
    event.joined_by = Some(JoinedBy::Email);
    event.transaction_id = TransactionId::new("1001").ok();
    let decimal = |text: &str| parse_decimal(text).expect("a number");
    event.money = Money::new(decimal("49.99"), Currency::parse("USD").expect("known")).ok();
    event.action_source = ActionSource::PhysicalStore;
    let (quantity, price) = (Some(decimal("2")), Some(decimal("12.50")));
    event.items = vec![Item { id: Some("sku-1".into()), name: Some("Mug".into()), quantity, price }];
    event.user.emails = vec![digest];
    event.user.phones = vec![digest];
    for field in [&mut event.user.first_name, &mut event.user.country, &mut event.user.gender] {
        *field = digest;
    }
    event.user.external_ids = vec![Digest::of_token("x")];
    event.user.country_code = Some(Sensitive::new("GB".into()));
    event.user.postal_code_clear = Some(Sensitive::new("W1".into()));
    event.user.lead_id = Some(123_456_789_012_345);
    event.context.ip = "203.0.113.7".parse().ok().map(Sensitive::new);
    event.context.user_agent = Some(Sensitive::new("Mozilla/5.0".into()));
    event.context.url = Some(Sensitive::new("https://shop.example/".into()));
    let (kind, value) = (ClickKind::Gclid, "AbC".into());
    event.context.clicks = vec![ClickId { kind, value, first_seen: Some(START), last_seen: START }];
    event.context.cookies.fbp = Some("fb.1.1.1".into());
    let rule = ClickRule { credit: Credit::LastPaid, window_s: 7_776_000, exclusive: true };
    let reason = ChoiceReason::NewestPaid;
    event.context.choices = vec![ClickChoice { rule, platform: kind, at: Some(START), reason, of: 2 }];
    event.attribution.last = Some((START, Utm { source: Some("google".into()), ..Utm::default() }));
    event.consent = Consent { ad_user_data: Choice::Granted, ad_personalization: Choice::Denied };
    let plan = serde_json::Map::from_iter([("plan".to_owned(), serde_json::Value::from("pro"))]);
    event.properties = Properties::new(&plan).expect("serialises");
    let to = |id, state| NewDelivery { destination: DestinationId(id), state };
    let deliveries = vec![
        to(0, NewState::Queued { due: START, deadline: START, wait: Some(WaitReason::Visit) }),
        to(1, NewState::Skipped(crate::model::SkipReason::Consent)),
        to(2, NewState::Expired),
    ];
    let failure = Failure { code: "100".into(), field: Some("value".into()), message: "no".into() };
    let attempt = Attempt { at: START, status: Some(400), trace_id: Some("t".into()), duration_ms: 9, receipt: true };
    let place = book::place_at(1, 0);
    let again = record::Again { place, content: place + 1, was: record::End::Dead, deadline: START };
    vec![
        Record::Destinations { names: vec!["meta".into()], missed: vec![(DestinationId(0), 3)] },
        Record::Accepted {
            event: event.clone(),
            deliveries: deliveries.clone(),
            waits_for: VisitorId::new("v1").ok().map(Awaited::Visit),
        },
        Record::Changed { place, event, deliveries, deadlines: vec![(DestinationId(0), START)], completed: true },
        Record::Settled {
            destination: DestinationId(0),
            at: START,
            attempt: Some(attempt),
            steps: vec![
                (place, Step::Ended(Outcome::Dead { class: FailureClass::Event, failure: failure.clone() })),
                (place + 1, Step::Again { due: START, failure, unknown: true }),
                (place + 2, Step::Ended(Outcome::Delivered)),
                (place + 4, Step::Sending),
                (place + 3, Step::Wait { due: START, reason: WaitReason::Original }),
            ],
            mark: Some(FileMark { file: "f.csv".into(), length: 12 }),
            exhibits: vec![(place, Exhibit::new(b"{}", b"{\"error\":1}"))],
        },
        Record::Requeued {
            destination: DestinationId(0),
            at: START,
            due: START,
            cause: Cause::Report,
            deliveries: vec![again],
        },
        Record::Discarded { destination: DestinationId(0), at: START, reason: "test".into(), places: vec![place] },
        Record::Spilled {
            from: DestinationId(0),
            to: DestinationId(1),
            at: START,
            deliveries: vec![(place, Some(again)), (place + 1, None)],
        },
        Record::Steered {
            destination: DestinationId(0),
            pause: Some(OperatorPause { reason: "holiday".into(), since: START }),
        },
        Record::Reported {
            destination: DestinationId(0),
            receipt: place,
            answer: Answer {
                at: START,
                status: "PARTIAL_SUCCESS".into(),
                taken: 1,
                counts: vec![("TOO_RECENT_CLICK".into(), 1)],
                again: Some(START),
                resend: Some(START),
            },
        },
        Record::Forgotten { at: START, places: vec![place], skipped: vec![(DestinationId(0), place)] },
        Record::Erased { places: vec![place] },
    ]
}

#[test]
fn the_fixture_is_what_this_build_writes() {
    let bytes: Vec<u8> = sample_records().iter().flat_map(record::encode).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/journal/fixtures/v3.log");
    if std::env::var_os("WRITE_FIXTURES").is_some() {
        std::fs::write(path, &bytes).expect("writes");
    }
    assert_eq!(bytes, std::fs::read(path).expect("reads"), "a change of form needs a new version and a new fixture");
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Whatever is done in whatever order: replay adds up to what the live process had, and everything queued can be leased.
#[tokio::test]
async fn replay_always_agrees_with_the_live_process() {
    for seed in 1..40 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        let disk = SimulatedDisk::default();
        let mut stores = open(&disk);
        let ids = two(&stores).await;
        let mut leased: Vec<(DestinationId, Leased)> = Vec::new();
        let mut now = START;
        for step in 0..120 {
            now = now.plus(std::time::Duration::from_secs(dice.roll(20)));
            match dice.roll(16) {
                0..=3 => {
                    let mut event = purchase(&format!("e{}", dice.roll(60)), now);
                    if dice.roll(3) == 0 {
                        let digest = crate::model::Digest::of_token(&format!("p{}", dice.roll(4)));
                        event.user.emails = vec![crate::model::Spelled { meta: Some(digest), google: Some(digest) }];
                    }
                    let mut new = queued(event, &ids);
                    if dice.roll(3) == 0 {
                        new.event.context.cookies.fbp = Some(format!("fb.1.1.{step}"));
                    }
                    if dice.roll(4) == 0 {
                        let visitor = VisitorId::new(format!("v{}", dice.roll(3))).expect("valid");
                        new.event.visitor_id = Some(visitor.clone());
                        new.waits_for = Some(if dice.roll(3) == 0 {
                            let source = crate::model::SourceName::new("crm").expect("valid");
                            Awaited::Lookup(crate::model::Lookup { source, what: format!("deal/{}", dice.roll(3)) })
                        } else {
                            Awaited::Visit(visitor)
                        });
                        let (due, deadline) = (now.plus(std::time::Duration::from_secs(30)), now.plus(WEEK));
                        let wait = Some(crate::model::WaitReason::Visit);
                        new.deliveries[0].state = NewState::Queued { due, deadline, wait };
                    }
                    if dice.roll(5) == 0 {
                        new.deliveries[1].state = NewState::Skipped(crate::model::SkipReason::Unmapped);
                    }
                    stores.events.accept(vec![new]).await.expect("accepts");
                }
                4 | 5 => {
                    let id = ids[usize::try_from(dice.roll(2)).expect("small")];
                    leased.extend(lease(&stores, id, now).await.into_iter().map(|leased| (id, leased)));
                }
                6 | 7 if !leased.is_empty() => {
                    let at = usize::try_from(dice.roll(leased.len() as u64)).expect("small");
                    let (id, one) = leased.swap_remove(at);
                    let failure = Failure::default();
                    let due = now.plus(std::time::Duration::from_secs(5));
                    if dice.roll(3) == 0 {
                        settle(&stores, id, vec![(one.key, Step::Sending)], now).await;
                    }
                    let step = match dice.roll(6) {
                        0 => Step::Again { due, failure, unknown: dice.roll(2) == 0 },
                        1 => Step::Ended(Outcome::Dead { class: FailureClass::Event, failure }),
                        2 => Step::Wait { due, reason: crate::model::WaitReason::Original },
                        _ => Step::Ended(Outcome::Delivered),
                    };
                    let (trace_id, receipt) = (Some("t".into()), dice.roll(2) == 0);
                    let attempt = crate::model::Attempt { at: now, status: None, trace_id, duration_ms: 1, receipt };
                    let exhibits = vec![(one.key, Exhibit::new(b"{}", b"no"))];
                    let (destination, steps) = (id, vec![(one.key, step)]);
                    let settlement =
                        Settlement { destination, at: now, attempt: Some(attempt), steps, mark: None, exhibits };
                    stores.events.settle(settlement).await.expect("settles");
                }
                8 => {
                    for awaited in stores.events.awaited() {
                        for waiting in stores.events.waiting_for(&awaited).await.expect("reads") {
                            let mut done = queued(waiting.sealed, &ids);
                            if dice.roll(3) == 0 {
                                done.deliveries[1].state = NewState::Skipped(crate::model::SkipReason::Consent);
                            }
                            stores.events.complete(waiting.event, done).await.expect("completes");
                        }
                    }
                }
                9 => {
                    let id = ids[usize::try_from(dice.roll(2)).expect("small")];
                    let ended = stores.events.ended(id, START, now, 0, 3).await;
                    let events = ended.expect("lists").iter().map(|ended| (ended.number, now.plus(WEEK))).collect();
                    let requeue = Requeue { destination: id, events, at: now, due: now };
                    stores.events.requeue(requeue).await.expect("requeues");
                }
                10 => {
                    let id = ids[usize::try_from(dice.roll(2)).expect("small")];
                    let some: Vec<u64> =
                        letters(&stores, id).await.into_iter().map(|letter| letter.0).take(2).collect();
                    stores.events.discard(id, &some, "no".into(), now).await.expect("discards");
                    let pause = OperatorPause { reason: step.to_string(), since: now };
                    stores.events.pause(id, (dice.roll(2) == 0).then_some(pause)).await.expect("pauses");
                }
                11 => {
                    let max = usize::try_from(dice.roll(4)).expect("small");
                    stores.events.spill(ids[0], ids[1], Arc::new(|_| true), max, now).await.expect("spills");
                }
                12 => {
                    let id = ids[usize::try_from(dice.roll(2)).expect("small")];
                    for receipt in stores.events.receipts(id, now.plus(WEEK), 2).await.expect("reads") {
                        let again = (dice.roll(3) == 0).then(|| now.plus(std::time::Duration::from_secs(900)));
                        let resend = again.is_none().then(|| now.plus(std::time::Duration::from_secs(9)));
                        let counts = vec![("TOO_RECENT_CLICK".to_owned(), 1)];
                        let answer = Answer { at: now, status: "FAILED".into(), taken: 0, counts, again, resend };
                        stores.events.report(id, receipt.number, answer).await.expect("reports");
                    }
                }
                13 if dice.roll(4) == 0 => {
                    let digest = crate::model::Digest::of_token(&format!("p{}", dice.roll(4)));
                    let emails = vec![crate::model::Spelled { meta: Some(digest), google: Some(digest) }];
                    let user = crate::model::SealedUser { emails, ..Default::default() };
                    let forget = Forget { visitors: Vec::new(), keys: user.identity_keys().collect() };
                    stores.events.forget(&forget, now).await.expect("forgets");
                }
                _ => {
                    let audit = stores.events.audit().await.expect("audits");
                    assert_eq!(audit.drift, [], "seed {seed}, step {step}");
                    let before = state(&stores);
                    let after = open(&disk.after_power_cut(0));
                    assert_eq!(state(&after), before, "seed {seed}, step {step}");
                    for id in ids {
                        assert_eq!(letters(&after, id).await, letters(&stores, id).await, "seed {seed}, step {step}");
                    }
                    assert_eq!(sorted(after.events.awaited()), sorted(stores.events.awaited()), "seed {seed}");
                    if dice.roll(3) == 0 {
                        drop(stores);
                        stores = open(&disk);
                        leased.clear();
                    }
                }
            }
            let balance = stores.events.balance();
            assert!(balance.destinations.iter().all(|(_, counts)| counts.sum() == balance.accepted), "seed {seed}");
        }
        drop(stores);
        let stores = open(&disk);
        let later = now.plus(WEEK);
        for (id, counts) in stores.events.balance().destinations {
            let all = stores.events.lease(id, 1000, later, later.plus(WEEK)).await.expect("leases");
            let places: std::collections::BTreeSet<u64> = all.iter().map(|leased| leased.key.event).collect();
            assert_eq!((all.len() as u64, places.len() as u64), (counts.queued, counts.queued), "seed {seed}");
            for leased in all {
                let id = leased.event.event_id.clone();
                let timeline = stores.events.timeline(&id).await.expect("reads").expect("is there");
                assert_eq!(leased.event, timeline.event, "seed {seed}: the newest content is sent");
            }
        }
    }
}

const WEEK: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);

fn sorted(mut visitors: Vec<Awaited>) -> Vec<Awaited> {
    visitors.sort();
    visitors
}

/// A settlement whose event is damaged on disk must not stand in the way of the others.
#[tokio::test]
async fn a_damaged_event_that_was_settled_hides_no_other_after_a_restart() {
    let disk = SimulatedDisk::default();
    let stores = open(&disk);
    let ids = two(&stores).await;
    for i in 0..3 {
        stores.events.accept(vec![queued(purchase(&format!("e{i}"), START), &ids)]).await.expect("accepts");
    }
    let leased = lease(&stores, ids[0], START).await;
    settle(&stores, ids[0], vec![(leased[0].key, Step::Ended(Outcome::Delivered))], START).await;
    drop(stores);
    disk.damage("00000001.log", |bytes| {
        let at = bytes.windows(2).position(|window| window == b"e0").expect("is there");
        bytes[at] ^= 0x20;
    });
    let stores = open(&disk);
    assert_eq!(lease(&stores, ids[0], START).await.len(), 2);
    assert_eq!(stores.events.due(ids[0], START, 10), 0);
}

#[tokio::test]
async fn what_waits_for_a_removed_destination_expires_in_its_time_and_then_holds_up_nothing() {
    let disk = SimulatedDisk::default();
    let stores = open(&disk);
    let ids = two(&stores).await;
    stores.events.accept(vec![queued(purchase("e1", START), &ids)]).await.expect("accepts");
    drop(stores);
    let stores = open(&disk);
    let kept = stores.events.register(&[DestinationName::new("google").expect("valid")]).await.expect("registers");
    assert_eq!(kept, [ids[1]]);
    stores.events.retain(START).await.expect("retains");
    assert_eq!(stores.events.balance().destinations[0].1.queued, 1, "it may come back");
    stores.events.retain(START.plus(WEEK + std::time::Duration::from_secs(600))).await.expect("retains");
    let counts = stores.events.balance().destinations[0].1;
    assert_eq!((counts.expired, counts.queued), (1, 0));
    assert_eq!(stores.events.balance().destinations[1].1.queued, 1);
}

#[tokio::test]
async fn little_traffic_is_kept_no_longer_than_much() {
    let disk = SimulatedDisk::default();
    let stores = open(&disk);
    let ids = two(&stores).await;
    let mut new = queued(purchase("e1", START), &ids);
    for delivery in &mut new.deliveries {
        delivery.state = NewState::Skipped(crate::model::SkipReason::Unmapped);
    }
    stores.events.accept(vec![new]).await.expect("accepts");
    for day in [0, 1, 2, 33] {
        stores.events.retain(START.plus(std::time::Duration::from_secs(day * 86_400))).await.expect("retains");
        // The checkpoint that retention waits for is written beside the work; the next segment begins after it.
        stores.events.accept(vec![queued(purchase(&format!("day-{day}"), START), &ids)]).await.expect("accepts");
    }
    drop(stores);
    let stores = open(&disk);
    stores.events.register(&[]).await.expect("registers");
    for (day, kept) in [(50, true), (90, false)] {
        stores.events.retain(START.plus(std::time::Duration::from_secs(day * 86_400))).await.expect("retains");
        let there = disk.list().expect("lists").contains(&"00000001.log".to_owned());
        assert_eq!(there, kept, "what expired on day 50 is kept for thirty days from then");
    }
}

/// Whether anything on disk tells of this person.
fn tells_of_ada(disk: &SimulatedDisk, digest: crate::model::Digest) -> Vec<String> {
    let told = |bytes: &[u8]| {
        let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        has(digest.bytes()) || has(b"v-ada") || has(b"203.0.113.77")
    };
    let names = disk.list().expect("lists");
    names.into_iter().filter(|name| told(&disk.read(name).expect("reads").unwrap_or_default())).collect()
}

#[tokio::test]
async fn a_person_who_is_forgotten_is_on_disk_no_more_whenever_the_power_goes() {
    let digest = crate::model::Digest::of_token("ada@example.com");
    let mut outcomes = std::collections::BTreeSet::new();
    for writes in (0..14).map(Some).chain([None]) {
        let disk = SimulatedDisk::default();
        let stores = open(&disk);
        let ids = two(&stores).await;
        for i in 0..12 {
            let mut event = purchase(&format!("e{i}"), START);
            let filler = serde_json::Map::from_iter([("x".to_owned(), serde_json::Value::from("y".repeat(9 << 10)))]);
            event.properties = crate::model::Properties::new(&filler).expect("serialises");
            if i % 2 == 0 {
                event.user.emails = vec![crate::model::Spelled { meta: Some(digest), google: None }];
                event.visitor_id = VisitorId::new("v-ada").ok();
                event.context.url = Some(crate::model::Sensitive::new("https://x.example/?ip=203.0.113.77".into()));
            }
            let mut new = queued(event, &ids);
            new.waits_for = new.event.visitor_id.clone().map(Awaited::Visit);
            stores.events.accept(vec![new]).await.expect("accepts");
        }
        let leased = lease(&stores, ids[0], START).await;
        let failure = Failure::default();
        let step = Step::Ended(Outcome::Dead { class: FailureClass::Event, failure });
        let exhibits = vec![(leased[0].key, Exhibit::new(b"{\"visitor\":\"v-ada\"}", b"no"))];
        let (destination, steps) = (ids[0], vec![(leased[0].key, step)]);
        let settlement = Settlement { destination, at: START, attempt: None, steps, mark: None, exhibits };
        stores.events.settle(settlement).await.expect("settles");
        assert!(tells_of_ada(&disk, digest).len() > 1, "in several segments");
        disk.fail_after(writes);
        let forget = Forget { visitors: VisitorId::new("v-ada").into_iter().collect(), keys: Vec::new() };
        let told = stores.events.forget(&forget, START).await;
        disk.fail_after(None);
        assert!(told.is_err() || tells_of_ada(&disk, digest).is_empty(), "{writes:?}");
        let after = disk.after_power_cut(0);
        let reopened = open(&after);
        let recorded = reopened.events.balance().destinations[0].1.skipped > 0;
        assert_eq!(tells_of_ada(&after, digest).is_empty(), recorded, "{writes:?}: all of it or nothing");
        assert!(recorded || told.is_err(), "{writes:?}");
        outcomes.insert((recorded, told.is_ok()));
        assert_eq!(reopened.events.audit().await.expect("audits").drift, []);
        let forgotten = reopened.events.forget(&forget, START).await.expect("forgets");
        assert_eq!((forgotten.events == 0, tells_of_ada(&after, digest)), (recorded, Vec::new()));
        assert_eq!(reopened.events.balance().accepted, 12);
    }
    assert_eq!(outcomes.len(), 3, "it was cut off before, in between, and not at all: {outcomes:?}");
}

/// A checkpoint as version 1 wrote it, field by field.
#[tokio::test]
async fn a_checkpoint_of_version_1_is_read_and_its_counts_go_on() {
    type Queue = (Vec<u64>, Vec<(Time, u64, u16)>, super::super::Counts, Option<FileMark>);
    type Tracked = (u64, (u16, Option<Awaited>, Option<u64>));
    let disk = SimulatedDisk::default();
    let stores = open(&disk);
    let ids = two(&stores).await;
    for id in ["e1", "e2", "e3"] {
        stores.events.accept(vec![queued(purchase(id, START), &ids)]).await.expect("accepts");
    }
    let leased = lease(&stores, ids[0], START).await;
    let places: Vec<u64> = leased.iter().map(|leased| leased.key.event).collect();
    settle(&stores, ids[0], vec![(leased[0].key, Step::Ended(Outcome::Delivered))], START).await;
    drop(stores);
    // As if segment 1 were full, and 90 more events in segments that are gone.
    let counts = |delivered| super::super::Counts { delivered, ..Default::default() };
    let step = |from: usize| places[from..].windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
    let ready = |from: usize| [vec![places[from]], step(from)].concat();
    let queues: Vec<Queue> = vec![(ready(1), vec![], counts(91), None), (ready(0), vec![], counts(90), None)];
    let tracked: Vec<Tracked> = vec![];
    let segments: Vec<(u32, (u64, u64, Time))> = vec![(1, (5, 0, START))];
    let snapshot = (2_u32, vec!["meta", "google"], 93_u64, queues, tracked, segments);
    let mut frame = record::encode(&snapshot);
    frame[record::HEADER_BYTES] = 1;
    let checksum = crc32fast::hash(&frame[record::HEADER_BYTES..]);
    frame[4..record::HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    disk.replace("checkpoint", &frame).expect("writes");
    disk.open("00000002.log").expect("opens").sync().expect("syncs");
    let stores = open(&disk);
    let ids = two(&stores).await;
    let told = |stores: &Stores| -> Vec<(u64, u64)> {
        let balance = stores.events.balance();
        balance.destinations.iter().map(|(_, counts)| (counts.delivered, counts.queued)).collect()
    };
    assert_eq!(told(&stores), [(91, 2), (90, 3)]);
    assert_eq!(stores.events.audit().await.expect("audits").drift, []);
    stores.events.accept(vec![queued(purchase("e4", START), &ids)]).await.expect("accepts");
    let steps = lease(&stores, ids[0], START).await.iter().map(|l| (l.key, Step::Ended(Outcome::Delivered))).collect();
    settle(&stores, ids[0], steps, START).await;
    assert_eq!(told(&stores), [(94, 0), (90, 4)]);
    assert_eq!(stores.events.audit().await.expect("audits").drift, []);
    assert_eq!(told(&open(&disk.after_power_cut(0))), [(94, 0), (90, 4)]);
}
