//! The delivery log of one webhook: its entries, and the list that the API shows of them.
//!
//! The list is kept oldest first, ordered by the second of `created_at` and then by the order of appearance, so that a
//! new entry is appended, a page is a slice, and neither depends on the length of the list. Plans nothing: the world
//! decides when things happen.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::attempt;
use super::entry::{Anomaly, DrawnOutcome, Entry, EntryPlace, EntrySpec, Status};
use crate::clock::Moment;
use crate::random::Random;
use crate::scenario::{Scenario, Superseded, Webhook};

/// The log of one webhook.
pub(crate) struct WebhookLog {
    pub(crate) webhook: Webhook,
    pub(crate) removed: bool,
    /// When the webhook itself was last changed, if it was.
    pub(super) changed_at: Option<Moment>,
    pub(crate) entries: Vec<Entry>,
    pub(super) arrivals: Random,
    pub(super) seed: u64,
    pub(super) number: u64,
    events: Vec<Arc<str>>,
    deliveries: Vec<Delivery>,
    /// Deliveries of the world's own course; those made by hand are not counted, so that they do not shift any.
    arrived: u64,
    list: VecDeque<u32>,
    ranks: u64,
    /// Random numbers for entries made by hand, which must not shift any other.
    pub(super) hand: Random,
}

/// One delivery: what its attempts share.
struct Delivery {
    event: Arc<str>,
    random: Random,
    payload: u64,
    entries: Vec<u32>,
    anomaly: Option<Anomaly>,
}

/// An attempt that has begun, and when its outcome is due.
pub(super) struct Begun {
    pub(super) entry: u32,
    pub(super) shown_at: Option<Moment>,
    pub(super) settled_at: Option<Moment>,
    pub(super) deleted_at: Option<Moment>,
}

impl WebhookLog {
    pub(super) fn new(webhook: Webhook, arrivals: Random, seed: u64, number: u64) -> Self {
        Self {
            events: webhook.events.iter().map(|event| Arc::from(event.name.as_str())).collect(),
            webhook,
            removed: false,
            changed_at: None,
            entries: Vec::new(),
            arrivals,
            seed,
            number,
            deliveries: Vec::new(),
            arrived: 0,
            list: VecDeque::new(),
            ranks: 0,
            hand: Random::stream(seed, &[number, u64::MAX]),
        }
    }

    pub(super) fn is(&self, webhook_id: &str) -> bool {
        !self.removed && self.webhook.id == webhook_id
    }

    /// How many entries the list shows.
    pub(crate) fn total(&self) -> usize {
        self.list.len()
    }

    /// Opens the next delivery; `invalid` is the probability that it has an anomaly.
    pub(super) fn open_delivery(&mut self, invalid: f64) -> u32 {
        self.arrived += 1;
        let mut random = Random::stream(self.seed, &[self.number, self.arrived]);
        let event = random.weighted(self.webhook.events.iter().map(|event| event.weight));
        let strange = random.chance(invalid);
        let kind = random.below(Anomaly::DRAWN.len() as u64) as usize;
        let anomaly = Anomaly::DRAWN.get(kind).copied().filter(|_| strange);
        let event = self.events.get(event).cloned().unwrap_or_else(|| Arc::from("webhook.test"));
        self.push_delivery(event, random, anomaly)
    }

    /// Opens a delivery for an entry that is added by hand.
    pub(super) fn open_by_hand(&mut self, event: Arc<str>) -> u32 {
        let random = Random::stream(self.seed, &[self.number, u64::MAX, self.deliveries.len() as u64]);
        self.push_delivery(event, random, None)
    }

    fn push_delivery(&mut self, event: Arc<str>, mut random: Random, anomaly: Option<Anomaly>) -> u32 {
        let payload = random.next();
        self.deliveries.push(Delivery { event, random, payload, entries: Vec::new(), anomaly });
        self.deliveries() - 1
    }

    /// The seed of the payload of an entry's delivery.
    pub(super) fn payload_seed(&self, entry: &Entry) -> u64 {
        self.deliveries.get(entry.delivery as usize).map_or(0, |delivery| delivery.payload)
    }

    /// The number of deliveries so far.
    pub(super) fn deliveries(&self) -> u32 {
        self.deliveries.len() as u32
    }

