//! What a scraper sees first: history at once, what is born live as 0 for a while, and whether it has just caught up.

use std::cell::Cell;
use std::time::{Duration, Instant};

use talkover_simulator::{EntrySpec, ManualClock, Moment, Scenario, Simulator, Status};

use crate::harness::{Exporter, Scrape, Workspace, quiet_scenario, simulator};

const ATTEMPTS: &str = "talkover_webhook_delivery_attempts_total";
const CATCHING_UP: &str = "talkover_exporter_catching_up{environment=\"test\",webhook_id=\"w-1\"}";
const GAPS: &str = "talkover_exporter_history_gaps_total{environment=\"test\",webhook_id=\"w-1\"}";
const HOLD: Duration = Duration::from_millis(600);
const SETTINGS: &str = "poll: {min_interval: 50ms, max_interval: 100ms, lookback: 10m, sweep_interval: 200ms}\n\
                        metrics: {birth_hold: 600ms}\n";

/// A simulated API whose clock is moved by hand, and a place for the exporter.
struct Scene {
    simulator: Simulator,
    clock: ManualClock,
    workspace: Workspace,
}

impl Scene {
    async fn new() -> Self {
        let clock = ManualClock::new(Moment::from_seconds(1_767_268_800));
        let simulator = simulator(quiet_scenario(), clock.clone()).await;
        Self { simulator, clock, workspace: Workspace::new() }
    }

    async fn start(&self) -> Exporter {
        let config = self.workspace.configure(&self.simulator.base_url(), &quiet_scenario().webhooks, SETTINGS);
        Exporter::start(&config).await
    }

    /// Adds an entry made `ago` seconds before now by the API's clock.
    fn insert(&self, ago: u64, status: Status, http_status: u16) -> String {
        let created_at = self.clock.now().minus(Duration::from_secs(ago));
        let spec = EntrySpec { created_at, status, http_status: Some(http_status), ..EntrySpec::default() };
        self.simulator.with_world(|world| world.insert("w-1", spec)).unwrap()
    }
}

fn attempts(scrape: &Scrape, status: &str) -> Option<f64> {
    let label = format!("status=\"{status}\"");
    let found: Vec<f64> =
        scrape.of(ATTEMPTS).filter(|(series, _)| series.contains(&label)).map(|(_, value)| value).collect();
    assert!(found.len() <= 1, "{found:?}");
    found.first().copied()
}

/// Scrapes until a series is shown with `value`; gives how long it was shown as 0, counted from before the scrape that
/// showed it first was asked for.
async fn born(exporter: &Exporter, status: &str, value: f64) -> Duration {
    let start = Cell::new(Instant::now());
    let is_shown = |scrape: &Scrape| {
        let is_shown = attempts(scrape, status).is_some();
        if !is_shown {
            start.set(Instant::now());
        }
        is_shown
    };
    let first = exporter.wait_for("a series at 0", is_shown).await;
    assert_eq!(attempts(&first, status), Some(0.0), "{}", first.text);
    assert_eq!(first.sum("talkover_exporter_attempts_held", &["w-1"]), value);
    let label = format!("status=\"{status}\"");
    assert_eq!(first.sum("talkover_webhook_delivery_duration_seconds_count", &[&label]), 0.0);
    let shown = exporter.wait_for("the value", |scrape| attempts(scrape, status) == Some(value)).await;
    assert_eq!(shown.sum("talkover_exporter_attempts_held", &["w-1"]), 0.0);
    start.get().elapsed()
}

#[tokio::test]
async fn history_is_there_at_once_and_what_is_born_live_is_held_at_0() {
    let scene = Scene::new().await;
    scene.insert(3600, Status::Success, 200);
    let queued = scene.insert(60, Status::Pending, 200);
    let exporter = scene.start().await;
    let scrape = exporter.wait_for("history", |scrape| attempts(scrape, "success").is_some()).await;
    assert_eq!(attempts(&scrape, "success"), Some(1.0), "history is not held");

    // An outcome that comes live is live, even of an entry that history has shown as pending.
    let change = |entry: &mut EntrySpec| (entry.status, entry.http_status) = (Status::Failed, Some(503));
    assert!(scene.simulator.with_world(|world| world.change(&queued, change)));
    assert!(born(&exporter, "failed", 1.0).await >= HOLD);

    // A series of history goes on without a hold.
    scene.insert(0, Status::Success, 200);
    exporter.wait_for("one more", |scrape| attempts(scrape, "success") == Some(2.0)).await;
}

#[tokio::test]
async fn only_what_is_born_live_has_a_birth_in_openmetrics() {
    let scene = Scene::new().await;
    scene.insert(3600, Status::Success, 200);
    let exporter = scene.start().await;
    exporter.wait_for("history", |scrape| attempts(scrape, "success").is_some()).await;
    scene.clock.advance(Duration::from_secs(100));
    scene.insert(0, Status::Failed, 500);
    exporter.wait_for("a series at 0", |scrape| attempts(scrape, "failed").is_some()).await;
    let request = reqwest::Client::new().get(format!("{}/metrics", exporter.url));
    let answer = request.header("accept", "application/openmetrics-text;version=1.0.0").send().await.unwrap();
    let text = answer.text().await.unwrap();
    assert!(text.ends_with("\n# EOF\n"));
    let created: Vec<&str> = text.lines().filter(|line| line.contains("_created{")).collect();
    assert!(created.len() >= 3 && created.iter().all(|line| line.ends_with(" 1767268900")), "{created:?}");
    let of_status = |line: &&&str| line.starts_with("talkover_webhook_delivery_attempts_created{");
    let attempts: Vec<&&str> = created.iter().filter(of_status).collect();
    assert!(attempts.len() == 1 && attempts[0].contains("status=\"failed\""), "{attempts:?}");
}

