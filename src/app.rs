//! Starts the daemon from its configuration, keeps it together, and stops it.
//!
//! Everything that may fail at the start fails here, before the first request: the state file, the clients, the listener's
//! settings. Called by the commands `run` and `demo`, and by tests.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounter, Registry};
use thiserror::Error;
use tokio::task::{JoinError, JoinSet};
use tracing::{info, warn};

use crate::clock;
use crate::config::{Config, EnvironmentConfig, TokenError, WebhookConfig};
use crate::delivery::{Target, Timestamp};
use crate::ledger::decide::Policy;
use crate::ledger::labels::LabelPolicy;
use crate::ledger::watermark::Windows;
use crate::pipeline::environment::{Environment, EnvironmentSettings};
use crate::pipeline::reader::{ReadSettings, Reader, Remembered};
use crate::pipeline::step::Workshop;
use crate::pipeline::{release, retire};
use crate::schedule::Intervals;
use crate::schedule::allocation::stretched;
use crate::schedule::budget::Budget;
use crate::server::health::Readiness;
use crate::server::web_config::WebConfig;
use crate::server::{self, ServeError};
use crate::shutdown::Shutdown;
use crate::sinks::metrics::board::{Board, TargetView, Views};
use crate::sinks::metrics::daemon::{ApiMetrics, DaemonCollector, register_write_errors};
use crate::sinks::metrics::deliveries::TargetCollector;
use crate::sinks::metrics::exposure::Exposure;
use crate::sinks::metrics::process::ProcessCollector;
use crate::source::client::{Client, ClientError, ClientOptions};
use crate::store::error::StoreError;
use crate::store::handle::StoreHandle;
use crate::store::targets::Unlisted;
use crate::store::{Loaded, Store};

/// Failed polls after which a target no longer keeps the daemon from being ready.
const FAILURES_UNTIL_READY: u64 = 3;
/// How long a target that is no longer named keeps its series.
const KEEP_UNLISTED: Duration = Duration::from_secs(24 * 3600);
/// How long steps under way may take to end: a commit does in milliseconds, and everything else ends at once.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the daemon could not start, or had to end.
#[derive(Debug, Error)]
pub enum AppError {
    /// The state file cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The memory of the request budget cannot be used.
    #[error("failed to open the memory of the request budget beside the state file: {0}")]
    Budget(std::io::Error),
    /// There is no token any more.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The API's client cannot be set up.
    #[error("environment {environment}: {error}")]
    Client {
        /// The environment's name.
        environment: String,
        /// Why not.
        error: ClientError,
    },
    /// A defect of ours.
    #[error("failed to register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The HTTP server ended.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The loop of an environment ended early: a defect of ours.
    #[error("the polling of an environment ended early: {0}")]
    Polling(JoinError),
}

/// A daemon that is ready to run.
pub struct App {
    environments: Vec<Environment>,
    unlisted: Vec<(Target, Duration)>,
    board: Board,
    store: StoreHandle,
    birth_hold: Duration,
    write_errors: IntCounter,
    registry: Registry,
    readiness: Readiness,
}

impl App {
    /// Opens the state and sets everything up.
    ///
    /// # Errors
    /// Where the daemon cannot do its work with this configuration.
    pub fn new(config: &Config) -> Result<Self, AppError> {
        let loaded_at = clock::now();
        let policy = Arc::new(policy(config));
        let mut store = Store::open(&config.state.path, loaded_at)?;
        if store.adopt_layout(&policy.labels)? {
            warn!("duration_buckets or duration_labels have changed: the duration histograms start at 0");
        }

        let registry = Registry::new();
        let board = Board::default();
        let mut ledgers = Vec::new();
        for environment in &config.environments {
            let targets = environment.webhooks.iter().map(|webhook| target(environment, webhook));
            let loaded: Result<Vec<_>, StoreError> =
                targets.map(|target| Ok((store.load(&target, &policy.labels)?, target))).collect();
            ledgers.push(loaded?);
        }
        let listed: Vec<Target> = ledgers.iter().flatten().map(|(_, target)| target.clone()).collect();
        let unlisted = unlisted(&mut store, &listed, &policy.labels, &board, loaded_at)?;
        let store = StoreHandle::new(store);
        let api = ApiMetrics::register(&registry)?;
        let write_errors = register_write_errors(&registry)?;
        registry.register(Box::new(TargetCollector::new(board.clone(), &policy.labels.duration_labels)))?;
        registry.register(Box::new(DaemonCollector::new(board.clone(), store.clone(), loaded_at)))?;
        registry.register(Box::new(ProcessCollector::default()))?;

        let mut environments = Vec::new();
        for (environment, loaded) in config.environments.iter().zip(ledgers) {
            warn_of_what_is_not_used(environment);
            let (client, policy, store) = (Arc::new(client(environment)?), policy.clone(), store.clone());
            let workshop = Workshop {
                client,
                policy,
                store,
                board: board.clone(),
                api: api.clone(),
                write_errors: write_errors.clone(),
            };
            environments.push(set_up(config, environment, workshop, loaded)?);
        }
        let readiness = Readiness::default();
        show_readiness(&board, &readiness);
        let birth_hold = config.metrics.birth_hold;
        Ok(Self { environments, unlisted, board, store, birth_hold, write_errors, registry, readiness })
    }

