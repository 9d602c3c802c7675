//! Builds the loop of an environment from its part of the configuration.

use std::sync::Arc;

use prometheus::IntCounter;

use super::AppError;
use crate::budget::Budget;
use crate::client::{Client, ClientError, ClientOptions, Connector};
use crate::config::{
    Config, DiscoveryConfig, EnvironmentConfig, MetricsConfig, PollConfig, ServerConfig, StateConfig, TracesConfig,
    WebhookConfig,
};
use crate::local_clock;
use crate::pipeline::environment::{EnvironmentLoop, EnvironmentSettings};
use crate::pipeline::reader::ReadSettings;
use crate::pipeline::roster::Roster;
use crate::pipeline::step::StepContext;
use crate::server_clock::ServerClocks;
use crate::sinks::metrics::board::{Board, Display, Links};
use crate::sinks::metrics::daemon::ApiMetrics;
use crate::sinks::metrics::scrape::Scraper;
use crate::store::Unlisted;
use crate::store::error::StoreError;
use crate::store::handle::StoreHandle;
use crate::watchdog::Watchdog;
use talkover_core::delivery::Target;
use talkover_core::discovery::filter::Filter;
use talkover_core::discovery::plan::{Discovery, DiscoverySettings};
use talkover_core::discovery::record::DiscoveryRecord;
use talkover_core::discovery::targets::ListedTarget;
use talkover_core::ledger::decide::Policy;
use talkover_core::ledger::labels::LabelPolicy;
use talkover_core::ledger::watermark::Windows;
use talkover_core::schedule::Intervals;
use talkover_core::server_time::{LocalTime, ServerTime};
use talkover_core::spans::sampling::Sampler;
use talkover_core::spans::span::SpanPolicy;

/// What all environments share.
#[derive(Clone, Debug)]
pub(super) struct SharedServices {
    pub(super) store: StoreHandle,
    pub(super) board: Board,
    pub(super) api: ApiMetrics,
    pub(super) clocks: ServerClocks,
    pub(super) write_errors: IntCounter,
    pub(super) watchdog: Watchdog,
    pub(super) scraper: Scraper,
    /// When the process was started.
    pub(super) started_at: LocalTime,
}

/// Everything on which the loop of an environment depends: if a reload leaves this unchanged, the loop
/// continues undisturbed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    environment: EnvironmentConfig,
    poll: PollConfig,
    metrics: MetricsConfig,
    /// How spans are made; `None` if there is no receiver.
    spans: Option<SpanPolicy>,
    state: StateConfig,
    /// Requests a minute over all environments together.
    requests_together: Option<u32>,
}

/// What a loop needs and what a faulty configuration or a missing file can prevent.
pub(super) struct Tools {
    client: Client,
    budget: Budget,
}

impl Plan {
    /// The plans for all environments.
    pub(super) fn all(config: &Config) -> Vec<Self> {
        let plan = |environment: &EnvironmentConfig| Self {
            environment: environment.clone(),
            poll: config.poll.clone(),
            metrics: config.metrics.clone(),
            spans: spans(&config.traces),
            state: config.state.clone(),
            requests_together: config.requests_per_minute,
        };
        config.environments.iter().map(plan).collect()
    }

    /// The environment's name.
    pub(super) fn name(&self) -> &str {
        &self.environment.name
    }

    /// The targets that the configuration names, and those that the state file remembers from discovery.
    fn roster(&self, services: &SharedServices) -> Result<Roster, StoreError> {
        let name: Arc<str> = self.environment.name.as_str().into();
        let named = self.environment.webhooks.iter().map(|webhook| target(&self.environment, webhook)).collect();
        let discovery = match &self.environment.discovery {
            Some(discovery) => {
                let now = services.clocks.get(&name).now();
                let known = services.store.run_blocking(|store| store.load_discovered(&name))?;
                Some(discovery_of(discovery, known, now))
            }
            None => None,
        };
        Ok(Roster::new(name, named, discovery))
    }

    /// Whether it differs from `other` only in the authorities that it trusts: those are replaced while the loop runs.
    pub(super) fn differs_in_authorities(&self, other: &Self) -> bool {
        let ca_file = other.environment.ca_file.clone();
        let otherwise = Self { environment: EnvironmentConfig { ca_file, ..self.environment.clone() }, ..self.clone() };
        self != other && otherwise == *other
    }

    /// The connector of the environment's client.
    ///
    /// # Errors
    /// If a certificate cannot be used.
    pub(super) fn connector(&self) -> Result<Connector, AppError> {
        Connector::new(&client_options(&self.environment)).map_err(|error| client_error(&self.environment, error))
    }

    /// Prepares what can fail; changes nothing that is running.
    ///
    /// # Errors
    /// If the token, a certificate or the budget's file cannot be read.
    pub(super) fn tools(&self) -> Result<Tools, AppError> {
        let budget = Budget::open(
            &self.state.path,
            &local_clock::boot_id(),
            &self.environment.name,
            self.environment.requests_per_minute,
            self.environment.max_concurrent_requests,
            self.requests_together,
        )
        .map_err(AppError::Budget)?;
        Ok(Tools { client: client(&self.environment)?, budget })
    }

