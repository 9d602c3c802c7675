//! Sends the daemon's own spans in batches: what has ended waits for a second at most, or until a batch is full.
//!
//! *Invariant:* this never slows down the work that it tells of. A batch that the receiver does not take is dropped and
//! counted, after the retries that OpenTelemetry's exporter makes within the timeout. Makes no span.

use std::time::Duration;

use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::queue::counts;
use crate::shutdown::Shutdown;
use crate::watchdog::{self, Turns};

/// The most spans in one request: the default of OpenTelemetry's own batch processors.
const MAX_BATCH: usize = 512;
/// A batch waits for further spans for this long. An SRE who looks for what just happened finds it.
const DELAY: Duration = Duration::from_secs(1);
/// When the daemon stops, what has ended has this long to be sent.
const LAST_BATCHES: Duration = Duration::from_secs(1);

/// Sends what is in the queue.
pub(super) struct OwnSpansExporter {
    queue: Receiver<SpanData>,
    exporter: SpanExporter,
    endpoint: String,
    /// The longest that a request may take.
    timeout: Duration,
    is_failing: bool,
}

impl OwnSpansExporter {
    pub(super) fn new(queue: Receiver<SpanData>, exporter: SpanExporter, endpoint: String, timeout: Duration) -> Self {
        Self { queue, exporter, endpoint, timeout, is_failing: false }
    }

    /// How long a turn may take.
    pub(super) fn longest_wait(&self) -> Duration {
        watchdog::LONGEST_WAIT + self.timeout
    }

    /// Sends until `shutdown`, and then what is left.
    #[expect(clippy::disallowed_methods, reason = "this is what is waited for at most once the daemon stops")]
    pub(super) async fn run(mut self, mut shutdown: Shutdown, turns: Turns) {
        let mut batch = Vec::new();
        loop {
            turns.turn();
            let is_stopping = tokio::select! {
                () = self.fill(&mut batch) => false,
                () = shutdown.recv() => true,
                () = watchdog::next_turn() => continue,
            };
            if is_stopping {
                return self.finish(batch).await;
            }
            let spans = batch.len();
            let stopping = async {
                shutdown.recv().await;
                tokio::time::sleep(LAST_BATCHES).await;
            };
            tokio::select! {
                () = self.export(std::mem::take(&mut batch)) => {}
                () = stopping => counts().add_dropped(spans),
            }
        }
    }

    /// Adds spans to `batch`, which may hold some already, until it is full or its delay is over. What it holds is kept
    /// if this is given up.
    async fn fill(&mut self, batch: &mut Vec<SpanData>) {
        if batch.is_empty() && self.queue.recv_many(batch, MAX_BATCH).await == 0 {
            // Another exporter has taken over, and this one is about to be stopped.
            return std::future::pending().await;
        }
        let deadline = Instant::now() + DELAY;
        while batch.len() < MAX_BATCH
            && let Ok(1..) = timeout_at(deadline, self.queue.recv_many(batch, MAX_BATCH - batch.len())).await
        {}
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let spans = batch.len();
        match self.exporter.export(batch).await {
            Ok(()) => {
                counts().add_exported(spans);
                if std::mem::take(&mut self.is_failing) {
                    info!(endpoint = self.endpoint, "OTLP receiver accepts the daemon's own spans again");
                }
            }
            Err(error) => {
                counts().add_failed(spans);
                if !std::mem::replace(&mut self.is_failing, true) {
                    warn!(endpoint = self.endpoint, "failed to send the daemon's own spans; dropping them: {error}");
                }
            }
        }
    }

    /// Sends `batch` and what is in the queue, as far as there is time.
    async fn finish(mut self, mut batch: Vec<SpanData>) {
        let deadline = Instant::now() + LAST_BATCHES;
        self.queue.close();
        loop {
            while batch.len() < MAX_BATCH
                && let Ok(span) = self.queue.try_recv()
            {
                batch.push(span);
            }
            let spans = batch.len();
            if spans == 0 {
                return;
            }
            if timeout_at(deadline, self.export(std::mem::take(&mut batch))).await.is_err() {
                return counts().add_dropped(spans + self.queue.len());
            }
        }
    }
}
