//! What the contract makes of readings: the same rules as the ledger's, told once more as plainly as possible, without
//! windows of memory, indices or parts. It forgets only what the ledger says that it forgets, and checks that it may.

use std::collections::{BTreeMap, BTreeSet};

use crate::delivery::{Attempt, AttemptStatus, DeliveryResult, EntryId, HttpStatus, Timestamp};
use crate::ledger::activity::{Minute, OUTCOMES, Outcomes, RESULTS, minute_of};
use crate::ledger::decide::{Batch, Coverage};
use crate::ledger::losses::EndKey;
use crate::ledger::row::RowKey;
use crate::ledger::series::LogOutcome;
use crate::ledger::series::{Family, SeriesKey};
use crate::ledger::totals::{Total, Totals};
use crate::testing::policy;

/// An entry that is in the books.
#[derive(Debug)]
pub(super) struct Known {
    key: RowKey,
    /// The time it stands for.
    at: Timestamp,
    attempt: u8,
    status: AttemptStatus,
    event: std::sync::Arc<str>,
    delivery: usize,
    /// The state in which it was counted.
    pub(super) counted: Option<Attempt>,
    /// Whether it has ended its delivery, or was given up.
    pub(super) is_done: bool,
    /// How its delivery ended with it, where it did.
    result: Option<DeliveryResult>,
    is_forgotten: bool,
    /// Whether the attempt before it is known: it then continues that one.
    has_predecessor: bool,
    /// Whether it turned up after the attempt that continues it.
    is_overtaken: bool,
}

#[derive(Debug)]
struct Delivery {
    opening: RowKey,
    latest: EntryId,
    group: [u8; 16],
}

/// What a series must say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    /// What was observed, where it is a histogram.
    observed: u64,
}

/// All that was ever read, and what it comes to.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub(super) entries: BTreeMap<EntryId, Known>,
    deliveries: Vec<Delivery>,
    invalid: BTreeSet<Box<str>>,
    sums: BTreeMap<SeriesKey, Sum>,
    /// Series that this batch has brought, and whether history had a part in it.
    born: BTreeMap<SeriesKey, bool>,
    known_at: Option<Timestamp>,
    cut: Option<Timestamp>,
    pub(super) watermark: Option<Timestamp>,
    gap_at: Option<Timestamp>,
}

impl Oracle {
    /// Takes in what was read and committed.
    pub(super) fn take(&mut self, batch: &Batch) {
        self.born.clear();
        if batch.coverage == Coverage::FirstResponse {
            self.known_at = Some(batch.now.timestamp());
            self.cut = Some(batch.now.timestamp().minus(policy().windows.initial_lookback));
        }
        let mut attempts = batch.attempts.clone();
        attempts.sort_by_key(|entry| (entry.created_at, entry.attempt, entry.id.to_string()));
        for attempt in &attempts {
            self.register(attempt, batch);
        }
        for attempt in &attempts {
            self.settle(attempt, batch);
        }
        for key in &batch.invalid {
            if self.invalid.insert(key.clone()) {
                self.add(SeriesKey::log_entries(LogOutcome::Invalid), None, false);
            }
        }
        let read = attempts.iter().map(|attempt| &attempt.id).chain(&batch.missing);
        for id in read.collect::<BTreeSet<_>>() {
            self.give_up(id, batch);
        }
        self.move_marks(batch);
    }

