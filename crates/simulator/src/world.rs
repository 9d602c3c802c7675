//! The simulated world: webhooks whose deliveries happen as time passes.
//!
//! Time is passed in, and everything until then follows from the scenario and the seed alone, whatever the steps:
//! future events wait in one queue, and every delivery draws from a random stream of its own. Knows no sockets. The
//! server reads pages from it; tests change it by hand (`hand`).
//!
//! *Invariant:* an event in the queue is handled at its own time, never at the time of a request.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Moment;
use super::random::Random;
use super::scenario::{OwnerKind, Scenario, Webhook};

pub(super) use entry::EntryPlace;
pub use entry::{Anomaly, EntrySpec, Status};
pub use hand::HandError;
pub(super) use hand::ManualRetry;
use json::KeyOrder;
pub(super) use log::WebhookLog;
pub(super) use owners::OwnerState;
use owners::Owners;

mod attempt;
mod entry;
mod hand;
mod json;
mod log;
mod owners;
mod payload;
#[cfg(test)]
mod tests;

/// The world, at one moment.
pub struct World {
    scenario: Arc<Scenario>,
    seed: u64,
    start: Moment,
    now: Moment,
    frozen: bool,
    queue: EventQueue,
    logs: Vec<WebhookLog>,
    owners: Owners,
    answers: u64,
}

/// A future event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PlannedEvent {
    at: Moment,
    /// Events with the same time happen in the order in which they were planned.
    number: u64,
    log: usize,
    what: What,
}

/// What will happen to a log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A delivery of the steady traffic begins.
    Arrive,
    /// A burst of deliveries begins: the index of its description.
    Burst(usize),
    /// A late entry turns up.
    Show(u32),
    /// A pending entry gets its outcome.
    Settle(u32),
    /// The next attempt of a delivery begins.
    Retry(u32),
    /// An entry is deleted.
    Delete(u32),
}

#[derive(Default)]
struct EventQueue {
    events: BinaryHeap<Reverse<PlannedEvent>>,
    planned: u64,
}

impl EventQueue {
    fn plan(&mut self, at: Moment, log: usize, what: What) {
        self.planned += 1;
        self.events.push(Reverse(PlannedEvent { at, number: self.planned, log, what }));
    }

    fn next_until(&mut self, now: Moment) -> Option<PlannedEvent> {
        let due = self.events.peek().is_some_and(|Reverse(event)| event.at <= now);
        if due { self.events.pop().map(|Reverse(event)| event) } else { None }
    }
}

impl World {
    /// The world of `scenario` at `start`, with its history.
    pub fn new(scenario: Arc<Scenario>, seed: u64, start: Moment) -> Self {
        let mut world = Self {
            seed,
            start,
            now: start.minus(scenario.history),
            frozen: false,
            queue: EventQueue::default(),
            logs: Vec::with_capacity(scenario.webhooks.len()),
            owners: Owners::new(&scenario),
            answers: 0,
            scenario,
        };
        let scenario = Arc::clone(&world.scenario);
        for webhook in &scenario.webhooks {
            world.open_log(webhook.clone(), world.now);
        }
        world.advance_to(start);
        world
    }

    /// When the world started; its history is earlier.
    pub fn start(&self) -> Moment {
        self.start
    }

    /// The moment until which everything has happened.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Makes everything until `now` happen. A `now` in the past changes nothing.
    pub fn advance_to(&mut self, now: Moment) {
        if self.frozen {
            return;
        }
        while let Some(event) = self.queue.next_until(now) {
            self.now = self.now.max(event.at);
            self.logs[event.log].expire(event.at.minus(self.scenario.retention));
            self.happen(event);
        }
        self.now = self.now.max(now);
        let oldest = self.now.minus(self.scenario.retention);
        self.logs.iter_mut().for_each(|log| log.expire(oldest));
    }

    /// From now on nothing happens any more: no new entries, no changes.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Freezes the world too; but entries that are pending get their outcome at once, and no further attempts follow.
    pub fn settle_and_freeze(&mut self) {
        self.frozen = true;
        self.settle_pending();
    }

    /// Whether the world has been frozen.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Adds a webhook, as if it had just been created; its traffic begins now. Its `backlog` is in the past.
    pub fn add_webhook(&mut self, webhook: Webhook) {
        self.open_log(webhook, self.now);
    }

    /// Removes a webhook: from now on the API does not know it, and nothing happens to it. Returns whether there was
    /// one.
    pub fn remove_webhook(&mut self, webhook_id: &str) -> bool {
        let Some(log) = self.logs.iter_mut().find(|log| log.is(webhook_id)) else { return false };
        log.removed = true;
        true
    }

    /// Writes a page of a log's entries, the answer's `"data"` without the envelope, and returns how many entries the
    /// whole list has. `page` counts from 1.
    pub(super) fn write_page(
        &mut self,
        log: usize,
        page: usize,
        per_page: usize,
        bytes: &mut Vec<u8>,
    ) -> serde_json::Result<usize> {
        self.answers += 1;
        let order = Random::stream(self.seed, &[u64::MAX, self.answers]);
        let log = &self.logs[log];
        let skip = (page - 1).saturating_mul(per_page);
        let shuffle = self.scenario.shuffle_ties.then_some(order);
        let key_order = if self.scenario.shuffle_payload_keys { KeyOrder::ByAttempt } else { KeyOrder::Same };
        bytes.push(b'[');
        for (number, entry) in log.page(skip, per_page, shuffle).into_iter().enumerate() {
            if number > 0 {
                bytes.push(b',');
            }
            log.write_entry(bytes, entry, key_order)?;
        }
        bytes.push(b']');
        Ok(log.total())
    }

