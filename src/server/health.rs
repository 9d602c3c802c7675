//! Whether the process is alive, and whether its numbers are worth scraping: `/-/healthy` and `/-/ready`.
//!
//! Health never depends on TalkOver, because a restart would not end its outage. It depends on the daemon's own loops,
//! which the watchdog watches. The pipeline sets the readiness; probes only read it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;

use crate::watchdog::Watchdog;

/// Whether the daemon is ready. Clones share it. It starts as not ready.
#[derive(Clone, Debug)]
pub struct Readiness {
    state: Arc<RwLock<Result<(), String>>>,
    made: Instant,
}

impl Readiness {
    /// Starts as not ready, for `reason`.
    pub fn waiting(reason: impl Into<String>) -> Self {
        Self { state: Arc::new(RwLock::new(Err(reason.into()))), made: Instant::now() }
    }

    /// Becomes not ready, for `reason`: one line that the probe shows.
    pub fn set_waiting(&self, reason: String) {
        self.set(Err(reason));
    }

    /// Becomes ready.
    pub fn set_ready(&self) {
        self.set(Ok(()));
    }

    /// Returns the time since it was made.
    pub fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// Returns `Ok` if it is ready.
    ///
    /// # Errors
    /// The reason why it is not.
    pub fn check(&self) -> Result<(), String> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, state: Result<(), String>) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::waiting("starting")
    }
}

/// `GET /-/healthy`: 200 if all loops make progress, else 503 and the names of those that are stuck.
pub(super) async fn healthy(State(watchdog): State<Watchdog>) -> (StatusCode, String) {
    match watchdog.check() {
        Ok(()) => (StatusCode::OK, "healthy\n".to_owned()),
        Err(stuck) => (StatusCode::SERVICE_UNAVAILABLE, format!("not healthy: {stuck}\n")),
    }
}

/// `GET /-/ready`: 200, or 503 and the reason.
pub(super) async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    match readiness.check() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}