    /// Returns the loop, with what the state file remembers of its targets, and the targets that the file knows but
    /// that are no longer listed. Reads a lot, so an asynchronous task must not call it.
    ///
    /// # Errors
    /// If the state file cannot be read or written.
    pub(super) fn assemble(
        &self,
        tools: Tools,
        services: &SharedServices,
    ) -> Result<(EnvironmentLoop, Vec<Unlisted>), StoreError> {
        let policy = Arc::new(policy(&self.poll, &self.metrics));
        let settings = EnvironmentSettings {
            requests_per_minute: self.environment.requests_per_minute,
            max_concurrent_requests: self.environment.max_concurrent_requests,
            intervals: Intervals { min: self.poll.min_interval, max: self.poll.max_interval },
            read: ReadSettings { per_page: self.poll.per_page, windows: policy.windows },
        };
        let name: Arc<str> = self.environment.name.as_str().into();
        let roster = self.roster(services)?;
        let targets: Vec<Target> = roster.listed().map(|listed| listed.target.clone()).collect();
        let unlisted = services.store.run_blocking(|store| store.list(&name, &targets, local_clock::now()))?;
        let load = |listed: &ListedTarget| {
            Ok((listed.clone(), services.store.run_blocking(|store| store.load(&listed.target, &policy.labels))?))
        };
        let remembered = roster.listed().map(load).collect::<Result<Vec<_>, StoreError>>()?;
        self.announce(&name, &roster, services);
        let context = StepContext {
            client: Arc::new(tools.client),
            policy,
            spans: self.spans,
            store: services.store.clone(),
            board: services.board.clone(),
            clock: services.clocks.get(&name),
            api: services.api.clone(),
            write_errors: services.write_errors.clone(),
        };
        let token = self.environment.token.clone();
        let read_token = Box::new(move || token.read().ok());
        let environment = EnvironmentLoop::new(name, settings, context, tools.budget, read_token, roster, remembered);
        Ok((environment, unlisted))
    }

    /// Shows the environment before its first request.
    fn announce(&self, name: &Arc<str>, roster: &Roster, services: &SharedServices) {
        services.api.add_environment(name);
        services.board.add_environment(name.clone(), self.environment.requests_per_minute);
        services.board.update_environment(name, |view| {
            view.is_searching = !roster.is_complete();
            view.discovery_last_success = roster.last_success();
        });
    }
}

/// How series are labelled.
pub(super) fn labels(metrics: &MetricsConfig) -> LabelPolicy {
    LabelPolicy {
        http_status: metrics.http_status,
        duration_labels: metrics.duration_labels.clone(),
        duration_buckets: metrics.duration_buckets.clone().into(),
        max_events: metrics.max_events_per_webhook as usize,
        max_label_sets: metrics.max_label_sets_per_webhook as usize,
    }
}

/// How series are shown.
pub(super) fn display(metrics: &MetricsConfig, server: &ServerConfig) -> Display {
    Display {
        duration_labels: metrics.duration_labels.clone(),
        duration_buckets: metrics.duration_buckets.clone().into(),
        birth_hold: metrics.birth_hold,
        links: Links { trace_url: server.trace_url.clone(), grafana_url: server.grafana_url.clone() },
    }
}

/// How spans are made; `None` if there is no receiver for them.
pub(crate) fn spans(traces: &TracesConfig) -> Option<SpanPolicy> {
    let is_on = traces.enabled && traces.endpoint.is_some();
    is_on.then(|| SpanPolicy {
        sampler: Sampler::new(traces.success_sample_ratio),
        history: traces.history,
        logs: traces.logs.is_some(),
    })
}

/// How decisions are made.
pub(crate) fn policy(poll: &PollConfig, metrics: &MetricsConfig) -> Policy {
    Policy {
        windows: Windows {
            initial_lookback: poll.initial_lookback,
            lookback: poll.lookback,
            sweep_interval: poll.sweep_interval,
            settle_after: poll.settle_after,
        },
        labels: labels(metrics),
        catch_up_after: poll.max_interval * 2,
        holds_births: !metrics.birth_hold.is_zero(),
    }
}

/// The target of a configured webhook.
pub(crate) fn target(environment: &EnvironmentConfig, webhook: &WebhookConfig) -> Target {
    Target {
        environment: environment.name.as_str().into(),
        webhook_id: webhook.webhook_id.as_str().into(),
        owner_type: webhook.owner_type,
        owner_id: webhook.owner_id.as_str().into(),
        webhook_name: webhook.name.as_deref().unwrap_or(&webhook.webhook_id).into(),
    }
}

/// A client for an environment, with its current token.
pub(crate) fn client(environment: &EnvironmentConfig) -> Result<Client, AppError> {
    Client::new(&client_options(environment), &environment.token.read()?)
        .map_err(|error| client_error(environment, error))
}

fn client_options(environment: &EnvironmentConfig) -> ClientOptions {
    ClientOptions {
        base_url: environment.base_url.clone(),
        request_timeout: environment.request_timeout,
        ca_file: environment.ca_file.clone(),
        proxy: environment.proxy.clone(),
    }
}

fn client_error(environment: &EnvironmentConfig, error: ClientError) -> AppError {
    AppError::Client { environment: environment.name.clone(), error }
}

/// The search for webhooks that `config` requires, with what is `known` already, as of `now`.
pub(crate) fn discovery_of(config: &DiscoveryConfig, known: DiscoveryRecord, now: ServerTime) -> Discovery {
    let settings = DiscoverySettings {
        agents: config.agents,
        campaigns: config.campaigns,
        refresh_interval: config.refresh_interval,
        max_webhooks: config.max_webhooks as usize,
    };
    Discovery::new(settings, Filter::new(&config.include, &config.exclude), known, now)
}
