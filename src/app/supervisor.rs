//! Keeps the loops of all environments running, and replaces them when the configuration changes.
//!
//! A reload is a restart in place: an environment whose settings have changed completes its steps under way, and is set
//! up again from the state file. Everything that it has counted is there, as after any restart. The others
//! continue undisturbed.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::{Instrument, error, info, warn};

use super::assemble::{Plan, SharedServices, Tools, display, labels};
use super::export::{self, Exports, ReadyExports};
use super::watch::WatchedFiles;
use super::{AppError, readiness};
use crate::build_info::VERSION;
use crate::client::{Client, Connector};
use crate::config::{self, Config};
use crate::logging::about::about_webhook;
use crate::pipeline::discover::view;
use crate::pipeline::environment::EnvironmentLoop;
use crate::pipeline::retire;
use crate::reload::ReloadRequest;
use crate::server::health::Readiness;
use crate::server::web_config::WebConfig;
use crate::shutdown::{self, Trigger};
use crate::store::Unlisted;
use crate::store::error::StoreError;
use crate::telemetry::running::{OwnTraces, PreparedTraces};
use crate::telemetry::work;
use crate::watchdog::LONGEST_WAIT;
use crate::{blocking, local_clock};
use talkover_core::discovery::targets::ListedTarget;
use talkover_core::ledger::series::Family;

/// The environments that are running.
pub(super) struct Supervisor {
    services: SharedServices,
    readiness: Readiness,
    config: Config,
    source: Option<config::ConfigSource>,
    watched: WatchedFiles,
    running: BTreeMap<Arc<str>, Running>,
    /// Each task returns the name of its environment when it ends.
    tasks: JoinSet<Arc<str>>,
    exports: Exports,
    own_traces: OwnTraces,
}

struct Running {
    plan: Plan,
    client: Arc<Client>,
    stop: Trigger,
}

/// Environments that are ready to run.
type Environments = Vec<(Plan, EnvironmentLoop)>;

/// What is ready to run.
pub(super) struct Ready {
    environments: Environments,
    exports: ReadyExports,
    own_traces: Option<PreparedTraces>,
}

/// What a reload puts in force.
struct Prepared {
    config: Config,
    /// For environments that are new or have changed.
    tools: Vec<(Tools, Plan)>,
    /// For environments that trust other authorities from now on.
    connectors: Vec<(Connector, Plan)>,
    exports: ReadyExports,
    /// `None` if the section `telemetry` has not changed.
    own_traces: Option<Option<PreparedTraces>>,
}

impl Supervisor {
    /// Sets all environments up; nothing runs before [`Supervisor::start`].
    ///
    /// # Errors
    /// If that is not possible with this configuration.
    pub(super) fn new(
        config: Config,
        source: Option<config::ConfigSource>,
        watched: WatchedFiles,
        services: SharedServices,
        readiness: Readiness,
    ) -> Result<(Self, Ready), AppError> {
        let plans = Plan::all(&config);
        let tools = plans.into_iter().map(|plan| Ok((plan.tools()?, plan))).collect::<Result<Vec<_>, AppError>>()?;
        let exports = export::prepare(&config, None, &services)?;
        let own_traces = own_traces(&config, &services)?;
        let ready = Ready { environments: assemble(&services, &config, tools)?, exports, own_traces };
        readiness::show(&services.board, &readiness);
        let (running, tasks) = (BTreeMap::new(), JoinSet::new());
        let (exports, own_traces) = (Exports::default(), OwnTraces::default());
        let supervisor = Self { services, readiness, config, source, watched, running, tasks, exports, own_traces };
        Ok((supervisor, ready))
    }

    /// The file that the configuration comes from.
    pub(super) fn config_path(&self) -> Option<PathBuf> {
        self.source.as_ref().map(|source| source.path.clone())
    }

    /// The files to watch for changes.
    pub(super) fn watched(&self) -> WatchedFiles {
        self.watched.clone()
    }

    async fn watch(&self) {
        let (watched, config, path) = (self.watched.clone(), self.config.clone(), self.config_path());
        blocking::run(move || watched.set(files(path, &config))).await;
    }

