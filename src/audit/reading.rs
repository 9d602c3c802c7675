//! Reads a stretch of a webhook's log again: page by page, each one paid for from the budget that the daemon draws from.
//!
//! A request that fails is repeated a few times with pauses, a refused one when the API says so. It never guesses: what could
//! not be read to its end is an error.

use std::collections::HashMap;
use std::time::Duration;

use rand::RngExt;
use thiserror::Error;
use tracing::{info, warn};

use super::compare::LogStretch;
use crate::clock;
use crate::config::TokenSource;
use crate::delivery::{EntryId, Target, Timestamp};
use crate::schedule::backoff::Backoff;
use crate::schedule::budget::Budget;
use crate::shutdown::Shutdown;
use crate::source::client::{Client, Exchange};
use crate::source::error::ApiError;
use crate::source::pager::{Known, PageRequest, Progress, Walk, WalkError};
use crate::source::wire::LogPage;

/// A request is given up after it has failed so often in a row.
const MAX_FAILURES: u32 = 4;
/// A request that the API has put off is given up after so often in a row.
const MAX_PUT_OFF: u32 = 10;
/// A longer `Retry-After` is taken for a mistake.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// Waits for the budget or for the API that are worth a line in the log.
const TOLD_FROM: Duration = Duration::from_secs(5);

/// Why a log could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The API gave nothing.
    #[error("{error}{}", attempts(*.times))]
    Api {
        /// The last error.
        error: ApiError,
        /// How often it was asked.
        times: u32,
    },
    /// The pages do not lead on.
    #[error("the log cannot be read to its end: {0}")]
    Walk(#[from] WalkError),
    /// What was spent of the budget cannot be read or written.
    #[error("failed to use the memory of the request budget: {0}")]
    Budget(#[from] std::io::Error),
    /// The program is to end.
    #[error("interrupted")]
    Interrupted,
}

impl ReadError {
    /// Whether other webhooks of the environment cannot be read either.
    pub fn concerns_environment(&self) -> bool {
        match self {
            Self::Api { error, .. } => error.concerns_environment(),
            Self::Walk(_) => false,
            Self::Budget(_) | Self::Interrupted => true,
        }
    }
}

fn attempts(times: u32) -> String {
    if times > 1 { format!(", {times} times in a row") } else { String::new() }
}

/// How far back a log is read.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// How far before the server's clock at the first answer.
    pub since: Duration,
    /// Not further than this: what is older cannot be compared.
    pub not_before: Option<Timestamp>,
}

/// Reads the logs of one environment.
#[derive(Debug)]
pub struct LogReader {
    /// The way to the API.
    pub client: Client,
    /// What requests are paid from.
    pub budget: Budget,
    /// Where the token is read again after a 401.
    pub token: TokenSource,
    /// Requests a minute, as configured.
    pub requests_per_minute: u32,
    /// Entries wanted on a page.
    pub per_page: u32,
    /// The end of the program.
    pub shutdown: Shutdown,
    /// Requests made so far.
    pub requests: u64,
}

impl LogReader {
    /// Reads the log of `target`; `known_before` are the ids that the state knows, and whether they were counted.
    ///
    /// # Errors
    /// Where it cannot be read to the end of the stretch.
    pub async fn read(
        &mut self,
        target: &Target,
        depth: Depth,
        known_before: HashMap<EntryId, bool>,
    ) -> Result<LogStretch, ReadError> {
        let mut walk = Walk::new(Timestamp::from_micros(i64::MIN), self.per_page);
        let mut stretch = LogStretch { known_before, ..LogStretch::default() };
        let mut is_first = true;
        loop {
            let (page, date) = self.ask(target, walk.request()).await?;
            stretch.now = stretch.now.max(date);
            if is_first {
                is_first = false;
                stretch.from =
                    depth.not_before.map_or(date.minus(depth.since), |limit| limit.max(date.minus(depth.since)));
                walk.set_until(stretch.from);
            }
            let progress = match page {
                Page::Read(page) => {
                    let known = &stretch.known_before;
                    walk.absorb(page, Known { entry: &|id| known.contains_key(id), invalid: &|_| false })?
                }
                Page::TooLarge(key) => {
                    walk.absorb_too_large(key);
                    Progress::More
                }
            };
            let (attempts, invalid) = walk.take();
            stretch.attempts.extend(attempts.into_iter().map(|attempt| (attempt.id.clone(), attempt)));
            stretch.invalid.extend(invalid);
            if progress == Progress::Done {
                return Ok(stretch);
            }
        }
    }

