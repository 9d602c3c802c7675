//! What can go wrong with a request, and with which request it does.
//!
//! This file only chooses; `server` acts. A fault never changes the world. Used by the scenario, which lists faults; by
//! the server, which asks before every answer; and by tests, which queue them.

use std::collections::VecDeque;
use std::time::Duration;

use axum::http::HeaderValue;
use serde::Deserialize;

use super::random::Random;
use super::scenario::duration;

/// One way in which an answer goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "FaultText")]
pub enum Fault {
    /// Nothing goes wrong: in a script, a request that passes.
    None,
    /// This status with an HTML body, as a gateway answers: a 5xx as a rule.
    Html(u16),
    /// This status with the API's documented error envelope: 401, 403, 404, 422, 500.
    Status(u16),
    /// 429, with `Retry-After` in seconds if a wait is given.
    RateLimited(Option<Duration>),
    /// 429, with the end of that wait as a date in `Retry-After`.
    RateLimitedUntil(Duration),
    /// 429, with `Retry-After` in seconds with a fraction.
    RateLimitedInFractions(Duration),
    /// 429, with a `Retry-After` that makes no sense, and the end of that wait as `X-RateLimit-Reset`.
    RateLimitedByReset(Duration),
    /// The answer is delayed by this much, and right.
    Hold(Duration),
    /// The head comes at once, and every byte of the body is delayed by this much.
    Drip(Duration),
    /// The connection is reset (RST) without an answer.
    Reset,
    /// The connection is reset (RST) half-way through the body.
    ResetInBody,
    /// The connection ends half-way through the body, against its `Content-Length`.
    Truncated,
    /// `Content-Length` is twice the body's; the connection stays open.
    LengthTooLong,
    /// `Content-Length` is half the body's; the rest of the body is sent all the same.
    LengthTooShort,
    /// 200 with a body that is not JSON.
    InvalidJson,
    /// 200 with `"success": false`.
    NotSuccess,
    /// 302 to this location, otherwise to `/login`, as Laravel does for unknown users.
    Redirect(Option<String>),
    /// The right answer with a `Date` that is ahead by this much.
    DateAhead(Duration),
    /// The right answer with a `Date` that is behind by this much.
    DateBehind(Duration),
    /// The right answer with an invalid `Date`: the HTTP library adds one of its own if the header is missing.
    NoDate,
}

/// A fault as it is written in a scenario file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultText {
    kind: FaultKind,
    status: Option<u16>,
    #[serde(default, deserialize_with = "duration::optional")]
    retry_after: Option<Duration>,
    #[serde(default, deserialize_with = "duration::optional")]
    hold: Option<Duration>,
    #[serde(default, deserialize_with = "duration::optional")]
    offset: Option<Duration>,
    location: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FaultKind {
    None,
    Html,
    Status,
    RateLimited,
    RateLimitedUntil,
    RateLimitedInFractions,
    RateLimitedByReset,
    Hold,
    Drip,
    Reset,
    ResetInBody,
    Truncated,
    LengthTooLong,
    LengthTooShort,
    InvalidJson,
    NotSuccess,
    Redirect,
    DateAhead,
    DateBehind,
    NoDate,
}

impl TryFrom<FaultText> for Fault {
    type Error = String;

