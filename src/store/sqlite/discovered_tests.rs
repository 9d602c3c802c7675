//! What discovery knows survives, environment by environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::SqliteStore;
use crate::store::SpanBatch;
use crate::store::Store as _;
use crate::store::Unlisted;
use talkover_core::delivery::{OwnerType, Target};
use talkover_core::discovery::record::{DiscoveryRecord, ListRecord, OwnerRecord, Unsaved, WebhookRecord};
use talkover_core::discovery::targets::{Discovered, WebhookInfo, join};
use talkover_core::discovery::{ApiOwner, ApiWebhook, Endpoint, Method, OwnerKey};
use talkover_core::ledger::state::Changes;
use talkover_core::testing::{at, local};

fn key(owner_type: OwnerType, id: &str) -> OwnerKey {
    OwnerKey { owner_type, id: id.into() }
}

fn full_webhook() -> WebhookRecord {
    let webhook = ApiWebhook {
        name: "Orders \"EU\"\n✓".into(),
        endpoint: Some(Endpoint { host: "hooks.example.com".into(), port: Some(65535) }),
        timeout_seconds: Some(30),
        max_retries: Some(3),
        method: Method::Patch,
        is_enabled: false,
    };
    WebhookRecord { webhook, known_at: Some(at(3)), missed: 2 }
}

fn bare_webhook() -> WebhookRecord {
    let webhook = ApiWebhook {
        name: "w".into(),
        endpoint: Some(Endpoint { host: "h".into(), port: None }),
        timeout_seconds: None,
        max_retries: None,
        method: Method::Post,
        is_enabled: true,
    };
    WebhookRecord { webhook, known_at: None, missed: 0 }
}

/// Everything that can be told apart.
fn record() -> DiscoveryRecord {
    let owner = |name: &str, status: Option<&str>| ApiOwner {
        name: name.into(),
        status: status.map(Into::into),
        updated_at: status.map(|_| at(1)),
    };
    let full = OwnerRecord {
        absent_at: Some(at(2)),
        read_at: Some(at(4)),
        is_changed: true,
        missed: 3,
        webhooks: BTreeMap::from([("w-1".into(), full_webhook()), ("w-2".into(), bare_webhook())]),
        ..OwnerRecord::new(owner("Sales", Some("published")), None)
    };
    let bare = OwnerRecord {
        webhooks: BTreeMap::from([(
            "w-1".into(),
            WebhookRecord { webhook: ApiWebhook { endpoint: None, ..bare_webhook().webhook }, ..bare_webhook() },
        )]),
        ..OwnerRecord::new(owner("a", None), None)
    };
    DiscoveryRecord {
        lists: BTreeMap::from([
            (OwnerType::Agent, ListRecord { completed_at: Some(at(6)), whole_at: Some(at(5)) }),
            (OwnerType::Campaign, ListRecord::default()),
        ]),
        // The same id under both types.
        owners: BTreeMap::from([(key(OwnerType::Agent, "o"), full), (key(OwnerType::Campaign, "o"), bare)]),
    }
}

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(&directory.join("state.db"), local(0)).unwrap()
}

#[test]
fn what_discovery_knows_outlives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    assert_eq!(store.load_discovered("test").unwrap(), DiscoveryRecord::default());
    let unsaved = Unsaved { record: record(), gone: Vec::new() };
    store.save_discovered("test", &unsaved, &[], &[], local(0)).unwrap();
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.load_discovered("test").unwrap(), record());
    assert_eq!(store.load_discovered("other").unwrap(), DiscoveryRecord::default());
}