    /// Logs that the daemon has started, that it can be signalled, and where it listens.
    pub(super) fn log_start(&self, listener: &TcpListener) {
        let webhooks: usize = self.config.environments.iter().map(|environment| environment.webhooks.len()).sum();
        let listen = listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string());
        let config = self.config_path().unwrap_or_default();
        info!(version = VERSION, config = %config.display(), webhooks, %listen, "started");
    }

    /// Starts everything.
    ///
    /// # Errors
    /// If the daemon's own spans cannot be sent.
    pub(super) async fn start(&mut self, ready: Ready) -> Result<(), AppError> {
        self.own_traces.start(ready.own_traces, &self.services.watchdog)?;
        self.start_environments(ready.environments);
        self.exports.replace(ready.exports, &self.services).await
    }

    fn start_environments(&mut self, environments: Environments) {
        for (plan, environment) in environments {
            let name: Arc<str> = plan.name().into();
            let (stop, signal) = shutdown::channel();
            let (board, readiness) = (self.services.board.clone(), self.readiness.clone());
            let (ended, client) = (name.clone(), environment.client());
            let turns = self.services.watchdog.watch(format!("the loop of environment {name}"), LONGEST_WAIT);
            self.tasks.spawn(async move {
                environment.run(signal, turns, move || readiness::show(&board, &readiness)).await;
                ended
            });
            self.running.insert(name, Running { plan, client, stop });
        }
    }

    /// Returns when something ends by itself: a defect of this program.
    pub(super) async fn failure(&mut self) -> AppError {
        let (tasks, exports, own_traces) = (&mut self.tasks, &mut self.exports, &mut self.own_traces);
        let environment = async {
            match tasks.join_next().await {
                Some(Err(failure)) => failure,
                // None is running; none ends by itself.
                Some(Ok(_)) | None => std::future::pending().await,
            }
        };
        tokio::select! {
            failure = environment => AppError::TaskPanicked(failure),
            failure = exports.failure() => AppError::TaskPanicked(failure),
            failure = own_traces.failure() => AppError::TaskPanicked(failure),
        }
    }

    /// Stops everything, and returns when it has ended.
    pub(super) async fn stop_all(&mut self) -> Result<(), AppError> {
        let all: Vec<Arc<str>> = self.running.keys().cloned().collect();
        self.stop(&all).await?;
        self.exports.stop().await?;
        self.own_traces.stop().await.map_err(AppError::TaskPanicked)
    }

    async fn stop(&mut self, names: &[Arc<str>]) -> Result<(), AppError> {
        for name in names {
            if let Some(running) = self.running.get(name) {
                running.stop.shut_down();
            }
        }
        while names.iter().any(|name| self.running.contains_key(name)) {
            match self.tasks.join_next().await {
                Some(Ok(name)) => drop(self.running.remove(&name)),
                Some(Err(failure)) => return Err(AppError::TaskPanicked(failure)),
                None => self.running.clear(),
            }
        }
        Ok(())
    }

    /// Reads the configuration again, puts it in force if it is valid, and answers the request.
    ///
    /// # Errors
    /// If the daemon can go on neither with the new settings nor with the old ones.
    pub(super) async fn reload(&mut self, request: ReloadRequest) -> Result<(), AppError> {
        let span = work::reload(&request.cause);
        let prepared = self.prepare().instrument(work::prepare(&span)).await;
        let outcome = match prepared {
            Ok(prepared) => self.exchange(prepared).instrument(work::exchange(&span)).await?,
            Err(reasons) => Err(reasons),
        };
        if outcome.is_err() {
            work::refuse_reload(&span);
        }
        drop(span);
        self.watch().await;
        let (board, cause) = (&self.services.board, &request.cause);
        match &outcome {
            Ok(()) => {
                info!(cause, "reloaded the configuration");
                board.set_config(|status| (status.is_good, status.loaded_at) = (true, local_clock::now().timestamp()));
            }
            Err(reasons) => {
                error!(cause, "failed to reload the configuration; keeping the previous one: {reasons}");
                board.set_config(|status| status.is_good = false);
            }
        }
        request.answer(outcome);
        Ok(())
    }

    /// Reads the file, and prepares what environments with changed settings need. Touches nothing that is running.
    async fn prepare(&self) -> Result<Prepared, String> {
        let Some(source) = self.source.clone() else {
            return Err("the configuration of this daemon does not come from a file".to_owned());
        };
        let loaded = blocking::run(move || source.load()).await;
        let mut config = loaded.map_err(|faults| faults.to_string())?;
        for warning in config.warnings.iter().filter(|warning| !self.config.warnings.contains(warning)) {
            warn!("{warning}");
        }
        for key in keep_what_is_fixed(&mut config, &self.config) {
            warn!("{key} changed; restart the daemon to apply it");
        }
        if let Some(path) = config.server.web_config_file.clone() {
            // The listener reads the file by itself; its faults are reported here.
            blocking::run(move || WebConfig::load(&path)).await.map_err(|reasons| reasons.join("\n"))?;
        }
        let is_changed = |plan: &Plan| self.running.get(plan.name()).is_none_or(|running| running.plan != *plan);
        let trusts_others = |plan: &Plan| {
            self.running.get(plan.name()).is_some_and(|running| plan.differs_in_authorities(&running.plan))
        };
        let changed = Plan::all(&config).into_iter().filter(is_changed);
        let (reconnecting, changed): (Vec<Plan>, Vec<Plan>) = changed.partition(trusts_others);
        let tools = changed.into_iter().map(|plan| Ok((plan.tools()?, plan)));
        let tools = tools.collect::<Result<Vec<_>, AppError>>().map_err(|failure| failure.to_string())?;
        let connectors = reconnecting.into_iter().map(|plan| Ok((plan.connector()?, plan)));
        let connectors = connectors.collect::<Result<Vec<_>, AppError>>().map_err(|failure| failure.to_string())?;
        let (next, running, services) = (config.clone(), self.config.clone(), self.services.clone());
        let exports = blocking::run(move || export::prepare(&next, Some(&running), &services)).await;
        let exports = exports.map_err(|failure| failure.to_string())?;
        let own_traces = self.next_own_traces(&config).await.map_err(|failure| failure.to_string())?;
        Ok(Prepared { config, tools, connectors, exports, own_traces })
    }

    async fn next_own_traces(&self, config: &Config) -> Result<Option<Option<PreparedTraces>>, AppError> {
        if config.telemetry == self.config.telemetry {
            return Ok(None);
        }
        let (config, services) = (config.clone(), self.services.clone());
        blocking::run(move || own_traces(&config, &services)).await.map(Some)
    }

    /// Stops what is gone or has changed, and starts what is new or has changed.
    async fn exchange(&mut self, prepared: Prepared) -> Result<Result<(), String>, AppError> {
        let Prepared { config, tools, connectors, exports, own_traces } = prepared;
        let kept: Vec<Plan> = Plan::all(&config);
        let is_gone = |name: &&Arc<str>| !kept.iter().any(|plan| plan.name() == &***name);
        let gone: Vec<Arc<str>> = self.running.keys().filter(is_gone).cloned().collect();
        let changed = tools.iter().map(|(_, plan)| Arc::from(plan.name()));
        let stopping: Vec<Arc<str>> = changed.chain(gone.iter().cloned()).collect();
        let before: Vec<Plan> = stopping.iter().filter_map(|name| Some(self.running.get(name)?.plan.clone())).collect();
        self.stop(&stopping).await?;

        let (services, next) = (self.services.clone(), config.clone());
        match blocking::run(move || assemble(&services, &next, tools)).await {
            Ok(environments) => {
                self.start_environments(environments);
                connectors.into_iter().for_each(|(connector, plan)| self.reconnect(connector, plan));
                self.exports.replace(exports, &self.services).await?;
                if let Some(own_traces) = own_traces {
                    self.own_traces.stop().await.map_err(AppError::TaskPanicked)?;
                    self.own_traces.start(own_traces, &self.services.watchdog)?;
                }
                gone.iter().for_each(|name| self.services.board.remove_environment(name));
                self.config = config;
                Ok(Ok(()))
            }
            Err(failure) => {
                self.restart(before).await?;
                Ok(Err(failure.to_string()))
            }
        }
    }

    /// Makes a running environment trust other authorities.
    fn reconnect(&mut self, connector: Connector, plan: Plan) {
        let Some(running) = self.running.get_mut(plan.name()) else { return };
        running.client.reconnect(connector);
        info!(environment = plan.name(), "ca_file changed; new connections trust its new authorities");
        running.plan = plan;
    }

    /// Starts environments again as they were.
    async fn restart(&mut self, plans: Vec<Plan>) -> Result<(), AppError> {
        let tools = plans.into_iter().map(|plan| Ok((plan.tools()?, plan))).collect::<Result<Vec<_>, AppError>>()?;
        let (services, config) = (self.services.clone(), self.config.clone());
        let environments = blocking::run(move || assemble(&services, &config, tools)).await?;
        self.start_environments(environments);
        Ok(())
    }
}