    /// The webhooks that the API knows of an owner, each with the time of its last change, if it was changed.
    pub(super) fn webhooks_of(&self, kind: OwnerKind, owner_id: &str) -> Vec<(&Webhook, Option<Moment>)> {
        let is_its = |webhook: &Webhook| webhook.owner.kind == kind && webhook.owner.id == owner_id;
        let logs = self.logs.iter().filter(|log| !log.removed && is_its(&log.webhook));
        logs.map(|log| (&log.webhook, log.changed_at)).collect()
    }

    /// The index of the log of `webhook_id`.
    pub(super) fn find_log(&self, webhook_id: &str) -> Option<usize> {
        self.logs.iter().position(|log| log.is(webhook_id))
    }

    pub(super) fn logs(&self) -> &[WebhookLog] {
        &self.logs
    }

    fn open_log(&mut self, webhook: Webhook, from: Moment) {
        let place = self.logs.len();
        let mut arrivals = Random::stream(self.seed, &[place as u64]);
        // A disabled webhook's traffic is planned too and then dropped: it may be enabled while the world runs.
        let begin = if webhook.backlog > 0 { self.start.max(from) } else { from };
        if webhook.rate > 0.0 {
            self.queue.plan(begin.plus(arrivals.gap(webhook.rate)), place, What::Arrive);
        }
        for (burst, description) in self.scenario.bursts.iter().enumerate() {
            self.queue.plan(self.start.max(from).plus(description.every), place, What::Burst(burst));
        }
        self.owners.add(&webhook.owner, None);
        let backlog = webhook.backlog;
        self.logs.push(WebhookLog::new(webhook, arrivals, self.seed, place as u64));
        self.fill_backlog(place, backlog);
    }

    fn fill_backlog(&mut self, place: usize, backlog: u32) {
        // Without a history the backlog spans a day.
        let history = if self.scenario.history.is_zero() { Duration::from_secs(86_400) } else { self.scenario.history };
        let step = history / backlog.max(1);
        let first = self.start.minus(history);
        let log = &mut self.logs[place];
        for number in 0..backlog {
            log.add_finished(first.plus(step * number));
        }
    }

    fn happen(&mut self, event: PlannedEvent) {
        if self.logs[event.log].removed {
            return;
        }
        match event.what {
            What::Arrive => self.arrive(event),
            What::Burst(burst) => self.burst(event, burst),
            What::Show(entry) => self.logs[event.log].show(entry),
            What::Settle(entry) => self.settle(event.log, entry, event.at),
            What::Retry(delivery) => self.attempt(event.log, delivery, event.at),
            What::Delete(entry) => self.logs[event.log].delete(entry),
        }
    }

    fn arrive(&mut self, event: PlannedEvent) {
        let log = &mut self.logs[event.log];
        let gap = log.arrivals.gap(log.webhook.rate);
        self.queue.plan(event.at.plus(gap), event.log, What::Arrive);
        self.deliver(event.log, event.at);
    }

    fn burst(&mut self, event: PlannedEvent, burst: usize) {
        let Some(description) = self.scenario.bursts.get(burst) else { return };
        let entries = description.entries;
        self.queue.plan(event.at.plus(description.every), event.log, What::Burst(burst));
        (0..entries).for_each(|_| self.deliver(event.log, event.at));
    }

    fn deliver(&mut self, log: usize, at: Moment) {
        if !self.logs[log].webhook.enabled {
            return;
        }
        let delivery = self.logs[log].open_delivery(self.scenario.invalid);
        self.attempt(log, delivery, at);
    }

    /// Begins the next attempt of a delivery.
    fn attempt(&mut self, place: usize, delivery: u32, at: Moment) {
        let in_spike = self.spike_probability(&self.logs[place].webhook.id, at);
        let scenario = &self.scenario;
        let begun = self.logs[place].begin_attempt(delivery, at, in_spike, scenario);
        if let Some(at) = begun.shown_at {
            self.queue.plan(at, place, What::Show(begun.entry));
        }
        if let Some(at) = begun.settled_at {
            self.queue.plan(at, place, What::Settle(begun.entry));
        }
        if let Some(at) = begun.deleted_at {
            self.queue.plan(at, place, What::Delete(begun.entry));
        }
        self.follow(place, begun.entry, at);
    }

    fn settle(&mut self, place: usize, entry: u32, at: Moment) {
        if self.logs[place].settle(entry) {
            self.follow(place, entry, at);
        }
    }

    /// Plans what follows from an outcome: another attempt, or the end of those before.
    fn follow(&mut self, place: usize, entry: u32, at: Moment) {
        let log = &mut self.logs[place];
        match log.status(entry) {
            Status::Retrying => {
                let (delivery, attempt) = log.delivery_of(entry);
                let wait = attempt::wait_before_retry(&self.scenario.retries, attempt);
                self.queue.plan(at.plus(wait), place, What::Retry(delivery));
            }
            Status::Failed => log.end_superseded(entry, self.scenario.retries.superseded),
            Status::Pending | Status::Success => {}
        }
    }

    fn settle_pending(&mut self) {
        let superseded = self.scenario.retries.superseded;
        for log in &mut self.logs {
            for entry in log.shown_pending() {
                log.settle(entry);
                if log.status(entry) == Status::Failed {
                    log.end_superseded(entry, superseded);
                }
            }
        }
    }

    /// The probability of a failure that spikes set for `webhook_id` at `at`.
    fn spike_probability(&self, webhook_id: &str, at: Moment) -> f64 {
        let offset = at.as_micros() - self.start.as_micros();
        let hit = self.scenario.spikes.iter().filter(|spike| {
            let suffers = spike.webhooks.is_empty() || spike.webhooks.iter().any(|id| id == webhook_id);
            suffers && attempt::is_within(spike, offset)
        });
        hit.map(|spike| spike.probability).fold(0.0, f64::max)
    }
}