    /// Polls, and serves on `listener`, until `shutdown` is requested or something ends that must not.
    ///
    /// # Errors
    /// Where the server or the polling ended by itself.
    pub async fn run(
        self,
        listener: TcpListener,
        web: Option<WebConfig>,
        mut shutdown: Shutdown,
    ) -> Result<(), AppError> {
        let mut polling = JoinSet::new();
        for environment in self.environments {
            let (board, readiness) = (self.board.clone(), self.readiness.clone());
            polling.spawn(environment.run(shutdown.clone(), move || show_readiness(&board, &readiness)));
        }
        for (target, rest) in self.unlisted {
            let (board, store, shutdown) = (self.board.clone(), self.store.clone(), shutdown.clone());
            polling.spawn(retire::run(target, rest, board, store, shutdown));
        }
        let (board, hold) = (self.board.clone(), self.birth_hold);
        polling.spawn(release::run(board, self.store, hold, self.write_errors, shutdown.clone()));
        let router = server::router(self.registry, self.readiness);
        let serving = server::serve(listener, router, web, shutdown.clone());
        tokio::pin!(serving);
        tokio::select! {
            served = &mut serving => return Ok(served?),
            failure = first_failure(&mut polling) => return Err(AppError::Polling(failure)),
            () = shutdown.recv() => {}
        }
        info!("stopping");
        let stopped = async { while polling.join_next().await.is_some() {} };
        let (served, in_time) = tokio::join!(serving, tokio::time::timeout(STOP_TIMEOUT, stopped));
        if in_time.is_err() {
            warn!("a request or a commit did not end in time; nothing is lost by that");
        }
        Ok(served?)
    }
}

/// Waits for a task that ends early, by a defect of ours. That some have done their work is no failure.
async fn first_failure(tasks: &mut JoinSet<()>) -> JoinError {
    loop {
        match tasks.join_next().await {
            Some(Ok(())) => {}
            Some(Err(failure)) => return failure,
            None => std::future::pending().await,
        }
    }
}

/// Puts up the targets that the state file knows and the configuration does not name: each with how long it stays.
fn unlisted(
    store: &mut Store,
    listed: &[Target],
    labels: &LabelPolicy,
    board: &Board,
    now: Timestamp,
) -> Result<Vec<(Target, Duration)>, StoreError> {
    let mut rests = Vec::new();
    for Unlisted { target, since } in store.list(listed, now)? {
        let loaded = store.load(&target, labels)?;
        info!(%target, "not named by the configuration any more: its series go when it has been so for 24 h");
        let mut view = TargetView::new(target.clone(), &loaded.ledger, exposure(&loaded), None, Duration::ZERO);
        view.is_listed = false;
        board.add_target(view);
        rests.push((target, KEEP_UNLISTED.saturating_sub(now.since(since))));
    }
    Ok(rests)
}

fn exposure(loaded: &Loaded) -> Exposure {
    let mut exposure = Exposure::default();
    exposure.add(&loaded.births, loaded.catching_up);
    exposure
}

