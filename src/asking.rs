//! Requests of commands that are no daemon: one after the other, each paid for from the budget that the daemon draws from.
//!
//! A request that fails is repeated a few times with pauses, a refused one when the API says so.

use std::time::Duration;

use rand::RngExt;
use thiserror::Error;
use tracing::{info, warn};

use crate::budget::Budget;
use crate::client::{Answer, Client, Exchange};
use crate::clock;
use crate::config::TokenSource;
use crate::server_clock::ServerClock;
use crate::shutdown::Shutdown;
use talkover_core::clock::{Certainty, ServerTime};
use talkover_core::reading::error::ApiError;
use talkover_core::schedule::backoff::Backoff;
use talkover_core::schedule::pause::asked_for;

/// A request is given up after it has failed so often in a row.
const MAX_FAILURES: u32 = 4;
/// A request that the API has put off is given up after so often in a row.
const MAX_PUT_OFF: u32 = 10;
/// Waits for the budget or for the API that are worth a line in the log.
const TOLD_FROM: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// The API gave nothing of use.
    #[error("{error}{}", attempts(*.times))]
    Api {
        /// The last error.
        error: ApiError,
        /// How often it was asked.
        times: u32,
        /// The server's clock.
        date: ServerTime,
    },
    /// What was spent of the budget cannot be read or written.
    #[error("failed to use the memory of the request budget: {0}")]
    Budget(#[from] std::io::Error),
    /// The program is to end.
    #[error("interrupted")]
    Interrupted,
}

impl AskError {
    /// Whether nothing else of the environment can be asked either.
    pub fn concerns_environment(&self) -> bool {
        match self {
            Self::Api { error, .. } => error.concerns_environment(),
            Self::Budget(_) | Self::Interrupted => true,
        }
    }
}

fn attempts(times: u32) -> String {
    if times > 1 { format!(", {times} times in a row") } else { String::new() }
}

/// Asks the API of one environment.
#[derive(Debug)]
pub struct BudgetedClient {
    /// The way to the API.
    pub client: Client,
    /// What requests are paid from.
    pub budget: Budget,
    /// Where the token is read again after a 401.
    pub token: TokenSource,
    /// Requests a minute, as configured.
    pub requests_per_minute: u32,
    /// What time it is on the server.
    pub clock: ServerClock,
    /// The end of the program.
    pub shutdown: Shutdown,
    /// Requests made so far.
    pub requests: u64,
    /// `X-RateLimit-Limit` and `X-RateLimit-Remaining` of the last answer that had them.
    pub rate_limit: (Option<u64>, Option<u64>),
}

impl BudgetedClient {
    /// Makes a request until there is an answer that is of use; gives the server's clock with it. `subject` names in the log
    /// what is asked for.
    ///
    /// # Errors
    /// Where there is none, or an answer that is too large.
    pub async fn ask<T>(
        &mut self,
        subject: &str,
        request: impl AsyncFn(&Client) -> Answer<T>,
    ) -> Result<(T, ServerTime), AskError> {
        let (mut backoff, mut put_off, mut has_new_token) = (Backoff::default(), 0, false);
        loop {
            self.take_from_budget().await?;
            let answer = tokio::select! {
                answer = request(&self.client) => answer,
                () = self.shutdown.recv() => return Err(AskError::Interrupted),
            };
            self.requests += 1;
            self.learn(&answer.exchange);
            let seen = self.clock.observe(&answer.exchange);
            let date = seen.now;
            let error = match answer.result {
                // The time would be wrong that what was found is judged by.
                Ok(_) if seen.certainty == Certainty::Assumed => continue,
                Ok(found) => return Ok((found, date)),
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
                ApiError::TooLarge { .. } => false,
                ApiError::Http { status, .. } if *status < 500 => false,
                _ => backoff.failures() - put_off < MAX_FAILURES,
            };
            if !is_worth_another {
                return Err(AskError::Api { error, times: backoff.failures(), date });
            }
            let pause = asked_for(error.retry_after()).unwrap_or(pause);
            warn!(subject, "a request failed, the next attempt follows in {:.1} s: {error}", pause.as_secs_f64());
            self.wait(pause).await?;
        }
    }

    async fn take_from_budget(&mut self) -> Result<(), AskError> {
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

    async fn wait(&mut self, time: Duration) -> Result<(), AskError> {
        if self.shutdown.wait(time).await { Ok(()) } else { Err(AskError::Interrupted) }
    }

    /// The API may grant less than is configured.
    fn learn(&mut self, exchange: &Exchange) {
        let (limit, remaining) = self.rate_limit;
        self.rate_limit = (exchange.rate_limit.or(limit), exchange.rate_limit_remaining.or(remaining));
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
