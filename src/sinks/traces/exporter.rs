//! Sends queued spans, or log records, oldest first, and removes them when the receiver has them: peek, send, acknowledge.
//!
//! A task of its own for each queue, which sleeps until a commit adds items. *Invariant:* an item leaves the queue after
//! the receiver has accepted or rejected it, and never before: after a crash at any moment it is sent again, with the
//! same ids, and none is lost. Touches nothing on which scrapes or counters depend. Started and stopped by the daemon.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use rand::RngExt;
use tokio::sync::Notify;
use tracing::{Span, debug, error, info, warn};

use super::otlp::ResourceScope;
use super::pace::{NextSend, Notice, Pace};
use crate::config::{OtlpReceiver, TracesConfig};
use crate::logging::about::rough;
use crate::shutdown::Shutdown;
use crate::sinks::otlp::connection::TransportError;
use crate::sinks::otlp::outbox::Outbox;
use crate::sinks::otlp::transport::Transport;
use crate::sinks::otlp::verdict::Verdict;
use crate::store::handle::StoreHandle;
use crate::telemetry::work;
use crate::watchdog::{self, Turns};
use talkover_core::schedule::backoff::Backoff;

/// The most bytes of encoded spans in one request, unless a single span is larger: servers accept 4 MiB by default.
const MAX_BYTES: usize = 1024 * 1024;
/// A request under way when the daemon stops has this long to end; otherwise the next start sends its spans again.
const GRACE: Duration = Duration::from_secs(1);

/// Sends the items of one queue to one receiver.
pub struct Exporter<O> {
    receiver: OtlpReceiver,
    outbox: O,
    /// `None` after a failure: the next attempt connects again.
    transport: Option<Transport>,
    store: StoreHandle,
    write_errors: IntCounter,
    pace: Pace,
    nudge: Arc<Notify>,
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

impl Exporter<ResourceScope> {
    /// An exporter of spans to the receiver of `config`. Spans carry `instance_id`, the identity of this state file.
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
        let outbox = ResourceScope::new(&config.resource_attributes, instance_id);
        Self::open(receiver, outbox, store, write_errors)
    }
}

impl<O: Outbox> Exporter<O> {
    /// An exporter of what is in `outbox` to `receiver`.
    ///
    /// # Errors
    /// If the settings or the certificates cannot be used.
    pub fn open(
        receiver: OtlpReceiver,
        outbox: O,
        store: StoreHandle,
        write_errors: IntCounter,
    ) -> Result<Self, TransportError> {
        let transport = Some(Transport::open(&receiver, O::SIGNAL)?);
        let (pace, nudge) = (Pace::default(), Arc::default());
        Ok(Self { receiver, outbox, transport, store, write_errors, pace, nudge })
    }

    /// What ends a pause after a failure: whoever has repaired the receiver need not wait.
    pub fn nudge(&self) -> Arc<Notify> {
        Arc::clone(&self.nudge)
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
                NextExport::Again(pause) => {
                    tokio::select! {
                        is_over = turns.wait(&mut shutdown, pause) => is_over,
                        () = self.nudge.notified() => true,
                    }
                }
                NextExport::Idle => {
                    tokio::select! {
                        () = O::queue(&self.store).arrival() => true,
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
        let oldest = self.store.run(move |store| O::oldest(store, max_spans, MAX_BYTES));
        let spans = match turns.resting(oldest).await {
            Ok(spans) => spans,
            Err(failure) => return NextExport::Again(self.judge(Verdict::Unreachable(failure.to_string()), 0).pause),
        };
        let (Some(last), sent) = (spans.last().map(O::number_of), spans.len()) else { return NextExport::Idle };
        let span = work::export(self.receiver.endpoint.host_str().unwrap_or_default(), sent);
        let Some(verdict) = self.send(spans, shutdown).await else { return NextExport::Stopped };
        note(&span, &verdict);
        let next = self.judge(verdict, sent);
        if let Some(rejected) = next.leaving {
            let _removing = work::acknowledge(&span);
            if !self.acknowledge(last, rejected, shutdown, turns).await {
                return NextExport::Stopped;
            }
        }
        NextExport::Again(next.pause)
    }

    /// Sends a batch; `None` if the daemon stops before an answer has come.
    async fn send(&mut self, items: Vec<O::Item>, shutdown: &mut Shutdown) -> Option<Verdict> {
        let request = self.outbox.request(items);
        let transport = match &mut self.transport {
            Some(transport) => transport,
            closed => match Transport::open(&self.receiver, O::SIGNAL) {
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
        let items = O::SIGNAL.items();
        debug!(sent, ?verdict, "sent {items}");
        let next = self.pace.judge(verdict, sent, rand::rng().random());
        let endpoint = self.receiver.endpoint.as_str();
        match &next.notice {
            Some(Notice::Well) => info!(endpoint, "OTLP receiver accepts {items} again"),
            Some(Notice::Failing(reason, None)) => {
                warn!(endpoint, "failed to send {items}; keeping them and retrying: {reason}");
            }
            Some(Notice::Failing(reason, Some(asked))) => {
                let (asked, pause) = (rough(*asked), rough(next.pause));
                warn!(
                    endpoint,
                    "the receiver asks to wait for {asked} (at most 1 h is waited); keeping {items} and retrying in {pause}, or at a reload: {reason}"
                );
            }
            Some(Notice::Rejecting(0, _, words)) => warn!(endpoint, "OTLP receiver warns: {words}"),
            Some(Notice::Rejecting(rejected, of, words)) => {
                error!(endpoint, "OTLP receiver rejected {rejected} of {of} {items}, which are lost: {words}");
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
            let acknowledged = self.store.run(move |store| O::acknowledge(store, last, rejected));
            let Err(failure) = turns.resting(acknowledged).await else { return true };
            self.write_errors.inc();
            if backoff.failures() == 0 {
                error!(
                    "failed to remove sent {} from the queue; they will be sent again: {failure}",
                    O::SIGNAL.items()
                );
            }
            let pause = backoff.fail(rand::rng().random());
            if !turns.wait(shutdown, pause).await {
                return false;
            }
        }
    }
}

/// Records in the span of a request what came of it.
fn note(span: &Span, verdict: &Verdict) {
    match verdict {
        Verdict::Accepted { rejected, .. } => work::exported(span, *rejected),
        Verdict::Refused(reason) => work::fail_export(span, "refused", reason),
        Verdict::TooLarge { reason, .. } => work::fail_export(span, "too_large", reason),
        Verdict::Later { reason, .. } => work::fail_export(span, "later", reason),
        Verdict::Unreachable(reason) => work::fail_export(span, "unreachable", reason),
    }
}
