//! What is a fault and what is none, by tables.

use super::*;
use talkover_core::delivery::AttemptStatus;

const RULES: Rules = Rules {
    lookback: Duration::from_secs(600),
    sweep_interval: Duration::from_secs(300),
    settle_after: Duration::from_secs(36_000),
};
/// The server's clock at the end of the reading, in seconds.
const NOW: i64 = 100_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn attempt(id: &str, created_at: i64, status: AttemptStatus, http_status: HttpStatus) -> Attempt {
    Attempt {
        id: EntryId::new(id),
        event: "ping".into(),
        attempt: 1,
        status,
        http_status,
        error: None,
        duration_ns: None,
        delivered_at: None,
        created_at: at(created_at),
        group: [0; 16],
    }
}

fn row(id: &str, created_at: i64, counted: Option<(&str, &str)>) -> StateRow {
    let status = counted.map_or("pending", |(status, _)| status);
    let is_end = matches!(status, "success" | "failed");
    StateRow {
        id: EntryId::new(id),
        created_at: at(created_at),
        attempt: 1,
        event: "ping".into(),
        status: status.into(),
        counted: counted.map(|(status, http_status)| (status.into(), http_status.into())),
        result: is_end.then(|| status.into()),
        is_open: !is_end,
        is_ended: is_end,
        is_late: false,
        group: [0; 16],
        awaits_predecessor: false,
    }
}

/// A state that has read everything up to 1000 s ago, and swept 400 s before that.
fn state(rows: Vec<StateRow>) -> StateTarget {
    let marks = StateMarks {
        contacted: true,
        history_cutoff: Some(at(NOW - 86_400)),
        watermark: Some(at(NOW - 1_000)),
        swept: Some(at(NOW - 1_400)),
        ..StateMarks::default()
    };
    StateTarget { marks, rows, ..StateTarget::default() }
}

fn log(attempts: Vec<Attempt>) -> LogStretch {
    LogStretch {
        from: at(NOW - 50_000),
        now: at(NOW),
        attempts: attempts.into_iter().map(|attempt| (attempt.id.clone(), attempt)).collect(),
        ..LogStretch::default()
    }
}

/// How many entries are in each list, by its name; empty ones left out.
fn shape(findings: &Findings) -> Vec<(&'static str, usize)> {
    let lists = [
        ("missing", findings.missing.len()),
        ("doubled", findings.doubled.len()),
        ("different", findings.different.len()),
        ("changed", findings.changed.len()),
        ("not seen", findings.not_seen.len()),
        ("not read", findings.not_read.len()),
        ("deleted", findings.deleted.len()),
        ("invalid", findings.invalid.len()),
        ("outside", findings.outside),
    ];
    lists.into_iter().filter(|(_, count)| *count > 0).collect()
}

#[test]
fn an_unknown_entry_is_missing_once_every_poll_that_had_to_read_it_is_over() {
    let sound = state(Vec::new()).marks;
    let table = [
        ("newer than the watermark", sound, NOW - 999, "not read"),
        ("in the seconds that may still fill", sound, NOW - 1_002, "not read"),
        ("within the window of the next sweep", sound, NOW - 1_003, "not read"),
        ("at the end of that window", sound, NOW - 2_002, "not read"),
        ("behind that window", sound, NOW - 2_003, "missing"),
        ("at the end of what is remembered", sound, NOW - 36_000, "missing"),
        ("older than what is remembered", sound, NOW - 36_001, "outside"),
        ("forgotten", StateMarks { horizon: Some(at(NOW - 9_000)), ..sound }, NOW - 9_001, "outside"),
        ("not forgotten", StateMarks { horizon: Some(at(NOW - 9_000)), ..sound }, NOW - 9_000, "missing"),
        (
            "older than the first contact",
            StateMarks { history_cutoff: Some(at(NOW - 9_000)), ..sound },
            NOW - 9_001,
            "outside",
        ),
        ("of a first contact", StateMarks { contacted: false, ..sound }, NOW - 9_000, "not read"),
        ("of an empty log", StateMarks { watermark: None, swept: None, ..sound }, NOW - 9_000, "not read"),
        ("never swept", StateMarks { swept: None, ..sound }, NOW - 1_603, "missing"),
        ("of a walk under way", StateMarks { walk_until: Some(at(NOW - 9_000)), ..sound }, NOW - 9_000, "not read"),
        ("before a walk under way", StateMarks { walk_until: Some(at(NOW - 9_000)), ..sound }, NOW - 9_001, "missing"),
        (
            "behind the watermark of a daemon that is stopped",
            StateMarks { watermark: Some(at(NOW - 30_000)), swept: Some(at(NOW - 30_000)), ..sound },
            NOW - 29_000,
            "not read",
        ),
    ];
    for (what, marks, created_at, expected) in table {
        let state = StateTarget { marks, ..StateTarget::default() };
        for status in [AttemptStatus::Pending, AttemptStatus::Failed] {
            let entry = attempt("unknown", created_at, status, HttpStatus::Code(500));
            let findings = compare(&log(vec![entry]), &state, &RULES);
            assert_eq!(shape(&findings), [(expected, 1)], "{what}");
        }
    }
    let before_the_stretch = attempt("old", NOW - 50_001, AttemptStatus::Failed, HttpStatus::None);
    assert_eq!(shape(&compare(&log(vec![before_the_stretch]), &state(Vec::new()), &RULES)), []);
}

