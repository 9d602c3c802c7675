//! What time it is on the server of an environment. All who need it share one clock, because one server answers.
//!
//! [`talkover_core::server_time`] decides what is believed; this file supplies the readings and logs the news. A clock
//! survives reloads. Used by the daemon's steps and discovery, and by the commands that make requests to the API.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use crate::client::Exchange;
use crate::local_clock;
use talkover_core::server_time::{BelievedClock, Certainty, ClockNews, DateHeader, Observed, ServerTime, SinceStart};

/// How often a Date header that is not believed is worth a warning: one of several servers may have a wrong clock.
const DOUBT_TOLD_EVERY: Duration = Duration::from_secs(3600);

/// The clock of one environment's server.
#[derive(Debug)]
pub struct ServerClock {
    environment: Arc<str>,
    started: Instant,
    believed: Mutex<BelievedClock>,
    /// When a warning told of a header that was not believed, in time since the start.
    doubt_told: Mutex<Option<Duration>>,
}

impl ServerClock {
    /// A clock that starts from the local one, until the server's answers say otherwise.
    pub fn new(environment: Arc<str>) -> Self {
        let believed = BelievedClock::new(local_clock::now(), SinceStart::default());
        Self { environment, started: Instant::now(), believed: Mutex::new(believed), doubt_told: Mutex::default() }
    }

    /// Learns the time from an exchange that has just ended. An exchange without an answer says nothing.
    pub fn observe(&self, exchange: &Exchange) -> Observed {
        let at = self.since_start();
        let mut believed = self.lock();
        if exchange.code.is_none() {
            return Observed { now: believed.now(at), at, certainty: Certainty::Assumed, news: ClockNews::None };
        }
        let observed = believed.observe(exchange.date, at);
        drop(believed);
        self.log_news(&observed);
        observed
    }

    /// The server's time, as far as it is known.
    pub fn now(&self) -> ServerTime {
        self.lock().now(self.since_start())
    }

    fn since_start(&self) -> SinceStart {
        SinceStart::new(self.started.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, BelievedClock> {
        self.believed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was no warning of a doubtful header lately; there is one now.
    fn is_doubt_news(&self) -> bool {
        let mut told = self.doubt_told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.started.elapsed();
        let is_news = told.is_none_or(|told| now >= told + DOUBT_TOLD_EVERY);
        if is_news {
            *told = Some(now);
        }
        is_news
    }

    fn log_news(&self, observed: &Observed) {
        let (environment, now) = (&self.environment, observed.now.timestamp());
        match observed.news {
            ClockNews::None => {}
            ClockNews::Doubted { claimed: DateHeader(claimed) } => {
                let offset = claimed.as_seconds_f64() - now.as_seconds_f64();
                if self.is_doubt_news() {
                    warn!(%environment, "API's Date header {offset:+.0} s off; ignored unless the next two answers agree");
                } else {
                    debug!(%environment, "API's Date header {offset:+.0} s off again");
                }
            }
            ClockNews::Moved { from } => {
                let offset = now.as_seconds_f64() - from.timestamp().as_seconds_f64();
                warn!(%environment, "three answers agree on a Date header that is {offset:+.0} s off; using it from now on");
            }
            ClockNews::Undecided => {
                warn!(%environment, "API's Date header differs in every answer; using the earliest");
            }
        }
    }
}

/// The clocks of all environments, by their names.
#[derive(Clone, Debug, Default)]
pub struct ServerClocks(Arc<Mutex<BTreeMap<Arc<str>, Arc<ServerClock>>>>);

impl ServerClocks {
    /// The clock of an environment, which starts when it is first used.
    pub fn get(&self, environment: &Arc<str>) -> Arc<ServerClock> {
        let mut clocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || Arc::new(ServerClock::new(environment.clone()));
        clocks.entry(environment.clone()).or_insert_with(start).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn doubts_are_told_once_an_hour() {
        let clock = ServerClock::new("test".into());
        assert!(clock.is_doubt_news() && !clock.is_doubt_news());
        tokio::time::advance(DOUBT_TOLD_EVERY - Duration::from_secs(1)).await;
        assert!(!clock.is_doubt_news());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(clock.is_doubt_news() && !clock.is_doubt_news());
    }
}