    /// Creates the entry of a delivery's next attempt, and draws its outcome.
    pub(super) fn begin_attempt(&mut self, number: u32, at: Moment, spike: f64, scenario: &Scenario) -> Begun {
        let attempt = self.next_attempt(number);
        let delivery = &mut self.deliveries[number as usize];
        let random = &mut delivery.random;
        let wait = random.between(self.webhook.pending.min, self.webhook.pending.max);
        let (mut outcome, end) = attempt::draw(random, &self.webhook, attempt, at.plus(wait), spike);
        let late = late(random, scenario);
        let deleted_at = deletion(random, scenario).map(|after| at.plus(after));
        let id = ordered_uuid(at, random);
        let anomaly = delivery.anomaly;
        if anomaly.is_some() && outcome.status == Status::Retrying {
            outcome.status = Status::Failed;
        }
        // An entry that cannot be recognised when it is read again must not change.
        let settled_at = (anomaly.is_none() && !self.webhook.pending.max.is_zero()).then_some(end);
        let entry =
            self.add(new_entry(id, number, attempt, &self.deliveries[number as usize].event, at, outcome, anomaly));
        if settled_at.is_none() {
            self.settle(entry);
        }
        self.entries[entry as usize].late = late.is_some();
        if late.is_none() {
            self.show(entry);
        }
        Begun { entry, shown_at: late.map(|late| at.plus(late)), settled_at, deleted_at }
    }

    /// Adds a delivery that ended long ago: one attempt, with its outcome.
    pub(super) fn add_finished(&mut self, at: Moment) {
        let number = self.open_delivery(0.0);
        let delivery = &mut self.deliveries[number as usize];
        let (mut outcome, _) = attempt::draw(&mut delivery.random, &self.webhook, 1, at, 0.0);
        if outcome.status == Status::Retrying {
            outcome.status = Status::Failed;
        }
        let id = ordered_uuid(at, &mut delivery.random);
        let entry = new_entry(id, number, 1, &delivery.event, at, outcome, None);
        let entry = self.add(entry);
        self.settle(entry);
        self.show(entry);
    }

    /// Adds an entry that is not in the list yet.
    pub(super) fn add(&mut self, entry: Entry) -> u32 {
        let place = self.entries.len() as u32;
        if let Some(delivery) = self.deliveries.get_mut(entry.delivery as usize) {
            delivery.entries.push(place);
        }
        self.entries.push(entry);
        place
    }

    /// Moves a hidden entry into the list, before entries of the same second.
    pub(super) fn show(&mut self, entry: u32) {
        if self.entries[entry as usize].place != EntryPlace::Hidden {
            return;
        }
        let second = self.entries[entry as usize].second();
        self.ranks += 1;
        self.entries[entry as usize].place = EntryPlace::Shown { rank: self.ranks };
        let position = self.list.partition_point(|other| self.entries[*other as usize].second() <= second);
        self.list.insert(position, entry);
    }

    /// Gives a pending entry its outcome. Returns whether it had none before.
    pub(super) fn settle(&mut self, entry: u32) -> bool {
        self.entries[entry as usize].settle()
    }

    /// Deletes an entry from the list.
    pub(super) fn delete(&mut self, entry: u32) {
        if self.take_out(entry) || self.entries[entry as usize].place == EntryPlace::Hidden {
            self.entries[entry as usize].place = EntryPlace::Deleted;
        }
    }

    /// Removes entries from the list that were created before `oldest`.
    pub(super) fn expire(&mut self, oldest: Moment) {
        while let Some(first) = self.list.front().copied() {
            let entry = &mut self.entries[first as usize];
            if entry.spec.created_at >= oldest {
                break;
            }
            entry.place = EntryPlace::Expired;
            self.list.pop_front();
        }
    }

    /// Changes what an entry shows, and moves it if its time has changed.
    pub(super) fn change(&mut self, entry: u32, change: impl FnOnce(&mut EntrySpec)) {
        let was_shown = self.take_out(entry);
        let changed = &mut self.entries[entry as usize];
        changed.coming = None;
        change(&mut changed.spec);
        if let Some(id) = &changed.spec.id {
            changed.id = id.as_str().into();
        }
        if was_shown {
            self.put_back(entry);
        }
    }

    pub(super) fn status(&self, entry: u32) -> Status {
        self.entries[entry as usize].spec.status
    }

    /// The delivery of an entry, and its attempt number.
    pub(super) fn delivery_of(&self, entry: u32) -> (u32, u8) {
        let entry = &self.entries[entry as usize];
        (entry.delivery, entry.spec.attempt)
    }

    /// Ends the `retrying` entries of a delivery whose last attempt has failed.
    pub(super) fn end_superseded(&mut self, last: u32, superseded: Superseded) {
        let most = match superseded {
            Superseded::Keep => 0,
            Superseded::FailLast => 1,
            Superseded::FailAll => usize::MAX,
        };
        let delivery = self.entries[last as usize].delivery as usize;
        let Some(delivery) = self.deliveries.get(delivery) else { return };
        let retrying = delivery.entries.iter().rev().copied();
        let retrying = retrying.filter(|entry| self.entries[*entry as usize].spec.status == Status::Retrying);
        for entry in retrying.take(most).collect::<Vec<_>>() {
            self.entries[entry as usize].spec.status = Status::Failed;
            self.entries[entry as usize].superseded = true;
        }
    }