#[test]
fn a_known_entry_is_judged_by_what_it_was_counted_with() {
    use AttemptStatus::{Failed, Pending, Retrying, Success, Unknown};
    use HttpStatus::{Code, Invalid, None as NoAnswer};
    type Case<'a> = (Option<(&'a str, &'a str)>, AttemptStatus, HttpStatus, &'a [&'a str]);
    let table: [Case<'_>; 20] = [
        (Some(("success", "200")), Success, Code(200), &[]),
        (Some(("success", "2xx")), Success, Code(200), &[]),
        (Some(("success", "")), Success, Code(200), &[]),
        (Some(("success", "overflow")), Success, Code(200), &[]),
        (Some(("failed", "none")), Failed, NoAnswer, &[]),
        (Some(("unknown", "invalid")), Unknown, Invalid, &[]),
        (Some(("success", "201")), Success, Code(200), &["different"]),
        (Some(("success", "3xx")), Success, Code(200), &["different"]),
        (Some(("failed", "none")), Failed, Code(500), &["different"]),
        (Some(("failed", "500")), Failed, NoAnswer, &["different"]),
        (Some(("failed", "invalid")), Failed, NoAnswer, &["different"]),
        (Some(("retrying", "503")), Failed, Code(503), &["changed"]),
        (Some(("retrying", "503")), Success, Code(200), &["changed"]),
        (Some(("failed", "503")), Success, Code(200), &["changed"]),
        (Some(("success", "200")), Pending, NoAnswer, &["changed"]),
        (None, Pending, NoAnswer, &[]),
        (None, Success, Code(200), &["not seen"]),
        (None, Retrying, Code(500), &["not seen"]),
        (Some(("pending", "none")), Success, Code(200), &["different", "changed"]),
        (Some(("queued", "none")), Unknown, NoAnswer, &["different", "changed"]),
    ];
    for (counted, status, http_status, expected) in table {
        let state = state(vec![row("a", NOW - 5_000, counted)]);
        let known_before = [(EntryId::new("a"), counted.is_some())].into();
        let log = LogStretch { known_before, ..log(vec![attempt("a", NOW - 5_000, status, http_status)]) };
        let findings = compare(&log, &state, &RULES);
        let found: Vec<&str> = shape(&findings).into_iter().map(|(list, _)| list).collect();
        assert_eq!(found, expected, "{counted:?} {status:?} {http_status:?}: {findings:?}");
    }
}

#[test]
fn what_a_daemon_counts_while_the_log_is_read_is_not_told() {
    let state = state(vec![row("a", NOW - 5_000, Some(("success", "200")))]);
    let read_before = attempt("a", NOW - 5_000, AttemptStatus::Pending, HttpStatus::None);
    for (known_before, expected) in [(None, 0), (Some(false), 0), (Some(true), 1)] {
        let known_before = known_before.map(|was_counted| (EntryId::new("a"), was_counted)).into_iter().collect();
        let findings = compare(&LogStretch { known_before, ..log(vec![read_before.clone()]) }, &state, &RULES);
        assert_eq!(findings.changed.len(), expected, "{findings:?}");
    }
}

#[test]
fn what_an_entry_was_made_with_does_not_change() {
    let entry = attempt("a", NOW - 5_000, AttemptStatus::Failed, HttpStatus::None);
    let known = row("a", NOW - 5_000, Some(("failed", "none")));
    type Change = fn(&mut StateRow);
    let table: [(Change, &[(&str, usize)]); 5] = [
        (|row| row.event = "overflow".into(), &[]),
        (|row| row.event = "pong".into(), &[("different", 1)]),
        (|row| row.attempt = 2, &[("different", 1)]),
        (|row| (row.event, row.attempt) = ("pong".into(), 2), &[("different", 1)]),
        (|row| row.created_at = at(NOW - 5_001), &[("changed", 1)]),
    ];
    for (change, expected) in table {
        let mut row = known.clone();
        change(&mut row);
        let findings = compare(&log(vec![entry.clone()]), &state(vec![row]), &RULES);
        assert_eq!(shape(&findings), expected, "{findings:?}");
    }
}

#[test]
fn a_row_must_not_contradict_itself() {
    let pending = row("a", 1, None);
    let success = row("a", 1, Some(("success", "200")));
    let retrying = row("a", 1, Some(("retrying", "500")));
    let table = [
        (pending.clone(), false),
        (StateRow { is_open: false, is_ended: true, ..pending.clone() }, false),
        (StateRow { is_open: false, is_ended: true, status: "failed".into(), ..pending.clone() }, false),
        (StateRow { is_open: false, ..pending.clone() }, true),
        (StateRow { status: "failed".into(), ..pending }, true),
        (success.clone(), false),
        // As the first version left it.
        (StateRow { result: None, ..success.clone() }, false),
        (StateRow { result: Some("failed".into()), ..success.clone() }, true),
        (StateRow { result: Some("abandoned".into()), ..success }, true),
        (StateRow { result: Some("abandoned".into()), ..retrying.clone() }, false),
        (StateRow { result: Some("failed".into()), ..retrying }, false),
    ];
    for (row, is_fault) in table {
        let findings = compare_rows(&state(vec![row.clone()]));
        assert_eq!(findings.different.len(), usize::from(is_fault), "{row:?}");
    }
}

#[test]
fn no_entry_is_followed_as_retrying_once_its_next_attempt_is_known() {
    let first = || row("a1", NOW - 40_000, Some(("retrying", "503")));
    let next =
        |made_at| StateRow { attempt: 2, awaits_predecessor: true, ..row("a2", made_at, Some(("success", "200"))) };
    let soon = || next(NOW - 39_000);
    let table = [
        ("the next one turned up first", first(), soon(), true),
        ("made in the same second", first(), next(NOW - 40_000), true),
        ("made as late as can be", first(), next(NOW - 4_000), true),
        ("made too late to continue it", first(), next(NOW - 3_999), false),
        ("made before it", first(), next(NOW - 40_001), false),
        ("it is not followed", StateRow { is_open: false, ..first() }, soon(), false),
        ("it is followed for its outcome", row("a1", NOW - 40_000, None), soon(), false),
        ("the other continues another", first(), StateRow { awaits_predecessor: false, ..soon() }, false),
        ("of another delivery", first(), StateRow { group: [1; 16], ..soon() }, false),
        ("not the next one", first(), StateRow { attempt: 3, ..soon() }, false),
    ];
    for (what, first, next, is_fault) in table {
        let findings =
            compare(&LogStretch { from: at(NOW), now: at(NOW), ..log(vec![]) }, &state(vec![first, next]), &RULES);
        let expected: &[_] = if is_fault { &[("different", 1)] } else { &[] };
        assert_eq!(shape(&findings), expected, "{what}");
    }
}

#[test]
fn an_id_stands_once() {
    let rows = [5_000, 4_000, 3_000].map(|ago| row("a", NOW - ago, Some(("failed", "none"))));
    let findings = compare_rows(&state([rows.to_vec(), vec![row("b", NOW - 3_000, None)]].concat()));
    assert_eq!(shape(&findings), [("doubled", 1)]);
    let [Note { id, what, .. }] = &*findings.doubled else { panic!("one") };
    assert_eq!(id.to_string(), "a");
    assert!(what.starts_with("stands 3 times: 1970-01-02T02:23:20Z counted as failed (none), "), "{what}");
}

#[test]
fn what_the_log_does_not_show_any_more_is_told_only_of_what_was_known_before() {
    let rows = ["known", "just counted", "before the stretch"].map(|id| row(id, NOW - 5_000, Some(("failed", "none"))));
    let mut state = state(rows.to_vec());
    state.rows[2].created_at = at(NOW - 60_000);
    let known_before = ["known", "before the stretch"].map(|id| (EntryId::new(id), true)).into();
    let findings = compare(&LogStretch { known_before, ..log(Vec::new()) }, &state, &RULES);
    assert_eq!(shape(&findings), [("deleted", 1)]);
    assert_eq!(findings.deleted[0].id, EntryId::new("known"));
}

#[test]
fn given_up_entries_and_unusable_ones_are_told_apart() {
    let given_up = StateRow { is_open: false, is_ended: true, ..row("a", NOW - 5_000, None) };
    let mut state = state(vec![given_up]);
    state.invalid = ["id:1".into()].into();
    let mut log = log(vec![attempt("a", NOW - 5_000, AttemptStatus::Success, HttpStatus::Code(200))]);
    log.invalid = ["id:1".into(), "id:2".into()].into();
    let findings = compare(&log, &state, &RULES);
    assert_eq!(shape(&findings), [("changed", 1), ("invalid", 1)]);
    assert_eq!(*findings.invalid, ["id:2".into()]);
}
