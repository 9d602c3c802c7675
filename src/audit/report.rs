//! What an audit found, in words or as JSON: a summary first, then a block for each target, those with faults first,
//! and apart from them and short what is no fault.

use std::fmt::Write;

use serde_json::{Value, json};

use super::compare::{Findings, Note};
use super::state::Age;
use super::{Audit, rfc3339};
use talkover_core::delivery::Target;

/// Of what is no fault so many are listed; JSON has all.
const MAX_LISTED: usize = 10;

/// What came of the audit of a target.
#[derive(Debug)]
pub enum AuditResult {
    /// It was audited.
    Audited(Box<Audit>),
    /// The state does not know it yet; its log holds so many entries in that stretch.
    Unknown {
        /// Entries of the log.
        entries: usize,
    },
    /// It could not be audited, for this reason.
    Failed(String),
}

impl AuditResult {
    /// The number of faults.
    pub fn faults(&self) -> usize {
        if let Self::Audited(audit) = self { audit.faults() } else { 0 }
    }

    /// Its place in the text, smallest first.
    fn order(&self) -> u8 {
        match self {
            Self::Audited(audit) if audit.faults() > 0 => 0,
            Self::Failed(_) => 1,
            Self::Unknown { .. } => 2,
            Self::Audited(_) => 3,
        }
    }
}

/// The results of all targets, for people.
pub fn text(results: &[(Target, AuditResult)]) -> String {
    let mut sorted: Vec<_> = results.iter().collect();
    sorted.sort_by_key(|(_, result)| result.order());
    let mut text = verdict(results);
    let mut notes = String::new();
    for (target, result) in sorted {
        text.push('\n');
        text.push_str(&match result {
            AuditResult::Audited(audit) => self::target(target, audit),
            AuditResult::Unknown { entries } => unknown(target, *entries),
            AuditResult::Failed(reason) => failed(target, reason),
        });
        if let AuditResult::Audited(audit) = result {
            let mut lines = String::new();
            remarks(&mut lines, &audit.findings);
            if !lines.is_empty() {
                notes.push_str(&heading(target));
                notes.push_str(&lines);
            }
        }
    }
    if notes.is_empty() { text } else { format!("{text}\nNo fault:\n{notes}") }
}

/// The same as JSON, with what `age` says of the state. Whether nothing is wrong is its `ok`.
pub fn json(results: &[(Target, AuditResult)], age: &Age) -> Value {
    let sums = summary(results);
    let is_behind = matches!(age, Age::Behind(_));
    let webhooks: Vec<Value> = results.iter().map(|(target, result)| webhook_json(target, result)).collect();
    json!({
        "ok": sums.faults == 0 && sums.failed == 0 && !is_behind,
        "summary": {"webhooks": results.len(), "faulty": sums.faulty, "faults": sums.faults, "failed": sums.failed},
        "state": age_json(age),
        "webhooks": webhooks,
    })
}

/// By how much the state is, or once was, behind what was shown.
fn age_json(age: &Age) -> Value {
    let (gap, is_behind, waiting) = match age {
        Age::Current => return json!({"problem": null, "went_back": null}),
        Age::Behind(gap) => (gap, true, None),
        Age::WentBack { gap, waiting } => (gap, *waiting > 0, Some(*waiting)),
    };
    json!({
        "problem": is_behind.then_some("behind"),
        "went_back": {
            "commits_missing": gap.commits,
            "last_commit": rfc3339(gap.from),
            "last_shown": rfc3339(gap.to),
            "noticed": waiting.map(|_| rfc3339(gap.noticed_at)),
            "webhooks_to_read_again": waiting,
        },
    })
}

