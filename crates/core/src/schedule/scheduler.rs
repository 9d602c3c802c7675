//! Which target makes a request next, and for what. Pure: time is passed in, as the time since any fixed moment.
//!
//! *Between the kinds of work*, `Shares` decides. *Among heads*, polls that are due and walks that need further pages
//! take turns. *Among polls*, targets that have waited for `max_interval` come first; the others are ordered by virtual
//! time (stride scheduling): a poll sets a target's next one 1/√λ ahead, and virtual time is that of the latest poll
//! made in this order. So frequencies are proportional to √λ whatever the budget really is at the moment; no target is
//! polled again before `min_interval` is over, and what targets at a bound leave or need is shared by the rest in the
//! same proportion, which is the water-filled optimum of [`super::allocation`]. *Sweeps and rechecks* go to the target
//! that has been due for longest, so that what was begun is completed.
//!
//! *Targets whose last request failed, or that made none yet,* take at most half of the places for requests as soon as
//! any target is answered: requests that time out hold their places for long.
//!
//! Everything is kept in ordered sets: a turn costs a few logarithms of the number of targets.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::allocation::{Allocation, is_asleep, stretched};
use super::line::WaitingLine;
use super::meter::Meter;
use super::rate::Rate;
use super::shares::Shares;
use super::{Intervals, RequestClass, TargetId, Turn};

mod slot;

use slot::Slot;

/// How often the intervals that are shown are recomputed: that costs a look at every target.
const REVIEW_INTERVAL: Duration = Duration::from_secs(10);

/// What may be spent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Supply {
    /// Requests a minute that are allowed.
    pub per_minute: f64,
    /// Requests a second that the budget allows in the long run: less than that, because bursts are paid for.
    pub per_second: f64,
}

/// How a turn ended: what the scheduler needs of a `StepOutcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnOutcome {
    /// The walk or the round is complete, and has brought this many new entries.
    Complete(u64),
    /// It needs further pages.
    Unfinished,
    /// It failed, and the target is left alone for this long; then what was begun goes on.
    Failed(Duration),
    /// It ended for a reason that says nothing of the target; what was begun goes on.
    Interrupted,
}

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This, as soon as the budget allows it.
    Turn(Turn),
    /// Nothing before this moment.
    At(Duration),
}

impl Next {
    /// The same at `now`, but no earlier than at `resume`.
    #[must_use]
    pub fn not_before(self, resume: Duration, now: Duration) -> Self {
        match self {
            Self::Turn(_) if resume > now => Self::At(resume),
            Self::Turn(turn) => Self::Turn(turn),
            Self::At(moment) => Self::At(moment.max(resume)),
        }
    }
}

/// The order in which the targets of one environment make requests.
#[derive(Debug)]
pub struct Scheduler {
    bounds: Intervals,
    supply: Supply,
    slots: HashMap<TargetId, Slot>,
    shares: Shares,
    /// Targets that may make a request from some moment on, but not before.
    waiting: WaitingLine<Duration>,
    /// Polls that may be made, by virtual time.
    ready: WaitingLine<Duration>,
    /// Targets without a walk under way, by their last poll; those that were never polled come first.
    polled: WaitingLine<Option<Duration>>,
    /// Walks under way, by their last turn.
    walks: WaitingLine<u64>,
    sweeps: WaitingLine<Duration>,
    rechecks: WaitingLine<Duration>,
    /// How many unproven targets may make requests at the same time.
    unproven_limit: usize,
    unproven_running: usize,
    /// How many targets are proven.
    proven: usize,
    /// Unproven targets that were due while that many others were making requests, first come, first served.
    blocked: WaitingLine<u64>,
    /// Those of them that were put back in the other queues and have not started yet.
    unblocked: BTreeSet<TargetId>,
    blocks: u64,
    discovery_due: Option<Duration>,
    is_discovering: bool,
    virtual_now: Duration,
    turns: u64,
    /// Whether a walk under way is next if polls are due too.
    is_walks_turn: bool,
    /// Requests other than the first one of a poll: they reduce what is left for polls.
    others: Meter,
    allocation: Allocation,
    reviewed: Option<Duration>,
}

