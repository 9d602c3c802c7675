//! What an audit looks like to people.

use super::*;
use crate::audit::Extent;
use talkover_core::delivery::{EntryId, OwnerType, Timestamp};

fn orders() -> Target {
    Target {
        environment: "production".into(),
        webhook_id: "w-1".into(),
        owner_type: OwnerType::Agent,
        owner_id: "a-1".into(),
        webhook_name: "orders".into(),
    }
}

fn notes(ids: impl IntoIterator<Item = String>, what: &str) -> Vec<Note> {
    let created_at = Timestamp::from_seconds(1_700_000_000);
    ids.into_iter().map(|id| Note { created_at, id: EntryId::new(&id), what: what.to_owned() }).collect()
}

fn extent() -> Extent {
    Extent { from: Some(Timestamp::from_seconds(1_699_913_600)), entries: 120, invalid: 0, requests: 2, rows: 1 }
}

#[test]
fn a_webhook_without_a_fault_takes_three_lines() {
    let audit = Audit { extent: extent(), ..Audit::default() };
    insta::assert_snapshot!(target(&orders(), &audit), @"
    production/w-1 (orders)
      compared: 120 entries of the log since 2023-11-13T22:13:20Z, and 1 entry of the state; 2 requests
      no fault
    ");
}

#[test]
fn faults_come_first_and_in_full_the_rest_is_cut() {
    let findings = Findings {
        missing: notes((0..30).map(|n| format!("lost-{n}")), "ping, failed (500)"),
        changed: notes((0..22).map(|n| format!("changed-{n}")), "x"),
        invalid: vec!["id:\u{1b}[2J".into()],
        outside: 4,
        ..Findings::default()
    };
    let audit = Audit { findings, sums: vec!["the books do not balance".to_owned()], extent: extent() };
    assert_eq!(audit.faults(), 31);
    let text = target(&orders(), &audit);
    for n in 0..30 {
        assert!(text.contains(&format!("\n    lost-{n} of 2023-11-14T22:13:20Z: ping, failed (500)\n")), "{text}");
    }
    let rest = text.split_once("  SUMS").map(|(_, rest)| rest).expect("sums");
    let cut: String = rest.lines().filter(|line| !line.contains(" of 2023")).map(|line| format!("{line}\n")).collect();
    insta::assert_snapshot!(cut, @"
     that do not agree: 1
        the books do not balance
      no fault: changed after they were counted: 22
        … and 2 more
      no fault: unusable, and not counted yet: 1
        id:�[2J
      no fault: older than what is remembered: 4
    ");
    assert_eq!(rest.matches(" of 2023").count(), 20);
}

#[test]
fn the_verdict_says_what_there_is_to_do() {
    for (numbers, expected) in [
        ((1, 0, 0, 0), "OK: nothing is missing, doubled or different in 1 webhook\n"),
        ((3, 1, 2, 0), "FAULTS: 2 faults in 1 of 3 webhooks\n"),
        ((3, 0, 0, 1), "FAILED: 1 of 3 webhooks could not be audited\n"),
        ((3, 1, 1, 1), "FAULTS: 1 fault in 1 of 3 webhooks; 1 could not be audited\n"),
    ] {
        let (targets, faulty, faults, failed) = numbers;
        assert_eq!(verdict(targets, faulty, faults, failed), expected);
    }
}
