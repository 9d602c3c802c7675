//! Checks the stored state of a target for damage: label values must come from the closed sets (where there is one),
//! and every counter must equal the sum of its rows and the pruned rows.
//!
//! The store calls this when it has loaded a target, and refuses the state if a check fails.

use std::collections::{BTreeMap, HashMap};

use super::labels::{AttemptLabel, HttpLabel, LabelPolicy};
use super::row::Row;
use super::series::{Family, LogOutcome, SeriesKey};
use super::state::Ledger;
use super::totals::{Total, Totals};
use crate::delivery::{AttemptStatus, DeliveryResult, HttpStatus};

/// Returns what is wrong with the labels of a series; `None` if this program can have written them.
pub fn label_fault(key: &SeriesKey, policy: &LabelPolicy) -> Option<String> {
    let labels: Vec<&str> = key.labels.iter().map(|label| &**label).collect();
    let is_result = |name: &str| DeliveryResult::from_name(name).is_some();
    match (key.family, &*labels) {
        (Family::Attempts, [_, _, _]) => attempt_fault(&AttemptLabel::ALL, &labels),
        (Family::Duration, _) if labels.len() == policy.duration_labels.len() => {
            attempt_fault(&policy.duration_labels, &labels)
        }
        (Family::Deliveries | Family::AttemptsPerDelivery, [_, result]) => {
            (!is_result(result)).then(|| format!("result={result:?} is none of this program's"))
        }
        (Family::LogEntries, [outcome]) => LogOutcome::ALL
            .iter()
            .all(|known| known.as_str() != *outcome)
            .then(|| format!("outcome={outcome:?} is none of this program's")),
        (Family::Delay, [_]) | (Family::HistoryGaps, []) => None,
        (family, _) => Some(format!("{} labels are not what {} has", labels.len(), family.as_str())),
    }
}

fn attempt_fault(names: &[AttemptLabel], values: &[&str]) -> Option<String> {
    let is_known = |(name, value): (&AttemptLabel, &&str)| match name {
        AttemptLabel::Event => true,
        AttemptLabel::Status => AttemptStatus::from_name(value).is_some_and(AttemptStatus::is_outcome),
        AttemptLabel::HttpStatus => is_http_label(value),
    };
    let wrong = names.iter().zip(values).find(|label| !is_known(*label));
    wrong.map(|(name, value)| format!("{}={value:?} is none of this program's", name.as_str()))
}

fn is_http_label(text: &str) -> bool {
    HttpLabel::parse(text).is_some_and(|label| {
        let is_in_range = match label {
            HttpLabel::Exact(HttpStatus::Code(code)) => (100..=999).contains(&code),
            HttpLabel::Class(hundreds) => (1..=9).contains(&hundreds),
            HttpLabel::Exact(HttpStatus::None | HttpStatus::Invalid) | HttpLabel::Off | HttpLabel::Overflow => true,
        };
        is_in_range && label.to_string() == text
    })
}

/// Checks that the books balance: each counter equals the sum of the rows of `ledger` and the `pruned` rows, and every
/// entry that was read is counted, pending or expired. Returns what does not; `None` if all do.
pub fn book_fault(ledger: &Ledger, pruned: &BTreeMap<SeriesKey, u64>) -> Option<String> {
    let counted = counted(ledger);
    let is_made_of_rows = |key: &SeriesKey| match key.family {
        Family::Attempts | Family::Deliveries => true,
        Family::LogEntries => {
            [LogOutcome::New, LogOutcome::Late, LogOutcome::Expired].map(SeriesKey::log_entries).contains(key)
        }
        Family::Duration | Family::Delay | Family::AttemptsPerDelivery | Family::HistoryGaps => false,
    };
    let kept = ledger.totals().iter().map(|(key, _)| key).filter(|key| is_made_of_rows(key));
    for key in kept.chain(counted.keys()).chain(pruned.keys()) {
        let sum = |of: &BTreeMap<SeriesKey, u64>| of.get(key).copied().unwrap_or(0);
        let (total, rows, forgotten) = (ledger.totals().counter(key), sum(&counted), sum(pruned));
        if rows.checked_add(forgotten) != Some(total) {
            let labels: Vec<&str> = key.labels.iter().map(|label| &**label).collect();
            let family = key.family.as_str();
            return Some(format!(
                "row ({family}, {labels:?}): the total is {total}, but there are {rows} and {forgotten} pruned rows"
            ));
        }
    }
    unbalanced(ledger)
}

/// Returns how many rows count in each counter. Rows that count alike are grouped first, because there are many rows
/// and few combinations.
fn counted(ledger: &Ledger) -> BTreeMap<SeriesKey, u64> {
    let mut alike: HashMap<_, (&Row, u64)> = HashMap::new();
    for (_, row) in ledger.rows() {
        let way = (&*row.event, row.counted, row.result, row.late, row.ended);
        alike.entry(way).or_insert((row, 0)).1 += 1;
    }
    let mut counted = BTreeMap::new();
    for (row, count) in alike.into_values() {
        for key in row.counters() {
            *counted.entry(key).or_insert(0) += count;
        }
    }
    counted
}

