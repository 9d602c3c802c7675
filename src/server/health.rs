//! Whether the process is alive, and whether its numbers are worth scraping: `/-/healthy` and `/-/ready`.
//!
//! Healthy never depends on TalkOver: a restart would not mend its outage. It depends on the daemon's own loops, which
//! the watchdog knows. The pipeline tells the latch of readiness; probes only look.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;

use crate::watchdog::Watchdog;

/// A latch that all clones share. It starts as not ready.
#[derive(Clone, Debug)]
pub struct Readiness {
    state: Arc<RwLock<Result<(), String>>>,
    made: Instant,
}

impl Readiness {
    /// Not ready, for `reason`.
    pub fn waiting(reason: impl Into<String>) -> Self {
        Self { state: Arc::new(RwLock::new(Err(reason.into()))), made: Instant::now() }
    }

    /// Not ready (any more), for `reason`: one line for whoever looks at the probe.
    pub fn set_waiting(&self, reason: String) {
        self.set(Err(reason));
    }

    /// Ready from now on.
    pub fn set_ready(&self) {
        self.set(Ok(()));
    }

    /// The time since it was made.
    pub fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// Whether it is ready.
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

/// `GET /-/healthy`: 200 if all loops turn, else 503 and the names of those that do not.
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
