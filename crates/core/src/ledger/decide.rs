//! Compares what was read with what is remembered, and decides what follows. Pure and total: all correctness lives
//! here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use super::activity::{ACTIVITY_KEPT, Minute, OUTCOMES, Outcomes, RecentActivity};
use super::labeller::Labeller;
use super::labels::LabelPolicy;
use super::late::LateAttempts;
use super::loss_changes;
use super::memory::Memory;
use super::row::{Continued, KeyedRow, Row, RowKey};
use super::series::LogOutcome;
use super::state::{Changes, Marks};
use super::tips::Tips;
use super::totals::Birth;
use super::transition::{DeliveryRef, Origin, Transition};
use super::watermark::{Windows, effective_time};
use crate::delivery::{Attempt, AttemptStatus, DeliveryResult, EntryId, GroupKey, Timestamp};
use crate::server_time::ServerTime;

/// Unusable entries have no time of their own; a day after the log itself has dropped them (30 days of retention) they
/// cannot turn up any more.
const INVALID_RETENTION: Duration = Duration::from_secs(31 * 24 * 3600);
/// How long the API keeps its log: 30 days.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// This many rows to forget are worth a commit of their own: a target that has become quiet would keep them forever.
const WORTH_PRUNING: usize = 1_000;
/// The most rows that one decision forgets, so that no commit takes long.
const MAX_PRUNED: usize = 20_000;

/// The settings that a decision depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What is read, remembered and followed.
    pub windows: Windows,
    /// How series are labelled.
    pub labels: LabelPolicy,
    /// After this long without a successful poll, what is read counts as the past, not as live.
    pub catch_up_after: Duration,
    /// Whether a new series is first served as 0.
    pub holds_births: bool,
}

/// What was read of one target.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The usable entries in the order in which they were read; an entry may occur more than once.
    pub attempts: Vec<Attempt>,
    /// The keys of the entries that were not usable.
    pub invalid: Vec<Box<str>>,
    /// Followed entries that were looked for at their place in the list, but are gone.
    pub missing: Vec<EntryId>,
    /// What the reading covers.
    pub coverage: Coverage,
    /// The part of the reading, if it is decided in parts.
    pub pass: Pass,
    /// Whether the log ended before anything known was met.
    pub is_torn: bool,
    /// Whether the reading of a first contact ended before the history cutoff, because deeper pages cannot be read.
    pub is_cut_short: bool,
    /// When a poll last succeeded, by the server's clock.
    pub last_success: Option<Timestamp>,
    /// When the target became known, if that was before its first answer.
    pub known_at: Option<Timestamp>,
    /// The time of the first entry of the reading, even if that is on disk already.
    pub newest: Option<Timestamp>,
    /// The server's clock at the end of the reading.
    pub now: ServerTime,
    /// When its first page was read; `None` if there was only one. Entries created since then have not all been read.
    pub began: Option<Timestamp>,
}

/// A long reading is decided in parts, oldest first: every part is registered before any of them is settled, because
/// deliveries are joined before they end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pass {
    /// All of a reading at once.
    #[default]
    Whole,
    /// A part to be registered.
    Register,
    /// A registered part, to be settled.
    Settle,
    /// The last part, which holds the newest entries.
    Last,
}

impl Pass {
    /// Whether the reading is decided completely. Only then is anything forgotten: what is known must not depend on how
    /// a reading is cut into parts.
    fn is_end(self) -> bool {
        matches!(self, Self::Whole | Self::Last)
    }
}

/// What part of the log a batch covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coverage {
    /// Single pages, read to see what became of open entries.
    #[default]
    Pages,
    /// Everything from the newest entry to known ground.
    Head,
    /// Everything from the newest entry to the end of the window in which late entries may turn up.
    Sweep,
    /// Nothing yet: the first answer of a new target. It settles what is history, and how far back the first contact
    /// reads.
    FirstResponse,
    /// Everything from the newest entry to the history cutoff.
    FirstContact,
    /// Nothing: the target was first contacted while the clock was ahead, and its marks are set back to where they
    /// should have been. `known_at` says when. Entries that were ignored meanwhile were never counted, so the next
    /// sweep counts them for the first time; what was counted before is remembered as far back as the horizon, and what
    /// is older than that stays ignored.
    Mended,
}

impl Coverage {
    /// Whether it reaches from the newest entry to known ground, so that the watermark moves.
    fn is_walk(self) -> bool {
        matches!(self, Self::Head | Self::Sweep | Self::FirstContact)
    }
}