fn policy(config: &Config) -> Policy {
    let poll = &config.poll;
    let metrics = &config.metrics;
    Policy {
        windows: Windows {
            initial_lookback: poll.initial_lookback,
            lookback: poll.lookback,
            sweep_interval: poll.sweep_interval,
            settle_after: poll.settle_after,
        },
        labels: LabelPolicy {
            http_status: metrics.http_status,
            duration_labels: metrics.duration_labels.clone(),
            duration_buckets: metrics.duration_buckets.clone().into(),
            max_events: metrics.max_events_per_webhook as usize,
            max_label_sets: metrics.max_label_sets_per_webhook as usize,
        },
        catch_up_after: poll.max_interval * 2,
        holds_births: !metrics.birth_hold.is_zero(),
    }
}

/// The target that a webhook of the configuration is.
pub(crate) fn target(environment: &EnvironmentConfig, webhook: &WebhookConfig) -> Target {
    Target {
        environment: environment.name.as_str().into(),
        webhook_id: webhook.webhook_id.as_str().into(),
        owner_type: webhook.owner_type,
        owner_id: webhook.owner_id.as_str().into(),
        webhook_name: webhook.name.as_deref().unwrap_or(&webhook.webhook_id).into(),
    }
}

fn warn_of_what_is_not_used(environment: &EnvironmentConfig) {
    if environment.discovery.is_some() {
        let name = &environment.name;
        warn!(environment = name, "this version polls the webhooks named in the file; discovery is not used");
    }
}

/// A client for an environment, with its token as it is now.
pub(crate) fn client(environment: &EnvironmentConfig) -> Result<Client, AppError> {
    let options = ClientOptions {
        base_url: environment.base_url.clone(),
        request_timeout: environment.request_timeout,
        ca_file: environment.ca_file.clone(),
        proxy: environment.proxy.clone(),
    };
    Client::new(&options, &environment.token.read()?)
        .map_err(|error| AppError::Client { environment: environment.name.clone(), error })
}

fn set_up(
    config: &Config,
    environment: &EnvironmentConfig,
    mut workshop: Workshop,
    loaded: Vec<(Loaded, Target)>,
) -> Result<Environment, AppError> {
    // Where the budget is too small for max_interval, being polled less often is no outage.
    let longest = stretched(config.poll.max_interval, loaded.len(), f64::from(environment.requests_per_minute));
    workshop.policy = Arc::new(Policy { catch_up_after: longest * 2, ..(*workshop.policy).clone() });
    let intervals = Intervals { min: config.poll.min_interval, max: config.poll.max_interval };
    let settings = EnvironmentSettings {
        requests_per_minute: environment.requests_per_minute,
        max_concurrent_requests: environment.max_concurrent_requests,
        intervals,
    };
    let budget = Budget::open(
        &config.state.path,
        &clock::boot_id(),
        &environment.name,
        settings.requests_per_minute,
        settings.max_concurrent_requests,
        config.requests_per_minute,
    )
    .map_err(AppError::Budget)?;

    let name: Arc<str> = environment.name.as_str().into();
    workshop.api.add_environment(&name);
    workshop.board.add_environment(name.clone(), settings.requests_per_minute);
    let read_settings = ReadSettings { per_page: config.poll.per_page, windows: workshop.policy.windows };
    let mut readers = Vec::new();
    for (loaded, target) in loaded {
        let exposure = exposure(&loaded);
        let Loaded { ledger, last_success, staged, .. } = loaded;
        let view = TargetView::new(target.clone(), &ledger, exposure, last_success, intervals.min);
        workshop.board.add_target(view);
        readers.push(Reader::new(target, Remembered { ledger, last_success, staged }, read_settings));
    }
    let token = environment.token.clone();
    let read_token = Box::new(move || token.read().ok());
    Ok(Environment::new(name, settings, workshop, budget, read_token, readers))
}

/// Ready means worth scraping: every target has durable totals, or has failed often enough for `talkover_up` to tell.
fn show_readiness(board: &Board, readiness: &Readiness) {
    match board.read(waiting_for) {
        Some(reason) => readiness.set_waiting(reason),
        None => readiness.set_ready(),
    }
}

fn waiting_for(views: &Views) -> Option<String> {
    let failures = |view: &TargetView| view.polls.iter().skip(1).sum::<u64>();
    let is_waiting = |view: &&TargetView| !view.exposed && failures(view) < FAILURES_UNTIL_READY;
    let waiting: Vec<&TargetView> = views.listed().filter(is_waiting).collect();
    let first = waiting.first()?;
    Some(format!("{} of {} webhooks not read yet, among them {}", waiting.len(), views.listed().count(), first.target))
}