impl Scheduler {
    /// A scheduler without targets.
    pub fn new(bounds: Intervals, supply: Supply) -> Self {
        Self {
            bounds,
            supply,
            slots: HashMap::new(),
            shares: Shares::default(),
            waiting: WaitingLine::new(),
            ready: WaitingLine::new(),
            polled: WaitingLine::new(),
            walks: WaitingLine::new(),
            sweeps: WaitingLine::new(),
            rechecks: WaitingLine::new(),
            unproven_limit: usize::MAX,
            unproven_running: 0,
            proven: 0,
            blocked: WaitingLine::new(),
            unblocked: BTreeSet::new(),
            blocks: 0,
            discovery_due: None,
            is_discovering: false,
            virtual_now: Duration::ZERO,
            turns: 0,
            is_walks_turn: false,
            others: Meter::default(),
            allocation: Allocation::new(&[], bounds, 0.0),
            reviewed: None,
        }
    }

    /// Lets unproven targets have at most half of `places` for requests at the same time, and at least one.
    #[must_use]
    pub fn with_places(mut self, places: u32) -> Self {
        self.unproven_limit = (places as usize / 2).max(1);
        self
    }

    /// Adds a target, which is due at once; a target that was added before stays as it is.
    pub fn add(&mut self, target: TargetId, now: Duration) {
        if let Entry::Vacant(vacant) = self.slots.entry(target) {
            vacant.insert(Slot::default());
            self.queue(target, now);
        }
    }

    /// Removes a target; its turn under way may still end.
    pub fn remove(&mut self, target: TargetId) {
        self.unqueue(target);
        if let Some(slot) = self.slots.remove(&target) {
            self.unproven_running -= usize::from(slot.is_running_unproven);
            self.proven -= usize::from(slot.is_proven);
        }
    }

    /// Shortens the rest of a target that failed to `rests_until`, if that is earlier.
    pub fn wake(&mut self, target: TargetId, rests_until: Duration, now: Duration) {
        self.change(target, now, |slot| slot.rests_until = slot.rests_until.min(rests_until));
    }

    /// Polls a target only once in every longest interval from now on, without sweeps and rechecks.
    pub fn disable(&mut self, target: TargetId, now: Duration) {
        self.change(target, now, |slot| slot.is_disabled = true);
    }

    /// Polls a target as often as others again.
    pub fn enable(&mut self, target: TargetId, now: Duration) {
        self.change(target, now, |slot| slot.is_disabled = false);
    }

    /// Sets when the target's next sweep and its next recheck are due; `None` if there is none.
    pub fn set_due(&mut self, target: TargetId, sweep: Option<Duration>, recheck: Option<Duration>, now: Duration) {
        self.change(target, now, |slot| (slot.sweep_due, slot.recheck_due) = (sweep, recheck));
    }

    /// Sets when discovery has a request to make; `None` if it has none.
    pub fn set_discovery_due(&mut self, due: Option<Duration>) {
        self.discovery_due = due;
    }

    /// Sets what is known of a target's arrivals up to `now` from elsewhere.
    pub fn seed(&mut self, target: TargetId, rate: Rate, now: Duration) {
        self.change(target, now, |slot| slot.seed(rate, now));
    }

    /// Sets what may be spent.
    pub fn set_supply(&mut self, supply: Supply) {
        if self.supply != supply {
            self.supply = supply;
            self.reviewed = None;
        }
    }

    /// Returns the longest interval, as the budget allows it.
    pub fn max_interval(&self) -> Duration {
        self.max_interval_at(self.supply.per_minute)
    }

    /// Returns what the longest interval would be if `per_minute` requests a minute were allowed.
    pub fn max_interval_at(&self, per_minute: f64) -> Duration {
        stretched(self.bounds.max, self.slots.len(), per_minute)
    }

    /// The current interval between two polls of a target. Recomputed at most every ten seconds.
    pub fn interval(&mut self, target: TargetId, now: Duration) -> Duration {
        if self.reviewed.is_none_or(|reviewed| now >= reviewed + REVIEW_INTERVAL) {
            self.review(now);
        }
        self.allocation.interval(self.slots.get(&target).map_or(0.0, |slot| self.pace(slot)))
    }

    /// When the target is expected to be polled next, as far as that is known at `now`.
    pub fn next_poll(&mut self, target: TargetId, now: Duration) -> Duration {
        let interval = self.interval(target, now);
        let Some(slot) = self.slots.get(&target) else { return now };
        let due = match (slot.walk, slot.polled) {
            (None, Some(polled)) => polled + interval,
            (Some(_), _) | (None, None) => now,
        };
        due.max(slot.rests_until).max(now)
    }

    /// How many new entries a poll of the target at `now` is expected to bring.
    pub fn expected(&self, target: TargetId, now: Duration) -> f64 {
        self.slots.get(&target).map_or(0.0, |slot| slot.expected(now))
    }