/// How many entries were read, and how many of them were news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries first seen.
    pub new: u64,
    /// Known entries whose state had changed.
    pub changed: u64,
    /// Entries without news.
    pub unchanged: u64,
}

/// What follows from a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// What happened, in order.
    pub transitions: Vec<Transition>,
    /// What changes.
    pub changes: Changes,
    /// How much of the reading was news.
    pub tally: Tally,
}

/// Decides what `batch` means for a target with that memory.
#[must_use = "a decision changes nothing until it is committed and applied"]
pub fn decide<'a>(memory: impl Into<Memory<'a>>, batch: &'a Batch, policy: &'a Policy) -> Decision {
    let mut draft = Draft::new(memory.into(), batch, policy);
    let entries = in_order(&batch.attempts);
    // Deliveries are joined before they end: an attempt must not end its delivery if a later one is in the same batch.
    for &attempt in &entries {
        draft.register(attempt);
    }
    if batch.pass == Pass::Register {
        return draft.finish();
    }
    for &attempt in &entries {
        draft.settle(attempt);
    }
    for key in &batch.invalid {
        draft.reject(key);
    }
    draft.give_up();
    draft.finish()
}

/// Oldest first; entries read twice stay in the order in which they were read.
fn in_order(attempts: &[Attempt]) -> Vec<&Attempt> {
    let mut entries: Vec<&Attempt> = attempts.iter().collect();
    entries.sort_by(|a, b| (a.created_at, a.attempt, &a.id).cmp(&(b.created_at, b.attempt, &b.id)));
    entries
}

/// How many of the ledger's tips of one group and number are used up. Attempts come oldest first, and each takes the
/// first tip that it can: tips that it skips are used up, or too old for all attempts that follow.
#[derive(Debug, Default)]
struct Used {
    /// The last waiting tip that was taken: its delivery's opening entry, and its own key.
    waiting: Option<(RowKey, RowKey)>,
    /// The oldest resting tip that was taken.
    resting: Option<RowKey>,
}

/// The memory as it will be, written over the memory as it is.
struct Draft<'a> {
    memory: Memory<'a>,
    batch: &'a Batch,
    policy: &'a Policy,
    labeller: Labeller<'a>,
    history_cutoff: Option<Timestamp>,
    horizon: Option<Timestamp>,
    rows: BTreeMap<RowKey, Row>,
    /// The places of rows that are not in the ledger yet.
    placed: HashMap<EntryId, Timestamp>,
    /// Latest attempts of deliveries that are not in the ledger yet.
    tips: Tips,
    /// How far this batch has continued the latest attempts that are in the ledger.
    used: HashMap<(GroupKey, u8), Used>,
    /// Late attempts that are not in the ledger yet.
    late: LateAttempts,
    /// The last attempt of each group and number of which this batch has brought the predecessor.
    preceded: HashMap<(GroupKey, u8), RowKey>,
    ignored: BTreeSet<EntryId>,
    invalid: BTreeMap<Box<str>, Timestamp>,
    last_attempt: [Option<Timestamp>; 4],
    transitions: Vec<Transition>,
    tally: Tally,
}

impl<'a> Draft<'a> {
    fn new(memory: Memory<'a>, batch: &'a Batch, policy: &'a Policy) -> Self {
        let marks = memory.marks();
        let swept = marks.swept.or(marks.watermark);
        let computed =
            marks.watermark.zip(swept).map(|(mark, swept)| policy.windows.horizon(batch.now.timestamp(), mark, swept));
        Self {
            memory,
            batch,
            policy,
            labeller: Labeller::new(&policy.labels, memory.totals(), memory.open().map(|entry| &entry.row.event)),
            history_cutoff: marks.history_cutoff,
            // What was forgotten stays forgotten, also after a change of the settings.
            horizon: computed.max(marks.horizon),
            rows: BTreeMap::new(),
            placed: HashMap::new(),
            tips: Tips::default(),
            used: HashMap::new(),
            late: LateAttempts::default(),
            preceded: HashMap::new(),
            ignored: BTreeSet::new(),
            invalid: BTreeMap::new(),
            last_attempt: marks.last_attempt,
            transitions: Vec::new(),
            tally: Tally::default(),
        }
    }