#[test]
fn owners_are_replaced_and_forgotten_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    for environment in ["test", "other"] {
        store
            .save_discovered(environment, &Unsaved { record: record(), gone: Vec::new() }, &[], &[], local(0))
            .unwrap();
    }
    let (agent, campaign) = (key(OwnerType::Agent, "o"), key(OwnerType::Campaign, "o"));
    let mut expected = record();
    let owner = expected.owners.get_mut(&agent).unwrap();
    owner.webhooks.remove("w-1");
    owner.owner.name = "Renamed".into();
    let changed = BTreeMap::from([(agent, owner.clone())]);
    expected.owners.remove(&campaign);
    let record_of_changes = DiscoveryRecord { owners: changed, ..DiscoveryRecord::default() };
    store
        .save_discovered("test", &Unsaved { record: record_of_changes, gone: vec![campaign] }, &[], &[], local(0))
        .unwrap();
    assert_eq!(store.load_discovered("test").unwrap(), expected);
    assert_eq!(store.load_discovered("other").unwrap(), record(), "another environment's are its own");
}

#[test]
fn one_that_has_come_back_is_not_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    let gone = record().owners.into_keys().collect();
    store.save_discovered("test", &Unsaved { record: record(), gone }, &[], &[], local(0)).unwrap();
    assert_eq!(store.load_discovered("test").unwrap(), record());
}

/// The webhook `w-1` as a target of this owner.
fn target(owner_type: OwnerType, owner_id: &str) -> Target {
    Target {
        environment: "test".into(),
        webhook_id: "w-1".into(),
        owner_type,
        owner_id: owner_id.into(),
        webhook_name: "name".into(),
    }
}

/// What is shown of a target that is named by hand, or listed, while discovery knows what [`record`] says.
fn shown(target: &Target) -> Option<WebhookInfo> {
    let record = record();
    let found = record.owners.iter().flat_map(|(owner, known)| {
        known.webhooks.iter().map(move |(webhook_id, webhook)| Discovered {
            owner,
            owner_name: &known.owner.name,
            webhook_id,
            webhook: &webhook.webhook,
            is_wanted: true,
            known_at: None,
        })
    });
    join(&"test".into(), std::slice::from_ref(target), found)["w-1"].info.clone()
}

#[test]
fn of_a_target_that_is_no_longer_listed_all_stays_that_was_shown() {
    let (agent, campaign) = (target(OwnerType::Agent, "o"), target(OwnerType::Campaign, "o"));
    assert_eq!(shown(&agent).unwrap().owner_name, "Sales".into());
    assert_eq!(shown(&campaign).unwrap().endpoint, None);
    // The webhook of another owner than the configuration says.
    let other = target(OwnerType::Agent, "other");
    assert_eq!(shown(&other).unwrap().owner_name, "".into());
    for target in [agent, campaign, other] {
        for is_forgotten in [true, false] {
            let directory = tempfile::tempdir().unwrap();
            let mut store = open(directory.path());
            let changes = Changes { must_commit: true, ..Changes::default() };
            _ = store.commit(&target, changes, &SpanBatch::default()).unwrap();
            let known = Unsaved { record: record(), gone: Vec::new() };
            store.save_discovered("test", &known, std::slice::from_ref(&target), &[], local(1)).unwrap();
            if is_forgotten {
                // Its owners are gone; or else it is left out by the configuration, at the next start.
                let gone = Unsaved { record: DiscoveryRecord::default(), gone: record().owners.into_keys().collect() };
                store.save_discovered("test", &gone, &[], std::slice::from_ref(&target), local(2)).unwrap();
            }
            drop(store);
            let mut store = open(directory.path());
            let expected = [Unlisted { target: target.clone(), info: shown(&target), unlisted_for: Duration::ZERO }];
            assert_eq!(store.list("test", &[], local(3)).unwrap(), expected, "{is_forgotten}");
            assert_eq!(store.list("test", &[], local(4)).unwrap(), expected, "at any later start too");
            // Listed again, and then no longer while discovery does not know it.
            store.list("test", std::slice::from_ref(&target), local(5)).unwrap();
            let gone = Unsaved { record: DiscoveryRecord::default(), gone: record().owners.into_keys().collect() };
            store.save_discovered("test", &gone, &[], &[], local(6)).unwrap();
            let unknown = Unlisted { target: target.clone(), info: None, unlisted_for: Duration::ZERO };
            assert_eq!(store.list("test", &[], local(7)).unwrap(), [unknown]);
        }
    }
}
