//! Starts the daemon from its configuration, supervises it, and stops it.
//!
//! Everything that can fail at the start fails here, before the first request: the state file, the clients, the
//! listener's settings. Called by the commands `run` and `demo`.
//!
//! `assemble` builds the loop of an environment, `export` runs what sends to OTLP receivers, `supervisor` keeps the loops
//! running and replaces them at a reload, `watch` notices when to reload, and `readiness` says when the metrics are
//! worth scraping.

mod assemble;
mod export;
mod readiness;
mod supervisor;
mod watch;

use std::net::TcpListener;
use std::time::Duration;

use prometheus::Registry;
use sd_notify::NotifyState;
use thiserror::Error;
use tokio::task::{JoinError, JoinSet};
use tracing::{info, warn};

use self::assemble::SharedServices;
pub(crate) use self::assemble::{client, discovery_of, policy, spans, target};
use self::supervisor::{Ready, Supervisor};
use crate::client::ClientError;
use crate::config::{self, Config, ServerConfig, TokenError};
use crate::local_clock;
use crate::pipeline::{release, retire, upkeep};
use crate::reload::{self, Reloader};
use crate::server::health::Readiness;
use crate::server::web_config::WebConfig;
use crate::server::{self, MetricsPath, Renderer, ServeError, Sources, StatusOrigin, StatusSource};
use crate::server_clock::ServerClocks;
use crate::shutdown::Shutdown;
use crate::sinks::metrics::board::{Board, ConfigStatus};
use crate::sinks::metrics::daemon::{ApiMetrics, register_write_errors};
use crate::sinks::metrics::pushes::PushStatus;
use crate::sinks::metrics::scrape::{LastScrape, Scraper};
use crate::sinks::otlp::connection::TransportError;
use crate::store::error::StoreError;
use crate::store::handle::StoreHandle;
use crate::store::sqlite::SqliteStore;
use crate::telemetry::connection::TelemetryError;
use crate::watchdog::{self, LONGEST_WAIT, Watchdog};

/// How long steps under way may take to end: a commit takes milliseconds, and everything else ends at once.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a reload may take: it sets loops up again from the state file.
const RELOAD_PATIENCE: Duration = Duration::from_secs(300);

/// Why the daemon could not start, or had to end.
#[derive(Debug, Error)]
pub enum AppError {
    /// The state file cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file of the request budget cannot be used.
    #[error("failed to open the file of the request budget beside the state file: {0}")]
    Budget(std::io::Error),
    /// The token cannot be read any more.
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
    /// The connection to an OTLP receiver cannot be set up.
    #[error(transparent)]
    Receiver(#[from] TransportError),
    /// The daemon's own spans cannot be sent.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// A defect of this program.
    #[error("failed to register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The HTTP server ended.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A task ended early: a defect of this program.
    #[error("a task of the daemon ended early: {0}")]
    TaskPanicked(JoinError),
}

/// A daemon that is ready to run.
pub struct App {
    supervisor: Supervisor,
    ready: Ready,
    services: SharedServices,
    readiness: Readiness,
    server: ServerConfig,
}

impl App {
    /// Opens the state and sets everything up. The configuration is read again from `source`, if there is one, when it
    /// changes and on request.
    ///
    /// # Errors
    /// Where the daemon cannot do its work with this configuration.
    pub fn new(config: Config, source: Option<config::ConfigSource>) -> Result<Self, AppError> {
        let loaded_at = local_clock::now();
        // This comes first: loading a large state file takes time, and changes meanwhile must be noticed.
        let watched = supervisor::watch(source.as_ref(), &config);
        let watchdog = Watchdog::default();
        let store = StoreHandle::watched(SqliteStore::open(&config.state.path, loaded_at)?, &watchdog);
        let board = Board::default();
        board.set_config(|status| *status = ConfigStatus { is_good: true, loaded_at: loaded_at.timestamp() });

        let registry = Registry::new();
        let api = ApiMetrics::register(&registry)?;
        let write_errors = register_write_errors(&registry)?;
        let (info, pushes) = (store.info().clone(), PushStatus::default());
        let scraper =
            Scraper { board: board.clone(), store: info, registry, pushes, last_scrape: LastScrape::default() };

        let clocks = ServerClocks::default();
        let started_at = loaded_at;
        let services = SharedServices { store, board, api, clocks, write_errors, watchdog, scraper, started_at };
        let readiness = Readiness::default();
        let server = config.server.clone();
        let (supervisor, ready) = Supervisor::new(config, source, watched, services.clone(), readiness.clone())?;
        Ok(Self { supervisor, ready, services, readiness, server })
    }

