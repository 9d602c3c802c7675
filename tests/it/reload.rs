//! The configuration changes while the daemon runs: by SIGHUP, by request, and by itself.

use std::path::Path;

use reqwest::{Client, StatusCode};
use rustix::process::Signal;
use talkover_simulator::{Clock, EntrySpec, Simulator, Status};

use crate::harness::{Exporter, Scrape, Workspace, quiet_scenario, simulator};

const SETTINGS: &str = "poll: {min_interval: 50ms, max_interval: 100ms}\n";
const SUCCESSFUL: &str = "talkover_exporter_config_last_reload_successful";
const BUCKETS: &str = "talkover_webhook_delivery_duration_seconds_bucket";

/// A simulated API with two webhooks, and a place for the exporter.
struct Scene {
    simulator: Simulator,
    workspace: Workspace,
}

impl Scene {
    async fn new() -> Self {
        Self { simulator: simulator(quiet_scenario(), Clock::Real).await, workspace: Workspace::new() }
    }

    /// Writes the configuration that names the first `webhooks` webhooks.
    fn configure(&self, webhooks: usize, more: &str) -> std::path::PathBuf {
        self.workspace.configure(&self.simulator.base_url(), &quiet_scenario().webhooks[..webhooks], more)
    }

    /// Adds a successful attempt made just now.
    fn deliver(&self, webhook: &str) {
        let inserted = self.simulator.with_world(|world| {
            let created_at = world.now();
            world.insert(webhook, EntrySpec { created_at, status: Status::Success, ..EntrySpec::default() })
        });
        inserted.unwrap();
    }

    async fn wait_for_attempts(&self, exporter: &Exporter, webhook: &str, count: f64) {
        let label = format!("webhook_id=\"{webhook}\"");
        let attempts = "talkover_webhook_delivery_attempts_total";
        exporter.wait_for("the attempts", |scrape| scrape.sum(attempts, &[&label]) == count).await;
    }
}

async fn ask(exporter: &Exporter) -> (StatusCode, String) {
    let answer = Client::new().post(format!("{}/-/reload", exporter.url)).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

fn add_lifecycle(config: &Path) {
    let text = std::fs::read_to_string(config).unwrap();
    std::fs::write(config, text.replacen("server: {", "server: {enable_lifecycle: true, ", 1)).unwrap();
}

#[tokio::test]
async fn a_webhook_comes_and_goes_without_a_restart() {
    let scene = Scene::new().await;
    for webhook in ["w-1", "w-2", "w-2"] {
        scene.deliver(webhook);
    }
    let exporter = Exporter::start(&scene.configure(1, SETTINGS)).await;
    scene.wait_for_attempts(&exporter, "w-1", 1.0).await;

    scene.configure(2, SETTINGS);
    exporter.signal(Signal::HUP);
    scene.wait_for_attempts(&exporter, "w-2", 2.0).await;
    scene.deliver("w-1");
    scene.wait_for_attempts(&exporter, "w-1", 2.0).await;
    let polls = exporter.scrape().await.sum("talkover_exporter_polls_total", &["w-1", "success"]);
    assert!(polls >= 2.0, "the polls before the reload are counted on: {polls}");

    // Not named any more: its series stay, but it is polled no more. Nobody has to ask for that.
    scene.configure(1, SETTINGS);
    let is_gone = |scrape: &crate::harness::Scrape| scrape.of("talkover_up").count() == 1;
    exporter.wait_for("one target less", is_gone).await;
    scene.deliver("w-2");
    scene.deliver("w-1");
    scene.wait_for_attempts(&exporter, "w-1", 3.0).await;
    scene.wait_for_attempts(&exporter, "w-2", 2.0).await;

    // Named again: what happened in the meantime is counted once.
    scene.configure(2, SETTINGS);
    scene.wait_for_attempts(&exporter, "w-2", 3.0).await;
    scene.wait_for_attempts(&exporter, "w-1", 3.0).await;
}

#[tokio::test]
async fn signals_are_obeyed_from_the_moment_at_which_it_says_that_it_listens() {
    let scene = Scene::new().await;
    let config = scene.configure(1, SETTINGS);
    for _ in 0..3 {
        let exporter = Exporter::start(&config).await;
        exporter.signal(Signal::HUP);
        let is_told = |log: &[String]| log.iter().any(|line| line.contains("reloaded the configuration"));
        exporter.wait_for_log("a reload", is_told).await;
        assert_eq!(exporter.terminate().await, Some(0));
        assert_eq!(Exporter::start(&config).await.terminate().await, Some(0));
    }
}

#[tokio::test]
async fn a_bad_file_is_refused_with_its_reasons_and_changes_nothing() {
    let scene = Scene::new().await;
    let config = scene.configure(1, SETTINGS);
    add_lifecycle(&config);
    let exporter = Exporter::start(&config).await;
    let good = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, good.replace("50ms", "10h").replace("webhook_id", "webhook")).unwrap();
    let (status, reasons) = ask(&exporter).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        reasons.contains("config.yml:10: poll.min_interval: ") && reasons.contains("webhooks[0].webhook"),
        "{reasons}"
    );
    assert_eq!(exporter.scrape().await.get(SUCCESSFUL), Some(0.0));
    scene.deliver("w-1");
    scene.wait_for_attempts(&exporter, "w-1", 1.0).await;

    std::fs::write(&config, good).unwrap();
    assert_eq!(ask(&exporter).await, (StatusCode::OK, "reloaded\n".to_owned()));
    assert_eq!(exporter.scrape().await.get(SUCCESSFUL), Some(1.0));
    let get = reqwest::get(format!("{}/-/reload", exporter.url)).await.unwrap();
    assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_reload_by_request_has_to_be_allowed() {
    let scene = Scene::new().await;
    let exporter = Exporter::start(&scene.configure(1, SETTINGS)).await;
    let (status, reason) = ask(&exporter).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(reason.contains("server.enable_lifecycle"), "{reason}");
}

