//! Requests of commands other than the daemon: one after the other, each paid for from the budget that the daemon uses
//! too.
//!
//! A failed request is retried a few times with pauses, a rejected one when the API says so.

use std::time::Duration;

use rand::RngExt;
use thiserror::Error;
use tracing::{Instrument, Span, info, warn};

use crate::budget::Budget;
use crate::client::{Answer, Client, Exchange};
use crate::config::TokenSource;
use crate::local_clock;
use crate::server_clock::ServerClock;
use crate::shutdown::Shutdown;
use crate::telemetry::{request, work};
use talkover_core::reading::error::ApiError;
use talkover_core::schedule::backoff::Backoff;
use talkover_core::schedule::patience::RequestFailure;
use talkover_core::schedule::pause::asked_for;
use talkover_core::server_time::{Certainty, ServerTime};

/// A request is given up after this many failures in a row.
const MAX_FAILURES: u32 = 4;
/// A request is given up after the API has put it off this many times in a row.
const MAX_PUT_OFF: u32 = 10;
/// After this many unanswered webhooks in a row, if none was answered before, the API itself is assumed to be down.
/// More than the broken webhooks that are likely at the head of a list.
const MAX_UNANSWERED: u32 = 10;
/// Waits for the budget or for the API of at least this length are logged.
const TOLD_FROM: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// The API returned nothing usable.
    #[error("{error}{}", attempts(*.times))]
    Api {
        /// The last error.
        error: ApiError,
        /// How many attempts there were.
        times: u32,
        /// The server's clock.
        date: ServerTime,
    },
    /// What was spent of the budget cannot be read or written.
    #[error("failed to use the file of the request budget: {0}")]
    Budget(#[from] std::io::Error),
    /// The program is stopping.
    #[error("interrupted")]
    Interrupted,
}

/// Whether an API answers anything: distinguishes an API that is down from one with broken webhooks.
#[derive(Debug, Default)]
pub struct Silence {
    has_answered: bool,
    /// Unanswered webhooks in a row.
    unanswered: u32,
}

impl Silence {
    /// Whether the API has answered any request, even with an error for that request.
    pub fn is_broken(&self) -> bool {
        self.has_answered
    }

    /// Records that a webhook could not be read because of `error`. Returns whether requests for the environment's
    /// other webhooks are useless too: because of the token or the rate limit, or because nothing was ever answered.
    pub fn ends_all(&mut self, error: &AskError) -> bool {
        let AskError::Api { error, .. } = error else { return true };
        match error.failure() {
            RequestFailure::Rejected(_) => true,
            RequestFailure::Answered(_) => false,
            RequestFailure::Unanswered(_) => {
                self.unanswered += 1;
                !self.has_answered && self.unanswered >= MAX_UNANSWERED
            }
        }
    }

    /// How often a request may fail before it is given up: only once while nothing is answered.
    fn max_failures(&self) -> u32 {
        if self.has_answered || self.unanswered == 0 { MAX_FAILURES } else { 1 }
    }

    fn note(&mut self, failure: Option<&ApiError>) {
        self.has_answered |= failure.is_none_or(|error| matches!(error.failure(), RequestFailure::Answered(_)));
    }
}

fn attempts(times: u32) -> String {
    if times > 1 { format!(", {times} times in a row") } else { String::new() }
}

/// Makes requests to the API of one environment.
#[derive(Debug)]
pub struct BudgetedClient {
    /// The way to the API.
    pub client: Client,
    /// The budget that pays for requests.
    pub budget: Budget,
    /// The token is read from here again after a 401.
    pub token: TokenSource,
    /// Requests a minute, as configured.
    pub requests_per_minute: u32,
    /// What time it is on the server.
    pub clock: ServerClock,
    /// Tells when the program stops.
    pub shutdown: Shutdown,
    /// Requests made so far.
    pub requests: u64,
    /// `X-RateLimit-Limit` and `X-RateLimit-Remaining` of the last answer that had them.
    pub rate_limit: (Option<u64>, Option<u64>),
    /// Whether anything was answered.
    pub silence: Silence,
    /// The span of the work for which requests are made; none unless that is traced.
    pub span: Span,
}

impl BudgetedClient {
    /// Makes a request, a few times at most, until there is a usable answer; returns the server's time with it.
    /// `subject` names in the log what is requested.
    ///
    /// # Errors
    /// If there is no usable answer, or one that is too large.
    pub async fn ask<T>(
        &mut self,
        subject: &str,
        make: impl AsyncFn(&Client) -> Answer<T>,
    ) -> Result<(T, ServerTime), AskError> {
        let max_failures = self.silence.max_failures();
        self.ask_up_to(max_failures, subject, make).await
    }

    /// Like [`BudgetedClient::ask`], for a request that follows a failed one: it is not retried, unless the API has put
    /// it off.
    ///
    /// # Errors
    /// If there is no usable answer, or one that is too large.
    pub async fn ask_once<T>(
        &mut self,
        subject: &str,
        make: impl AsyncFn(&Client) -> Answer<T>,
    ) -> Result<(T, ServerTime), AskError> {
        self.ask_up_to(1, subject, make).await
    }

