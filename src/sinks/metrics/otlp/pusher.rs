//! Pushes the metrics to an OTLP receiver at each interval, and once more when the daemon stops.
//!
//! A task of its own. Each push shows one snapshot, in as many requests as its size takes, one at a time. What a push
//! has not delivered is part of the next one. Started and stopped by the daemon.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use rand::RngExt;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use super::pace::{AfterPush, PushNotice, PushOutcome, PushPace};
use super::points::PushTimes;
use super::requests::{self, PushOrigin, PushRequest, RequestLimits};
use crate::config::{MetricsPushConfig, OtlpReceiver, OtlpSignal};
use crate::logging::about::rough;
use crate::shutdown::Shutdown;
use crate::sinks::metrics::pushes::PushResult;
use crate::sinks::metrics::scrape::{Scrape, Scraper};
use crate::sinks::otlp::connection::TransportError;
use crate::sinks::otlp::transport::Transport;
use crate::sinks::otlp::verdict::Verdict;
use crate::watchdog::{self, Turns};
use crate::{blocking, local_clock};
use talkover_core::server_time::LocalTime;

/// The bytes with which a request is full: servers accept 4 MiB by default.
const MAX_BYTES: usize = 1024 * 1024;
/// Where somebody has scraped within this time, only scrapes end birth holds: the scraper must see the 0, too.
const SCRAPED: Duration = Duration::from_secs(3600);
/// After so many data points that are too large by themselves, and none that was taken, it is not they that are to blame.
const MAX_SKIPPED: u64 = 8;
/// A push under way when the daemon stops, and the last one, have this long together.
const GRACE: Duration = Duration::from_secs(1);

/// Pushes the metrics to one receiver.
pub struct MetricsPusher {
    receiver: OtlpReceiver,
    origin: PushOrigin,
    /// `None` after a failure: the next push connects again.
    transport: Option<Transport>,
    scraper: Scraper,
    started_at: LocalTime,
    pace: PushPace,
    /// Since when times for the pace count.
    began: Instant,
    nudge: Arc<Notify>,
}

/// What became of a request.
enum Sent {
    /// The receiver has answered for it: how many data points it refused for good, and its message.
    Answered(u64, String),
    /// It was too large, and smaller ones may not be.
    TooLarge,
    /// It was too large although it had one data point, which nothing can be done about: why.
    Skipped(String),
    /// The push is over.
    Failed(PushOutcome),
}

impl MetricsPusher {
    /// Pushes what `scraper` has to the receiver of `config`. The resources carry `instance_id`, the identity of the
    /// state; counters that are not durable count since `started_at`.
    ///
    /// # Errors
    /// If the settings or the certificates cannot be used.
    pub fn new(
        config: &MetricsPushConfig,
        instance_id: String,
        scraper: Scraper,
        started_at: LocalTime,
    ) -> Result<Self, TransportError> {
        let MetricsPushConfig { receiver, interval, resource_attributes, daemon_attributes } = config.clone();
        Ok(Self {
            transport: Some(Transport::open(&receiver, OtlpSignal::Metrics)?),
            receiver,
            origin: PushOrigin { resource_attributes, daemon_attributes, instance_id },
            scraper,
            started_at,
            pace: PushPace::new(interval),
            began: Instant::now(),
            nudge: Arc::default(),
        })
    }

    /// How long a turn may take: a request, and another one that opens the connection.
    pub fn longest_wait(&self) -> Duration {
        watchdog::LONGEST_WAIT + self.receiver.timeout.unwrap_or_default() * 2
    }

    /// What makes the next push due at once.
    pub fn nudge(&self) -> Arc<Notify> {
        Arc::clone(&self.nudge)
    }

    /// Pushes until `shutdown`.
    pub async fn run(mut self, mut shutdown: Shutdown, turns: Turns) {
        while !shutdown.is_requested() {
            let outcome = tokio::select! {
                outcome = self.push(&turns) => outcome,
                () = shutdown.recv() => break,
            };
            let pause = self.conclude(&outcome);
            let nudge = Arc::clone(&self.nudge);
            tokio::select! {
                may_go_on = turns.wait(&mut shutdown, pause) => if !may_go_on { break },
                () = nudge.notified() => {}
            }
        }
        // What was counted since the last push: a receiver may wait long for the next start.
        if let Ok(outcome) = tokio::time::timeout(GRACE, self.push(&turns)).await {
            self.conclude(&outcome);
        }
    }

