//! `demo`: the simulator and the daemon in one process, to show the whole product with one command.

use std::path::Path;

use super::run::run_until;
use super::{DemoArgs, Failure, print_beside, warn_of};
use crate::app::App;
use crate::config::{self, Config, EnvVars, LogConfig, LogFormat};
use crate::logging;
use crate::server::listen;
use crate::shutdown;
use talkover_simulator::{Clock, DEFAULT_SEED, Scenario, Simulator};

pub(super) fn run(args: &DemoArgs, environment: &EnvVars) -> Result<(), Failure> {
    // The daemon's log at `info` would bury what the demo prints.
    logging::init(&LogConfig { level: "warn".to_owned(), format: LogFormat::Text })?;
    let state = tempfile::Builder::new()
        .prefix("talkover-exporter-demo-")
        .tempdir()
        .map_err(|error| Failure::running(format!("failed to make a directory for the state: {error}")))?;
    let scenario = Scenario::demo().map_err(Failure::running)?;
    let listener = listen::bind(args.listen).map_err(Failure::running)?;
    let address = listener.local_addr().map_err(Failure::running)?;
    // SIGHUP ends the demo: it has no file to reload, and it must not outlive its terminal.
    run_until(shutdown::END_OR_HANGUP, async |shutdown| {
        let loopback = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(Failure::running)?;
        let simulator =
            Simulator::start(scenario.clone(), DEFAULT_SEED, Clock::Real, loopback).map_err(Failure::running)?;
        let config = daemon_config(&scenario, &simulator.base_url(), state.path(), environment)?;
        warn_of(&config);
        let traces = config.traces.endpoint.as_ref().map(ToString::to_string);
        let app = App::new(config, None).map_err(Failure::running)?;
        let welcome = welcome(&format!("http://{address}"), &simulator.base_url(), traces.as_deref());
        let running = async { app.run(listener, None, shutdown).await.map_err(Failure::running) };
        let ended = print_beside(welcome, running).await;
        simulator.shutdown().await;
        ended
    })
}

/// Returns the configuration of a daemon that discovers every simulated webhook and polls often. Only the variables of
/// OpenTelemetry apply, which say where to send spans.
fn daemon_config(scenario: &Scenario, base_url: &str, state: &Path, environment: &EnvVars) -> Result<Config, Failure> {
    let text = format!(
        "environments:
  - name: demo
    base_url: {base_url}
    requests_per_minute: 900
    discovery: {{refresh_interval: 1m}}
poll: {{min_interval: 1s, max_interval: 2s, lookback: 2m, sweep_interval: 30s, settle_after: 1h}}
metrics: {{birth_hold: 10s}}
state: {{path: {:?}}}
",
        state.join("state.db").display().to_string()
    );
    let token = scenario.tokens.first().cloned().unwrap_or_default();
    let mut variables = environment.clone();
    variables.retain(|name, _| name.starts_with("OTEL_"));
    variables.insert("TALKOVER_TOKEN".to_owned(), token);
    Ok(config::parse(Path::new("the demo's configuration"), text.as_bytes(), &variables)?)
}

fn welcome(exporter: &str, api: &str, traces: Option<&str>) -> String {
    let traces = traces.unwrap_or("not sent: set OTEL_EXPORTER_OTLP_ENDPOINT to a receiver");
    format!(
        "talkover-exporter demo: a simulated TalkOver delivers webhooks, and the exporter reads their delivery log.

  Metrics         {exporter}/metrics
  Status page     {exporter}/
  Dashboards      {exporter}/dashboards/   (for Grafana; rules and alerts: {exporter}/rules/)
  Simulated API   {api}   (what really happened: {api}/_simulator/truth)
  Traces          {traces}

Try next:
  curl -s {exporter}/metrics | grep ^talkover_webhook_delivery_attempts_total
      attempts by event, status and http_status; failures spike within the first minute, then every two minutes
  curl -s {exporter}/metrics | grep ^talkover_webhook_deliveries_open
      deliveries that are pending or retrying right now
  Let Prometheus scrape it:
      scrape_configs: [{{job_name: talkover, honor_labels: true, static_configs: [{{targets: [\"{}\"]}}]}}]
  talkover-exporter simulate --help
      only the simulated API, for your own configuration and scenarios

Nothing else leaves this machine, and nothing is kept. Press Ctrl-C to stop.
",
        exporter.trim_start_matches("http://")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_environment_only_the_settings_of_traces_count() {
        let scenario = Scenario::demo().expect("a scenario");
        let config = |variables: &[(&str, &str)]| {
            let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            daemon_config(&scenario, "http://127.0.0.1:1", Path::new("/state"), &environment).expect("a configuration")
        };
        let own = config(&[]);
        assert_eq!(own.traces.endpoint, None);
        let set = config(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://tempo:4317"),
            ("TALKOVER_TOKEN", "talq_of_somebody"),
            ("TALKOVER_EXPORTER__POLL__MIN_INTERVAL", "2s"),
            ("TALKOVER_EXPORTER__STATE__PATH", "/somewhere/else.db"),
        ]);
        assert_eq!(set.traces.endpoint.map(String::from).as_deref(), Some("http://tempo:4317/"));
        assert_eq!(set.poll.min_interval, own.poll.min_interval);
        assert_eq!(set.state.path, own.state.path);
        let token = set.environments[0].token.read().expect("a token");
        assert_eq!(secrecy::ExposeSecret::expose_secret(&token), scenario.tokens[0]);
    }
}