/// Prepares the sending of the daemon's own spans. Reads the state, so an asynchronous task must not call it.
fn own_traces(config: &Config, services: &SharedServices) -> Result<Option<PreparedTraces>, AppError> {
    let instance_id = services.store.run_blocking(|store| store.instance_id())?;
    Ok(PreparedTraces::new(&config.telemetry, Some(&instance_id))?)
}

/// Decides how everything is shown, and sets environments up. Other environments that the state file knows are
/// unlisted.
fn assemble(services: &SharedServices, config: &Config, tools: Vec<(Tools, Plan)>) -> Result<Environments, StoreError> {
    let dropped = services.store.run_blocking(|store| store.limit_spans(config.traces.max_queued_spans))?;
    if dropped > 0 {
        warn!(dropped, "span queue longer than max_queued_spans; dropped the oldest spans");
    }
    for family in services.store.run_blocking(|store| store.adopt_layouts(&labels(&config.metrics)))? {
        match family {
            Family::Duration => {
                warn!("duration_buckets or duration_labels changed; duration histograms restart at 0");
            }
            other => warn!("buckets changed in this version; {} histograms restart at 0", other.as_str()),
        }
    }
    services.board.set_display(display(&config.metrics, &config.server));
    let mut ready = Vec::new();
    for (tools, plan) in tools {
        let (environment, unlisted) = plan.assemble(tools, services)?;
        show_unlisted(services, config, unlisted)?;
        ready.push((plan, environment));
    }
    let is_gone = |name: &String| config.environments.iter().all(|environment| environment.name != *name);
    for name in services.store.run_blocking(|store| store.environments())?.into_iter().filter(is_gone) {
        let unlisted = services.store.run_blocking(|store| store.list(&name, &[], local_clock::now()))?;
        show_unlisted(services, config, unlisted)?;
    }
    Ok(ready)
}