    async fn push(&mut self, turns: &Turns) -> PushOutcome {
        turns.turn();
        let scraper = self.scraper.clone();
        let scrape = Arc::new(blocking::run(move || scraper.observe()).await);
        // After the scrape, in which no birth is later than this.
        let times = PushTimes {
            now: local_clock::now(),
            state_created: self.scraper.store.created_at(),
            process_started: self.started_at,
        };
        let (mut points, mut rejected, mut words) = (0, 0, String::new());
        loop {
            let (mut requests, making) = self.requests(&scrape, times, points);
            let is_complete = loop {
                let Some(PushRequest { message, points: count }) = requests.recv().await else { break true };
                turns.turn();
                let verdict = self.send(message).await;
                match self.judge(verdict, count) {
                    Sent::Answered(refused, message) => {
                        points += count;
                        rejected += refused;
                        words = if message.is_empty() { words } else { message };
                        if self.pace.grow() {
                            break false;
                        }
                    }
                    Sent::TooLarge => break false,
                    Sent::Skipped(reason) => {
                        (points, rejected) = (points + count, rejected + count as u64);
                        if rejected >= MAX_SKIPPED && rejected == points as u64 {
                            let reason = format!("the receiver finds single data points too large: {reason}");
                            return PushOutcome::Failed { reason, after: None };
                        }
                        words = reason;
                    }
                    Sent::Failed(outcome) => return outcome,
                }
            };
            if is_complete {
                // They end with their last one, or with a panic, which must not pass for the end.
                blocking::ended(making).await;
                break;
            }
        }
        let now = Instant::now();
        if (rejected as usize) < points && !self.scraper.last_scrape.is_within(SCRAPED, now) {
            scrape.note_shown(now);
        }
        PushOutcome::Answered { points, rejected, words }
    }

    /// The requests for all data points after the first `skipped`, each made when the one before is taken.
    fn requests(
        &self,
        scrape: &Arc<Scrape>,
        times: PushTimes,
        skipped: usize,
    ) -> (mpsc::Receiver<PushRequest>, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(1);
        let (scrape, origin) = (Arc::clone(scrape), self.origin.clone());
        let limits = RequestLimits { max_points: self.pace.max_points(), max_bytes: MAX_BYTES, skipped };
        let making = tokio::task::spawn_blocking(move || {
            // An error means that nobody wants the rest.
            let _rest = requests::for_each(&scrape, &origin, &times, &limits, |request| sender.blocking_send(request));
        });
        (receiver, making)
    }

    async fn send(&mut self, message: ExportMetricsServiceRequest) -> Verdict {
        let transport = match &mut self.transport {
            Some(transport) => transport,
            closed => match Transport::open(&self.receiver, OtlpSignal::Metrics) {
                Ok(transport) => closed.insert(transport),
                Err(failure) => return Verdict::Unreachable(failure.to_string()),
            },
        };
        let verdict = transport.send(message).await;
        if matches!(verdict, Verdict::Unreachable(_)) {
            self.transport = None;
        }
        verdict
    }

    fn judge(&mut self, verdict: Verdict, points: usize) -> Sent {
        debug!(points, ?verdict, "pushed metrics");
        match verdict {
            Verdict::Accepted { rejected, words } => Sent::Answered(rejected.min(points as u64), words),
            Verdict::Refused(reason) => Sent::Answered(points as u64, reason),
            Verdict::TooLarge { reason, .. } if !self.pace.shrink(points) => Sent::Skipped(reason),
            Verdict::TooLarge { .. } => Sent::TooLarge,
            Verdict::Later { reason, after } => Sent::Failed(PushOutcome::Failed { reason, after }),
            Verdict::Unreachable(reason) => Sent::Failed(PushOutcome::Failed { reason, after: None }),
        }
    }

    /// Counts and logs the end of a push; returns how long to wait for the next one.
    fn conclude(&mut self, outcome: &PushOutcome) -> Duration {
        let result = match outcome {
            PushOutcome::Answered { rejected: 0, .. } => PushResult::Exported,
            PushOutcome::Answered { .. } => PushResult::Rejected,
            PushOutcome::Failed { .. } => PushResult::Failed,
        };
        self.scraper.pushes.record(result, local_clock::now());
        let AfterPush { pause, notice } = self.pace.judge(outcome, self.began.elapsed(), rand::rng().random());
        let (endpoint, next) = (self.receiver.endpoint.as_str(), rough(pause));
        match notice {
            Some(PushNotice::Failing(reason, length)) => {
                let attempts = length.attempts;
                warn!(endpoint, "failed to push metrics: {reason}; {attempts} attempts failed, next in {next}");
            }
            Some(PushNotice::StillFailing(reason, length)) => {
                let (lasted, attempts) = (rough(length.lasted), length.attempts);
                info!(
                    endpoint,
                    "still failing to push metrics, for {lasted} ({attempts} attempts), next in {next}: {reason}"
                );
            }
            Some(PushNotice::Well(length)) => {
                let (lasted, attempts) = (rough(length.lasted), length.attempts);
                info!(endpoint, "OTLP receiver accepts metrics again, after {lasted} ({attempts} attempts)");
            }
            None => {}
        }
        pause
    }
}