#[tokio::test]
async fn a_kill_during_a_hold_begins_it_anew() {
    let scene = Scene::new().await;
    let exporter = scene.start().await;
    exporter.wait_for("the first walk", |scrape| scrape.sum("talkover_up", &[]) == 2.0).await;
    scene.insert(0, Status::Failed, 500);
    exporter.wait_for("a series at 0", |scrape| attempts(scrape, "failed") == Some(0.0)).await;
    exporter.kill().await;
    let exporter = scene.start().await;
    assert!(born(&exporter, "failed", 1.0).await >= HOLD);
    exporter.kill().await;
    let exporter = scene.start().await;
    assert_eq!(attempts(&exporter.scrape().await, "failed"), Some(1.0), "what was shown stays");
}

#[tokio::test]
async fn what_was_missed_is_shown_as_catching_up_and_not_as_a_spike() {
    let scene = Scene::new().await;
    scene.insert(60, Status::Success, 200);
    let exporter = scene.start().await;
    let first = exporter.wait_for("history", |scrape| attempts(scrape, "success").is_some()).await;
    assert_eq!(first.get(CATCHING_UP), Some(1.0), "a first contact");
    exporter.wait_for("the end of catching up", |scrape| scrape.get(CATCHING_UP) == Some(0.0)).await;

    // A restart without an outage is no catching up.
    exporter.kill().await;
    scene.insert(0, Status::Success, 200);
    let exporter = scene.start().await;
    let scrape = exporter.wait_for("the next", |scrape| attempts(scrape, "success") == Some(2.0)).await;
    assert_eq!(scrape.get(CATCHING_UP), Some(0.0));
    exporter.kill().await;

    scene.clock.advance(Duration::from_secs(600));
    scene.insert(300, Status::Success, 200);
    scene.insert(300, Status::Failed, 500);
    let exporter = scene.start().await;
    let said_so = Cell::new(None);
    let has_caught_up = |scrape: &Scrape| {
        let is_catching_up = scrape.get(CATCHING_UP) == Some(1.0);
        let is_new = attempts(scrape, "success") == Some(3.0);
        if is_new && said_so.get().is_none() {
            said_so.set(Some(is_catching_up));
        }
        is_new && !is_catching_up
    };
    let end = exporter.wait_for("the end of catching up", has_caught_up).await;
    assert_eq!(said_so.get(), Some(true), "the first scrape that shows what was missed says so");
    assert_eq!(attempts(&end, "failed"), Some(1.0), "none of it is held any more");
    assert_eq!(end.get(GAPS), Some(0.0));
}

#[tokio::test]
async fn being_polled_less_often_because_the_api_allows_less_is_no_outage() {
    // Two idle webhooks are polled every 8 s where 30 requests a minute are allowed, whatever the file says, and twice
    // that is no outage yet; where 1,000 are allowed, half a second is.
    for (limit, away, expected) in [(30, 10, 0.0), (30, 20, 1.0), (1_000, 10, 1.0)] {
        let clock = ManualClock::new(Moment::from_seconds(1_767_268_800));
        let scenario = Scenario { rate_limit_per_minute: limit, ..quiet_scenario() };
        let simulator = simulator(scenario, clock.clone()).await;
        let scene = Scene { simulator, clock, workspace: Workspace::new() };
        scene.insert(60, Status::Success, 200);
        let exporter = scene.start().await;
        exporter
            .wait_for("the end of catching up", |scrape| {
                attempts(scrape, "success") == Some(1.0) && scrape.sum("talkover_exporter_catching_up", &[]) == 0.0
            })
            .await;
        let created_at = scene.clock.now();
        scene.simulator.with_world(|world| {
            let spec =
                EntrySpec { created_at, status: Status::Success, http_status: Some(200), ..EntrySpec::default() };
            world.insert("w-1", spec).unwrap();
            scene.clock.advance(Duration::from_secs(away));
        });
        let scrape = exporter.wait_for("the next", |scrape| attempts(scrape, "success") == Some(2.0)).await;
        assert_eq!(scrape.get(CATCHING_UP), Some(expected), "{limit} a minute, {away} s");
        exporter.kill().await;
    }
}

#[tokio::test]
async fn what_retention_has_torn_away_is_counted_as_a_gap_once() {
    let scene = Scene::new().await;
    let seen = scene.insert(60, Status::Success, 200);
    let exporter = scene.start().await;
    exporter.wait_for("history", |scrape| attempts(scrape, "success") == Some(1.0)).await;
    exporter.kill().await;
    // While nobody looks, the log loses all that was known, and gets new entries.
    scene.clock.advance(Duration::from_secs(24 * 3600));
    scene.simulator.with_world(|world| world.delete(&seen));
    scene.insert(30, Status::Success, 200);
    let exporter = scene.start().await;
    let scrape = exporter.wait_for("the next", |scrape| attempts(scrape, "success") == Some(2.0)).await;
    assert_eq!(scrape.get(GAPS), Some(1.0));
    let polls = |scrape: &Scrape| scrape.sum("talkover_exporter_polls_total", &["w-1", "success"]);
    let scrape = exporter.wait_for("further polls", |scrape| polls(scrape) > 5.0).await;
    assert_eq!(scrape.get(GAPS), Some(1.0));
    exporter.kill().await;
    assert_eq!(scene.start().await.scrape().await.get(GAPS), Some(1.0), "it outlives the process");
}