fn webhook_json(target: &Target, result: &AuditResult) -> Value {
    let mut value = json!({
        "environment": &*target.environment,
        "webhook_id": &*target.webhook_id,
        "name": &*target.webhook_name,
    });
    let more = match result {
        AuditResult::Failed(reason) => json!({"error": reason}),
        AuditResult::Unknown { entries } => json!({"known": false, "log_entries": entries}),
        AuditResult::Audited(audit) => audit_json(audit),
    };
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

fn audit_json(Audit { findings, sums, extent }: &Audit) -> Value {
    json!({
        "compared": {
            "since": extent.from.map(rfc3339),
            "log_entries": extent.entries,
            "log_entries_invalid": extent.invalid,
            "state_entries": extent.rows,
            "requests": extent.requests,
        },
        "faults": {
            "missing": notes_json(&findings.missing),
            "doubled": notes_json(&findings.doubled),
            "different": notes_json(&findings.different),
            "sums": sums,
        },
        "no_fault": {
            "changed": notes_json(&findings.changed),
            "not_seen": notes_json(&findings.not_seen),
            "not_read": notes_json(&findings.not_read),
            "deleted": notes_json(&findings.deleted),
            "invalid": findings.invalid,
            "outside": findings.outside,
        },
    })
}

fn notes_json(notes: &[Note]) -> Value {
    let entry =
        |note: &Note| json!({"id": note.id.to_string(), "created_at": rfc3339(note.created_at), "what": note.what});
    notes.iter().map(entry).collect()
}

/// What all targets came to.
struct AuditSums {
    faulty: usize,
    faults: usize,
    failed: usize,
}

fn summary(results: &[(Target, AuditResult)]) -> AuditSums {
    AuditSums {
        faulty: results.iter().filter(|(_, result)| result.faults() > 0).count(),
        faults: results.iter().map(|(_, result)| result.faults()).sum(),
        failed: results.iter().filter(|(_, result)| matches!(result, AuditResult::Failed(_))).count(),
    }
}

/// The block of a target whose log was compared with the state.
fn target(target: &Target, audit: &Audit) -> String {
    let extent = &audit.extent;
    let mut text = heading(target);
    if let Some(from) = extent.from {
        let _ = writeln!(
            text,
            "  compared: {} of the log since {}{}, and {} of the state; {}",
            count(extent.entries, "entry", "entries"),
            rfc3339(from),
            if extent.invalid > 0 { format!(" ({} unusable)", extent.invalid) } else { String::new() },
            count(extent.rows, "entry", "entries"),
            count(extent.requests as usize, "request", "requests"),
        );
    } else {
        text.push_str("  not named by the configuration: its log was not read\n");
        let _ = writeln!(text, "  compared: {} of the state with its sums", count(extent.rows, "entry", "entries"));
    }
    faults(&mut text, audit);
    text
}

/// The block of a target that the state does not know.
fn unknown(target: &Target, entries: usize) -> String {
    let entries = count(entries, "entry", "entries");
    format!("{}  not known to the state yet; the log holds {entries} in that stretch\n", heading(target))
}

/// The block of a target that could not be audited.
fn failed(target: &Target, reason: &str) -> String {
    format!("{}  FAILED: {reason}\n", heading(target))
}

/// What can no longer be proven because the state went back in time; empty if it never did.
pub fn age(age: &Age) -> String {
    match age {
        Age::Current => String::new(),
        Age::Behind(gap) => format!(
            "the state is {gap}: what was counted in between is not in it. The daemon reads the logs again when it starts; what \
             they no longer hold cannot be proven any more\n"
        ),
        Age::WentBack { gap, waiting } => {
            let noticed = rfc3339(gap.noticed_at);
            let rest = match waiting {
                0 => "the logs have been read again since".to_owned(),
                waiting => format!(
                    "the logs of {} are still to be read again",
                    count(*waiting as usize, "webhook", "webhooks")
                ),
            };
            format!(
                "at {noticed} the state was {gap}; {rest}. What was shown in between and is no longer in the logs cannot be \
                 proven any more\n"
            )
        }
    }
}

/// The first line.
fn verdict(results: &[(Target, AuditResult)]) -> String {
    let AuditSums { faulty, faults, failed } = summary(results);
    let webhooks = count(results.len(), "webhook", "webhooks");
    match (faults, failed) {
        (0, 0) => format!("OK: nothing is missing, doubled or different in {webhooks}\n"),
        (0, _) => format!("FAILED: {failed} of {webhooks} could not be audited\n"),
        (_, 0) => format!("FAULTS: {} in {faulty} of {webhooks}\n", count(faults, "fault", "faults")),
        _ => format!(
            "FAULTS: {} in {faulty} of {webhooks}; {failed} could not be audited\n",
            count(faults, "fault", "faults")
        ),
    }
}

fn heading(target: &Target) -> String {
    if target.webhook_name == target.webhook_id {
        return format!("{target}\n");
    }
    format!("{target} ({})\n", target.webhook_name)
}

fn faults(text: &mut String, audit: &Audit) {
    let Findings { missing, doubled, different, .. } = &audit.findings;
    for (title, notes) in [
        ("MISSING, in the log but not in the state", missing),
        ("DOUBLED, more than once in the state", doubled),
        ("DIFFERENT, not counted as what they are", different),
    ] {
        list(text, title, notes, usize::MAX);
    }
    if !audit.sums.is_empty() {
        let _ = writeln!(text, "  SUMS that do not agree: {}", audit.sums.len());
        for sum in &audit.sums {
            let _ = writeln!(text, "    {sum}");
        }
    }
    if audit.faults() == 0 {
        text.push_str("  no fault\n");
    }
}

fn remarks(text: &mut String, findings: &Findings) {
    for (title, notes) in [
        ("changed after they were counted", &findings.changed),
        ("an outcome that was not seen yet", &findings.not_seen),
        ("not read yet", &findings.not_read),
        ("not in the log any more", &findings.deleted),
    ] {
        list(text, title, notes, MAX_LISTED);
    }
    if !findings.invalid.is_empty() {
        let _ = writeln!(text, "  unusable, and not counted yet: {}", findings.invalid.len());
        for key in findings.invalid.iter().take(MAX_LISTED) {
            let _ = writeln!(text, "    {}", printable(key));
        }
        rest(text, findings.invalid.len());
    }
    if findings.outside > 0 {
        let _ = writeln!(text, "  older than what is remembered: {}", findings.outside);
    }
}

fn list(text: &mut String, title: &str, notes: &[Note], limit: usize) {
    if notes.is_empty() {
        return;
    }
    let _ = writeln!(text, "  {title}: {}", notes.len());
    for Note { created_at, id, what } in notes.iter().take(limit) {
        let _ = writeln!(text, "    {} of {}: {}", printable(&id.to_string()), rfc3339(*created_at), printable(what));
    }
    if limit < notes.len() {
        rest(text, notes.len());
    }
}

fn rest(text: &mut String, all: usize) {
    if all > MAX_LISTED {
        let _ = writeln!(text, "    … and {} more", all - MAX_LISTED);
    }
}

/// Ids and events are the API's texts: what could move a terminal's cursor is left out.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests;
