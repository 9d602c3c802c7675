//! The world: what happens follows from scenario and seed alone, and the list shows it in order.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::scenario::{Burst, Deletions, Late, Retries, Span, Superseded};
use crate::truth::EntryTruth;

const START: Moment = Moment::from_seconds(1_705_316_400);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A scenario in which everything happens.
fn lively() -> Scenario {
    let mut busy = Webhook::of_agent("a", "busy");
    busy.rate = 2.0;
    busy.failures.probability = 0.4;
    busy.failures.connection = 0.5;
    busy.pending = Span { min: seconds(0), max: seconds(8) };
    let mut quiet = Webhook::of_campaign("c", "quiet");
    quiet.rate = 0.3;
    Scenario {
        history: seconds(120),
        retention: seconds(200),
        late: Late { probability: 0.2, up_to: seconds(30) },
        bursts: vec![Burst { every: seconds(45), entries: 7 }],
        deletions: Deletions { probability: 0.05, after: Span { min: seconds(5), max: seconds(250) } },
        invalid: 0.1,
        retries: Retries { superseded: Superseded::FailAll, ..Retries::default() },
        webhooks: vec![busy, quiet],
        ..Scenario::default()
    }
}

fn one(webhook: Webhook) -> Scenario {
    Scenario { webhooks: vec![webhook], ..Scenario::default() }
}

fn world(scenario: Scenario) -> World {
    World::new(Arc::new(scenario), 42, START)
}

