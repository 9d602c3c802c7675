//! The scheduler's record of one target.

use std::time::Duration;

use crate::schedule::RequestClass;
use crate::schedule::rate::Rate;

/// One target.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) rate: Rate,
    pub(super) is_disabled: bool,
    pub(super) is_running: bool,
    /// Whether its last request succeeded.
    pub(super) is_proven: bool,
    /// Whether a request is under way that began while it was not proven.
    pub(super) is_running_unproven: bool,
    /// When the last poll began.
    pub(super) polled: Option<Duration>,
    /// When the next poll is due in virtual time.
    pub(super) virtual_due: Duration,
    /// The last turn of a walk that needs further pages.
    pub(super) walk: Option<u64>,
    /// No request may be made before this time.
    pub(super) rests_until: Duration,
    pub(super) sweep_due: Option<Duration>,
    pub(super) recheck_due: Option<Duration>,
    /// Entries that were found since the last poll by other means.
    pub(super) found_aside: u64,
    /// Virtual time when the last poll began.
    virtual_start: Duration,
    /// Until when arrivals are known.
    read_until: Option<Duration>,
    /// When the sweep under way began, and its requests.
    sweep: Option<(Duration, u32)>,
}

impl Slot {
    pub(super) fn seed(&mut self, rate: Rate, now: Duration) {
        self.rate = rate;
        self.read_until = Some(now);
        self.found_aside = 0;
        self.virtual_due = self.virtual_start + self.stride();
    }

    pub(super) fn begin_poll(&mut self, now: Duration, virtual_now: Duration) {
        self.polled = Some(now);
        self.virtual_start = virtual_now;
    }

    /// Records a request that is not the first one of a poll.
    pub(super) fn go_on(&mut self, class: RequestClass, now: Duration) {
        if class == RequestClass::Sweeps {
            let (began, requests) = self.sweep.unwrap_or((now, 0));
            self.sweep = Some((began, requests + 1));
        }
    }

    pub(super) fn complete_poll(&mut self, found: u64) {
        self.walk = None;
        let found = found + std::mem::take(&mut self.found_aside);
        // What came during a long walk is counted with it, although it is later: the next poll makes up for that.
        if let (Some(from), Some(until)) = (self.read_until, self.polled) {
            self.rate.observe(found, until.saturating_sub(from));
        }
        self.read_until = self.polled;
        self.virtual_due = self.virtual_start + self.stride();
    }

    /// A sweep that took one request has read what a poll reads, and counts as one.
    pub(super) fn complete_sweep(&mut self, found: u64, virtual_now: Duration) {
        match self.sweep.take() {
            Some((began, 1)) if self.walk.is_none() => {
                self.begin_poll(began, virtual_now);
                self.complete_poll(found);
            }
            _ => self.found_aside += found,
        }
    }

    /// How many new entries a poll at `now` is expected to bring.
    pub(super) fn expected(&self, now: Duration) -> f64 {
        let elapsed = self.read_until.map_or(Duration::ZERO, |until| now.saturating_sub(until));
        self.rate.per_second() * elapsed.as_secs_f64()
    }

    /// How far ahead in virtual time the next poll is.
    fn stride(&self) -> Duration {
        let rate = self.rate.per_second();
        if rate > 0.0 { Duration::try_from_secs_f64(1.0 / rate.sqrt()).unwrap_or_default() } else { Duration::ZERO }
    }
}