    fn register(&mut self, entry: &Attempt, batch: &Batch) {
        if self.entries.contains_key(&entry.id) || Some(entry.created_at) < self.cut {
            return;
        }
        let head = self.watermark.map(|watermark| watermark.minus(std::time::Duration::from_secs(2)));
        if batch.coverage == Coverage::Pages && Some(entry.created_at) >= head {
            return;
        }
        let is_late = self.watermark.is_some_and(|watermark| entry.created_at < watermark);
        let outcome = if is_late { LogOutcome::Late } else { LogOutcome::New };
        self.add(SeriesKey::log_entries(outcome), None, false);
        let key = RowKey { created_at: entry.created_at, id: entry.id.clone() };
        let joined = self.joined(entry);
        let successor = self.successor(entry);
        let overtaken_by = successor.as_ref().map(|id| self.entries[id].delivery);
        let delivery = joined.or(overtaken_by).unwrap_or_else(|| {
            let opening = key.clone();
            self.deliveries.push(Delivery { opening, latest: entry.id.clone(), group: entry.group });
            self.deliveries.len() - 1
        });
        if joined.is_some() {
            self.deliveries[delivery].latest = entry.id.clone();
        }
        if let Some(id) = &successor {
            self.entries.get_mut(id).unwrap().has_predecessor = true;
        }
        let is_ahead = entry.created_at > batch.now.timestamp().plus(std::time::Duration::from_secs(1));
        let known = Known {
            at: if is_ahead { batch.now.timestamp() } else { entry.created_at },
            key,
            attempt: entry.attempt,
            status: entry.status,
            event: entry.event.clone(),
            delivery,
            counted: None,
            is_done: false,
            result: None,
            is_forgotten: false,
            has_predecessor: joined.is_some(),
            is_overtaken: successor.is_some(),
        };
        self.entries.insert(entry.id.clone(), known);
    }

    /// The delivery that a new attempt goes on with.
    fn joined(&self, entry: &Attempt) -> Option<usize> {
        let latest = |index: &usize| &self.entries[&self.deliveries[*index].latest];
        let fits = |index: &usize| {
            let latest = latest(index);
            self.deliveries[*index].group == entry.group
                && latest.attempt + 1 == entry.attempt
                && entry.created_at.since(latest.key.created_at) <= policy().windows.settle_after
                && !latest.is_forgotten
                && !latest.is_overtaken
        };
        let fitting = || (0..self.deliveries.len()).filter(fits);
        let waits = |index: &usize| matches!(latest(index).status, AttemptStatus::Pending | AttemptStatus::Retrying);
        let oldest = fitting().filter(waits).min_by_key(|index| &self.deliveries[*index].opening);
        oldest.or_else(|| fitting().max_by_key(|index| &latest(index).key))
    }

    /// The attempt that continues a new one although it was there before: it had opened a delivery, or was put in front
    /// of one.
    fn successor(&self, entry: &Attempt) -> Option<EntryId> {
        let fits = |known: &&Known| {
            self.deliveries[known.delivery].group == entry.group
                && known.attempt == entry.attempt + 1
                && !known.has_predecessor
                && !known.is_forgotten
                && known.key.created_at >= entry.created_at
                && known.key.created_at.since(entry.created_at) <= policy().windows.settle_after
        };
        let oldest = self.entries.values().filter(fits).min_by_key(|known| &known.key)?;
        Some(oldest.key.id.clone())
    }

    fn is_latest(&self, known: &Known) -> bool {
        self.deliveries[known.delivery].latest == known.key.id && !known.is_overtaken
    }

    fn settle(&mut self, entry: &Attempt, batch: &Batch) {
        let Some(mut known) = self.entries.remove(&entry.id) else { return };
        if !known.is_forgotten {
            let was_counted = known.counted.is_some();
            known.status = entry.status;
            if !was_counted && entry.status != AttemptStatus::Pending && !known.is_done {
                self.count(entry, &known, batch);
                known.counted = Some(entry.clone());
            }
            let is_over = batch.now.timestamp().since(known.at) >= policy().windows.settle_after;
            let result = match entry.status {
                _ if known.is_overtaken => None,
                AttemptStatus::Success => Some(DeliveryResult::Success),
                AttemptStatus::Failed if !was_counted => Some(DeliveryResult::Failed),
                AttemptStatus::Failed if !self.is_latest(&known) => None,
                AttemptStatus::Failed if is_over => Some(DeliveryResult::Abandoned),
                AttemptStatus::Failed => Some(DeliveryResult::Failed),
                _ => None,
            };
            if let Some(result) = result.filter(|_| !known.is_done) {
                self.end(&known, result, batch);
                known.is_done = true;
                known.result = Some(result);
            }
        }
        self.entries.insert(entry.id.clone(), known);
    }