    fn find(&self, id: &EntryId) -> Option<(RowKey, Row)> {
        if let Some(created_at) = self.placed.get(id) {
            let key = RowKey { created_at: *created_at, id: id.clone() };
            return self.rows.get(&key).map(|row| (key.clone(), row.clone()));
        }
        let KeyedRow { key, row } = self.memory.find(id)?;
        let row = self.rows.get(key).unwrap_or(row).clone();
        Some((key.clone(), row))
    }

    fn row(&self, key: &RowKey) -> Option<&Row> {
        self.rows.get(key).or_else(|| self.memory.row(key))
    }

    fn log(&mut self, outcome: LogOutcome) {
        self.transitions.push(Transition::Logged(outcome));
    }

    /// First pass: registers unknown entries and finds their deliveries.
    fn register(&mut self, attempt: &Attempt) {
        if self.find(&attempt.id).is_some() {
            return;
        }
        if Some(attempt.created_at) < self.history_cutoff || Some(attempt.created_at) < self.horizon {
            self.ignore(&attempt.id);
            return;
        }
        if self.belongs_to_next_walk(attempt) {
            return;
        }
        let is_late = self.memory.marks().watermark.is_some_and(|watermark| attempt.created_at < watermark);
        self.log(if is_late { LogOutcome::Late } else { LogOutcome::New });
        self.tally.new += 1;

        let key = RowKey { created_at: attempt.created_at, id: attempt.id.clone() };
        let joined = self.join(attempt);
        let successor = self.precede(attempt.group, attempt.attempt, attempt.created_at);
        let (is_preceded, is_overtaken) = (joined.is_some(), successor.is_some());
        let delivery = joined.or(successor);
        let is_retry = delivery.as_ref().map_or(attempt.attempt > 1, |delivery| delivery.is_retry);
        let row = Row {
            at: effective_time(attempt.created_at, self.batch.now.timestamp()),
            attempt: attempt.attempt,
            status: attempt.status,
            event: self.labeller.event(&attempt.event),
            counted: None,
            group: attempt.group,
            finished_at: attempt.created_at,
            is_retry,
            opening: delivery.map(|delivery| Arc::new(delivery.opening)),
            is_preceded,
            continued: if is_overtaken { Continued::Overtaken } else { Continued::No },
            open: true,
            ended: false,
            late: is_late,
            result: None,
        };
        let entry = Arc::new(KeyedRow { key: key.clone(), row: row.clone() });
        self.tips.insert(&entry);
        self.late.insert(&entry);
        self.placed.insert(key.id.clone(), key.created_at);
        self.rows.insert(key, row);
    }

    /// Single pages may show a later attempt without the one before it, which is on a page that was not read. Such news
    /// is left to the next walk, which reads both.
    fn belongs_to_next_walk(&self, attempt: &Attempt) -> bool {
        let head = self.memory.marks().watermark.map(|watermark| self.policy.windows.head_until(watermark));
        self.batch.coverage == Coverage::Pages && Some(attempt.created_at) >= head
    }

    fn ignore(&mut self, id: &EntryId) {
        if !self.memory.knows_ignored(id) && self.ignored.insert(id.clone()) {
            self.log(LogOutcome::Ignored);
        }
    }

    /// Finds the delivery that a new attempt continues, and makes the attempt its latest. Returns `None` if there is
    /// none.
    fn join(&mut self, attempt: &Attempt) -> Option<DeliveryRef> {
        let before = attempt.attempt.checked_sub(1).and_then(NonZeroU8::new)?.get();
        let latest = self.joinable(attempt, before)?;
        let mut row = self.row(&latest)?.clone();
        let opening = row.opening(&latest).clone();
        let is_retry = row.is_retry || row.status != AttemptStatus::Success;
        if self.memory.row(&latest).is_some() {
            self.use_up(attempt.group, before, &latest, &row);
        } else {
            self.tips.remove(&KeyedRow { key: latest.clone(), row: row.clone() });
        }
        row.continued = Continued::InOrder;
        if row.status == AttemptStatus::Retrying {
            row.open = false;
        }
        self.rows.insert(latest, row);
        Some(DeliveryRef { opening, is_retry })
    }

