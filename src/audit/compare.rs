//! Compares the log with the rows of the state, entry by entry. Pure: what was read goes in, what does not agree comes
//! out.
//!
//! Written from the contract alone: each entry of the log is counted once, with the labels that it had when it was
//! first seen with an outcome.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::rfc3339;
use super::state::{StateMarks, StateRow, StateTarget};
use talkover_core::delivery::{Attempt, EntryId, GroupKey, HttpStatus, Timestamp};

/// The log shows whole seconds, and the newest two may still be filling while they are read.
const TIE_MARGIN: Duration = Duration::from_secs(2);
/// The label value of what exceeds a bound.
const OVERFLOW: &str = "overflow";

/// The settings that say what a daemon must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How late an entry may turn up.
    pub lookback: Duration,
    /// How often that window is read again.
    pub sweep_interval: Duration,
    /// How long an entry that may still change is followed.
    pub settle_after: Duration,
}

/// A stretch of the log, as it was read.
#[derive(Clone, Debug, Default)]
pub struct LogStretch {
    /// Its beginning; older entries were read incidentally.
    pub from: Timestamp,
    /// The server's clock at the last answer.
    pub now: Timestamp,
    /// The usable entries, each as it was read last.
    pub attempts: HashMap<EntryId, Attempt>,
    /// The keys of the others.
    pub invalid: HashSet<Box<str>>,
    /// What the state knew before the reading began: the ids, and whether they were counted.
    pub known_before: HashMap<EntryId, bool>,
}

/// A finding about one entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// When the entry was made.
    pub created_at: Timestamp,
    /// Its id.
    pub id: EntryId,
    /// What was found.
    pub what: String,
}

/// What does not agree, and what looks so but is as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Faults: entries of the log that the state does not know.
    pub missing: Vec<Note>,
    /// Faults: entries that the state holds more than once.
    pub doubled: Vec<Note>,
    /// Faults: entries that the state has counted as something that they are not.
    pub different: Vec<Note>,
    /// Entries that changed after they were counted.
    pub changed: Vec<Note>,
    /// Entries that have an outcome which the state has not seen yet.
    pub not_seen: Vec<Note>,
    /// Entries that the next poll or sweep reads.
    pub not_read: Vec<Note>,
    /// Entries of the state that the log does not show any more.
    pub deleted: Vec<Note>,
    /// Unusable entries that the state has not counted yet: they have no time to judge them by.
    pub invalid: Vec<Box<str>>,
    /// Entries of the log that are older than what is remembered, or than the first contact reached.
    pub outside: usize,
}

/// Compares what was read of the log with what the state held afterwards.
pub fn compare(log: &LogStretch, state: &StateTarget, rules: &Rules) -> Findings {
    let mut findings = compare_rows(state);
    findings.different.extend(continued_but_open(&state.rows, rules));
    let rows: HashMap<&EntryId, &StateRow> = state.rows.iter().map(|row| (&row.id, row)).collect();
    for attempt in log.attempts.values().filter(|attempt| attempt.created_at >= log.from) {
        match rows.get(&attempt.id) {
            Some(row) => {
                let was_counted = log.known_before.get(&attempt.id).copied().unwrap_or(false);
                findings.judge(attempt, row, was_counted);
            }
            None => findings.miss(attempt, absence(attempt.created_at, &state.marks, log.now, rules)),
        }
    }
    let is_gone = |row: &&StateRow| {
        row.created_at >= log.from && !log.attempts.contains_key(&row.id) && log.known_before.contains_key(&row.id)
    };
    findings.deleted = state.rows.iter().filter(is_gone).map(|row| note(row, counted_as(row))).collect();
    findings.invalid = log.invalid.difference(&state.invalid).cloned().collect();
    findings.sort();
    findings
}