    fn count(&mut self, entry: &Attempt, known: &Known, batch: &Batch) {
        let http_status = match entry.http_status {
            HttpStatus::None => "none".to_owned(),
            HttpStatus::Invalid => "invalid".to_owned(),
            HttpStatus::Code(code) => code.to_string(),
        };
        let labels = [known.event.clone(), entry.status.as_str().into(), http_status.into()];
        let is_history = self.is_history(known, batch);
        self.add(SeriesKey::new(Family::Attempts, labels.clone()), None, is_history);
        if entry.duration_ns.is_some() {
            self.add(SeriesKey::new(Family::Duration, labels), entry.duration_ns, is_history);
        }
        if let Some(delivered_at) = entry.delivered_at.filter(|delivered_at| *delivered_at >= entry.created_at) {
            let nanos = delivered_at.since(entry.created_at).as_nanos() as u64;
            self.add(SeriesKey::new(Family::Delay, [known.event.clone()]), Some(nanos), is_history);
        }
    }

    fn end(&mut self, known: &Known, result: DeliveryResult, batch: &Batch) {
        let labels = [known.event.clone(), result.as_str().into()];
        let is_history = self.is_history(known, batch);
        self.add(SeriesKey::new(Family::Deliveries, labels.clone()), None, is_history);
        let attempts = Some(u64::from(known.attempt));
        self.add(SeriesKey::new(Family::AttemptsPerDelivery, labels), attempts, is_history);
    }

    fn is_history(&self, known: &Known, batch: &Batch) -> bool {
        batch.coverage == Coverage::FirstContact && Some(known.key.created_at) < self.known_at
    }

    /// Whether an entry may still change, as far as anybody knows.
    fn is_open(&self, known: &Known) -> bool {
        let is_open = match known.status {
            AttemptStatus::Pending => known.counted.is_none(),
            AttemptStatus::Retrying => self.is_latest(known),
            _ => false,
        };
        is_open && !known.is_done && !known.is_forgotten
    }

    fn give_up(&mut self, id: &EntryId, batch: &Batch) {
        let Some(mut known) = self.entries.remove(id) else { return };
        if self.is_open(&known) && batch.now.timestamp().since(known.at) >= policy().windows.settle_after {
            if known.status == AttemptStatus::Pending {
                self.add(SeriesKey::log_entries(LogOutcome::Expired), None, false);
            }
            if self.is_latest(&known) {
                self.end(&known, DeliveryResult::Abandoned, batch);
                known.result = Some(DeliveryResult::Abandoned);
            }
            known.is_done = true;
        }
        self.entries.insert(id.clone(), known);
    }

    fn move_marks(&mut self, batch: &Batch) {
        if matches!(batch.coverage, Coverage::Pages | Coverage::FirstResponse) {
            return;
        }
        let is_walk_of_known = batch.coverage != Coverage::FirstContact;
        if is_walk_of_known && batch.is_torn && self.watermark.is_some() && self.gap_at != self.watermark {
            self.add(SeriesKey::history_gaps(), None, false);
            self.gap_at = self.watermark;
        }
        let time = |entry: &Attempt| self.entries.get(&entry.id).map_or(entry.created_at, |known| known.at);
        let newest =
            batch.attempts.iter().map(|entry| time(entry).min(batch.began.unwrap_or(batch.now.timestamp()))).max();
        self.watermark = self.watermark.max(newest);
    }

    fn add(&mut self, key: SeriesKey, observed: Option<u64>, is_history: bool) {
        if !self.sums.contains_key(&key) || self.born.contains_key(&key) {
            *self.born.entry(key.clone()).or_default() |= is_history;
        }
        let sum = self.sums.entry(key).or_default();
        sum.count += 1;
        sum.observed += observed.unwrap_or(0);
    }

