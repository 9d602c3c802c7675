//! One webhook is one target, and every difference is told once.

use super::*;
use crate::delivery::OwnerType;

fn key(id: &str) -> OwnerKey {
    OwnerKey { owner_type: OwnerType::Agent, id: id.into() }
}

fn webhook(name: &str) -> ApiWebhook {
    ApiWebhook {
        name: name.into(),
        endpoint: None,
        timeout_seconds: Some(30),
        max_retries: Some(3),
        method: Method::Post,
        is_enabled: true,
    }
}

fn named(owner: &str, id: &str, name: &str) -> Target {
    Target {
        environment: "test".into(),
        webhook_id: id.into(),
        owner_type: OwnerType::Agent,
        owner_id: owner.into(),
        webhook_name: name.into(),
    }
}

/// The targets of those named by hand and these webhooks: the owner, the id, whether it is wanted.
fn joined(by_hand: &[Target], found: &[(&str, &str, bool)]) -> Targets {
    let found: Vec<_> = found
        .iter()
        .map(|(owner, id, is_wanted)| {
            (
                key(owner),
                Arc::from(format!("name of {owner}")),
                Arc::from(*id),
                webhook(&format!("{id} of {owner}")),
                *is_wanted,
            )
        })
        .collect();
    let discovered = found.iter().map(|(owner, owner_name, webhook_id, webhook, is_wanted)| Discovered {
        owner,
        owner_name,
        webhook_id,
        webhook,
        is_wanted: *is_wanted,
        known_at: Some(Timestamp::from_seconds(7)),
    });
    join(&"test".into(), by_hand, discovered)
}

/// The name, the owner and the owner's name of a target.
fn shown<'a>(targets: &'a Targets, id: &str) -> (&'a str, &'a str, Option<&'a str>) {
    let listed = &targets[id];
    let owner_name = listed.info.as_ref().map(|info| &*info.owner_name);
    (&listed.target.webhook_name, &listed.target.owner_id, owner_name)
}

#[test]
fn a_webhook_that_is_wanted_becomes_a_target() {
    let targets = joined(&[], &[("a", "w", true), ("a", "v", false)]);
    assert_eq!(targets.len(), 1);
    assert_eq!(shown(&targets, "w"), ("w of a", "a", Some("name of a")));
    assert_eq!(targets["w"].known_at, Some(Timestamp::from_seconds(7)));
}

#[test]
fn what_was_named_by_hand_keeps_its_name_and_owner() {
    let by_hand = [named("a", "w", "Mine"), named("a", "v", "v"), named("a", "u", "u")];
    let targets = joined(&by_hand, &[("a", "w", false), ("a", "v", true)]);
    assert_eq!(shown(&targets, "w"), ("Mine", "a", Some("name of a")), "its info is used though it is not wanted");
    assert_eq!(shown(&targets, "v"), ("v of a", "a", Some("name of a")), "no name was given");
    assert_eq!(shown(&targets, "u"), ("u", "a", None));
    assert!(targets.values().all(|listed| listed.known_at.is_none()), "known since the configuration named them");
}

#[test]
fn a_webhook_under_two_owners_is_one_target() {
    let both = [("a", "w", true), ("b", "w", true)];
    assert_eq!(shown(&joined(&[], &both), "w"), ("w of a", "a", Some("name of a")));
    for (owner, expected) in [("a", "name of a"), ("b", "name of b"), ("c", "")] {
        let targets = joined(&[named(owner, "w", "Mine")], &both);
        assert_eq!(shown(&targets, "w"), ("Mine", owner, Some(expected)));
    }
}

#[test]
fn every_difference_is_told() {
    let before = joined(&[], &[("a", "stays", true), ("a", "goes", true), ("a", "moves", true)]);
    let mut now = joined(&[], &[("a", "stays", true), ("b", "moves", true), ("b", "comes", true)]);
    let ids = |listed: &[ListedTarget]| listed.iter().map(|one| one.target.webhook_id.to_string()).collect::<Vec<_>>();
    let changes = compare(&before, &now);
    assert_eq!((ids(&changes.appeared), ids(&changes.changed)), (vec!["comes".into()], vec!["moves".into()]));
    assert_eq!(changes.disappeared, [before["goes"].target.clone()]);
    assert_eq!(compare(&now, &now), TargetChanges::default());

    let stays = now.get_mut("stays").unwrap();
    stays.known_at = None;
    assert_eq!(ids(&compare(&before, &now).changed), ["moves"], "since when it is known matters only at first");
    let changes: [fn(&mut WebhookInfo); 6] = [
        |info| info.is_enabled = false,
        |info| info.max_retries = Some(9),
        |info| info.timeout_seconds = None,
        |info| info.method = Method::Put,
        |info| info.owner_name = "renamed".into(),
        |info| info.endpoint = Some(Endpoint { host: "h".into(), port: None }),
    ];
    for change in changes {
        let mut other = now.clone();
        change(other.get_mut("stays").unwrap().info.as_mut().unwrap());
        assert_eq!(ids(&compare(&now, &other).changed), ["stays"]);
    }
}