    /// Asks for a page until there is an answer that is of use; gives the server's clock with it.
    async fn ask(&mut self, target: &Target, request: PageRequest) -> Result<(Page, Timestamp), ReadError> {
        let (mut backoff, mut put_off, mut has_new_token) = (Backoff::default(), 0, false);
        loop {
            self.take_from_budget().await?;
            let asked = self.client.logs(target, request.page, request.per_page);
            let answer = tokio::select! {
                answer = asked => answer,
                () = self.shutdown.recv() => return Err(ReadError::Interrupted),
            };
            self.requests += 1;
            self.learn(&answer.exchange);
            let date = answer.exchange.date.unwrap_or_else(clock::now);
            let error = match answer.result {
                Ok(page) => return Ok((Page::Read(page), date)),
                Err(ApiError::TooLarge { key, .. }) => return Ok((Page::TooLarge(key), date)),
                Err(error) => error,
            };
            let pause = backoff.fail(rand::rng().random());
            let is_worth_another = match &error {
                // It may have been regenerated since it was read.
                ApiError::Unauthorized { .. } => !std::mem::replace(&mut has_new_token, true) && self.read_token(),
                ApiError::RateLimited { .. } => {
                    put_off += 1;
                    put_off < MAX_PUT_OFF
                }
                ApiError::Http { status, .. } if *status < 500 => false,
                _ => backoff.failures() - put_off < MAX_FAILURES,
            };
            if !is_worth_another {
                return Err(ReadError::Api { error, times: backoff.failures() });
            }
            // Now, or a moment that has passed, is no answer to the question of when.
            let asked_for = error.retry_after().filter(|wait| !wait.is_zero());
            let pause = asked_for.map_or(pause, |wait| wait.min(LONGEST_RETRY_AFTER));
            warn!(%target, "a request failed, the next attempt follows in {:.1} s: {error}", pause.as_secs_f64());
            self.wait(pause).await?;
        }
    }

    async fn take_from_budget(&mut self) -> Result<(), ReadError> {
        let mut is_told = false;
        while let Some(wait) = self.budget.take(clock::uptime_ns())? {
            if wait >= TOLD_FROM && !is_told {
                info!("waiting {:.0} s for the request budget, which the daemon draws from too", wait.as_secs_f64());
                is_told = true;
            }
            self.wait(wait).await?;
        }
        Ok(())
    }

    async fn wait(&mut self, time: Duration) -> Result<(), ReadError> {
        if self.shutdown.wait(time).await { Ok(()) } else { Err(ReadError::Interrupted) }
    }

    /// The API may grant less than is configured.
    fn learn(&mut self, exchange: &Exchange) {
        let granted = exchange.rate_limit.and_then(|limit| u32::try_from(limit).ok()).filter(|limit| *limit > 0);
        if let Some(limit) = granted {
            self.budget.lower_to((limit < self.requests_per_minute).then_some(limit));
        }
    }

    /// Whether there is another token to try.
    fn read_token(&self) -> bool {
        let TokenSource::File(_) = &self.token else { return false };
        self.token.read().inspect(|token| self.client.set_token(token)).is_ok()
    }
}

enum Page {
    Read(LogPage),
    TooLarge(Box<str>),
}
