use std::path::Path;

use super::*;
use crate::store::{
    Stores,
    conformance::{self, START, lease, purchase, queued, settle, two},
    memory::{self, SimulatedDisk},
};

fn open(disk: &SimulatedDisk) -> Stores {
    memory::open(disk.clone(), conformance::config(Path::new("unused"))).expect("opens")
}

/// Everything a restart must not change.
fn state(stores: &Stores) -> (u64, Vec<super::super::Counts>) {
    let balance = stores.events.balance();
    (balance.accepted, balance.destinations.into_iter().map(|(_, counts)| counts).collect())
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

/// The journal of version 1, byte for byte: what a released version wrote must stay readable.
#[test]
fn records_of_every_released_form_still_decode() {
    let fixture: &[u8] = include_bytes!("fixtures/v1.log");
    let mut at = 0;
    let mut records = Vec::new();
    while let Some(frame) = record::frame(&fixture[at..]) {
        records.push(record::decode(frame).expect("decodes"));
        at += frame.len();
    }
    assert_eq!(at, fixture.len());
    assert_eq!(records, sample_records());
}

/// One record of each kind with every field set.
fn sample_records() -> Vec<Record> {
    use crate::model::{
        ActionSource, Attempt, Choice, ClickId, ClickKind, Consent, Currency, Digest, Item, JoinedBy, Money,
        Properties, Sensitive, Spelled, TransactionId, Utm, WaitReason, parse_decimal,
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
    let attempt = Attempt { at: START, status: Some(400), trace_id: Some("t".into()), duration_ms: 9 };
    let place = book::place_at(1, 0);
    vec![
        Record::Destinations { names: vec!["meta".into()], missed: vec![(DestinationId(0), 3)] },
        Record::Accepted { event: event.clone(), deliveries: deliveries.clone(), waits_for: VisitorId::new("v1").ok() },
        Record::Changed {
            place,
            event,
            deliveries,
            deadlines: vec![(DestinationId(0), START)],
            pending: 1,
            completed: true,
        },
        Record::Settled {
            destination: DestinationId(0),
            at: START,
            attempt: Some(attempt),
            steps: vec![
                (place, Step::Ended(Outcome::Dead(failure.clone()))),
                (place + 1, Step::Again { due: START, failure }),
                (place + 2, Step::Ended(Outcome::Delivered)),
            ],
            mark: Some(FileMark { file: "f.csv".into(), length: 12 }),
        },
    ]
}

#[test]
fn the_fixture_is_what_this_build_writes() {
    let bytes: Vec<u8> = sample_records().iter().flat_map(record::encode).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/journal/fixtures/v1.log");
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
            match dice.roll(10) {
                0..=3 => {
                    let mut new = queued(purchase(&format!("e{}", dice.roll(60)), now), &ids);
                    if dice.roll(3) == 0 {
                        new.event.context.cookies.fbp = Some(format!("fb.1.1.{step}"));
                    }
                    if dice.roll(4) == 0 {
                        let visitor = VisitorId::new(format!("v{}", dice.roll(3))).expect("valid");
                        new.event.visitor_id = Some(visitor.clone());
                        new.waits_for = Some(visitor);
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
                    let step = match dice.roll(4) {
                        0 => Step::Again { due: now.plus(std::time::Duration::from_secs(5)), failure },
                        1 => Step::Ended(Outcome::Dead(failure)),
                        _ => Step::Ended(Outcome::Delivered),
                    };
                    settle(&stores, id, vec![(one.key, step)], now).await;
                }
                8 => {
                    for visitor in stores.events.awaited() {
                        for waiting in stores.events.waiting_for(&visitor).await.expect("reads") {
                            let mut done = queued(waiting.sealed, &ids);
                            if dice.roll(3) == 0 {
                                done.deliveries[1].state = NewState::Skipped(crate::model::SkipReason::Consent);
                            }
                            stores.events.complete(waiting.event, done).await.expect("completes");
                        }
                    }
                }
                _ => {
                    let before = state(&stores);
                    let after = open(&disk.after_power_cut(0));
                    assert_eq!(state(&after), before, "seed {seed}, step {step}");
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
        }
    }
}

const WEEK: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);

fn sorted(mut visitors: Vec<VisitorId>) -> Vec<VisitorId> {
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
    stores.events.retain(START.plus(WEEK)).await.expect("retains");
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