/// Compares the rows of the state with each other, and each with itself.
pub fn compare_rows(state: &StateTarget) -> Findings {
    let mut findings = Findings::default();
    let mut times: HashMap<&EntryId, Vec<&StateRow>> = HashMap::new();
    for row in &state.rows {
        times.entry(&row.id).or_default().push(row);
        if let Some(what) = contradiction(row) {
            findings.different.push(note(row, what));
        }
    }
    for rows in times.values().filter(|rows| rows.len() > 1) {
        let each: Vec<String> =
            rows.iter().map(|row| format!("{} {}", rfc3339(row.created_at), counted_as(row))).collect();
        findings.doubled.push(note(rows[0], format!("stands {} times: {}", rows.len(), each.join(", "))));
    }
    findings.sort();
    findings
}

/// Why the state does not know an entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absence {
    /// A fault: every poll that had to read it is over.
    Missing,
    /// A later poll reads it, for this reason.
    Coming(&'static str),
    /// It does not belong into the books, or is forgotten.
    Outside,
}

fn absence(created_at: Timestamp, marks: &StateMarks, now: Timestamp, rules: &Rules) -> Absence {
    if Some(created_at) < remembered_from(marks, now, rules) {
        return Absence::Outside;
    }
    if !marks.contacted {
        return Absence::Coming("the first contact is not complete");
    }
    let Some(watermark) = marks.watermark else {
        return Absence::Coming("nothing has been read yet");
    };
    if created_at >= watermark.minus(TIE_MARGIN) {
        return Absence::Coming("newer than the watermark");
    }
    let swept = marks.swept.unwrap_or(watermark);
    if created_at >= swept.minus(rules.lookback).minus(TIE_MARGIN) {
        return Absence::Coming("the next sweep reads it");
    }
    if marks.walk_until.is_some_and(|until| created_at >= until) {
        return Absence::Coming("the walk under way reads it");
    }
    Absence::Missing
}

/// Every entry that was read and is not older than this is remembered; `None` if nothing was read yet.
fn remembered_from(marks: &StateMarks, now: Timestamp, rules: &Rules) -> Option<Timestamp> {
    let window = marks.watermark.map(|watermark| {
        let late = watermark.minus(rules.lookback).minus(rules.sweep_interval);
        late.min(now.minus(rules.settle_after))
    });
    window.max(marks.horizon).max(marks.history_cutoff)
}

/// What a row says that cannot be, whatever the log says.
fn contradiction(row: &StateRow) -> Option<String> {
    let is_outcome = |status: &str| matches!(status, "success" | "failed" | "retrying" | "unknown");
    let Some((status, _)) = &row.counted else {
        if row.is_ended {
            return None;
        }
        return match &*row.status {
            "pending" if row.is_open => None,
            "pending" => Some("is pending, but not marked as open".to_owned()),
            status => Some(format!("was seen as {status}, but never counted")),
        };
    };
    if !is_outcome(status) {
        return Some(format!("counted as {status:?}, which is no outcome"));
    }
    // An entry first seen as success or failed has ended its delivery so, at once. Version 1 did not keep how.
    let is_end = matches!(&**status, "success" | "failed");
    let result = row.result.as_ref().filter(|result| is_end && *result != status)?;
    Some(format!("counted as {status}, but its delivery ended as {result}"))
}

/// Entries that are followed as retrying although the next attempt of their delivery is known: it turned up first.
fn continued_but_open(rows: &[StateRow], rules: &Rules) -> Vec<Note> {
    let mut openers: BTreeMap<(GroupKey, i64), Vec<&StateRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.attempt > 1 && row.awaits_predecessor) {
        openers.entry((row.group, row.attempt)).or_default().push(row);
    }
    let is_followed = |row: &&StateRow| row.is_open && &*row.status == "retrying";
    let continued = rows.iter().filter(is_followed).filter_map(|row| {
        let follows = |next: &&&StateRow| {
            next.created_at >= row.created_at && next.created_at.since(row.created_at) <= rules.settle_after
        };
        let next = openers.get(&(row.group, row.attempt + 1))?.iter().find(follows)?;
        Some(note(
            row,
            format!("is followed as retrying, but attempt {} of its delivery is known: {}", next.attempt, next.id),
        ))
    });
    continued.collect()
}

