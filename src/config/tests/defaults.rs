//! The embedded defaults are complete, and are what the documentation says.

use super::*;
use crate::config::{
    DEFAULTS, DiscoveryConfig, LogConfig, LogFormat, MetricsConfig, OtlpProtocol, OtlpTls, PollConfig, ServerConfig,
    TokenSource, TracesConfig,
};
use std::time::Duration;
use talkover_core::ledger::labels::{AttemptLabel, HttpStatusDetail};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_file_without_settings_gets_the_documented_ones() {
    let config = valid(SMALLEST, &[]);
    assert_eq!(
        config.server,
        ServerConfig {
            listen: "0.0.0.0:9877".parse().expect("an address"),
            metrics_path: "/metrics".to_owned(),
            web_config_file: None,
            enable_lifecycle: false,
            trace_url: None,
            grafana_url: None,
            max_requests: 40,
            write_timeout: seconds(30),
        }
    );
    assert_eq!(config.requests_per_minute, None);
    assert_eq!(
        config.poll,
        PollConfig {
            min_interval: seconds(15),
            max_interval: seconds(300),
            per_page: 100,
            initial_lookback: seconds(86_400),
            lookback: seconds(600),
            sweep_interval: seconds(300),
            settle_after: seconds(86_400),
        }
    );
    assert_eq!(
        config.metrics,
        MetricsConfig {
            http_status: HttpStatusDetail::Exact,
            duration_labels: vec![AttemptLabel::Event, AttemptLabel::Status, AttemptLabel::HttpStatus],
            duration_buckets: vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0],
            max_events_per_webhook: 200,
            max_label_sets_per_webhook: 500,
            birth_hold: seconds(65),
        }
    );
    assert_eq!(
        config.traces,
        TracesConfig {
            enabled: true,
            endpoint: None,
            protocol: OtlpProtocol::Grpc,
            headers: reqwest::header::HeaderMap::new(),
            gzip: None,
            timeout: None,
            resource_attributes: vec![("service.name".to_owned(), "talkover-webhooks".to_owned())],
            tls: OtlpTls::default(),
            success_sample_ratio: 1.0,
            history: false,
            max_queued_spans: 100_000,
            logs: None,
        }
    );
    assert_eq!(config.metrics_push, None);
    assert_eq!(config.state.path, Path::new("./data/talkover-exporter.db"));
    assert_eq!(config.log, LogConfig { level: "info".to_owned(), format: LogFormat::Text });
}

#[test]
fn an_environment_gets_the_documented_settings() {
    let text = "environments: [{name: a, discovery: {}}]";
    let config = valid(text, &[]);
    let [environment] = config.environments.as_slice() else { panic!("one environment") };
    assert_eq!(environment.base_url.as_str(), "https://app.talkover.ai/");
    assert!(matches!(&environment.token, TokenSource::Env { name, .. } if name == "TALKOVER_TOKEN"));
    assert_eq!(environment.requests_per_minute, 30);
    assert_eq!(environment.max_concurrent_requests, 4);
    assert_eq!(environment.request_timeout, seconds(30));
    assert_eq!(environment.ca_file, None);
    assert_eq!(environment.proxy, None);
    assert!(!environment.allow_insecure_http);
    assert!(environment.webhooks.is_empty());
    assert_eq!(
        environment.discovery,
        Some(DiscoveryConfig {
            agents: true,
            campaigns: true,
            refresh_interval: seconds(300),
            include: vec!["*".to_owned()],
            exclude: Vec::new(),
            max_webhooks: 10_000,
        })
    );
}

/// Where a key of the embedded file were not one of the model, it would be unknown; where a key of the model were
/// not in the file, every load would fail.
#[test]
fn the_embedded_file_holds_the_keys_of_the_model_and_no_others() {
    let filled = DEFAULTS
        .replace("- name: ~", "- name: a")
        .replace("- agent_id: ~", "- agent_id: b")
        .replace("webhook_id: ~", "webhook_id: c");
    let mut written = valid(&filled, &[]);
    let mut implied = valid(SMALLEST, &[]);
    assert!(written.environments.iter_mut().all(|one| one.discovery.take().is_some()));
    assert_eq!(written, implied);

    let extra = DEFAULTS.replace("  per_page:", "  per_pages: 1\n  per_page:");
    let lines = load(&extra, &[]).expect_err("has an unknown key").to_string();
    assert!(lines.contains("poll.per_pages: unknown key"), "{lines}");
    implied.environments.clear();
    assert_ne!(written, implied);
}

#[test]
fn every_key_of_the_embedded_file_is_explained() {
    let mut explained = false;
    let mut unexplained = Vec::new();
    for line in DEFAULTS.lines().map(str::trim).skip_while(|line| !line.is_empty()) {
        let is_comment = line.starts_with('#');
        let is_key = !is_comment && line.contains(':');
        let is_section = line.ends_with(':');
        if is_key && !is_section && !explained {
            unexplained.push(line.to_owned());
        }
        explained = is_comment || (is_key && explained && !is_section);
    }
    // A run of keys shares the comment above it: only those that belong together stand so.
    assert_eq!(unexplained, Vec::<String>::new());
}

#[test]
fn the_example_is_valid() {
    let example = include_str!("../../../config/example.yml")
        .replace("token_file: /run/secrets/talkover-token", "token_env: TALKOVER_TOKEN");
    let config = valid(&example, &[("TALKOVER_STAGING_TOKEN", "talq_staging")]);
    assert_eq!(config.environments.len(), 2);
    assert_eq!(config.log.format, LogFormat::Json);
}
