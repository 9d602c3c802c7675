//! Spans that have ended and wait to be sent: a bounded queue between the SDK and the exporter.
//!
//! It takes the place of the SDK's batch processor, which does not tell how many spans it has dropped, and sends from a
//! thread without a runtime, where neither our HTTP client nor our gRPC channel can work. *Invariant:* ending a span
//! never waits. One that finds the queue full is dropped and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc::{self, Receiver, Sender};

/// The most spans that wait: the default of OpenTelemetry's own batch processors. About 2 MB.
pub(super) const CAPACITY: usize = 2048;

/// Where spans go that have ended; `None` while nobody sends them.
static OUTLET: RwLock<Option<Sender<SpanData>>> = RwLock::new(None);
static COUNTS: SpanCounts = SpanCounts::new();

/// What became of the daemon's own spans since it was started.
#[derive(Debug)]
pub struct SpanCounts {
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl SpanCounts {
    const fn new() -> Self {
        Self { exported: AtomicU64::new(0), failed: AtomicU64::new(0), dropped: AtomicU64::new(0) }
    }

    /// Spans that a receiver has accepted.
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Spans that were lost because a receiver was not reached or did not accept them.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Spans that were lost because the queue was full, or because the daemon ended.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn add_exported(&self, spans: usize) {
        self.exported.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(super) fn add_failed(&self, spans: usize) {
        self.failed.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(super) fn add_dropped(&self, spans: usize) {
        self.dropped.fetch_add(spans as u64, Ordering::Relaxed);
    }
}

/// What became of the spans of this process.
pub fn counts() -> &'static SpanCounts {
    &COUNTS
}

/// From now on spans go into a queue of their own, whose end is returned. What is in an earlier queue stays there.
pub(super) fn open() -> Receiver<SpanData> {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    set_outlet(Some(sender));
    receiver
}

/// From now on spans that end are dropped, uncounted: nobody wants them.
pub(super) fn close() {
    set_outlet(None);
}

fn set_outlet(outlet: Option<Sender<SpanData>>) {
    *OUTLET.write().unwrap_or_else(PoisonError::into_inner) = outlet;
}

/// Takes spans from the SDK into the queue.
#[derive(Debug)]
pub(super) struct IntoQueue;

impl SpanProcessor for IntoQueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let outlet = OUTLET.read().unwrap_or_else(PoisonError::into_inner);
        if outlet.as_ref().is_some_and(|outlet| outlet.try_send(span).is_err()) {
            COUNTS.add_dropped(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};

    use super::*;

    fn span() -> SpanData {
        SpanData {
            span_context: SpanContext::empty_context(),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "poll".into(),
            start_time: SystemTime::UNIX_EPOCH,
            end_time: SystemTime::UNIX_EPOCH,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: Status::Unset,
            instrumentation_scope: Default::default(),
        }
    }

    #[test]
    fn what_the_queue_cannot_hold_is_dropped_and_counted() {
        IntoQueue.on_end(span());
        assert_eq!(counts().dropped(), 0, "nobody wants it");
        let mut queue = open();
        (0..CAPACITY + 3).for_each(|_| IntoQueue.on_end(span()));
        assert_eq!((queue.len(), counts().dropped()), (CAPACITY, 3));
        assert!(queue.try_recv().is_ok());
        IntoQueue.on_end(span());
        assert_eq!((queue.len(), counts().dropped()), (CAPACITY, 3), "there is room again");
        drop(queue);
        IntoQueue.on_end(span());
        assert_eq!(counts().dropped(), 4, "nobody sends it any more");
        close();
        IntoQueue.on_end(span());
        assert_eq!(counts().dropped(), 4);
    }
}