fn unbalanced(ledger: &Ledger) -> Option<String> {
    let logged = |outcome| ledger.totals().counter(&SeriesKey::log_entries(outcome));
    let (new, late, expired) = (logged(LogOutcome::New), logged(LogOutcome::Late), logged(LogOutcome::Expired));
    let attempts = sum(ledger.totals(), Family::Attempts);
    let pending = ledger.open().filter(|(_, row)| row.status == AttemptStatus::Pending).count() as u64;
    (new + late != attempts + pending + expired).then(|| {
        format!(
            "{new} new + {late} late entries were read, but {attempts} counted + {pending} pending + {expired} expired"
        )
    })
}

fn sum(totals: &Totals, family: Family) -> u64 {
    totals.family(family).map(|(_, total)| if let Total::Counter(value) = total { *value } else { 0 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::decide::{Coverage, decide};
    use crate::testing::{Book, attempt, entry, policy};

    fn series(family: Family, labels: &[&str]) -> SeriesKey {
        SeriesKey::new(family, labels.iter().map(|label| (*label).into()))
    }

    #[test]
    fn labels_outside_the_closed_sets_are_told() {
        let policy = LabelPolicy { duration_labels: vec![AttemptLabel::Status], ..policy().labels };
        let good: [(Family, &[&str]); 12] = [
            (Family::Attempts, &["any", "success", "200"]),
            (Family::Attempts, &["", "failed", ""]),
            (Family::Attempts, &["any", "retrying", "5xx"]),
            (Family::Attempts, &["any", "unknown", "none"]),
            (Family::Attempts, &["overflow", "failed", "overflow"]),
            (Family::Attempts, &["any", "failed", "invalid"]),
            (Family::Duration, &["failed"]),
            (Family::Delay, &["any"]),
            (Family::Deliveries, &["any", "abandoned"]),
            (Family::AttemptsPerDelivery, &["any", "success"]),
            (Family::LogEntries, &["expired"]),
            (Family::HistoryGaps, &[]),
        ];
        let bad: [(Family, &[&str]); 13] = [
            (Family::Attempts, &["any", "failad", "500"]),
            (Family::Attempts, &["any", "pending", "none"]),
            (Family::Attempts, &["any", "failed", "50#"]),
            (Family::Attempts, &["any", "failed", "0500"]),
            (Family::Attempts, &["any", "failed", "99"]),
            (Family::Attempts, &["any", "failed", "0xx"]),
            (Family::Attempts, &["any", "failed"]),
            (Family::Duration, &["any"]),
            (Family::Duration, &["failed", "500"]),
            (Family::Delay, &[]),
            (Family::Deliveries, &["any", "retrying"]),
            (Family::LogEntries, &["nev"]),
            (Family::HistoryGaps, &["any"]),
        ];
        for (family, labels) in good {
            assert_eq!(label_fault(&series(family, labels), &policy), None, "{family:?} {labels:?}");
        }
        for (family, labels) in bad {
            assert!(label_fault(&series(family, labels), &policy).is_some(), "{family:?} {labels:?}");
        }
    }

    #[test]
    fn books_that_do_not_balance_name_the_counter() {
        let policy = policy();
        let attempts = [
            attempt("a", "one", 1, 1, AttemptStatus::Retrying),
            attempt("b", "one", 2, 60, AttemptStatus::Success),
            entry("c", 70, AttemptStatus::Pending),
        ];
        let mut ledger = Ledger::default();
        for (coverage, now) in [(Coverage::FirstResponse, 0), (Coverage::FirstContact, 80)] {
            let entries = if coverage == Coverage::FirstContact { &attempts[..] } else { &[] };
            let changes = decide(&ledger, &Book::batch(coverage, now, entries), &policy).changes;
            ledger.apply(changes);
        }
        let pruned = BTreeMap::new();
        assert_eq!(book_fault(&ledger, &pruned), None);
        let new = SeriesKey::log_entries(LogOutcome::New);
        let fault = book_fault(&ledger, &BTreeMap::from([(new.clone(), 1)])).unwrap();
        assert!(
            fault.contains("log_entries") && fault.contains("the total is 3, but there are 3 and 1 pruned"),
            "{fault}"
        );
        // Each counter that is made of rows, one more or one less than it should be.
        for (key, total) in ledger.totals().iter() {
            let Total::Counter(value) = total else { continue };
            for wrong in [value + 1, value.wrapping_sub(1)] {
                let mut totals = ledger.totals().clone();
                totals.set(key.clone(), Total::Counter(wrong));
                let mut changed = Ledger::restore(ledger.marks().clone(), ledger.invalid().clone(), totals);
                ledger.rows().for_each(|(key, row)| changed.remember(key.clone(), row.clone()));
                let is_free = matches!(key.family, Family::HistoryGaps);
                assert_eq!(book_fault(&changed, &pruned).is_none(), is_free, "{key:?} {wrong}");
            }
        }
    }
}
