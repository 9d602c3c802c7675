//! What a file says arrives, and files that it names are looked at.

use super::*;
use crate::config::{ConfigSource, TokenSource, WebhookConfig};
use secrecy::ExposeSecret;
use talkover_core::delivery::OwnerType;
use talkover_core::ledger::labels::HttpStatusDetail;

const FULL: &str = r#"
server: {listen: "[::1]:80", enable_lifecycle: true}
requests_per_minute: 100
environments:
  - name: production
    base_url: http://127.0.0.1:8080/talkover/
    token_env: OTHER
    requests_per_minute: 1
    max_concurrent_requests: 1
    request_timeout: 1500ms
    proxy: http://proxy.example:3128/
    discovery: {agents: false, include: ["sales/*", "*"], exclude: [x], refresh_interval: 1h30m}
    webhooks:
      - {agent_id: a1, webhook_id: w1, name: orders}
      - {campaign_id: c1, webhook_id: w2}
  - {name: staging, discovery: {}, allow_insecure_http: true, base_url: "http://example.com"}
poll: {min_interval: 1s, max_interval: 1s, initial_lookback: 0, lookback: 5m, settle_after: 5m}
metrics: {http_status: off, duration_labels: [], duration_buckets: [0.5, 1, 2], birth_hold: 0s}
state: {path: data/x.db}
log: {level: "warn,talkover_exporter=trace", format: json}
"#;

#[test]
fn every_setting_arrives() {
    let config = valid(FULL, &[("OTHER", "talq_other\n")]);
    assert_eq!(config.server.listen.to_string(), "[::1]:80");
    assert!(config.server.enable_lifecycle);
    assert_eq!(config.requests_per_minute, Some(100));
    let [production, staging] = config.environments.as_slice() else { panic!("two environments") };
    assert_eq!(production.base_url.as_str(), "http://127.0.0.1:8080/talkover");
    assert_eq!(production.token.read().expect("a token").expose_secret(), "talq_other");
    assert_eq!((production.requests_per_minute, production.max_concurrent_requests), (1, 1));
    assert_eq!(production.request_timeout.as_millis(), 1500);
    assert_eq!(production.proxy.as_ref().map(|url| url.as_str()), Some("http://proxy.example:3128/"));
    let discovery = production.discovery.as_ref().expect("discovery");
    assert_eq!((discovery.agents, discovery.campaigns), (false, true));
    assert_eq!(discovery.include, ["sales/*", "*"]);
    assert_eq!(discovery.exclude, ["x"]);
    let webhook = |owner_type, owner_id: &str, webhook_id: &str, name: Option<&str>| WebhookConfig {
        owner_type,
        owner_id: owner_id.to_owned(),
        webhook_id: webhook_id.to_owned(),
        name: name.map(str::to_owned),
    };
    assert_eq!(
        production.webhooks,
        [webhook(OwnerType::Agent, "a1", "w1", Some("orders")), webhook(OwnerType::Campaign, "c1", "w2", None)]
    );
    assert!(staging.allow_insecure_http && staging.webhooks.is_empty());
    assert!(config.poll.initial_lookback.is_zero());
    assert_eq!(config.metrics.http_status, HttpStatusDetail::Off);
    assert_eq!(config.metrics.duration_labels, []);
    assert_eq!(config.metrics.duration_buckets, [0.5, 1.0, 2.0]);
    assert_eq!(config.state.path, Path::new("data/x.db"));
    assert_eq!(config.log.level, "warn,talkover_exporter=trace");
}

#[test]
fn null_means_default() {
    let text = format!("{SMALLEST}poll:\nmetrics: {{birth_hold: ~}}\nrequests_per_minute: null\n");
    assert_eq!(valid(&text, &[]), valid(SMALLEST, &[]));
}

#[test]
fn loopback_hosts_may_be_asked_in_clear_text() {
    for host in ["localhost", "x.localhost", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]", "localhost.", "LOCALHOST:1"] {
        let text = SMALLEST.replace("name: a", &format!("name: a, base_url: 'http://{host}'"));
        assert!(load_text(&text).is_ok(), "{host}");
    }
    for host in ["example.com", "localhost.example.com", "128.0.0.1", "[::2]", "0.0.0.0", "notlocalhost"] {
        let text = SMALLEST.replace("name: a", &format!("name: a, base_url: 'http://{host}'"));
        assert!(load_text(&text).is_err(), "{host}");
    }
}