    /// Records that the ledger has forgotten entries, as of `now` and of the watermark as it was.
    pub(super) fn forget(&mut self, keys: &[RowKey], now: Timestamp, watermark: Option<Timestamp>) {
        let windows = policy().windows;
        let latest_find = |time: Timestamp| time.minus(windows.lookback).minus(windows.sweep_interval);
        let settled = latest_find(now.minus(windows.settle_after));
        let swept = watermark.map(latest_find);
        for key in keys {
            let known = &self.entries[&key.id];
            assert!(!self.is_open(known), "{key:?} is open, and was forgotten");
            assert!(key.created_at < settled && Some(key.created_at) < swept, "{key:?} was forgotten too early");
        }
        for key in keys {
            self.entries.get_mut(&key.id).unwrap().is_forgotten = true;
        }
    }

    /// The series that the last batch has brought live.
    pub(super) fn births(&self) -> BTreeSet<&SeriesKey> {
        let born = self.born.iter().filter(|(key, has_history)| key.family.is_born() && !**has_history);
        born.map(|(key, _)| key).collect()
    }

    /// The entries that may still change, as far as anybody knows.
    pub(super) fn open(&self) -> BTreeSet<&RowKey> {
        self.entries.values().filter(|known| self.is_open(known)).map(|known| &known.key).collect()
    }

    /// The lost deliveries that ended later than the last one that succeeded, and all of them; by their ends.
    pub(super) fn losses(&self) -> [Vec<EndKey>; 2] {
        let end = |known: &Known| EndKey { at: known.at, attempt: known.attempt, id: known.key.id.clone() };
        let of = |result| move |known: &&Known| known.result == Some(result);
        let succeeded = self.entries.values().filter(of(DeliveryResult::Success)).map(end).max();
        let is_lost = |known: &&Known| {
            (of(DeliveryResult::Failed)(known) || of(DeliveryResult::Abandoned)(known)) && self.is_latest(known)
        };
        let mut all: Vec<EndKey> = self.entries.values().filter(is_lost).map(end).collect();
        all.sort();
        let since = all.iter().filter(|end| Some(*end) > succeeded.as_ref()).cloned().collect();
        [since, all]
    }

    /// Deliveries that ended and attempts with an outcome, by minute.
    pub(super) fn activity(&self) -> BTreeMap<Minute, Outcomes> {
        let mut activity: BTreeMap<Minute, Outcomes> = BTreeMap::new();
        for known in self.entries.values() {
            let mut outcomes = Outcomes::default();
            if let Some(index) = RESULTS.iter().position(|result| known.result == Some(*result)) {
                outcomes.deliveries[index] = 1;
            }
            let counted = known.counted.as_ref().map(|counted| counted.status);
            if let Some(index) = OUTCOMES.iter().position(|status| counted == Some(*status)) {
                outcomes.attempts[index] = 1;
            }
            if !outcomes.is_empty() {
                activity.entry(minute_of(known.at)).or_default().add(&outcomes);
            }
        }
        activity
    }

    /// What `totals` say differently, but for ignored entries, which are outside the books.
    pub(super) fn differences(&self, totals: &Totals) -> Vec<String> {
        let ignored = SeriesKey::log_entries(LogOutcome::Ignored);
        let said = |total: &Total| match total {
            Total::Counter(count) => Sum { count: *count, observed: 0 },
            Total::Histogram(histogram) => Sum { count: histogram.count(), observed: histogram.sum },
        };
        let shown: BTreeMap<&SeriesKey, Sum> =
            totals.iter().filter(|(key, _)| **key != ignored).map(|(key, total)| (key, said(total))).collect();
        let keys: BTreeSet<&SeriesKey> = shown.keys().copied().chain(self.sums.keys()).collect();
        let differs = |key: &&SeriesKey| shown.get(*key) != self.sums.get(*key);
        let both = |key: &SeriesKey| format!("{key:?}: {:?} instead of {:?}", shown.get(key), self.sums.get(key));
        keys.into_iter().filter(differs).map(both).collect()
    }
}
