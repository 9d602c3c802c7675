//! What a decision changes of the deliveries that were lost: of the streak, and of the latest that are kept.

use std::collections::{BTreeMap, BTreeSet};

use super::losses::{EndKey, KEPT_LOSSES, LossChanges, LossStreak, LostDelivery};
use super::memory::Memory;
use super::row::{Row, RowKey};
use crate::delivery::{Attempt, DeliveryResult, HttpStatus};

/// Computes the losses after a decision: `rows` are the rows of `memory` that it adds or changes, `attempts` the
/// entries that were read.
pub(super) fn after(
    memory: Memory<'_>,
    rows: &BTreeMap<RowKey, Row>,
    attempts: &[Attempt],
) -> (LossStreak, LossChanges) {
    let changed = ChangedEnds::of(memory, rows);
    let streak = changed.streak(memory);
    let changes = changed.changes(memory, attempts);
    (streak, changes)
}

/// The deliveries whose end a decision changes.
#[derive(Default)]
struct ChangedEnds<'a> {
    /// Deliveries that are lost now and were not before.
    lost: BTreeMap<EndKey, (&'a RowKey, &'a Row)>,
    /// Deliveries that were lost before, and were attempted again.
    resumed: BTreeSet<EndKey>,
    /// The last delivery that succeeded.
    last_success: Option<EndKey>,
}

impl<'a> ChangedEnds<'a> {
    fn of(memory: Memory<'_>, rows: &'a BTreeMap<RowKey, Row>) -> Self {
        let mut changed = Self::default();
        for (key, row) in rows {
            let Some(result) = row.result else { continue };
            let end = EndKey::of(key, row);
            if result == DeliveryResult::Success {
                changed.last_success = changed.last_success.take().max(Some(end));
                continue;
            }
            let was_lost = memory.row(key).is_some_and(Row::is_lost);
            match (was_lost, row.is_lost()) {
                (false, true) => _ = changed.lost.insert(end, (key, row)),
                (true, false) => _ = changed.resumed.insert(end),
                (true, true) | (false, false) => {}
            }
        }
        changed
    }

    fn streak(&self, memory: Memory<'_>) -> LossStreak {
        let before = &memory.marks().streak;
        let last_success = before.last_success.clone().max(self.last_success.clone());
        let is_after = |end: &&EndKey| Some(*end) > last_success.as_ref();
        // An entry that stays open for long outlives rows that are newer, so a success may turn up behind losses whose
        // rows are forgotten. The latest losses are kept all the same.
        let known = || {
            let kept = memory.losses().keys().filter(is_after);
            let mut ends: BTreeSet<EndKey> = memory.lost_after(last_success.as_ref());
            ends.extend(kept.cloned());
            ends.retain(|end| !self.resumed.contains(end));
            ends.extend(self.lost.keys().filter(is_after).cloned());
            ends
        };
        if last_success != before.last_success {
            let ends = known();
            return LossStreak { count: ends.len() as u64, since: ends.first().map(|end| end.at), last_success };
        }
        let resumed: Vec<&EndKey> = self.resumed.iter().filter(is_after).collect();
        let added = || self.lost.keys().filter(is_after);
        let count = (before.count + added().count() as u64).saturating_sub(resumed.len() as u64);
        let since = if resumed.iter().any(|end| Some(end.at) == before.since) {
            known().first().map(|end| end.at)
        } else {
            before.since.into_iter().chain(added().map(|end| end.at)).min()
        };
        LossStreak { count, since: since.filter(|_| count > 0), last_success }
    }

    fn changes(&self, memory: Memory<'_>, attempts: &[Attempt]) -> LossChanges {
        let before = memory.losses();
        let kept = before.keys().filter(|end| !self.resumed.contains(*end));
        let all: BTreeSet<&EndKey> = kept.chain(self.lost.keys()).collect();
        let latest: BTreeSet<&EndKey> = all.into_iter().rev().take(KEPT_LOSSES).collect();
        let added: Vec<&EndKey> = self.lost.keys().filter(|end| latest.contains(end)).collect();
        let is_added = |attempt: &&Attempt| added.iter().any(|end| end.id == attempt.id);
        // If an entry was read twice, the last reading counts.
        let read: BTreeMap<String, &Attempt> = match added.is_empty() {
            true => BTreeMap::new(),
            false => attempts.iter().filter(is_added).map(|attempt| (attempt.id.to_string(), attempt)).collect(),
        };
        let of = |end: &EndKey| {
            let (key, row) = self.lost.get(end)?;
            Some((end.clone(), describe(key, row, read.get(&end.id.to_string()).copied())))
        };
        LossChanges {
            added: added.into_iter().filter_map(of).collect(),
            removed: before.keys().filter(|end| !latest.contains(*end)).cloned().collect(),
        }
    }
}

fn describe(key: &RowKey, row: &Row, read: Option<&Attempt>) -> LostDelivery {
    let answered = match read.map(|attempt| attempt.http_status) {
        Some(HttpStatus::Code(code)) => Some(code),
        Some(HttpStatus::None | HttpStatus::Invalid) => None,
        None => row.counted.and_then(|(_, http_status)| http_status.code()),
    };
    LostDelivery {
        opening: row.opening(key).id.clone(),
        event: row.event.clone(),
        result: row.result.unwrap_or(DeliveryResult::Failed),
        http_status: answered,
        error: read.and_then(|attempt| attempt.error.clone()),
    }
}