    /// Polls, and serves on `listener`, until `shutdown` is requested or something fails that must not.
    ///
    /// # Errors
    /// If the server or the polling ended by itself.
    pub async fn run(
        self,
        listener: TcpListener,
        web: Option<WebConfig>,
        mut shutdown: Shutdown,
    ) -> Result<(), AppError> {
        let Self { mut supervisor, ready, services, readiness, server: settings } = self;
        // Without a file to read again, SIGHUP keeps its default action.
        let hangups = supervisor.config_path().and_then(|_| watch::hangups());
        supervisor.log_start(&listener);
        let (reloader, mut reloads) = reload::channel();
        let watchdog = services.watchdog.clone();
        let sources = sources(&settings, &services, readiness, &reloader);
        let router = server::router(sources, settings.max_requests);
        let serving = server::serve(listener, router, web, settings.write_timeout, shutdown.clone());
        // Tasks of their own: a busy supervisor must not delay scrapes.
        let mut serving = tokio::spawn(serving);
        let mut chores = chores(services, &shutdown);
        if supervisor.config_path().is_some() {
            let watching = watchdog.watch("the loop that watches files", LONGEST_WAIT);
            chores.spawn(watch::files(supervisor.watched(), reloader.clone(), shutdown.clone(), watching));
        }
        if let Some(hangups) = hangups {
            chores.spawn(watch::follow(hangups, reloader, shutdown.clone()));
        }

        supervisor.start(ready).await?;
        let supervising = watchdog.watch("the loop that reloads", RELOAD_PATIENCE);
        watchdog.start();
        watchdog::tell_systemd(NotifyState::Ready);
        loop {
            supervising.turn();
            tokio::select! {
                // This comes first: during a reload the server may have ended because it was asked to.
                biased;
                () = shutdown.recv() => break,
                served = &mut serving => return Ok(served.map_err(AppError::TaskPanicked)??),
                failure = supervisor.failure() => return Err(failure),
                Some(Err(failure)) = chores.join_next() => return Err(AppError::TaskPanicked(failure)),
                Some(request) = reloads.recv() => tokio::select! {
                    biased;
                    // What a reload has stopped is stopped below, and the state has what it must know.
                    () = shutdown.recv() => break,
                    reloaded = supervisor.reload(request) => reloaded?,
                },
                () = watchdog::next_turn() => {}
            }
        }
        info!("stopping");
        watchdog::tell_systemd(NotifyState::Stopping);
        let stopped = async {
            let stopped = supervisor.stop_all().await;
            while chores.join_next().await.is_some() {}
            stopped
        };
        let (served, stopped) = tokio::join!(serving, tokio::time::timeout(STOP_TIMEOUT, stopped));
        match stopped {
            Ok(stopped) => stopped?,
            Err(_elapsed) => warn!("shutdown timed out with a request or a commit under way; nothing is lost"),
        }
        Ok(served.map_err(AppError::TaskPanicked)??)
    }
}

/// What the HTTP server answers from.
fn sources(settings: &ServerConfig, services: &SharedServices, readiness: Readiness, reloader: &Reloader) -> Sources {
    let metrics_path = MetricsPath::from(settings.metrics_path.as_str());
    Sources {
        metrics: Renderer::start(services.scraper.clone(), &services.watchdog),
        status: StatusSource::start(StatusOrigin {
            board: services.board.clone(),
            readiness: readiness.clone(),
            clocks: services.clocks.clone(),
            state: services.store.info().problems().clone(),
            metrics_path: metrics_path.clone(),
        }),
        metrics_path,
        readiness,
        watchdog: services.watchdog.clone(),
        reloader: settings.enable_lifecycle.then(|| reloader.clone()),
    }
}

/// Starts the background tasks other than polling and serving; they run until `shutdown` is requested.
fn chores(services: SharedServices, shutdown: &Shutdown) -> JoinSet<()> {
    let SharedServices { store, board, write_errors, watchdog, .. } = services;
    let turns = |name| watchdog.watch(name, LONGEST_WAIT);
    let mut chores = JoinSet::new();
    let releasing = turns("the loop that ends birth holds");
    chores.spawn(release::run(board.clone(), store.clone(), write_errors.clone(), shutdown.clone(), releasing));
    let keeping = turns("the loop that looks after the state file");
    chores.spawn(upkeep::run(store.clone(), write_errors, shutdown.clone(), keeping));
    let retiring = turns("the loop that drops webhooks");
    chores.spawn(retire::run(board, store, shutdown.clone(), retiring));
    chores
}
