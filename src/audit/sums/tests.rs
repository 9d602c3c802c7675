//! Sums that agree, and every way in which they may not.

use super::*;
use talkover_core::delivery::{EntryId, Timestamp};

fn row(id: &str, counted: Option<(&str, &str)>, result: Option<&str>, is_ended: bool, is_late: bool) -> StateRow {
    StateRow {
        id: EntryId::new(id),
        created_at: Timestamp::from_seconds(1),
        attempt: 1,
        event: "ping".into(),
        status: counted.map_or("pending", |(status, _)| status).into(),
        counted: counted.map(|(status, http_status)| (status.into(), http_status.into())),
        result: result.map(Into::into),
        is_open: counted.is_none() && !is_ended,
        is_ended,
        is_late,
        group: [0; 16],
        awaits_predecessor: false,
    }
}

/// Five entries that are remembered, and two that were forgotten.
fn sound() -> StateTarget {
    let rows = vec![
        row("a", Some(("success", "200")), Some("success"), true, false),
        row("b", Some(("success", "200")), Some("success"), true, true),
        row("c", Some(("retrying", "none")), Some("abandoned"), true, false),
        row("d", None, None, false, false),
        row("e", None, Some("abandoned"), true, false),
    ];
    let success = || Series::new("attempts", &["ping", "success", "200"]);
    let counter = |family: &str, labels: &[&str], value: i64| (Series::new(family, labels), value);
    let totals = [
        counter("log_entries", &["new"], 5),
        counter("log_entries", &["late"], 2),
        counter("log_entries", &["expired"], 1),
        counter("log_entries", &["ignored"], 77),
        counter("log_entries", &["invalid"], 1),
        counter("history_gaps", &[], 3),
        (success(), 4),
        counter("attempts", &["ping", "retrying", "none"], 1),
        counter("deliveries", &["ping", "success"], 4),
        counter("deliveries", &["ping", "abandoned"], 2),
    ];
    let pruned = [
        (success(), 2),
        counter("deliveries", &["ping", "success"], 2),
        counter("log_entries", &["new"], 1),
        counter("log_entries", &["late"], 1),
    ];
    let observed = [
        counter("duration", &["ping", "200"], 4),
        counter("delay", &["ping"], 5),
        counter("attempts_per_delivery", &["ping", "success"], 4),
        counter("attempts_per_delivery", &["ping", "abandoned"], 2),
    ];
    StateTarget {
        rows,
        invalid: ["id:x".into()].into(),
        totals: totals.into(),
        pruned: pruned.into(),
        observed: observed.into(),
        duration_labels: Some(vec!["event".to_owned(), "http_status".to_owned()]),
        ..StateTarget::default()
    }
}

#[test]
fn a_sound_state_adds_up() {
    assert_eq!(compare(&sound()), Vec::<String>::new());
    assert_eq!(compare(&StateTarget::default()), Vec::<String>::new());
}

#[test]
fn every_sum_that_does_not_agree_is_told() {
    fn set(of: &mut BTreeMap<Series, i64>, family: &str, labels: &[&str], value: i64) {
        of.insert(Series::new(family, labels), value);
    }
    type Damage = fn(&mut StateTarget);
    let table: [(Damage, &[&str]); 11] = [
        (
            |state| set(&mut state.totals, "attempts", &["ping", "success", "200"], 5),
            &[
                "talkover_webhook_delivery_attempts_total{event=\"ping\",status=\"success\",http_status=\"200\"}: 5, but 4 \
                 by entry (2 remembered, 2 forgotten)",
                "the books do not balance: 5 new + 2 late entries, but 6 attempts + 1 pending + 1 expired",
            ],
        ),
        (
            |state| set(&mut state.totals, "attempts", &["pong", "failed", "500"], 1),
            &["{event=\"pong\",status=\"failed\",http_status=\"500\"}: 1, but 0 by entry", "the books"],
        ),
        (
            |state| state.totals.retain(|series, _| series.labels != ["ping", "retrying", "none"]),
            &[
                "status=\"retrying\",http_status=\"none\"}: 0, but 1 by entry",
                "the books",
                "5 observations, but 4 attempts",
            ],
        ),
        (
            |state| set(&mut state.pruned, "deliveries", &["ping", "failed"], 1),
            &[
                "talkover_webhook_deliveries_total{event=\"ping\",result=\"failed\"}: 0, but 1 by entry (0 remembered, 1",
            ],
        ),
        (
            |state| set(&mut state.totals, "log_entries", &["expired"], 2),
            &["talkover_exporter_log_entries_total{outcome=\"expired\"}: 2, but 1 by entry", "the books"],
        ),
        (
            |state| drop(state.rows.remove(3)),
            &["talkover_exporter_log_entries_total{outcome=\"new\"}: 5, but 4 by entry", "the books"],
        ),
        (
            |state| set(&mut state.observed, "duration", &["ping", "200"], 5),
            &["talkover_webhook_delivery_duration_seconds{\"ping\",\"200\"}: 5 observations, but 4 attempts"],
        ),
        (
            |state| set(&mut state.observed, "delay", &["ping"], 6),
            &["talkover_webhook_delivery_delay_seconds{event=\"ping\"}: 6 observations, but 5 attempts"],
        ),
        (
            |state| set(&mut state.observed, "attempts_per_delivery", &["ping", "success"], 3),
            &["talkover_webhook_attempts_per_delivery{event=\"ping\",result=\"success\"}: 3 observations, but 4"],
        ),
        (
            |state| state.observed.retain(|series, _| series.family != "attempts_per_delivery"),
            &["result=\"abandoned\"}: 0 observations, but 2", "result=\"success\"}: 0 observations, but 4"],
        ),
        (
            |state| state.invalid.extend(["id:y".into()]),
            &["talkover_exporter_log_entries_total{outcome=\"invalid\"}: 1, but 2 are remembered"],
        ),
    ];
    for (number, (damage, expected)) in table.into_iter().enumerate() {
        let mut state = sound();
        damage(&mut state);
        let found = compare(&state);
        assert_eq!(found.len(), expected.len(), "{number}: {found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{number}: {found} does not hold {expected}");
        }
    }
}

#[test]
fn histograms_that_started_again_may_have_fewer_observations_than_deliveries_and_not_more() {
    let mut state = StateTarget { has_restarted_attempts_per_delivery: true, ..sound() };
    let success = Series::new("attempts_per_delivery", &["ping", "success"]);
    for (observed, faults) in [(3, 0), (5, 1)] {
        state.observed.insert(success.clone(), observed);
        assert_eq!(compare(&state).len(), faults, "{observed}");
    }
    state.observed.remove(&success);
    assert_eq!(compare(&state), Vec::<String>::new());
}

#[test]
fn fewer_observations_than_attempts_are_no_fault() {
    let mut state = sound();
    state.observed.insert(Series::new("duration", &["ping", "200"]), 1);
    state.observed.insert(Series::new("delay", &["ping"]), 0);
    assert_eq!(compare(&state), Vec::<String>::new());
    // Labels that are not known any more tell nothing.
    state.observed.insert(Series::new("duration", &["ping", "200"]), 99);
    state.duration_labels = None;
    assert_eq!(compare(&state), Vec::<String>::new());
}