    /// Finds the attempt that continues attempt `number`, made at `made_at`, although it turned up first: the oldest
    /// attempt with the next number whose predecessor is not known, made no earlier and at most `settle_after` later.
    /// Marks its predecessor as known, and returns its delivery.
    ///
    /// An attempt that is continued in this way is [`Continued::Overtaken`]. It counts as an attempt and ends nothing,
    /// because its delivery went on: the delivery ends with a later attempt. While it is pending it stays open for its
    /// outcome, so that the books balance; a `retrying` one is not followed. If it continues a delivery itself, it
    /// belongs to that one, otherwise to its successor's. If its own predecessor turns up even later, that is placed
    /// before it in the same way.
    ///
    /// The successor is always from an earlier batch: within a batch, what was made later is registered later.
    fn precede(&mut self, group: GroupKey, number: u8, made_at: Timestamp) -> Option<DeliveryRef> {
        let place = (group, number.checked_add(1)?);
        // Late attempts come oldest first, and each takes the oldest that it can: those before the last one taken are
        // taken too.
        let found = self.memory.awaiting(place, made_at, self.preceded.get(&place));
        let key = found.filter(|key| key.created_at.since(made_at) <= self.policy.windows.settle_after)?.clone();
        let mut row = self.row(&key)?.clone();
        row.is_preceded = true;
        let delivery = delivery(&key, &row);
        self.preceded.insert(place, key.clone());
        self.rows.insert(key, row);
        Some(delivery)
    }

    /// The latest attempt, with that number, of the delivery that `attempt` continues: the oldest delivery that waits
    /// for one, otherwise the one whose latest attempt is newest.
    fn joinable(&self, attempt: &Attempt, number: u8) -> Option<RowKey> {
        let group = attempt.group;
        let settle_after = self.policy.windows.settle_after;
        let is_recent = |entry: &KeyedRow| attempt.created_at.since(entry.key.created_at) <= settle_after;
        let is_latest = |entry: &KeyedRow| self.row(&entry.key).is_some_and(Row::is_latest);
        let used = self.used.get(&(group, number));
        let after = used.and_then(|used| used.waiting.as_ref());
        let known = self.memory.waiting((group, number), after, |entry| is_recent(entry) && is_latest(entry));
        let added = self.tips.waiting(group, number, None).find(|entry| is_recent(entry));
        if let Some(entry) = known.into_iter().chain(added).min_by_key(|entry| Tips::place_of_waiting(entry)) {
            return Some(entry.key.clone());
        }
        let before = used.and_then(|used| used.resting.as_ref());
        let known = self.memory.resting((group, number), before, is_recent, is_latest);
        let added = self.tips.resting(group, number, None).next().filter(|entry| is_recent(entry));
        known.into_iter().chain(added).map(|entry| &entry.key).max().cloned()
    }

    /// Records how far the ledger's tips are used up, so that no join looks at the earlier ones again.
    fn use_up(&mut self, group: GroupKey, number: u8, key: &RowKey, row: &Row) {
        let used = self.used.entry((group, number)).or_default();
        if matches!(row.status, AttemptStatus::Pending | AttemptStatus::Retrying) {
            let place = (row.opening(key).clone(), key.clone());
            used.waiting = used.waiting.take().max(Some(place));
        } else {
            used.resting = Some(used.resting.take().map_or_else(|| key.clone(), |before| before.min(key.clone())));
        }
    }

    /// Second pass: counts outcomes and ends deliveries.
    fn settle(&mut self, attempt: &Attempt) {
        let Some((key, mut row)) = self.find(&attempt.id) else {
            return;
        };
        let before = row.clone();
        row.status = attempt.status;
        if row.counted.is_none() && attempt.status.is_outcome() && !row.ended {
            self.count(attempt, &key, &mut row);
        }
        if !row.ended {
            self.end(attempt, &before, &key, &mut row);
        }
        row.open = is_followed(&row);
        if row.status != before.status {
            self.tally.changed += 1;
        }
        if row != before {
            self.rows.insert(key, row);
        }
    }

    fn count(&mut self, attempt: &Attempt, key: &RowKey, row: &mut Row) {
        let labels = self.labeller.attempt(attempt, row.event.clone());
        if let Some(position) = OUTCOMES.iter().position(|outcome| *outcome == attempt.status) {
            self.last_attempt[position] = self.last_attempt[position].max(Some(row.at));
        }
        row.finished_at = attempt.span().1;
        self.transitions.push(Transition::Counted {
            attempt: Box::new(attempt.clone()),
            at: row.at,
            delivery: delivery(key, row),
            labels: labels.clone(),
            delay_ns: delay_ns(attempt),
            origin: self.origin(key),
        });
        row.counted = Some((labels.status, labels.http_status));
    }