    fn try_from(text: FaultText) -> Result<Self, String> {
        text.refuse_unused()?;
        let status = || checked_status(text.status);
        let hold = || text.hold.ok_or("this kind needs `hold`");
        let wait = || text.retry_after.ok_or("this kind needs `retry_after`");
        let offset = || text.offset.ok_or("this kind needs `offset`");
        Ok(match text.kind {
            FaultKind::None => Self::None,
            FaultKind::Html => Self::Html(status()?),
            FaultKind::Status => Self::Status(status()?),
            FaultKind::RateLimited => Self::RateLimited(text.retry_after),
            FaultKind::RateLimitedUntil => Self::RateLimitedUntil(wait()?),
            FaultKind::RateLimitedInFractions => Self::RateLimitedInFractions(wait()?),
            FaultKind::RateLimitedByReset => Self::RateLimitedByReset(wait()?),
            FaultKind::Hold => Self::Hold(hold()?),
            FaultKind::Drip => Self::Drip(checked_drip(hold()?)?),
            FaultKind::Reset => Self::Reset,
            FaultKind::ResetInBody => Self::ResetInBody,
            FaultKind::Truncated => Self::Truncated,
            FaultKind::LengthTooLong => Self::LengthTooLong,
            FaultKind::LengthTooShort => Self::LengthTooShort,
            FaultKind::InvalidJson => Self::InvalidJson,
            FaultKind::NotSuccess => Self::NotSuccess,
            FaultKind::Redirect => Self::Redirect(text.location.map(checked_location).transpose()?),
            FaultKind::DateAhead => Self::DateAhead(offset()?),
            FaultKind::DateBehind => Self::DateBehind(offset()?),
            FaultKind::NoDate => Self::NoDate,
        })
    }
}

impl FaultText {
    fn refuse_unused(&self) -> Result<(), String> {
        let has_status = matches!(self.kind, FaultKind::Html | FaultKind::Status);
        let has_wait = matches!(
            self.kind,
            FaultKind::RateLimited
                | FaultKind::RateLimitedUntil
                | FaultKind::RateLimitedInFractions
                | FaultKind::RateLimitedByReset
        );
        let has_hold = matches!(self.kind, FaultKind::Hold | FaultKind::Drip);
        let has_offset = matches!(self.kind, FaultKind::DateAhead | FaultKind::DateBehind);
        let unused = [
            ("offset", self.offset.is_some() && !has_offset),
            ("status", self.status.is_some() && !has_status),
            ("retry_after", self.retry_after.is_some() && !has_wait),
            ("hold", self.hold.is_some() && !has_hold),
            ("location", self.location.is_some() && !matches!(self.kind, FaultKind::Redirect)),
        ];
        match unused.iter().find(|(_, unused)| *unused) {
            Some((name, _)) => Err(format!("this kind does not use `{name}`")),
            None => Ok(()),
        }
    }
}

fn checked_status(status: Option<u16>) -> Result<u16, String> {
    match status {
        Some(status @ 400..=599) => Ok(status),
        Some(status) => Err(format!("`status` must lie between 400 and 599, not {status}")),
        None => Err("this kind needs `status`".to_owned()),
    }
}

fn checked_drip(hold: Duration) -> Result<Duration, String> {
    if hold.is_zero() { Err("`hold` must be longer than zero here".to_owned()) } else { Ok(hold) }
}

fn checked_location(location: String) -> Result<String, String> {
    match HeaderValue::try_from(&location) {
        Ok(_) => Ok(location),
        Err(_) => Err("`location` must be text that an HTTP header can carry".to_owned()),
    }
}

/// The faults that a scenario prescribes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultPlan {
    /// One for each request, in this order; after that the rest of the plan applies.
    pub script: Vec<Fault>,
    /// Faults within a period of time.
    pub windows: Vec<FaultWindow>,
    /// Faults at any time.
    pub random: Vec<RandomFault>,
}

/// A fault that occurs within a period of time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultWindow {
    /// The beginning, from the world's start.
    #[serde(deserialize_with = "duration::required")]
    pub from: Duration,
    /// The end, exclusive, from the world's start.
    #[serde(deserialize_with = "duration::required")]
    pub until: Duration,
    /// The share of requests that it affects.
    #[serde(default = "always")]
    pub probability: f64,
    /// Only requests whose path contains this text; empty for all.
    #[serde(default)]
    pub path: String,
    /// What goes wrong.
    pub fault: Fault,
}

/// A fault that occurs at random.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomFault {
    /// The share of requests that it affects.
    pub probability: f64,
    /// Only requests whose path contains this text; empty for all.
    #[serde(default)]
    pub path: String,
    /// What goes wrong.
    pub fault: Fault,
}

fn always() -> f64 {
    1.0
}

