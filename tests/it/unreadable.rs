//! Pages that cannot be read, one way or another: the target is not held up, nothing is counted twice, and somebody is
//! told.

use std::path::PathBuf;
use std::time::Duration;

use talkover_simulator::{Clock, EntrySpec, PageFaults, Scenario, Simulator, Status};

use crate::harness::{Exporter, Scrape, Workspace, quiet_scenario, simulator};

const SETTINGS: &str = "poll: {min_interval: 100ms, max_interval: 200ms, per_page: 100, lookback: 1h, sweep_interval: 2s}\n\
                        metrics: {birth_hold: 0s}\n";

/// A simulated API with one busy log, and a daemon's configuration.
struct Scene {
    simulator: Simulator,
    _workspace: Workspace,
    config: PathBuf,
}

impl Scene {
    async fn new(entries: u64) -> Self {
        let scenario = Scenario { rate_limit_per_minute: 100_000, ..quiet_scenario() };
        let simulator = simulator(scenario, Clock::Real).await;
        let workspace = Workspace::new();
        let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, SETTINGS);
        let scene = Self { simulator, _workspace: workspace, config };
        scene.deliver((0..entries).rev());
        scene
    }

    /// Lets attempts succeed that were made so many seconds ago.
    fn deliver(&self, ages: impl Iterator<Item = u64>) {
        self.simulator.with_world(|world| {
            for age in ages {
                let created_at = world.now().minus(Duration::from_secs(age));
                let spec =
                    EntrySpec { created_at, status: Status::Success, http_status: Some(200), ..EntrySpec::default() };
                world.insert("w-1", spec).unwrap();
            }
        });
    }

    /// The id of the entry that stands behind so many newer ones.
    fn id(&self, place: usize) -> String {
        let truth = self.simulator.truth();
        let webhook = truth.webhooks.iter().find(|webhook| webhook.webhook_id == "w-1").unwrap();
        let mut entries: Vec<_> = webhook.entries.iter().map(|entry| (entry.created_at, entry.id.clone())).collect();
        entries.sort_by(|a, b| b.cmp(a));
        entries[place].1.clone()
    }
}

fn of_webhook(scrape: &Scrape, name: &str, more: &str) -> f64 {
    scrape.sum(name, &["webhook_id=\"w-1\"", more])
}

fn attempts(scrape: &Scrape) -> f64 {
    of_webhook(scrape, "talkover_webhook_delivery_attempts_total", "")
}

fn invalid(scrape: &Scrape) -> f64 {
    of_webhook(scrape, "talkover_exporter_log_entries_total", "outcome=\"invalid\"")
}

fn gaps(scrape: &Scrape) -> f64 {
    of_webhook(scrape, "talkover_exporter_history_gaps_total", "")
}

fn polls(scrape: &Scrape) -> f64 {
    of_webhook(scrape, "talkover_exporter_polls_total", "result=\"success\"")
}

fn is_up(scrape: &Scrape) -> bool {
    of_webhook(scrape, "talkover_up", "") == 1.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_makes_pages_fail_is_counted_once_and_walked_past() {
    let scene = Scene::new(150).await;
    scene.simulator.set_page_faults(PageFaults { unreadable: vec![scene.id(37)], ..PageFaults::default() });
    let exporter = Exporter::start(&scene.config).await;
    let found = exporter.wait_for("the first contact", |scrape| is_up(scrape) && attempts(scrape) == 149.0).await;
    assert_eq!((invalid(&found), gaps(&found)), (1.0, 0.0));

    // Several polls and sweeps later it is still one, and what is new is read.
    scene.deliver(0..3);
    let later = exporter
        .wait_for("further polls", |scrape| polls(scrape) >= polls(&found) + 40.0 && attempts(scrape) == 152.0)
        .await;
    assert_eq!((invalid(&later), is_up(&later)), (1.0, true));
    let log = exporter.log();
    assert_eq!(log.iter().filter(|line| line.contains("unreadable entries")).count(), 1, "{log:#?}");
    assert_eq!(exporter.terminate().await, Some(0));

    // A restart counts nothing again, and an entry that has become readable is counted.
    let exporter = Exporter::start(&scene.config).await;
    let again = exporter.wait_for("a restart", |scrape| is_up(scrape) && polls(scrape) >= 20.0).await;
    assert_eq!((attempts(&again), invalid(&again)), (152.0, 1.0));
    scene.simulator.set_page_faults(PageFaults::default());
    exporter.wait_for("the entry that can be read again", |scrape| attempts(scrape) == 153.0).await;
    assert_eq!(exporter.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_refuses_deep_pages_is_read_as_far_as_it_goes() {
    let scene = Scene::new(1_200).await;
    scene.simulator.set_page_faults(PageFaults { deepest_page: Some(10), ..PageFaults::default() });
    let exporter = Exporter::start(&scene.config).await;
    let found = exporter.wait_for("the first contact", |scrape| is_up(scrape) && attempts(scrape) >= 1_000.0).await;
    assert_eq!((attempts(&found), invalid(&found), gaps(&found)), (1_000.0, 0.0, 1.0));
    scene.deliver(0..3);
    let later = exporter
        .wait_for("further polls", |scrape| polls(scrape) >= polls(&found) + 40.0 && attempts(scrape) == 1_003.0)
        .await;
    assert_eq!((invalid(&later), gaps(&later), is_up(&later)), (0.0, 1.0, true));
    let log = exporter.log();
    let told = log.iter().filter(|line| line.contains("read only in part: the API refuses deeper pages")).count();
    assert_eq!(told, 1, "{log:#?}");
    assert_eq!(exporter.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_repeats_itself_is_ended_and_told() {
    let scene = Scene::new(150).await;
    scene.simulator.set_page_faults(PageFaults { repeats: true, ..PageFaults::default() });
    let exporter = Exporter::start(&scene.config).await;
    let found = exporter.wait_for("the first contact", |scrape| is_up(scrape) && attempts(scrape) >= 100.0).await;
    assert_eq!((attempts(&found), gaps(&found)), (100.0, 1.0));
    let requests = scene.simulator.requests();
    let first = requests
        .iter()
        .filter(|request| request.path.contains("/w-1/"))
        .take_while(|request| !request.path.contains("per_page=10&"));
    assert!(first.count() >= 21);
    let log = exporter.log();
    let told =
        log.iter().filter(|line| line.contains("read only in part: the last 20 pages brought nothing new")).count();
    assert_eq!(told, 1, "{log:#?}");
    assert_eq!(exporter.terminate().await, Some(0));
}