fn page(world: &mut World, page: usize, per_page: usize) -> Vec<Value> {
    let mut bytes = Vec::new();
    world.write_page(0, page, per_page, &mut bytes).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn ids(page: &[Value]) -> Vec<String> {
    page.iter().map(|entry| entry["id"].as_str().unwrap_or_default().to_owned()).collect()
}

fn entries(world: &World) -> Vec<EntryTruth> {
    world.truth().webhooks.remove(0).entries
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_same_happens_in_however_many_steps(mut stops in prop::collection::vec(0_u64..300_000, 0..40)) {
        let end = START.plus(seconds(300));
        let mut at_once = world(lively());
        at_once.advance_to(end);
        let mut in_steps = world(lively());
        stops.sort_unstable();
        stops.iter().for_each(|stop| in_steps.advance_to(START.plus(Duration::from_millis(*stop))));
        in_steps.advance_to(end);
        prop_assert_eq!(at_once.truth(), in_steps.truth());
        prop_assert_eq!(page(&mut at_once, 1, 100), page(&mut in_steps, 1, 100));
    }
}

#[test]
fn another_seed_is_another_world() {
    let other = World::new(Arc::new(lively()), 43, START);
    assert_ne!(world(lively()).truth(), other.truth());
    assert_eq!(world(lively()).truth(), world(lively()).truth());
}

#[test]
fn the_list_is_newest_first_and_pages_join() {
    let mut world = world(lively());
    world.advance_to(START.plus(seconds(60)));
    let total = world.logs[0].total();
    let all: Vec<Value> = (1..=total.div_ceil(7)).flat_map(|number| page(&mut world, number, 7)).collect();
    assert_eq!(all.len(), total);
    let times: Vec<&str> = all.iter().filter_map(|entry| entry["created_at"].as_str()).collect();
    assert!(times.iter().filter(|time| time.ends_with('Z')).is_sorted_by(|a, b| a >= b));
    assert!(page(&mut world, total, 7).is_empty());
    assert_eq!(page(&mut world, 1, total).len(), total);
}

#[test]
fn traffic_comes_at_its_rate_and_fails_at_its_probability() {
    let mut webhook = Webhook::of_agent("a", "w");
    (webhook.rate, webhook.max_retries) = (5.0, 0);
    webhook.failures.probability = 0.2;
    let mut world = world(one(webhook));
    world.advance_to(START.plus(seconds(2_000)));
    let entries = entries(&world);
    assert!((9_600..10_400).contains(&entries.len()), "{}", entries.len());
    let failed = entries.iter().filter(|entry| entry.status == "failed").count();
    assert!((1_850..2_150).contains(&failed), "{failed}");
}

#[test]
fn a_failing_delivery_is_retried_until_its_attempts_are_used_up() {
    for (superseded, before) in [
        (Superseded::Keep, ["retrying", "retrying"]),
        (Superseded::FailLast, ["retrying", "failed"]),
        (Superseded::FailAll, ["failed", "failed"]),
    ] {
        let mut webhook = Webhook::of_agent("a", "w");
        (webhook.rate, webhook.max_retries) = (0.05, 2);
        webhook.failures.probability = 1.0;
        let mut scenario = one(webhook);
        scenario.retries.superseded = superseded;
        let mut world = world(scenario);
        world.advance_to(START.plus(seconds(600)));
        let entries = entries(&world);
        let first: Vec<&EntryTruth> = entries.iter().filter(|entry| entry.delivery == 0).collect();
        let attempts: Vec<(u8, &str)> = first.iter().map(|entry| (entry.attempt, entry.status.as_str())).collect();
        let changed: Vec<bool> = first.iter().map(|entry| entry.superseded).collect();
        assert_eq!(changed, [before[0] == "failed", before[1] == "failed", false]);
        assert_eq!(attempts, [(1, before[0]), (2, before[1]), (3, "failed")], "{superseded:?}");
        let waits: Vec<i64> =
            first.windows(2).map(|pair| pair[1].created_at.as_micros() - pair[0].created_at.as_micros()).collect();
        assert_eq!(waits, [10_000_000, 20_000_000]);
    }
}

#[test]
fn attempts_of_a_delivery_share_their_payload_in_another_order() {
    let mut webhook = Webhook::of_agent("a", "w");
    (webhook.rate, webhook.failures.probability) = (0.02, 1.0);
    let mut scenario = one(webhook);
    scenario.shuffle_payload_keys = true;
    let mut world = world(scenario);
    world.advance_to(START.plus(seconds(300)));
    let delivery: HashMap<String, u32> = entries(&world).into_iter().map(|entry| (entry.id, entry.delivery)).collect();
    let mut first_of: HashMap<u32, Value> = HashMap::new();
    for entry in page(&mut world, 1, 100) {
        let number = delivery[entry["id"].as_str().unwrap()];
        let payload = entry["request_payload"].clone();
        assert_eq!(*first_of.entry(number).or_insert(payload.clone()), payload);
    }
    assert!(first_of.len() > 2);
    assert_ne!(first_of[&0], first_of[&1]);
    let mut bytes = Vec::new();
    world.write_page(0, 1, 100, &mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let first_keys: BTreeSet<&str> = text.split("\"request_payload\":{\"").skip(1).map(|rest| &rest[..4]).collect();
    assert!(first_keys.len() > 1, "{first_keys:?}");
}

#[test]
fn entries_are_pending_until_their_outcome() {
    let mut webhook = Webhook::of_agent("a", "w");
    webhook.rate = 1.0;
    webhook.pending = Span { min: seconds(20), max: seconds(20) };
    let mut world = world(one(webhook));
    world.advance_to(START.plus(seconds(15)));
    let young = page(&mut world, 1, 100);
    assert!(young.len() > 3 && young.iter().all(|entry| entry["status"] == "pending"));
    assert!(young.iter().all(|entry| entry.get("http_status").is_none() && entry.get("delivered_at").is_none()));
    world.advance_to(START.plus(seconds(70)));
    let later = page(&mut world, 1, 100);
    let old = later.iter().filter(|entry| ids(&young).contains(&entry["id"].as_str().unwrap().to_owned()));
    assert_eq!(old.filter(|entry| entry["status"] == "success" && entry["http_status"] == 200).count(), young.len());
}

#[test]
fn a_backlog_is_finished_and_fills_the_history() {
    let mut webhook = Webhook::of_agent("a", "w");
    (webhook.backlog, webhook.failures.probability) = (50_000, 0.1);
    let mut world = world(Scenario { history: seconds(86_400), ..one(webhook) });
    let entries = entries(&world);
    assert_eq!(entries.len(), 50_000);
    assert!(entries.iter().all(|entry| entry.status == "success" || entry.status == "failed"));
    assert_eq!(entries[0].created_at, START.minus(seconds(86_400)));
    let all: BTreeSet<String> = (1..=500).flat_map(|number| ids(&page(&mut world, number, 100))).collect();
    assert_eq!(all.len(), 50_000);
}

#[test]
fn an_entry_is_about_a_kilobyte() {
    let mut webhook = Webhook::of_agent("a", "w");
    webhook.backlog = 200;
    let mut bytes = Vec::new();
    world(one(webhook)).write_page(0, 1, 100, &mut bytes).unwrap();
    assert!((80_000..130_000).contains(&bytes.len()), "{}", bytes.len());
}

#[test]
fn ids_follow_the_order_of_creation() {
    let mut webhook = Webhook::of_agent("a", "w");
    webhook.rate = 3.0;
    let mut world = world(one(webhook));
    world.advance_to(START.plus(seconds(100)));
    let ids: Vec<String> = entries(&world).into_iter().map(|entry| entry.id).collect();
    assert!(ids.len() > 200 && ids.is_sorted());
    assert!(ids.iter().all(|id| id.len() == 36 && id.split('-').map(str::len).eq([8, 4, 4, 4, 12])), "{}", ids[0]);
}

#[test]
fn late_entries_turn_up_among_older_ones() {
    let mut webhook = Webhook::of_agent("a", "w");
    webhook.rate = 2.0;
    let mut world = world(Scenario { late: Late { probability: 0.5, up_to: seconds(30) }, ..one(webhook) });
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut late = 0;
    for second in 1..120 {
        world.advance_to(START.plus(seconds(second)));
        for entry in entries(&world) {
            let age = world.now().since(entry.created_at);
            late += usize::from(seen.insert(entry.id) && age > seconds(5));
        }
    }
    assert!(late > 30, "{late}");
    assert!(page(&mut world, 1, 100).iter().map(|entry| entry["created_at"].as_str()).is_sorted_by(|a, b| a >= b));
}

#[test]
fn entries_vanish_and_expire() {
    let mut world = world(lively());
    world.advance_to(START.plus(seconds(250)));
    let truth = world.truth();
    let webhook = &truth.webhooks[0];
    let gone = |entry: &&EntryTruth| entry.deleted || entry.expired;
    assert!(webhook.entries.iter().any(|entry| entry.deleted) && webhook.entries.iter().any(|entry| entry.expired));
    assert_eq!(webhook.total, webhook.entries.len() - webhook.entries.iter().filter(gone).count());
    let oldest = world.now().minus(seconds(200));
    let listed = webhook.entries.iter().filter(|entry| !entry.deleted && !entry.expired);
    assert!(listed.map(|entry| entry.created_at).all(|created_at| created_at >= oldest));
}

#[test]
fn strange_entries_are_strange_in_every_way_and_known_to_the_truth() {
    let mut webhook = Webhook::of_agent("a", "w");
    webhook.backlog = 0;
    webhook.rate = 1.0;
    let mut world = world(Scenario { invalid: 1.0, ..one(webhook) });
    world.advance_to(START.plus(seconds(90)));
    let truth = world.truth();
    let webhook = &truth.webhooks[0];
    let kinds: BTreeSet<String> = webhook.entries.iter().map(|entry| format!("{:?}", entry.anomaly)).collect();
    assert_eq!(kinds.len(), Anomaly::DRAWN.len(), "{kinds:?}");
    let shown = page(&mut world, 1, 100);
    let unusable = |entry: &&Value| {
        !entry["id"].is_string() || !entry["created_at"].as_str().is_some_and(|time| time.ends_with('Z'))
    };
    let invalid = webhook.entries.iter().filter(|entry| entry.invalid).count();
    assert_eq!(shown.iter().filter(unusable).count(), invalid);
    assert_eq!(webhook.sums.iter().map(|sum| sum.ever as usize).sum::<usize>() + invalid, webhook.entries.len());
    let unknown = shown.iter().filter(|entry| entry["status"] == "dead_lettered").count();
    assert_eq!(webhook.entries.iter().filter(|entry| entry.status == "unknown").count(), unknown);
}

#[test]
fn ties_may_come_in_another_order_each_time() {
    let scenario = Scenario { shuffle_ties: true, ..one(Webhook::of_agent("a", "w")) };
    let mut world = world(scenario);
    for number in 0..30 {
        let second = 1_000 + i64::from(number >= 10);
        let spec = EntrySpec {
            id: Some(format!("e{number}")),
            created_at: Moment::from_seconds(second),
            ..EntrySpec::default()
        };
        world.insert("w", spec).unwrap();
    }
    let (one, other) = (ids(&page(&mut world, 1, 100)), ids(&page(&mut world, 1, 100)));
    assert_ne!(one, other);
    let newer = |ids: &[String]| ids[..20].iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(newer(&one), newer(&other), "only ties change places");
    assert_eq!(page(&mut world, 2, 25).len(), 5);
    let borders: BTreeSet<Vec<String>> = (0..5).map(|_| ids(&page(&mut world, 2, 7))).collect();
    assert!(borders.len() > 1 && borders.iter().all(|ids| ids.len() == 7));
}

#[test]
fn nothing_happens_in_a_frozen_world() {
    for settle in [false, true] {
        let mut world = world(lively());
        world.advance_to(START.plus(seconds(60)));
        let pending = |world: &World| entries(world).iter().filter(|entry| entry.status == "pending").count();
        assert!(pending(&world) > 0);
        if settle {
            world.settle_and_freeze()
        } else {
            world.freeze()
        }
        assert_eq!(pending(&world) == 0, settle);
        let frozen = world.truth();
        world.advance_to(START.plus(seconds(600)));
        assert_eq!(world.truth(), frozen);
    }
}

#[test]
fn tests_may_put_change_and_delete_entries() {
    let mut world = world(one(Webhook::of_agent("a", "w")));
    let at = |second: i64| Moment::from_seconds(1_000 + second);
    let spec = |second: i64| EntrySpec { created_at: at(second), status: Status::Pending, ..EntrySpec::default() };
    let first = world.insert("w", spec(1)).unwrap();
    let second = world.insert("w", EntrySpec { id: Some("mine".to_owned()), ..spec(2) }).unwrap();
    let raw = world.insert_raw("w", at(3), r#"{"odd": 1}"#).unwrap();
    let old = world.insert("w", EntrySpec { delivery: world.delivery_of(&first), attempt: 2, ..spec(0) }).unwrap();
    let shown = page(&mut world, 1, 10);
    assert_eq!(shown[0], serde_json::json!({"odd": 1}));
    assert_eq!(ids(&shown)[1..], [second.as_str(), &first, &old]);
    assert_eq!(shown[2]["request_payload"], shown[3]["request_payload"]);
    assert_ne!(shown[1]["request_payload"], shown[2]["request_payload"]);

    assert!(world.change("mine", |entry| entry.status = Status::Failed));
    assert!(world.change(&old, |entry| entry.created_at = at(9)));
    assert!(world.delete(&first) && world.delete(&raw));
    assert!(!world.delete(&first) && !world.change("nobody", |_| {}));
    let shown = page(&mut world, 1, 10);
    assert_eq!(ids(&shown), [old, second]);
    assert_eq!(shown[1]["status"], "failed");
    assert_eq!(world.insert("v", spec(1)), Err(HandError::UnknownWebhook("v".to_owned())));
    let unknown = EntrySpec { delivery: Some(99), ..spec(1) };
    assert_eq!(world.insert("w", unknown), Err(HandError::UnknownDelivery(99)));
}

#[test]
fn what_is_made_by_hand_shifts_nothing() {
    let own = |world: &World| -> Vec<(String, String)> {
        let entries = entries(world).into_iter().filter(|entry| entry.id != "mine");
        entries.map(|entry| (entry.id, entry.status)).collect()
    };
    let mut untouched = world(lively());
    let mut touched = world(lively());
    touched
        .insert("busy", EntrySpec { id: Some("mine".to_owned()), created_at: START, ..EntrySpec::default() })
        .unwrap();
    [&mut untouched, &mut touched].into_iter().for_each(|world| world.advance_to(START.plus(seconds(90))));
    assert_eq!(own(&untouched), own(&touched));
}

#[test]
fn webhooks_come_and_go() {
    let mut world = world(Scenario::default());
    let mut webhook = Webhook::of_agent("a", "w");
    webhook.rate = 1.0;
    world.add_webhook(webhook);
    world.advance_to(START.plus(seconds(30)));
    assert!(entries(&world).len() > 10);
    assert!(world.remove_webhook("w") && !world.remove_webhook("w"));
    let then = entries(&world).len();
    world.advance_to(START.plus(seconds(60)));
    assert_eq!(entries(&world).len(), then);
    assert_eq!((world.logs().iter().filter(|log| !log.removed).count(), world.find_log("w")), (0, None));
}

#[test]
fn the_demonstration_has_deliveries_of_every_kind() {
    let mut world = World::new(Arc::new(Scenario::demo().unwrap()), crate::DEFAULT_SEED, START);
    let failures = |world: &World| {
        let orders = world.truth().webhooks.remove(0).entries.into_iter();
        orders.filter(|entry| entry.status != "success" && entry.status != "pending").count()
    };
    world.advance_to(START.plus(seconds(20)));
    let before = failures(&world);
    world.advance_to(START.plus(seconds(60)));
    assert!(failures(&world) > before + 20, "a spike within the first minute");
    for webhook in world.truth().webhooks {
        let has = |status: &str| webhook.entries.iter().any(|entry| entry.status == status);
        assert!(has("success") && has("failed"), "{}", webhook.webhook_id);
        assert!(webhook.entries.iter().any(|entry| entry.status != "pending" && entry.http_status == "none"));
        assert!(webhook.entries[0].created_at < START.minus(seconds(900)));
    }
    assert!(world.truth().webhooks[0].entries.iter().any(|entry| entry.status == "pending"));
}

#[test]
fn a_webhook_delivers_while_it_is_enabled() {
    let mut webhook = Webhook::of_agent("a", "w");
    webhook.rate = 1.0;
    webhook.enabled = false;
    let mut world = world(one(webhook));
    let counts: Vec<usize> = [(30, true), (60, false), (90, true)]
        .into_iter()
        .map(|(until, enable)| {
            world.advance_to(START.plus(seconds(until)));
            assert!(world.change_webhook("w", |webhook| webhook.enabled = enable));
            entries(&world).len()
        })
        .collect();
    assert!(counts[0] == 0 && counts[1] > 10 && counts[2] == counts[1], "{counts:?}");
    assert!(!world.change_webhook("x", |_| ()));
}

#[test]
fn a_removed_owner_takes_its_webhooks_along() {
    let mut world = world(Scenario {
        webhooks: vec![Webhook::of_agent("a", "w"), Webhook::of_campaign("a", "v")],
        ..Scenario::default()
    });
    let agent = OwnerKind::Agent;
    assert!(world.rename_owner(agent, "a", "New") && world.set_status(agent, "a", "draft"));
    let shown: Vec<_> = world.owners(agent).map(|state| (state.owner.name.clone(), state.status.clone())).collect();
    assert_eq!(shown, [("New".to_owned(), "draft".to_owned())]);
    assert!(world.remove_owner(agent, "a") && !world.remove_owner(agent, "a"));
    assert!(!world.rename_owner(agent, "a", "New") && !world.has_owner(agent, "a"));
    assert_eq!((world.find_log("w"), world.find_log("v")), (None, Some(1)));
    assert!(world.has_owner(OwnerKind::Campaign, "a"));
}
