//! The daemon finds its webhooks by itself: new ones are polled, gone ones stay for a while, and a restart knows them
//! all.

use std::path::PathBuf;

use talkover_simulator::{Clock, EntrySpec, OwnerKind, Scenario, Simulator, Status, Webhook};

use crate::harness::{Exporter, Scrape, Workspace, check_online, quiet_scenario, simulator};

const ATTEMPTS: &str = "talkover_webhook_delivery_attempts_total";
const SETTINGS: &str = "poll: {min_interval: 50ms, max_interval: 100ms}\nmetrics: {birth_hold: 300ms}\n";

struct Scene {
    simulator: Simulator,
    workspace: Workspace,
}

impl Scene {
    async fn new(scenario: Scenario) -> Self {
        Self { simulator: simulator(scenario, Clock::Real).await, workspace: Workspace::new() }
    }

    fn configure(&self, discovery: &str) -> PathBuf {
        self.workspace.write("token", "talq_simulator\n");
        let text = format!(
            "server: {{listen: 127.0.0.1:0}}\nstate: {{path: {:?}}}\nenvironments:\n  - name: test\n    \
             base_url: {}\n    token_file: {:?}\n    requests_per_minute: 6000\n    discovery: {discovery}\n{SETTINGS}",
            self.workspace.path("state.db"),
            self.simulator.base_url(),
            self.workspace.path("token"),
        );
        self.workspace.write("config.yml", &text)
    }

    fn deliver(&self, webhook: &str, status: Status) {
        let inserted = self.simulator.with_world(|world| {
            let created_at = world.now();
            let http_status = (status == Status::Failed).then_some(503).or(Some(200));
            world.insert(webhook, EntrySpec { created_at, status, http_status, ..EntrySpec::default() })
        });
        inserted.unwrap();
    }
}

