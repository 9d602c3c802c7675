//! Sends queued spans, oldest first, and removes them when the receiver has them: peek, send, acknowledge.
//!
//! A task of its own, which sleeps until a commit adds spans. *Invariant:* a span leaves the queue after the receiver
//! has accepted or rejected it, and never before: after a crash at any moment it is sent again, with the same ids, and
//! none is lost. Touches nothing on which scrapes or counters depend. Started and stopped by the daemon.

use std::time::Duration;

use prometheus::IntCounter;
use rand::RngExt;
use tracing::{debug, error, info, warn};

use super::otlp::ResourceScope;
use super::pace::{NextSend, Notice, Pace};
use crate::config::{OtlpReceiver, OtlpSignal, TracesConfig};
use crate::shutdown::Shutdown;
use crate::sinks::otlp::connection::TransportError;
use crate::sinks::otlp::transport::Transport;
use crate::sinks::otlp::verdict::Verdict;
use crate::store::QueuedSpan;
use crate::store::handle::StoreHandle;
use crate::watchdog::{self, Turns};
use talkover_core::schedule::backoff::Backoff;

/// The most bytes of encoded spans in one request, unless a single span is larger: servers accept 4 MiB by default.
const MAX_BYTES: usize = 1024 * 1024;
/// A request under way when the daemon stops has this long to end; otherwise the next start sends its spans again.
const GRACE: Duration = Duration::from_secs(1);

/// Sends spans to one receiver.
pub struct Exporter {
    receiver: OtlpReceiver,
    envelope: ResourceScope,
    /// `None` after a failure: the next attempt connects again.
    transport: Option<Transport>,
    store: StoreHandle,
    write_errors: IntCounter,
    pace: Pace,
}

/// When the exporter sends again.
enum NextExport {
    /// After this long.
    Again(Duration),
    /// When something is queued.
    Idle,
    /// Never: the daemon is stopping.
    Stopped,
}

impl Exporter {
    /// An exporter to the receiver of `config`. Spans carry `instance_id`, the identity of this state file.
    ///
    /// # Errors
    /// If the settings or the certificates cannot be used, or name no receiver.
    pub fn new(
        config: &TracesConfig,
        instance_id: &str,
        store: StoreHandle,
        write_errors: IntCounter,
    ) -> Result<Self, TransportError> {
        let receiver = config.receiver().ok_or(TransportError::NoEndpoint)?;
        let transport = Some(Transport::open(&receiver, OtlpSignal::Traces)?);
        let envelope = ResourceScope::new(&config.resource_attributes, instance_id);
        Ok(Self { receiver, envelope, transport, store, write_errors, pace: Pace::default() })
    }

    /// How long a turn may take: a request, and another one that opens the connection.
    pub fn longest_wait(&self) -> Duration {
        watchdog::LONGEST_WAIT + self.receiver.timeout.unwrap_or_default() * 2
    }

    /// Sends until `shutdown`.
    pub async fn run(mut self, mut shutdown: Shutdown, turns: Turns) {
        loop {
            turns.turn();
            let may_go_on = match self.turn(&mut shutdown, &turns).await {
                NextExport::Again(pause) if pause.is_zero() => !shutdown.is_requested(),
                NextExport::Again(pause) => turns.wait(&mut shutdown, pause).await,
                NextExport::Idle => {
                    tokio::select! {
                        () = self.store.queue().arrival() => true,
                        () = watchdog::next_turn() => true,
                        () = shutdown.recv() => false,
                    }
                }
                NextExport::Stopped => false,
            };
            if !may_go_on {
                return;
            }
        }
    }

    async fn turn(&mut self, shutdown: &mut Shutdown, turns: &Turns) -> NextExport {
        let max_spans = self.pace.max_spans();
        let oldest = self.store.run(move |store| store.oldest_spans(max_spans, MAX_BYTES));
        let spans = match turns.resting(oldest).await {
            Ok(spans) => spans,
            Err(failure) => return NextExport::Again(self.judge(Verdict::Unreachable(failure.to_string()), 0).pause),
        };
        let (Some(last), sent) = (spans.last().map(|span| span.seq), spans.len()) else { return NextExport::Idle };
        let Some(verdict) = self.send(spans, shutdown).await else { return NextExport::Stopped };
        let next = self.judge(verdict, sent);
        if let Some(rejected) = next.leaving
            && !self.acknowledge(last, rejected, shutdown, turns).await
        {
            return NextExport::Stopped;
        }
        NextExport::Again(next.pause)
    }

    /// Sends a batch; `None` if the daemon stops before an answer has come.
    async fn send(&mut self, spans: Vec<QueuedSpan>, shutdown: &mut Shutdown) -> Option<Verdict> {
        let request = self.envelope.request(spans.into_iter().map(|span| span.span).collect());
        let transport = match &mut self.transport {
            Some(transport) => transport,
            closed => match Transport::open(&self.receiver, OtlpSignal::Traces) {
                Ok(transport) => closed.insert(transport),
                Err(failure) => return Some(Verdict::Unreachable(failure.to_string())),
            },
        };
        let stopping = async {
            shutdown.recv().await;
            tokio::time::timeout(GRACE, std::future::pending::<()>()).await
        };
        let verdict = tokio::select! {
            verdict = transport.send(request) => verdict,
            _elapsed = stopping => return None,
        };
        if matches!(verdict, Verdict::Unreachable(_)) {
            self.transport = None;
        }
        Some(verdict)
    }

    fn judge(&mut self, verdict: Verdict, sent: usize) -> NextSend {
        debug!(spans = sent, ?verdict, "sent spans");
        let next = self.pace.judge(verdict, sent, rand::rng().random());
        let endpoint = self.receiver.endpoint.as_str();
        match &next.notice {
            Some(Notice::Well) => info!(endpoint, "OTLP receiver accepts spans again"),
            Some(Notice::Failing(reason)) => {
                warn!(endpoint, "failed to send spans; keeping them and retrying: {reason}");
            }
            Some(Notice::Rejecting(0, _, words)) => warn!(endpoint, "OTLP receiver warns: {words}"),
            Some(Notice::Rejecting(rejected, of, words)) => {
                error!(endpoint, "OTLP receiver rejected {rejected} of {of} spans, which are lost: {words}");
            }
            None => {}
        }
        next
    }

    /// Removes what the receiver has answered for. Where that cannot be written it is tried again, rather than to send
    /// once more what has arrived. Says whether to go on.
    async fn acknowledge(&self, last: i64, rejected: u64, shutdown: &mut Shutdown, turns: &Turns) -> bool {
        let mut backoff = Backoff::default();
        loop {
            let acknowledged = self.store.run(move |store| store.acknowledge_spans(last, rejected));
            let Err(failure) = turns.resting(acknowledged).await else { return true };
            self.write_errors.inc();
            if backoff.failures() == 0 {
                error!("failed to remove sent spans from the queue; they will be sent again: {failure}");
            }
            let pause = backoff.fail(rand::rng().random());
            if !turns.wait(shutdown, pause).await {
                return false;
            }
        }
    }
}