fn load_text(text: &str) -> Result<Config, ConfigFaults> {
    super::load(text, &[])
}

#[test]
fn a_token_file_is_read_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    let file = directory.path().join("c.yml");
    let text = SMALLEST.replace("name: a", &format!("name: a, token_file: '{}'", token.display()));
    std::fs::write(&file, text).expect("written");

    let message = |environment| ConfigSource::new(&file, &environment).load().expect_err("refused").to_string();
    let place = format!("{}:1: environments[0].token_file: ", file.display());
    let missing = message(variables(&[]));
    assert!(missing.starts_with(&place) && missing.contains("No such file"), "{missing}");
    std::fs::write(&token, " \n").expect("written");
    assert_eq!(message(variables(&[])), format!("{place}the token in the file {} is empty", token.display()));
    std::fs::write(&token, "talq_a\ntalq_b").expect("written");
    let two = message(variables(&[]));
    assert!(two.ends_with("must not carry") && !two.contains("talq_"), "{two}");

    std::fs::write(&token, "talq_good\n").expect("written");
    let config = ConfigSource::new(&file, &EnvVars::new()).load().expect("needs no variable");
    assert_eq!(config.environments[0].token, TokenSource::File(token));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let lines = |path: &Path| ConfigSource::new(path, &variables(&[])).load().expect_err("refused").to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("none.yml");
    let text = lines(&missing);
    assert!(text.starts_with(&format!("{}: failed to read: No such", missing.display())), "{text}");
    let text = lines(directory.path());
    assert!(text.contains(": failed to read: Is a directory"), "{text}");
}

#[test]
fn files_of_certificates_must_hold_some() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.display().to_string()
    };
    let begin = "-----BEGIN CERTIFICATE-----\n";
    let end = "\n-----END CERTIFICATE-----\n";
    for (content, reason) in [
        ("no PEM".to_owned(), "holds no certificate in PEM form"),
        (format!("{begin}!!!{end}"), "is no valid PEM file"),
        (format!("{begin}AAAA{end}"), "holds an unusable certificate"),
    ] {
        let path = write("ca.pem", &content);
        let text = SMALLEST.replace("name: a", &format!("name: a, ca_file: '{path}'"));
        let lines = faults_of(&text, &[]);
        assert!(lines.starts_with(&format!("c.yml:1: environments[0].ca_file: {path} {reason}")), "{lines}");
    }
    let lines = faults("server: {web_config_file: /nonexistent/web.yml}", &[]);
    assert!(lines.starts_with("c.yml:2: server.web_config_file: failed to read /nonexistent/web.yml"), "{lines}");
}

#[test]
fn only_an_examination_looks_at_the_states_path() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("c.yml");
    std::fs::write(&file, format!("{SMALLEST}state:\n  path: /proc/nope/x.db\npoll: {{per_page: 0}}\n"))
        .expect("written");
    let source = ConfigSource::new(&file, &variables(&[]));
    let lines = source.load_and_examine().expect_err("refused").lines();
    assert!(lines[0].ends_with("c.yml:4: poll.per_page: must be a whole number from 1 to 100, not the number 0"));
    assert!(
        lines[1].contains("c.yml:3: state.path: /proc/nope/x.db cannot be created: /proc takes no files"),
        "{lines:?}"
    );
    assert_eq!(source.load().expect_err("refused").lines(), lines[..1]);
    let good = directory.path().join("new/state.db");
    std::fs::write(&file, format!("{SMALLEST}state: {{path: {good:?}}}\n")).expect("written");
    assert!(source.load_and_examine().is_ok() && !directory.path().join("new").exists());
}

#[test]
fn no_secret_stands_in_debug_output() {
    let text = format!("{SMALLEST}traces: {{headers: {{x-api-key: hush}}}}\n");
    let config = valid(&text, &[("TALKOVER_EXPORTER__TRACES__HEADERS__OTHER", "hush")]);
    let debug = format!("{config:?} {config:#?}");
    assert!(!debug.contains("hush") && !debug.contains("talq_"), "{debug}");
}
