//! Files that the configuration names change while the daemon runs: their contents count, and nobody has to ask for
//! that.

use std::path::PathBuf;

use rustix::process::Signal;
use talkover_simulator::{Clock, Simulator};

use crate::faults::front::{Front, fixture};
use crate::harness::{Exporter, Scrape, Workspace, quiet_scenario, simulator};

const SETTINGS: &str = "poll: {min_interval: 50ms, max_interval: 100ms}\n";
const SUCCESSFUL: &str = "talkover_exporter_config_last_reload_successful";
const POLLS: &str = "talkover_exporter_polls_total";

struct Scene {
    simulator: Simulator,
    workspace: Workspace,
}

impl Scene {
    async fn new() -> Self {
        Self { simulator: simulator(quiet_scenario(), Clock::Real).await, workspace: Workspace::new() }
    }

    /// A file whose content is that of one of `tests/fixtures/tls`.
    fn copy(&self, fixture_name: &str, name: &str) -> PathBuf {
        let content = std::fs::read_to_string(fixture(fixture_name)).unwrap();
        self.workspace.write(name, &content)
    }

    fn configure(&self, settings: &str, base_url: &str, more: &str) -> PathBuf {
        let settings = format!("requests_per_minute: 6000\n    {settings}");
        let more = format!("{SETTINGS}{more}");
        self.workspace.configure_with(settings.trim_end(), base_url, &quiet_scenario().webhooks[..1], &more)
    }
}

fn polls(scrape: &Scrape) -> f64 {
    scrape.sum(POLLS, &["success"])
}

/// Waits for polls that succeed after this moment.
async fn wait_for_polls(exporter: &Exporter) {
    let before = polls(&exporter.scrape().await);
    exporter.wait_for("further polls", |scrape| up(scrape) == 1.0 && polls(scrape) > before + 2.0).await;
}

fn up(scrape: &Scrape) -> f64 {
    scrape.sum("talkover_up", &["w-1"])
}

fn count(log: &[String], text: &str) -> usize {
    log.iter().filter(|line| line.contains(text)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_exchanged_is_trusted_from_then_on() {
    let scene = Scene::new().await;
    let front = Front::start(scene.simulator.base_url());
    let authority = scene.copy("ca.crt", "ca.pem");
    let config = scene.configure(&format!("ca_file: {authority:?}"), &front.url, "");
    let exporter = Exporter::start(&config).await;
    wait_for_polls(&exporter).await;

    front.show("untrusted");
    exporter.wait_for("polls that fail", |scrape| up(scrape) == 0.0).await;
    scene.copy("untrusted.crt", "ca.pem");
    wait_for_polls(&exporter).await;
    let log = exporter.log();
    assert_eq!(count(&log, "ca_file changed; new connections trust its new authorities"), 1, "{log:#?}");

    // With a signal too, whose answer in the log comes after the exchange.
    front.show("renewed");
    scene.copy("ca.crt", "ca.pem");
    exporter.signal(Signal::HUP);
    wait_for_polls(&exporter).await;
    let log = exporter.wait_for_log("the signal", |log| count(log, "cause=\"SIGHUP\"") == 1).await;
    assert_eq!(count(&log, "ca_file changed"), 2, "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_by_half_changes_nothing_and_is_told_once() {
    let scene = Scene::new().await;
    let front = Front::start(scene.simulator.base_url());
    let authority = scene.copy("ca.crt", "ca.pem");
    let web = scene.workspace.write("web.yml", "http_server_config: {headers: {X-Frame-Options: deny}}\n");
    let config = scene.configure(&format!("ca_file: {authority:?}"), &front.url, "");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replacen("server: {", &format!("server: {{web_config_file: {web:?}, "), 1)).unwrap();
    let exporter = Exporter::start(&config).await;
    wait_for_polls(&exporter).await;

    let whole = |name: &str| std::fs::read_to_string(scene.workspace.path(name)).unwrap();
    for (number, (name, half, reason)) in [
        ("ca.pem", "-----BEGIN CERTIFICATE-----\n", "ca.pem is no valid PEM file"),
        ("token", "", "token is empty"),
        (
            "web.yml",
            "http_server_config: {headers: {X-Frame-Options: de}}\n",
            "X-Frame-Options: must be deny or sameorigin",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let good = whole(name);
        scene.workspace.write(name, half);
        exporter.wait_for("a refusal", |scrape| scrape.get(SUCCESSFUL) == Some(0.0)).await;
        wait_for_polls(&exporter).await;
        scene.workspace.write(name, &good);
        exporter.wait_for("the end of it", |scrape| scrape.get(SUCCESSFUL) == Some(1.0)).await;
        let reloads = |log: &[String]| count(log, "reloaded the configuration");
        let log = exporter.wait_for_log("the reload", |log| reloads(log) == number + 1).await;
        assert_eq!(count(&log, reason), 1, "{name}: {log:#?}");
        assert_eq!(count(&log, "failed to reload"), number + 1, "{name}: {log:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificates_of_the_web_file_are_watched_too() {
    let scene = Scene::new().await;
    scene.copy("server.crt", "server.crt");
    scene.copy("server.key", "server.key");
    let web = scene.workspace.write("web.yml", "tls_server_config: {cert_file: server.crt, key_file: server.key}\n");
    let config = scene.configure("", &scene.simulator.base_url(), "");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replacen("server: {", &format!("server: {{web_config_file: {web:?}, "), 1)).unwrap();
    let exporter = Exporter::start(&config).await;
    // A certificate without its key is refused, and taken when the key is there.
    scene.copy("untrusted.crt", "server.crt");
    let is_refused =
        |log: &[String]| count(log, "failed to reload") == 1 && count(log, "tls_server_config.cert_file") == 1;
    exporter.wait_for_log("a refusal", is_refused).await;
    assert!(shown_certificate(&exporter, "ca.crt").await, "the one before stays in force");
    scene.copy("untrusted.key", "server.key");
    let is_taken = |log: &[String]| count(log, "reloaded the configuration") == 1;
    exporter.wait_for_log("a reload", is_taken).await;
    crate::harness::wait_for("the other certificate", || async {
        shown_certificate(&exporter, "untrusted.crt").await.then_some(())
    })
    .await;
}

/// Whether the listener shows a certificate that this authority makes trusted.
async fn shown_certificate(exporter: &Exporter, authority: &str) -> bool {
    let root = reqwest::Certificate::from_pem(&std::fs::read(fixture(authority)).unwrap()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    let url = exporter.url.replacen("http:", "https:", 1);
    client.get(format!("{url}/-/healthy")).send().await.is_ok()
}