    /// Whose turn it is at `now`, or when to call again; `None` if only turns under way can change that.
    pub fn next(&mut self, now: Duration) -> Option<Next> {
        while let Some((_, target)) = self.waiting.first().filter(|(moment, _)| *moment <= now) {
            self.waiting.remove(target);
            self.queue(target, now);
        }
        self.unblock(now);
        while let Some(class) = self.shares.next(|class| self.first(class, now).is_some()) {
            match self.first(class, now) {
                Some(Turn::Ask(target, _)) if self.must_wait(target) => self.block(target),
                turn => return turn.map(Next::Turn),
            }
        }
        let first_poll = self.polled.first().map(|(polled, _)| self.deadline(polled));
        let first = |line: &WaitingLine<Duration>| line.first().map(|(due, _)| due);
        let discovery = self.discovery_due();
        let others = [first(&self.waiting), first(&self.sweeps), first(&self.rechecks), discovery];
        others.into_iter().chain([first_poll]).flatten().min().map(Next::At)
    }

    /// Discovery's next turn, or when to call again, as if there were no targets.
    pub fn next_discovery(&self, now: Duration) -> Option<Next> {
        self.discovery_due().map(|due| if due <= now { Next::Turn(Turn::Discover) } else { Next::At(due) })
    }

    fn discovery_due(&self) -> Option<Duration> {
        self.discovery_due.filter(|_| !self.is_discovering)
    }

    /// Records that a turn begins at `now`, with one request.
    pub fn start(&mut self, turn: Turn, now: Duration) {
        let due = [RequestClass::Heads, RequestClass::Sweeps, RequestClass::Rechecks, RequestClass::Discovery]
            .map(|class| self.first(class, now).is_some());
        self.shares.spend(turn.class(), |class| due[class as usize]);
        self.turns += 1;
        let Turn::Ask(target, class) = turn else {
            self.others.add(now);
            self.is_discovering = true;
            return;
        };
        self.unqueue(target);
        let max = self.max_interval();
        let Some(slot) = self.slots.get_mut(&target) else { return };
        slot.is_running = true;
        slot.is_running_unproven = !slot.is_proven;
        self.unproven_running += usize::from(!slot.is_proven);
        if class == RequestClass::Heads {
            self.is_walks_turn = slot.walk.is_none();
        }
        if class == RequestClass::Heads && slot.walk.is_none() {
            // A poll that is made because its time is over is outside the order of virtual time.
            if slot.polled.is_some_and(|polled| now < polled + max) {
                self.virtual_now = self.virtual_now.max(slot.virtual_due);
            }
            slot.begin_poll(now, self.virtual_now);
        } else {
            self.others.add(now);
            slot.go_on(class, now);
        }
    }

    /// Records how a turn ended at `now`. If the times of the next sweep and recheck have changed, they must be set
    /// again.
    pub fn finish(&mut self, turn: Turn, outcome: TurnOutcome, now: Duration) {
        let Turn::Ask(target, class) = turn else {
            self.is_discovering = false;
            return;
        };
        let (turns, virtual_now) = (self.turns, self.virtual_now);
        self.settle_proof(target, outcome);
        self.change(target, now, |slot| {
            slot.is_running = false;
            match (outcome, class) {
                (TurnOutcome::Complete(found), RequestClass::Heads) => slot.complete_poll(found),
                (TurnOutcome::Complete(found), RequestClass::Sweeps) => slot.complete_sweep(found, virtual_now),
                (TurnOutcome::Complete(found), _) => slot.found_aside += found,
                (TurnOutcome::Unfinished | TurnOutcome::Interrupted, RequestClass::Heads) => slot.walk = Some(turns),
                (TurnOutcome::Unfinished | TurnOutcome::Interrupted, _) => {}
                (TurnOutcome::Failed(pause), _) => {
                    slot.rests_until = now + pause;
                    // The page that failed is requested again, and then the walk goes on.
                    slot.walk = if class == RequestClass::Heads { Some(turns) } else { slot.walk };
                }
            }
        });
    }

    /// Frees the place of a target, and records whether it is proven now.
    fn settle_proof(&mut self, target: TargetId, outcome: TurnOutcome) {
        let Some(slot) = self.slots.get_mut(&target) else { return };
        self.unproven_running -= usize::from(std::mem::take(&mut slot.is_running_unproven));
        self.proven -= usize::from(slot.is_proven);
        slot.is_proven = match outcome {
            TurnOutcome::Complete(_) | TurnOutcome::Unfinished => true,
            TurnOutcome::Failed(_) => false,
            TurnOutcome::Interrupted => slot.is_proven,
        };
        self.proven += usize::from(slot.is_proven);
    }