impl Findings {
    fn miss(&mut self, attempt: &Attempt, absence: Absence) {
        let what = |why: &str| Note {
            created_at: attempt.created_at,
            id: attempt.id.clone(),
            what: format!("{}, {}{why}", attempt.event, shown_as(attempt)),
        };
        match absence {
            Absence::Missing => self.missing.push(what("")),
            Absence::Coming(why) => self.not_read.push(what(&format!(" ({why})"))),
            Absence::Outside => self.outside += 1,
        }
    }

    /// Compares an entry of the log with its row; `was_counted` says whether it was counted before the log was read.
    fn judge(&mut self, attempt: &Attempt, row: &StateRow, was_counted: bool) {
        let mut differences = Vec::new();
        // What an entry was made with does not change.
        if *row.event != *attempt.event && &*row.event != OVERFLOW {
            differences.push(format!("counted under event {:?}, the log says {:?}", row.event, attempt.event));
        }
        if row.attempt != i64::from(attempt.attempt) {
            differences.push(format!("taken for attempt {}, the log says {}", row.attempt, attempt.attempt));
        }
        let now = attempt.status.as_str();
        match &row.counted {
            // It got its outcome, and was counted, after its page was read here.
            Some(_) if !attempt.status.is_outcome() && !was_counted => {}
            Some((status, _)) if **status != *now => {
                self.changed.push(note(row, format!("{}, the log now says {}", counted_as(row), shown_as(attempt))));
            }
            Some((_, http_status)) if !is_label_of(http_status, attempt.http_status) => {
                differences.push(format!("{}, the log says {}", counted_as(row), shown_as(attempt)));
            }
            None if attempt.status.is_outcome() && row.is_ended => {
                self.changed.push(note(row, format!("given up while it was pending, the log now says {now}")));
            }
            None if attempt.status.is_outcome() => self.not_seen.push(note(row, format!("the log now says {now}"))),
            _ if row.created_at != attempt.created_at => {
                self.changed.push(note(row, format!("the log now dates it {}", rfc3339(attempt.created_at))));
            }
            _ => {}
        }
        if !differences.is_empty() {
            self.different.push(note(row, differences.join("; ")));
        }
    }

    fn sort(&mut self) {
        let Self { missing, doubled, different, changed, not_seen, not_read, deleted, invalid, .. } = self;
        for notes in [missing, doubled, different, changed, not_seen, not_read, deleted] {
            notes.sort_unstable();
        }
        invalid.sort_unstable();
    }
}

/// Whether `label` is what some setting of `http_status` makes of a status: settings may have changed since it was
/// counted.
fn is_label_of(label: &str, status: HttpStatus) -> bool {
    label.is_empty() || label == OVERFLOW || label == exact(status) || label == class(status)
}

fn exact(status: HttpStatus) -> String {
    match status {
        HttpStatus::None => "none".to_owned(),
        HttpStatus::Invalid => "invalid".to_owned(),
        HttpStatus::Code(code) => code.to_string(),
    }
}

fn class(status: HttpStatus) -> String {
    match status {
        HttpStatus::Code(code) => format!("{}xx", code / 100),
        other => exact(other),
    }
}

fn note(row: &StateRow, what: String) -> Note {
    Note { created_at: row.created_at, id: row.id.clone(), what }
}

fn counted_as(row: &StateRow) -> String {
    match &row.counted {
        Some((status, http_status)) => format!("counted as {status} ({http_status})"),
        None if row.is_ended => "given up, not counted".to_owned(),
        None => "not counted yet".to_owned(),
    }
}

fn shown_as(attempt: &Attempt) -> String {
    match (attempt.status.is_outcome(), attempt.http_status) {
        (false, HttpStatus::None) => attempt.status.as_str().to_owned(),
        (_, http_status) => format!("{} ({})", attempt.status.as_str(), exact(http_status)),
    }
}

#[cfg(test)]
mod tests;