/// Shows the targets that the state file knows but that are no longer listed, each with the time when it is dropped.
fn show_unlisted(services: &SharedServices, config: &Config, unlisted: Vec<Unlisted>) -> Result<(), StoreError> {
    let now = Instant::now();
    for Unlisted { target, info, unlisted_for } in unlisted {
        let key = (target.environment.clone(), target.webhook_id.clone());
        if !services.board.read(|views| views.targets.contains_key(&key)) {
            let loaded = services.store.run_blocking(|store| store.load(&target, &labels(&config.metrics)))?;
            let listed = ListedTarget { target: target.clone(), info, known_at: None };
            services.board.add_target(view(&listed, &loaded, Duration::ZERO));
        }
        let rest = retire::KEEP.saturating_sub(unlisted_for);
        if services.board.retire_target(&target, now + rest) {
            let hours = rest.as_secs_f64() / 3600.0;
            about_webhook!(info, &target, "webhook no longer listed; its series expire in {hours:.1} h");
        }
    }
    Ok(())
}

/// Begins to watch the files that the configuration was just read from. Waits for the disk.
pub(super) fn watch(source: Option<&config::ConfigSource>, config: &Config) -> WatchedFiles {
    let watched = WatchedFiles::default();
    watched.set(files(source.map(|source| source.path.clone()), config));
    watched
}

/// The file at `path`, whose settings are in `config`, and all files that these name.
fn files(path: Option<PathBuf>, config: &Config) -> Vec<PathBuf> {
    let of_web = config.server.web_config_file.iter().flat_map(|path| WebConfig::files(path));
    path.into_iter().chain(config.files()).chain(of_web).collect()
}

/// Restores what cannot change while the daemon runs, and returns its keys.
fn keep_what_is_fixed(config: &mut Config, running: &Config) -> Vec<&'static str> {
    let mut changed = Vec::new();
    if config.server != running.server {
        config.server = running.server.clone();
        changed.push("server");
    }
    if config.state != running.state {
        config.state = running.state.clone();
        changed.push("state");
    }
    if config.log != running.log {
        config.log = running.log.clone();
        changed.push("log");
    }
    changed
}
