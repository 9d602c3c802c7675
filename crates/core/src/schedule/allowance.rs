//! How much of the budget may be spent now: less if the API's headers say that its limit is lower, or that somebody
//! else is spending too. Pure; time is passed in.
//!
//! `X-RateLimit-Remaining` counts our own requests too, in windows of 60 s that begin with anybody's request. What is
//! used of a window beyond our own requests was spent by others. What is left of it, minus what the others will want,
//! is spread over the rest of the window.

use std::collections::VecDeque;
use std::time::Duration;

/// The window of the API's limit.
const WINDOW: Duration = Duration::from_secs(60);
/// Never less than this: otherwise nobody would notice that the others have stopped.
const LEAST: u32 = 1;
/// Rates change in steps of this fraction of the highest allowed rate, so that not every answer changes them.
const STEPS: f64 = 20.0;

/// This many requests may be our own, counted at the border of a window.
const UNCERTAIN: u64 = 2;
/// Of a small limit even they would be a large part: at most a tenth is taken for ours.
const SMALL_PART: u64 = 10;

/// What may be spent of a budget.
#[derive(Debug)]
pub struct Allowance {
    configured: u32,
    limit: Option<u64>,
    remaining: Option<u64>,
    /// When the API's current window began, as far as is known.
    window: Option<Duration>,
    /// Our requests that may be in the current window, oldest first.
    sent: VecDeque<Duration>,
    /// What others have spent in the current window, and in the one before.
    foreign: [u64; 2],
    per_minute: u32,
    concurrent: u32,
}

impl Allowance {
    /// The whole budget of `configured` requests a minute, of which up to `concurrent` are under way at the same time.
    pub fn new(configured: u32, concurrent: u32) -> Self {
        Self {
            configured,
            concurrent,
            limit: None,
            remaining: None,
            window: None,
            sent: VecDeque::new(),
            foreign: [0; 2],
            per_minute: configured,
        }
    }

    /// Requests a minute that may be made.
    pub fn per_minute(&self) -> u32 {
        self.per_minute
    }

    /// Records a request of ours.
    pub fn sent(&mut self, now: Duration) {
        self.sent.push_back(now);
        self.forget(now);
    }

    /// Learns from the headers of an answer.
    pub fn learn(&mut self, limit: Option<u64>, remaining: Option<u64>, now: Duration) {
        self.limit = limit.filter(|limit| *limit > 0).or(self.limit);
        let Some(remaining) = remaining else { return self.choose(now) };
        // Answers may overtake each other: a larger jump than this shows a new window.
        let jump = u64::from(self.concurrent);
        let is_new = self.remaining.is_none_or(|before| remaining > before.saturating_add(jump));
        if is_new || self.window_is_over(now) {
            self.window = Some(now);
            self.foreign = [0, self.foreign[0]];
            self.remaining = None;
        }
        let lowest = self.remaining.map_or(remaining, |before| before.min(remaining));
        self.remaining = Some(lowest);
        self.forget(now);
        if let Some(limit) = self.limit {
            // Requests under way may be counted already or not: counting them as ours is wrong by no more than their
            // number.
            let used = limit.saturating_sub(lowest);
            self.foreign[0] = self.foreign[0].max(used.saturating_sub(self.sent.len() as u64));
        }
        self.choose(now);
    }

    /// Checks the time: a window that is over no longer limits anything. Returns whether the rate has changed.
    pub fn review(&mut self, now: Duration) -> bool {
        let before = self.per_minute;
        self.choose(now);
        self.per_minute != before
    }

    fn window_is_over(&self, now: Duration) -> bool {
        self.window.is_none_or(|began| now >= began + WINDOW)
    }

    fn forget(&mut self, now: Duration) {
        while self.sent.front().is_some_and(|sent| *sent + WINDOW <= now) {
            self.sent.pop_front();
        }
    }

    /// Requests a minute that may be made while nobody else makes any: as configured, or fewer if the API allows fewer.
    pub fn ceiling(&self) -> u32 {
        let limit = self.limit.and_then(|limit| u32::try_from(limit).ok());
        limit.map_or(self.configured, |limit| limit.min(self.configured))
    }

    fn choose(&mut self, now: Duration) {
        let ceiling = self.ceiling();
        let allowed = self.fair_share(now).map_or(f64::from(ceiling), |allowed| allowed.min(f64::from(ceiling)));
        let step = (f64::from(ceiling) / STEPS).max(1.0);
        let floored = if allowed < f64::from(ceiling) { (allowed / step).floor() * step } else { allowed };
        self.per_minute = (floored.max(0.0) as u32).clamp(LEAST.min(ceiling), ceiling);
    }

    /// Requests a minute that leave others what they were seen to spend; `None` if nobody else spends.
    fn fair_share(&self, now: Duration) -> Option<f64> {
        let (limit, remaining) = self.limit.zip(self.remaining)?;
        let foreign = self.foreign[0].max(self.foreign[1]);
        if foreign <= UNCERTAIN.min(limit / SMALL_PART) {
            return None;
        }
        let steady = limit.saturating_sub(foreign) as f64;
        let began = self.window.filter(|began| now < *began + WINDOW);
        let Some(began) = began else { return Some(steady) };
        let rest = (began + WINDOW).saturating_sub(now).as_secs_f64() / WINDOW.as_secs_f64();
        // What they will spend of the rest is estimated from the window before.
        let left = remaining as f64 - self.foreign[1] as f64 * rest;
        // In the last seconds of a window hardly anything can be spent.
        Some(steady.min(left / rest.max(0.1)))
    }
}

#[cfg(test)]
mod tests;