fn infos(scrape: &Scrape) -> usize {
    scrape.of("talkover_webhook_info").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_found_polled_and_let_go() {
    let scene = Scene::new(quiet_scenario()).await;
    scene.deliver("w-1", Status::Success);
    let exporter = Exporter::start(&scene.configure("{agents: true, campaigns: true, refresh_interval: 500ms}")).await;
    let scrape = exporter.wait_for("both", |scrape| scrape.of("talkover_up").count() == 2).await;
    let info = "talkover_webhook_info{environment=\"test\",webhook_id=\"w-2\",webhook_name=\"webhook w-2\",\
                owner_type=\"campaign\",owner_id=\"c-1\",owner_name=\"campaign c-1\",url_host=\"hooks.example.com\"}";
    assert_eq!(scrape.get(info), Some(1.0), "{}", scrape.text);
    assert_eq!(scrape.sum("talkover_webhook_enabled", &[]), 2.0);
    assert_eq!(scrape.sum("talkover_webhook_max_retries", &[]), 6.0);
    exporter.wait_for("history", |scrape| scrape.sum(ATTEMPTS, &["w-1"]) == 1.0).await;

    // A new one, whose delivery happened after the last list that did not name its agent: that is live, and born at 0.
    scene.simulator.with_world(|world| world.add_webhook(Webhook::of_agent("a-9", "w-9")));
    scene.deliver("w-9", Status::Failed);
    let is_born = |scrape: &Scrape| scrape.of(ATTEMPTS).any(|(series, value)| series.contains("w-9") && value == 0.0);
    exporter.wait_for("the birth", is_born).await;
    exporter.wait_for("its value", |scrape| scrape.sum(ATTEMPTS, &["w-9"]) == 1.0).await;

    // A name that changes is shown; an owner that goes takes its webhook out of the polls, not out of the series.
    scene.simulator.with_world(|world| {
        world.rename_owner(OwnerKind::Campaign, "c-1", "Winter");
        world.remove_owner(OwnerKind::Agent, "a-9");
    });
    let has_changed = |scrape: &Scrape| {
        scrape.of("talkover_up").count() == 2 && scrape.sum("talkover_webhook_info", &["owner_name=\"Winter\""]) == 1.0
    };
    let scrape = exporter.wait_for("the changes", has_changed).await;
    assert_eq!((infos(&scrape), scrape.sum(ATTEMPTS, &["w-9"])), (3, 1.0));
    assert_eq!(scrape.sum("talkover_exporter_targets", &[]), 2.0);
    assert!(scrape.sum("talkover_exporter_discovery_last_success_timestamp_seconds", &[]) > 0.0);
    assert!(scrape.sum("talkover_api_requests_total", &["endpoint=\"agent_webhooks\"", "code=\"200\""]) >= 2.0);

    // A restart knows everything before it has asked anything, also of what is no longer listed.
    let described = |scrape: &Scrape| -> Vec<(String, f64)> {
        let names =
            ["info", "enabled", "max_retries", "timeout_seconds"].map(|name| format!("talkover_webhook_{name}"));
        let samples = names.iter().flat_map(|name| scrape.of(name).map(|(series, value)| (series.to_owned(), value)));
        samples.collect()
    };
    let before = described(&scrape);
    let gone = "owner_name=\"agent a-9\",url_host=\"hooks.example.com\"";
    assert!(before.len() == 12 && before.iter().any(|(series, _)| series.contains(gone)), "{before:?}");
    exporter.kill().await;
    scene.simulator.set_tokens(Vec::new());
    let exporter = Exporter::start(&scene.configure("{refresh_interval: 1h}")).await;
    let scrape = exporter.scrape().await;
    assert_eq!(scrape.sum(ATTEMPTS, &["w-9"]), 1.0, "{}", scrape.text);
    assert_eq!(described(&scrape), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_what_is_wanted() {
    let scene = Scene::new(quiet_scenario()).await;
    let exporter = Exporter::start(&scene.configure("{refresh_interval: 500ms, exclude: [c-1]}")).await;
    let scrape = exporter.wait_for("one", |scrape| scrape.of("talkover_up").count() == 1).await;
    assert_eq!(infos(&scrape), 1);
    scene.deliver("w-2", Status::Success);
    scene.configure("{refresh_interval: 500ms, include: [\"campaign c-1/*\"]}");
    exporter.signal(rustix::process::Signal::HUP);
    let is_other = |scrape: &Scrape| {
        scrape.sum(ATTEMPTS, &["w-2"]) == 1.0 && scrape.of("talkover_up").all(|(series, _)| series.contains("w-2"))
    };
    let scrape = exporter.wait_for("the other", is_other).await;
    assert_eq!(infos(&scrape), 2, "the series of the first stay for a day");
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_means_that_the_lists_were_read() {
    let scene = Scene::new(Scenario { tokens: Vec::new(), ..quiet_scenario() }).await;
    let exporter = Exporter::start(&scene.configure("{refresh_interval: 1s}")).await;
    let answer = reqwest::get(format!("{}/-/ready", exporter.url)).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.text().await.unwrap().contains("discovery"));
    scene.simulator.set_tokens(vec!["talq_simulator".to_owned()]);
    let url = format!("{}/-/ready", exporter.url);
    crate::harness::wait_for("ready", || async { (reqwest::get(&url).await.ok()?.status() == 200).then_some(()) })
        .await;
    assert_eq!(infos(&exporter.scrape().await), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_asks_what_the_settings_come_to() {
    let mut scenario = quiet_scenario();
    scenario.webhooks.push(Webhook { enabled: false, ..Webhook::of_agent("a-2", "w-3") });
    let scene = Scene::new(scenario).await;
    for status in [Status::Success, Status::Success, Status::Failed] {
        scene.deliver("w-1", status);
    }
    let config = scene.configure("{refresh_interval: 5m, exclude: [w-2]}");
    let verdict = check_online(&config).await;
    assert_eq!(verdict.code, Some(0), "{verdict:#?}");
    let text = verdict.stdout;
    let line = |name: &str| {
        let found = text.lines().find_map(|line| line.trim_start().strip_prefix(name));
        found.unwrap_or_else(|| panic!("{name} is not in {text}")).trim().to_owned()
    };
    assert_eq!(line("webhooks"), "2: 0 named, 2 discovered under 3 owners, 1 left out; 1 disabled");
    // Two lists, three owners, one log.
    assert_eq!(line("cost of this"), "6 requests");
    assert!(line("API rate limit").ends_with("994 left"), "{text}");
    assert!(line("requests a minute").contains("the budget is 6000"), "{text}");
    assert!(line("freshness").starts_with("an entry is read after 0.0s on average, 0.1s at worst"), "{text}");
    // Two label sets of attempts and durations, one event's delay, two ends of deliveries, and what does not depend on
    // traffic.
    let series = 2 * (31 + 2 + 2 * (11 + 3) + (11 + 3) + 2 * (1 + 7 + 3));
    assert!(line("series to expect").starts_with(&format!("about {series},")), "{text}");

    scene.simulator.set_tokens(Vec::new());
    let verdict = check_online(&config).await;
    assert_eq!(verdict.code, Some(1), "{verdict:#?}");
    let error = verdict.stderr;
    assert!(error.contains("environment `test`") && error.contains("401"), "{error}");
}
