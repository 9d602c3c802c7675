//! What an audit looks like to people.

use super::*;
use crate::audit::Extent;
use crate::store::sqlite::behind::Gap;
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
fn a_webhook_without_a_fault_takes_three_lines_below_the_summary() {
    let audit = Audit { extent: extent(), ..Audit::default() };
    insta::assert_snapshot!(text(&[(orders(), AuditResult::Audited(audit.into()))]), @"
    OK: nothing is missing, doubled or different in 1 webhook

    production/w-1 (orders)
      compared: 120 entries of the log since 2023-11-13T22:13:20Z, and 1 entry of the state; 2 requests
      no fault
    ");
}

#[test]
fn faults_come_first_and_in_full_and_the_rest_apart_and_short() {
    let findings = Findings {
        missing: notes((0..30).map(|n| format!("lost-{n}")), "ping, failed (500)"),
        changed: notes((0..12).map(|n| format!("changed-{n}")), "x"),
        invalid: vec!["id:\u{1b}[2J".into()],
        outside: 4,
        ..Findings::default()
    };
    let audit = Audit { findings, sums: vec!["the books do not balance".to_owned()], extent: extent() };
    assert_eq!(audit.faults(), 31);
    let well = AuditResult::Audited(Audit { extent: extent(), ..Audit::default() }.into());
    let other = Target { webhook_id: "w-0".into(), webhook_name: "w-0".into(), ..orders() };
    let results = [(other, well), (orders(), AuditResult::Audited(audit.into()))];
    let text = text(&results);
    assert!(text.starts_with("FAULTS: 31 faults in 1 of 2 webhooks\n\nproduction/w-1 (orders)\n"), "{text}");
    for n in 0..30 {
        assert!(text.contains(&format!("\n    lost-{n} of 2023-11-14T22:13:20Z: ping, failed (500)\n")), "{text}");
    }
    let rest = text.split_once("  SUMS").map(|(_, rest)| rest).expect("sums");
    let cut: String = rest.lines().filter(|line| !line.contains(" of 2023")).map(|line| format!("{line}\n")).collect();
    insta::assert_snapshot!(cut, @"
     that do not agree: 1
        the books do not balance

    production/w-0
      compared: 120 entries of the log since 2023-11-13T22:13:20Z, and 1 entry of the state; 2 requests
      no fault

    No fault:
    production/w-1 (orders)
      changed after they were counted: 12
        … and 2 more
      unusable, and not counted yet: 1
        id:�[2J
      older than what is remembered: 4
    ");
    assert_eq!(rest.matches(" of 2023").count(), 10);
    let json = json(&results, &Age::Current);
    assert_eq!((&json["ok"], &json["summary"]["faults"]), (&false.into(), &31.into()));
    assert_eq!(json["webhooks"][1]["faults"]["missing"].as_array().map(Vec::len), Some(30));
    assert_eq!(json["webhooks"][1]["no_fault"]["changed"][11]["id"], "changed-11");
    assert_eq!(json["webhooks"][0]["compared"]["since"], "2023-11-13T22:13:20Z");
}

#[test]
fn json_tells_of_a_state_that_went_back_in_time() {
    let gap = Gap {
        commits: Some(3),
        from: Timestamp::from_seconds(1_700_000_000),
        to: Timestamp::from_seconds(1_700_000_060),
        noticed_at: Timestamp::from_seconds(1_700_000_100),
    };
    let well = || vec![(orders(), AuditResult::Audited(Box::default()))];
    for (age, is_ok, problem, waiting) in [
        (Age::Behind(gap), false, json!("behind"), json!(null)),
        (Age::WentBack { gap, waiting: 2 }, true, json!("behind"), json!(2)),
        (Age::WentBack { gap, waiting: 0 }, true, json!(null), json!(0)),
    ] {
        let json = json(&well(), &age);
        assert_eq!((&json["ok"], &json["state"]["problem"]), (&json!(is_ok), &problem), "{age:?}");
        let went_back = &json["state"]["went_back"];
        assert_eq!(went_back["commits_missing"], 3);
        assert_eq!(went_back["last_commit"], "2023-11-14T22:13:20Z");
        assert_eq!(went_back["last_shown"], "2023-11-14T22:14:20Z");
        assert_eq!(went_back["webhooks_to_read_again"], waiting, "{age:?}");
    }
    assert_eq!(json(&well(), &Age::Current)["state"], json!({"problem": null, "went_back": null}));
}

#[test]
fn the_verdict_says_what_there_is_to_do() {
    let well = || AuditResult::Audited(Box::default());
    let faulty = |faults| AuditResult::Audited(Audit { sums: vec![String::new(); faults], ..Audit::default() }.into());
    let failed = || AuditResult::Failed("x".to_owned());
    for (results, expected) in [
        (vec![well()], "OK: nothing is missing, doubled or different in 1 webhook\n"),
        (vec![well(), faulty(2), AuditResult::Unknown { entries: 1 }], "FAULTS: 2 faults in 1 of 3 webhooks\n"),
        (vec![well(), well(), failed()], "FAILED: 1 of 3 webhooks could not be audited\n"),
        (vec![well(), faulty(1), failed()], "FAULTS: 1 fault in 1 of 3 webhooks; 1 could not be audited\n"),
    ] {
        let results: Vec<_> = results.into_iter().map(|result| (orders(), result)).collect();
        assert_eq!(verdict(&results), expected);
    }
}