#[tokio::test]
async fn other_buckets_begin_at_0_and_the_counters_go_on() {
    let scene = Scene::new().await;
    let config = scene.configure(2, SETTINGS);
    add_lifecycle(&config);
    scene.deliver("w-1");
    let exporter = Exporter::start(&config).await;
    scene.wait_for_attempts(&exporter, "w-1", 1.0).await;
    let text = std::fs::read_to_string(&config).unwrap();
    let metrics = "metrics: {birth_hold: 0s, duration_buckets: [0.5, 7], duration_labels: [status]}";
    std::fs::write(&config, text.replace("metrics: {birth_hold: 0s}", metrics)).unwrap();
    assert_eq!(ask(&exporter).await.0, StatusCode::OK);
    let scrape = exporter.scrape().await;
    assert_eq!(scrape.of(BUCKETS).count(), 0, "{}", scrape.text);
    scene.deliver("w-1");
    scene.wait_for_attempts(&exporter, "w-1", 2.0).await;
    let scrape = exporter.scrape().await;
    let series = |le: &str| {
        let labels = format!("environment=\"test\",webhook_id=\"w-1\",status=\"success\",le=\"{le}\"");
        scrape.get(&format!("{BUCKETS}{{{labels}}}"))
    };
    assert_eq!((series("7.0").is_some(), series("+Inf")), (true, Some(1.0)), "{}", scrape.text);
}

#[tokio::test]
async fn with_another_http_status_the_old_series_stand_still_and_new_ones_are_born() {
    let scene = Scene::new().await;
    let config = scene.configure(1, SETTINGS);
    add_lifecycle(&config);
    scene.deliver("w-1");
    let exporter = Exporter::start(&config).await;
    scene.wait_for_attempts(&exporter, "w-1", 1.0).await;
    let text = std::fs::read_to_string(&config).unwrap();
    let attempts = |scrape: &Scrape| -> Vec<(String, f64)> {
        let label = |series: &str| series.rsplit_once("http_status=\"").unwrap().1.trim_end_matches("\"}").to_owned();
        scrape.attempts().iter().map(|(series, value)| (label(series), *value)).collect()
    };
    for (setting, number, expected) in [
        ("class", 2.0, vec![("200", 1.0), ("2xx", 1.0)]),
        ("off", 3.0, vec![("", 1.0), ("200", 1.0), ("2xx", 1.0)]),
        ("exact", 4.0, vec![("", 1.0), ("200", 2.0), ("2xx", 1.0)]),
    ] {
        let metrics = format!("metrics: {{birth_hold: 0s, http_status: {setting}}}");
        std::fs::write(&config, text.replace("metrics: {birth_hold: 0s}", &metrics)).unwrap();
        assert_eq!(ask(&exporter).await.0, StatusCode::OK);
        scene.deliver("w-1");
        scene.wait_for_attempts(&exporter, "w-1", number).await;
        let expected: Vec<_> = expected.into_iter().map(|(label, value)| (label.to_owned(), value)).collect();
        assert_eq!(attempts(&exporter.scrape().await), expected, "{setting}");
    }
    let before = exporter.scrape().await;
    exporter.kill().await;
    let exporter = Exporter::start(&config).await;
    assert_eq!(exporter.scrape().await.attempts(), before.attempts());
}

#[tokio::test]
async fn an_environment_comes_and_goes_and_the_other_is_not_disturbed() {
    let (scene, other) = (Scene::new().await, Scene::new().await);
    let config = scene.configure(1, SETTINGS);
    let exporter = Exporter::start(&config).await;
    scene.wait_for_attempts(&exporter, "w-1", 0.0).await;
    let text = std::fs::read_to_string(&config).unwrap();
    let second = format!(
        "environments:\n  - {{name: second, base_url: {:?}, token_file: {:?}, webhooks: [{{agent_id: a-1, webhook_id: w-1}}]}}\n",
        other.simulator.base_url(),
        scene.workspace.path("token"),
    );
    std::fs::write(&config, text.replace("environments:\n", &second)).unwrap();
    other.deliver("w-1");
    exporter.signal(Signal::HUP);
    let attempts = "talkover_webhook_delivery_attempts_total";
    exporter.wait_for("the second", |scrape| scrape.sum(attempts, &["environment=\"second\""]) == 1.0).await;

    std::fs::write(&config, text).unwrap();
    exporter.signal(Signal::HUP);
    let budgets = "talkover_exporter_budget_requests_per_minute";
    let scrape = exporter.wait_for("its end", |scrape| scrape.of(budgets).count() == 1).await;
    assert_eq!(scrape.sum(attempts, &["environment=\"second\""]), 1.0, "its series stay for a day");
    let reloads = |log: &[String]| log.iter().filter(|line| line.contains("reloaded the configuration")).count();
    exporter.wait_for_log("both reloads", |log| reloads(log) >= 2).await;
}