    /// The entries of the list that wait for their outcome, oldest first.
    pub(super) fn shown_pending(&self) -> Vec<u32> {
        let pending = |entry: &u32| self.entries[*entry as usize].coming.is_some();
        self.list.iter().copied().filter(pending).collect()
    }

    /// The entry with that id, if the list shows it. Looks at every entry: only for rare operations.
    pub(super) fn find(&self, id: &str) -> Option<u32> {
        self.list.iter().copied().find(|entry| *self.entries[*entry as usize].id == *id)
    }

    /// The entries from `skip` to `skip + count` of the list, newest first. With `shuffle`, those of one second come in
    /// an order that is drawn from it.
    pub(crate) fn page(&self, skip: usize, count: usize, shuffle: Option<Random>) -> Vec<&Entry> {
        let end = self.list.len().saturating_sub(skip);
        let begin = end.saturating_sub(count);
        let (mut low, mut high) = (begin, end);
        if shuffle.is_some() && begin < end {
            let second = |position: usize| self.entries[self.list[position] as usize].second();
            let (oldest, newest) = (second(begin), second(end - 1));
            low = self.list.partition_point(|entry| self.entries[*entry as usize].second() < oldest);
            high = self.list.partition_point(|entry| self.entries[*entry as usize].second() <= newest);
        }
        let mut entries: Vec<&Entry> = self.list.range(low..high).map(|entry| &self.entries[*entry as usize]).collect();
        entries.reverse();
        if let Some(mut random) = shuffle {
            entries.chunk_by_mut(|a, b| a.second() == b.second()).for_each(|ties| random.shuffle(ties));
        }
        entries.drain(..high - end);
        entries.truncate(end - begin);
        entries
    }

    fn next_attempt(&self, delivery: u32) -> u8 {
        let entries = &self.deliveries[delivery as usize].entries;
        let highest = entries.iter().map(|entry| self.entries[*entry as usize].spec.attempt).max();
        highest.unwrap_or(0).saturating_add(1)
    }

    fn take_out(&mut self, entry: u32) -> bool {
        let EntryPlace::Shown { rank } = self.entries[entry as usize].place else { return false };
        let key = (self.entries[entry as usize].second(), rank);
        let position = self.list.partition_point(|other| self.key(*other) < key);
        self.list.remove(position).is_some()
    }

    fn put_back(&mut self, entry: u32) {
        let key = self.key(entry);
        let position = self.list.partition_point(|other| self.key(*other) < key);
        self.list.insert(position, entry);
    }

    /// The key that orders the list.
    fn key(&self, entry: u32) -> (i64, u64) {
        let entry = &self.entries[entry as usize];
        let rank = if let EntryPlace::Shown { rank } = entry.place { rank } else { 0 };
        (entry.second(), rank)
    }
}

fn late(random: &mut Random, scenario: &Scenario) -> Option<Duration> {
    let is_late = random.chance(scenario.late.probability);
    let by = random.between(Duration::ZERO, scenario.late.up_to);
    (is_late && !by.is_zero()).then_some(by)
}

fn deletion(random: &mut Random, scenario: &Scenario) -> Option<Duration> {
    let vanishes = random.chance(scenario.deletions.probability);
    let after = random.between(scenario.deletions.after.min, scenario.deletions.after.max);
    vanishes.then_some(after)
}

fn new_entry(
    id: String,
    delivery: u32,
    attempt: u8,
    event: &Arc<str>,
    created_at: Moment,
    outcome: DrawnOutcome,
    anomaly: Option<Anomaly>,
) -> Entry {
    let spec = EntrySpec {
        created_at,
        event: Arc::clone(event),
        attempt,
        status: Status::Pending,
        http_status: None,
        duration_ms: None,
        ..EntrySpec::default()
    };
    let coming = Some(Box::new(outcome));
    Entry {
        id: id.into(),
        delivery,
        spec,
        place: EntryPlace::Hidden,
        anomaly,
        superseded: false,
        late: false,
        coming,
        raw: None,
    }
}

/// An id like those of Laravel's `Str::orderedUuid`: the time in steps of 10 µs in the first 48 bits.
pub(super) fn ordered_uuid(at: Moment, random: &mut Random) -> String {
    let time = at.as_micros() / 10;
    let (version, variant) = (random.next() & 0xfff, random.next() & 0x3fff | 0x8000);
    let node = random.next() & 0xffff_ffff_ffff;
    format!("{:08x}-{:04x}-4{version:03x}-{variant:04x}-{node:012x}", (time >> 16) & 0xffff_ffff, time & 0xffff)
}