    fn end(&mut self, attempt: &Attempt, before: &Row, key: &RowKey, row: &mut Row) {
        if row.continued == Continued::Overtaken {
            return;
        }
        let was_counted = before.counted.is_some();
        let is_settled = self.policy.windows.is_settled(row.at, self.batch.now.timestamp());
        let result = match row.status {
            AttemptStatus::Success => DeliveryResult::Success,
            // A superseded attempt that is written off later ends nothing: its successor does.
            AttemptStatus::Failed if was_counted && !row.is_latest() => return,
            // As far as anybody saw, it was still retrying when its time was up.
            AttemptStatus::Failed if was_counted && is_settled => DeliveryResult::Abandoned,
            AttemptStatus::Failed => DeliveryResult::Failed,
            _ => return,
        };
        let error = attempt.error.clone().filter(|_| result == DeliveryResult::Failed);
        self.end_with(result, &attempt.event, error, key, row);
    }

    fn end_with(
        &mut self,
        result: DeliveryResult,
        name: &Arc<str>,
        error: Option<Box<str>>,
        key: &RowKey,
        row: &mut Row,
    ) {
        row.ended = true;
        row.result = Some(result);
        self.transitions.push(Transition::Ended {
            id: key.id.clone(),
            delivery: delivery(key, row),
            began: self.began(row.opening(key)),
            at: row.finished_at,
            name: name.clone(),
            event: row.event.clone(),
            result,
            attempts: row.attempt,
            error,
            origin: self.origin(key),
        });
    }

    /// When the first attempt of the delivery that `opening` opened was made, as far as is remembered.
    fn began(&self, opening: &RowKey) -> Timestamp {
        let late = [self.memory.first_of(opening), self.late.first_of(opening)];
        late.into_iter().flatten().fold(opening.created_at, Timestamp::min)
    }

    /// Entries that the first walk finds and that are older than the first answer are history.
    fn origin(&self, key: &RowKey) -> Origin {
        let is_first = self.batch.coverage == Coverage::FirstContact;
        if is_first && Some(key.created_at) < self.memory.marks().known_at { Origin::History } else { Origin::Live }
    }

    fn reject(&mut self, key: &str) {
        if self.memory.knows_invalid(key) || self.invalid.contains_key(key) {
            return;
        }
        self.tally.new += 1;
        self.log(LogOutcome::Invalid);
        self.invalid.insert(key.into(), self.batch.now.timestamp());
    }

    /// Stops following entries that are older than `settle_after` and were just seen to be still open, or to be gone.
    fn give_up(&mut self) {
        let settled = self.settled();
        if settled.is_empty() {
            return;
        }
        let missing = self.batch.missing.iter().map(|id| (id, None));
        let read = self.batch.attempts.iter().map(|attempt| (&attempt.id, Some(&attempt.event)));
        let looked_for: HashMap<&EntryId, Option<&Arc<str>>> = missing.chain(read).collect();
        for key in &settled {
            if let Some((name, row)) = looked_for.get(&key.id).zip(self.row(key).cloned()) {
                self.abandon(key, row, *name);
            }
        }
    }

    /// The entries that are followed and old enough to be given up, oldest first.
    fn settled(&self) -> BTreeSet<RowKey> {
        let windows = self.policy.windows;
        let open = self.memory.open().filter(|entry| !self.rows.contains_key(&entry.key));
        let known = open.map(|entry| (&entry.key, &entry.row));
        known
            .chain(self.rows.iter().filter(|(_, row)| row.open))
            .filter(|(_, row)| windows.is_settled(row.at, self.batch.now.timestamp()))
            .map(|(key, _)| key.clone())
            .collect()
    }

    fn abandon(&mut self, key: &RowKey, mut row: Row, name: Option<&Arc<str>>) {
        if row.status == AttemptStatus::Pending {
            self.log(LogOutcome::Expired);
        }
        // An earlier version of this program did not notice that a late attempt had been continued.
        if row.is_latest() && self.precede(row.group, row.attempt, key.created_at).is_some() {
            row.continued = Continued::Overtaken;
        }
        if row.is_latest() {
            let name = name.unwrap_or(&row.event).clone();
            self.end_with(DeliveryResult::Abandoned, &name, None, key, &mut row);
        }
        row.open = false;
        row.ended = true;
        self.rows.insert(key.clone(), row);
    }