    /// Whether there is a place for another unproven target: always while no proven target would have to wait for it.
    fn has_place_for_unproven(&self, taken: usize) -> bool {
        self.proven == 0 || taken < self.unproven_limit
    }

    /// Whether a target is unproven and no place for such targets is free.
    fn must_wait(&self, target: TargetId) -> bool {
        !self.has_place_for_unproven(self.unproven_running)
            && self.slots.get(&target).is_some_and(|slot| !slot.is_proven)
    }

    fn block(&mut self, target: TargetId) {
        self.unqueue(target);
        self.blocks += 1;
        self.blocked.put(target, self.blocks);
    }

    /// Puts back as many blocked targets as there are free places, so that a turn stays cheap however many are blocked.
    fn unblock(&mut self, now: Duration) {
        while self.has_place_for_unproven(self.unproven_running + self.unblocked.len()) {
            let Some((_, target)) = self.blocked.first() else { return };
            self.queue(target, now);
            self.unblocked.insert(target);
        }
    }

    /// The first of a class, if that is due.
    fn first(&self, class: RequestClass, now: Duration) -> Option<Turn> {
        let due = |line: &WaitingLine<Duration>| line.first().filter(|(due, _)| *due <= now).map(|(_, target)| target);
        let target = match class {
            RequestClass::Heads => self.first_head(now),
            RequestClass::Sweeps => due(&self.sweeps),
            RequestClass::Rechecks => due(&self.rechecks),
            RequestClass::Discovery => {
                return self.discovery_due().is_some_and(|due| due <= now).then_some(Turn::Discover);
            }
        };
        target.map(|target| Turn::Ask(target, class))
    }

    fn first_head(&self, now: Duration) -> Option<TargetId> {
        let overdue = self.polled.first().filter(|(polled, _)| self.deadline(*polled) <= now).map(|(_, target)| target);
        let poll = overdue.or_else(|| self.ready.first().map(|(_, target)| target));
        let walk = self.walks.first().map(|(_, target)| target);
        if self.is_walks_turn { walk.or(poll) } else { poll.or(walk) }
    }

    /// When a target with this last poll must be polled again.
    fn deadline(&self, polled: Option<Duration>) -> Duration {
        polled.map_or(Duration::ZERO, |polled| polled.saturating_add(self.max_interval()))
    }

    /// The rate by which a target's interval is chosen: zero if it is polled at its longest interval in any case.
    fn pace(&self, slot: &Slot) -> f64 {
        let rate = slot.rate.per_second();
        if slot.is_disabled || is_asleep(rate, self.bounds.max) { 0.0 } else { rate }
    }

    fn review(&mut self, now: Duration) {
        let rates: Vec<f64> = self.slots.values().map(|slot| self.pace(slot)).collect();
        let bounds = Intervals { max: self.max_interval(), ..self.bounds };
        let polls_per_second = (self.supply.per_second - self.others.rate(now)).max(0.0);
        self.allocation = Allocation::new(&rates, bounds, polls_per_second);
        self.reviewed = Some(now);
    }

    fn change(&mut self, target: TargetId, now: Duration, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.get_mut(&target) {
            change(slot);
            self.queue(target, now);
        }
    }

    /// Puts a target in all queues to which it belongs.
    fn queue(&mut self, target: TargetId, now: Duration) {
        self.unqueue(target);
        let Some(slot) = self.slots.get(&target).filter(|slot| !slot.is_running) else { return };
        if slot.rests_until > now {
            self.waiting.put(target, slot.rests_until);
            return;
        }
        if let Some(turn) = slot.walk {
            self.walks.put(target, turn);
        } else {
            self.polled.put(target, slot.polled);
            if self.pace(slot) > 0.0 {
                let eligible = slot.polled.map_or(Duration::ZERO, |polled| polled + self.bounds.min);
                if eligible <= now {
                    self.ready.put(target, slot.virtual_due);
                } else {
                    self.waiting.put(target, eligible);
                }
            }
        }
        if !slot.is_disabled {
            slot.sweep_due.into_iter().for_each(|due| self.sweeps.put(target, due));
            slot.recheck_due.into_iter().for_each(|due| self.rechecks.put(target, due));
        }
    }

    fn unqueue(&mut self, target: TargetId) {
        for line in [&mut self.waiting, &mut self.ready, &mut self.sweeps, &mut self.rechecks] {
            line.remove(target);
        }
        self.polled.remove(target);
        self.walks.remove(target);
        self.blocked.remove(target);
        self.unblocked.remove(&target);
    }
}

#[cfg(test)]
mod tests;