/// What is wrong with pages, from now on and for every request: with those of delivery logs, and of the lists of
/// owners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageFaults {
    /// A page that holds one of these entries is answered with 500.
    pub unreadable: Vec<String>,
    /// Pages beyond this number are refused with 422.
    pub deepest_page: Option<u32>,
    /// Every number returns the first page, which claims to be one of many.
    pub repeats: bool,
    /// A page of agents or campaigns that holds one of these is answered with 500.
    pub unreadable_owners: Vec<String>,
}

/// Chooses the fault of each request: first those that tests have queued, then the script, the windows, and chance.
#[derive(Debug)]
pub(super) struct Faults {
    queue: VecDeque<Fault>,
    windows: Vec<FaultWindow>,
    random: Vec<RandomFault>,
    draws: Random,
}

impl Faults {
    pub(super) fn new(plan: &FaultPlan, seed: u64) -> Self {
        Self {
            queue: plan.script.iter().cloned().collect(),
            windows: plan.windows.clone(),
            random: plan.random.clone(),
            draws: Random::stream(seed, &[u64::from_be_bytes(*b"faults..")]),
        }
    }

    /// Replaces everything that was queued or planned by `plan`; the random draws go on.
    pub(super) fn replace(&mut self, plan: &FaultPlan) {
        self.queue = plan.script.iter().cloned().collect();
        self.windows.clone_from(&plan.windows);
        self.random.clone_from(&plan.random);
    }

    /// Queues a fault for the next request without a queued one. The script is in the same queue, so the fault comes
    /// after what is left of it.
    pub(super) fn push(&mut self, fault: Fault) {
        self.queue.push_back(fault);
    }

    /// The fault of the request for `path` that arrives `elapsed` after the world's start.
    pub(super) fn next(&mut self, path: &str, elapsed: Duration) -> Fault {
        if let Some(fault) = self.queue.pop_front() {
            return fault;
        }
        let draws = &mut self.draws;
        let window = self.windows.iter().find(|window| {
            let strikes = draws.chance(window.probability);
            strikes && (window.from..window.until).contains(&elapsed) && path.contains(&window.path)
        });
        let random = self.random.iter().find(|random| {
            let strikes = draws.chance(random.probability);
            strikes && path.contains(&random.path)
        });
        let found = window.map(|window| &window.fault).or(random.map(|random| &random.fault));
        found.cloned().unwrap_or(Fault::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_comes_before_windows_and_windows_before_chance() {
        let plan = FaultPlan {
            script: vec![Fault::Reset, Fault::None],
            windows: vec![FaultWindow {
                from: Duration::from_secs(10),
                until: Duration::from_secs(20),
                probability: 1.0,
                path: "/logs".to_owned(),
                fault: Fault::Html(502),
            }],
            random: vec![RandomFault { probability: 1.0, path: "/agents".to_owned(), fault: Fault::NotSuccess }],
        };
        let mut faults = Faults::new(&plan, 1);
        faults.push(Fault::Truncated);
        let mut next = |path, seconds| faults.next(path, Duration::from_secs(seconds));
        assert_eq!(next("/x", 0), Fault::Reset);
        assert_eq!(next("/agents", 0), Fault::None, "a scripted pass stands above chance");
        assert_eq!(next("/agents", 0), Fault::Truncated);
        assert_eq!(next("/agents/logs", 9), Fault::NotSuccess);
        assert_eq!(next("/agents/logs", 10), Fault::Html(502));
        assert_eq!(next("/agents/logs", 20), Fault::NotSuccess);
        assert_eq!(next("/campaigns", 15), Fault::None);
    }

    #[test]
    fn chance_strikes_its_share_of_requests() {
        let random = RandomFault { probability: 0.25, path: String::new(), fault: Fault::Reset };
        let mut faults = Faults::new(&FaultPlan { random: vec![random], ..FaultPlan::default() }, 3);
        let struck = (0..4_000).filter(|_| faults.next("/", Duration::ZERO) == Fault::Reset).count();
        assert!((900..1_100).contains(&struck), "{struck} of 4000");
    }
}