    async fn ask_up_to<T>(
        &mut self,
        max_failures: u32,
        subject: &str,
        make: impl AsyncFn(&Client) -> Answer<T>,
    ) -> Result<(T, ServerTime), AskError> {
        let (mut backoff, mut put_off, mut has_new_token) = (Backoff::default(), 0, false);
        let mut resends = 0;
        loop {
            self.take_from_budget().await?;
            let span = request::begin(&self.span, resends);
            resends += 1;
            let answer = tokio::select! {
                answer = make(&self.client).instrument(span) => answer,
                () = self.shutdown.recv() => return Err(AskError::Interrupted),
            };
            self.requests += 1;
            self.learn(&answer.exchange);
            let seen = self.clock.observe(&answer.exchange);
            let date = seen.now;
            self.silence.note(answer.result.as_ref().err());
            let error = match answer.result {
                // The time by which the answer is judged would be wrong.
                Ok(_) if seen.certainty == Certainty::Assumed => continue,
                Ok(found) => return Ok((found, date)),
                Err(error) => error,
            };
            let pause = backoff.fail(rand::rng().random());
            let is_worth_another = match &error {
                // The token may have been regenerated since it was read.
                ApiError::Unauthorized { .. } => !std::mem::replace(&mut has_new_token, true) && self.read_token(),
                ApiError::RateLimited { .. } => {
                    put_off += 1;
                    put_off < MAX_PUT_OFF
                }
                ApiError::TooLarge { .. } => false,
                ApiError::Http { status, .. } if *status < 500 => false,
                _ => backoff.failures() - put_off < max_failures,
            };
            if !is_worth_another {
                if let Some(pause) = asked_for(error.retry_after()).filter(|_| max_failures == 1) {
                    // Whatever is requested next, the API has asked to wait.
                    self.wait(pause, "rate_limit").await?;
                }
                return Err(AskError::Api { error, times: backoff.failures(), date });
            }
            let pause = asked_for(error.retry_after()).unwrap_or(pause);
            warn!(subject, "request failed; retrying in {:.1} s: {error}", pause.as_secs_f64());
            self.wait(pause, if error.retry_after().is_some() { "rate_limit" } else { "backoff" }).await?;
        }
    }

    async fn take_from_budget(&mut self) -> Result<(), AskError> {
        let mut is_told = false;
        while let Some(wait) = self.budget.take(local_clock::uptime_ns())? {
            if wait >= TOLD_FROM && !is_told {
                info!("waiting {:.0} s for the request budget, which the daemon shares", wait.as_secs_f64());
                is_told = true;
            }
            self.wait(wait, "budget").await?;
        }
        Ok(())
    }

    async fn wait(&mut self, time: Duration, reason: &'static str) -> Result<(), AskError> {
        let _waiting = work::wait(&self.span, reason);
        if self.shutdown.wait(time).await { Ok(()) } else { Err(AskError::Interrupted) }
    }

    /// The API may allow less than is configured.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(error: ApiError) -> AskError {
        AskError::Api { error, times: 4, date: ServerTime::default() }
    }

    fn http(status: u16) -> ApiError {
        ApiError::Http { status, message: None, retry_after: None }
    }

    /// After how many webhooks that all fail with `error` the others are given up, if ever.
    fn gives_up_after(mut silence: Silence, error: &ApiError) -> Option<u32> {
        (1..=100).find(|_| {
            silence.note(Some(error));
            silence.ends_all(&failed(error.clone()))
        })
    }

    #[test]
    fn broken_webhooks_are_told_from_an_api_that_is_down() {
        for (error, never_answered, answered_before) in [
            (ApiError::Unauthorized { message: None }, Some(1), Some(1)),
            (ApiError::RateLimited { retry_after: None }, Some(1), Some(1)),
            (http(500), Some(10), None),
            (http(503), Some(10), None),
            (ApiError::Timeout, Some(10), None),
            (ApiError::Connection("refused".to_owned()), Some(10), None),
            (http(404), None, None),
            (ApiError::InvalidResponse("no JSON".to_owned()), None, None),
        ] {
            assert_eq!(gives_up_after(Silence::default(), &error), never_answered, "{error}");
            let mut silence = Silence::default();
            silence.note(None);
            assert_eq!(gives_up_after(silence, &error), answered_before, "{error}");
        }
        assert!(Silence::default().ends_all(&AskError::Interrupted));
    }

    #[test]
    fn requests_are_repeated_unless_nobody_is_answered() {
        let mut silence = Silence::default();
        assert_eq!(silence.max_failures(), MAX_FAILURES);
        silence.note(Some(&ApiError::Timeout));
        silence.ends_all(&failed(ApiError::Timeout));
        assert_eq!((silence.max_failures(), silence.is_broken()), (1, false));
        silence.note(Some(&http(404)));
        assert_eq!((silence.max_failures(), silence.is_broken()), (MAX_FAILURES, true));
    }
}