    fn finish(mut self) -> Decision {
        let before = self.memory.marks();
        let mut marks = self.marks();
        let (streak, losses) = loss_changes::after(self.memory, &self.rows, &self.batch.attempts);
        marks.streak = streak;
        if self.has_gap() {
            marks.gap_at = before.watermark;
            self.transitions.push(Transition::Gap);
        }
        let birth = Birth { at: self.batch.now.timestamp(), is_held: self.policy.holds_births };
        let changed = self.memory.totals().after(&self.transitions, &self.policy.labels);
        let mut changes = Changes {
            rows: std::mem::take(&mut self.rows),
            losses,
            invalid: std::mem::take(&mut self.invalid),
            ignored: std::mem::take(&mut self.ignored).into_iter().collect(),
            totals: changed.totals,
            births: changed.born.into_iter().map(|key| (key, birth)).collect(),
            ..Changes::default()
        };
        let is_new = Marks { swept: before.swept, ..marks.clone() } != *before;
        changes.must_commit =
            is_new || !changes.rows.is_empty() || !changes.totals.is_empty() || self.has_much_to_forget();
        if changes.must_commit {
            changes.catching_up = self.is_catching_up().then_some(self.batch.now.timestamp());
            if self.batch.pass.is_end() {
                self.forget(&mut changes, &mut marks);
            }
        }
        changes.marks = (marks != *before).then_some(marks);
        if self.batch.pass != Pass::Register {
            let read = (self.batch.attempts.len() + self.batch.invalid.len()) as u64;
            self.tally.unchanged = read.saturating_sub(self.tally.new + self.tally.changed);
        }
        Decision { transitions: self.transitions, changes, tally: self.tally }
    }

    /// The marks after this batch.
    fn marks(&self) -> Marks {
        let mut marks = Marks { last_attempt: self.last_attempt, ..self.memory.marks().clone() };
        let now = self.batch.now.timestamp();
        if !self.batch.pass.is_end() {
            return marks;
        }
        if self.batch.coverage.is_walk() {
            let newest = self.batch.attempts.iter().map(|attempt| self.time_of(attempt)).max();
            // An entry dated in the future does not show how far the reading has come.
            let newest = newest.map(|newest| newest.min(self.batch.began.unwrap_or(now)));
            marks.watermark = marks.watermark.max(newest);
        }
        match self.batch.coverage {
            Coverage::FirstResponse => {
                marks.known_at = Some(self.batch.known_at.map_or(now, |known_at| known_at.min(now)));
                marks.history_cutoff = Some(self.policy.windows.history_cutoff(now));
            }
            Coverage::Mended => self.mend(&mut marks),
            Coverage::FirstContact => {
                marks.contacted = true;
                // The first walk may have been interrupted, and have begun at any time since the first answer.
                marks.swept = Some(swept_to(marks.watermark, marks.known_at.unwrap_or(now)));
            }
            // Polls may have moved the watermark while the sweep went on.
            Coverage::Sweep => marks.swept = Some(swept_to(marks.watermark, self.batch.began.unwrap_or(now))),
            Coverage::Head | Coverage::Pages => {}
        }
        marks
    }

    /// Sets back the marks that are ahead of the server's clock, and makes the next sweep read down to the cutoff.
    fn mend(&self, marks: &mut Marks) {
        let now = self.batch.now.timestamp();
        let known_at = self.batch.known_at.map_or(now, |known_at| known_at.min(now));
        let cut = self.policy.windows.history_cutoff(known_at);
        (marks.known_at, marks.history_cutoff) = (Some(known_at), Some(cut));
        marks.watermark = marks.watermark.map(|watermark| watermark.min(now));
        marks.swept = marks.watermark.map(|watermark| watermark.min(cut.plus(self.policy.windows.lookback)));
        // That sweep may reach the end of the log without having met anything known: nothing was lost by that.
        marks.gap_at = marks.watermark;
        marks.last_attempt = marks.last_attempt.map(|newest| newest.map(|newest| newest.min(now)));
    }

    /// The time that an entry stands for: if it is dated in the future, when it was first seen.
    fn time_of(&self, attempt: &Attempt) -> Timestamp {
        let placed = self.placed.get(&attempt.id).copied();
        let key = placed.map(|created_at| RowKey { created_at, id: attempt.id.clone() });
        let row = key.as_ref().and_then(|key| self.rows.get(key)).or_else(|| Some(&self.memory.find(&attempt.id)?.row));
        row.map_or(attempt.created_at, |row| row.at)
    }

