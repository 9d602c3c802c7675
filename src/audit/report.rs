//! What an audit found, in words: a block for each target, faults first, and a verdict at the end.

use std::fmt::Write;

use super::compare::{Findings, Note};
use super::state::Age;
use super::{Audit, rfc3339};
use talkover_core::delivery::Target;

/// Of what is no fault so many are listed.
const MAX_LISTED: usize = 20;

/// The block of a target whose log was compared with the state.
pub fn target(target: &Target, audit: &Audit) -> String {
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
    remarks(&mut text, &audit.findings);
    text
}

/// The block of a target that the state does not know.
pub fn unknown(target: &Target, entries: usize) -> String {
    let entries = count(entries, "entry", "entries");
    format!("{}  not known to the state yet; the log holds {entries} in that stretch\n", heading(target))
}

/// The block of a target that could not be audited.
pub fn failed(target: &Target, reason: &str) -> String {
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

/// The last line.
pub fn verdict(targets: usize, faulty: usize, faults: usize, failed: usize) -> String {
    let webhooks = count(targets, "webhook", "webhooks");
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
        ("no fault: changed after they were counted", &findings.changed),
        ("no fault: an outcome that was not seen yet", &findings.not_seen),
        ("no fault: not read yet", &findings.not_read),
        ("no fault: not in the log any more", &findings.deleted),
    ] {
        list(text, title, notes, MAX_LISTED);
    }
    if !findings.invalid.is_empty() {
        let _ = writeln!(text, "  no fault: unusable, and not counted yet: {}", findings.invalid.len());
        for key in findings.invalid.iter().take(MAX_LISTED) {
            let _ = writeln!(text, "    {}", printable(key));
        }
        rest(text, findings.invalid.len());
    }
    if findings.outside > 0 {
        let _ = writeln!(text, "  no fault: older than what is remembered: {}", findings.outside);
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