    /// Whether this batch brings what happened while nobody looked.
    fn is_catching_up(&self) -> bool {
        match self.batch.coverage {
            Coverage::FirstResponse | Coverage::Mended => false,
            Coverage::FirstContact => true,
            _ => self.was_away(self.policy.catch_up_after),
        }
    }

    fn was_away(&self, time: Duration) -> bool {
        self.batch.last_success.is_none_or(|last| self.batch.now.timestamp().since(last) > time)
    }

    /// Whether entries may have been lost to retention: the log ended before anything known, although the newest known
    /// entry should still be in it, or nobody has looked for as long as entries are kept. Counted once for each newest
    /// known entry. A first contact has a gap if not all of its window could be read.
    fn has_gap(&self) -> bool {
        let marks = self.memory.marks();
        if self.batch.coverage == Coverage::FirstContact {
            return self.batch.is_cut_short && self.batch.pass.is_end();
        }
        let Some(watermark) = marks.watermark else { return false };
        let is_walk = matches!(self.batch.coverage, Coverage::Head | Coverage::Sweep);
        if !is_walk || !self.batch.pass.is_end() || !self.batch.is_torn || marks.gap_at == Some(watermark) {
            return false;
        }
        self.batch.now.timestamp().since(watermark) < RETENTION || self.was_away(RETENTION)
    }

    fn has_much_to_forget(&self) -> bool {
        let forgettable = self.horizon.map(|horizon| self.memory.forgettable(horizon).take(WORTH_PRUNING).count());
        forgettable == Some(WORTH_PRUNING)
    }

    fn forget(&self, changes: &mut Changes, marks: &mut Marks) {
        let gone = self.batch.now.timestamp().minus(INVALID_RETENTION);
        changes.pruned_invalid = self.memory.forgettable_invalid(gone).cloned().collect();
        let Some(horizon) = self.horizon else { return };
        let is_untouched = |entry: &&KeyedRow| !changes.rows.contains_key(&entry.key);
        let pruned: Vec<&KeyedRow> = self.memory.forgettable(horizon).filter(is_untouched).take(MAX_PRUNED).collect();
        if !pruned.is_empty() {
            marks.horizon = marks.horizon.max(Some(horizon));
            changes.pruned_activity = self.lately(&pruned);
            for series in pruned.iter().flat_map(|entry| entry.row.counters()) {
                *changes.pruned_totals.entry(series).or_default() += 1;
            }
            changes.pruned = pruned.into_iter().map(|entry| entry.key.clone()).collect();
        }
    }

    /// What entries that are forgotten have added to what happened lately.
    fn lately(&self, pruned: &[&KeyedRow]) -> BTreeMap<Minute, Outcomes> {
        let from = self.batch.now.timestamp().minus(ACTIVITY_KEPT);
        let mut activity = RecentActivity::default();
        pruned.iter().filter(|entry| entry.row.at >= from).for_each(|entry| activity.add_row(&entry.row));
        activity.iter().map(|(minute, outcomes)| (minute, *outcomes)).collect()
    }
}

/// Pending entries are followed to their outcome; retrying ones until the next attempt of their delivery is seen.
fn is_followed(row: &Row) -> bool {
    match row.status {
        _ if row.ended => false,
        AttemptStatus::Pending => row.counted.is_none(),
        AttemptStatus::Retrying => row.is_latest(),
        _ => false,
    }
}

/// The mark of a sweep that began at `began`. An empty log had nothing up to then; what is dated earlier is late.
fn swept_to(watermark: Option<Timestamp>, began: Timestamp) -> Timestamp {
    watermark.map_or(began, |watermark| watermark.min(began))
}

/// The delivery of the entry at `key`.
fn delivery(key: &RowKey, row: &Row) -> DeliveryRef {
    DeliveryRef { opening: row.opening(key).clone(), is_retry: row.is_retry }
}

/// From creation to delivery; `None` if that is negative or more than a day.
fn delay_ns(attempt: &Attempt) -> Option<u64> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let delivered_at = attempt.delivered_at.filter(|delivered_at| *delivered_at >= attempt.created_at)?;
    let delay = delivered_at.since(attempt.created_at);
    if delay > DAY { None } else { u64::try_from(delay.as_nanos()).ok() }
}
