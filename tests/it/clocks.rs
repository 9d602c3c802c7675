//! Answers that are right and lie about the time: what is counted depends on no single one of them.

use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use talkover_simulator::{Clock, EntrySpec, Fault, FaultPlan, ManualClock, Moment, RandomFault, Simulator, Status};

use crate::harness::{Exporter, Scrape, Workspace, all_true_attempts, change_state, quiet_scenario, simulator, verify};

const FAST: &str = "poll: {min_interval: 100ms, max_interval: 200ms, lookback: 1h, sweep_interval: 1s}\n";
const LOGGED: &str = "talkover_exporter_log_entries_total";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A simulated API with two webhooks, and a configuration for it.
struct Scene {
    simulator: Simulator,
    workspace: Workspace,
}

impl Scene {
    async fn new(clock: impl Into<Clock>) -> Self {
        Self { simulator: simulator(quiet_scenario(), clock).await, workspace: Workspace::new() }
    }

    async fn start(&self) -> Exporter {
        let webhooks = quiet_scenario().webhooks;
        Exporter::start(&self.workspace.configure(&self.simulator.base_url(), &webhooks, FAST)).await
    }

    /// Lets an attempt of each webhook be made so long ago.
    fn deliver(&self, ago: Duration, status: Status) {
        self.simulator.with_world(|world| {
            let created_at = world.now().minus(ago);
            for webhook in ["w-1", "w-2"] {
                world.insert(webhook, EntrySpec { created_at, status, ..EntrySpec::default() }).unwrap();
            }
        });
    }

    /// Waits until all attempts are counted; nothing may have been ignored or given up for it.
    async fn wait_for_truth(&self, exporter: &Exporter) -> Scrape {
        let truth = all_true_attempts(&self.simulator, &quiet_scenario().webhooks);
        let scrape = exporter.wait_for("the truth", |scrape| scrape.attempts() == truth).await;
        let lost = |outcome: &str| scrape.sum(LOGGED, &[&format!("outcome=\"{outcome}\"")]);
        assert_eq!((lost("ignored"), lost("expired")), (0.0, 0.0), "{:#?}", exporter.log());
        scrape
    }

    async fn verify(&self) {
        verify(&self.workspace.path("config.yml"), &[], &[]).await.assert_ok();
    }

    fn state(&self) -> Connection {
        Connection::open(self.workspace.path("state.db")).unwrap()
    }
}

/// Every answer goes wrong like this.
fn always(fault: Fault) -> FaultPlan {
    let random = vec![RandomFault { probability: 1.0, path: String::new(), fault }];
    FaultPlan { random, ..FaultPlan::default() }
}

fn count(log: &[String], text: &str) -> usize {
    log.iter().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn a_first_answer_with_another_date_costs_no_entry() {
    for fault in [Fault::DateAhead(2 * DAY), Fault::DateBehind(2 * DAY), Fault::NoDate] {
        let scene = Scene::new(Clock::Real).await;
        scene.deliver(Duration::from_secs(3600), Status::Pending);
        scene.deliver(Duration::from_secs(60), Status::Success);
        scene.simulator.push_fault(fault.clone());
        let exporter = scene.start().await;
        scene.wait_for_truth(&exporter).await;
        scene.deliver(Duration::ZERO, Status::Failed);
        scene.wait_for_truth(&exporter).await;
        let log = exporter.log();
        assert_eq!(
            count(&log, "ignored unless the next two answers agree"),
            usize::from(fault != Fault::NoDate),
            "{log:#?}"
        );
        assert_eq!(exporter.terminate().await, Some(0));
        scene.verify().await;
    }
}

#[tokio::test]
async fn dates_that_are_wrong_every_other_time_cost_no_entry() {
    let scene = Scene::new(Clock::Real).await;
    scene.deliver(Duration::from_secs(3600), Status::Pending);
    let lies = [Fault::DateAhead(2 * DAY), Fault::None, Fault::DateBehind(2 * DAY), Fault::None];
    let script: Vec<Fault> = lies.into_iter().cycle().take(60).collect();
    scene.simulator.set_faults(&FaultPlan { script, ..FaultPlan::default() });
    let exporter = scene.start().await;
    for _ in 0..3 {
        scene.deliver(Duration::ZERO, Status::Success);
        scene.wait_for_truth(&exporter).await;
    }
    let polls = |scrape: &Scrape| scrape.sum("talkover_exporter_polls_total", &["result=\"success\""]);
    exporter.wait_for("all of the lies", |scrape| polls(scrape) > 60.0).await;
    scene.wait_for_truth(&exporter).await;
    assert_eq!(count(&exporter.log(), "using it from now on"), 0);
    assert_eq!(exporter.terminate().await, Some(0));
    scene.verify().await;
}

#[tokio::test]
async fn an_api_without_a_date_is_read_by_the_local_clock() {
    let scene = Scene::new(Clock::Real).await;
    scene.simulator.set_faults(&always(Fault::NoDate));
    scene.deliver(Duration::from_secs(60), Status::Success);
    let exporter = scene.start().await;
    scene.wait_for_truth(&exporter).await;
    scene.deliver(Duration::ZERO, Status::Failed);
    scene.wait_for_truth(&exporter).await;
}

#[tokio::test]
async fn a_local_clock_that_is_three_days_off_is_outvoted_and_a_jump_is_followed() {
    #[expect(clippy::disallowed_methods, reason = "the simulated server's clock is to be off by some days")]
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let clock = ManualClock::new(Moment::from_seconds(0).plus(now).minus(3 * DAY));
    let scene = Scene::new(clock.clone()).await;
    scene.deliver(Duration::from_secs(3600), Status::Pending);
    scene.deliver(Duration::from_secs(60), Status::Success);
    let exporter = scene.start().await;
    scene.wait_for_truth(&exporter).await;
    assert_eq!(count(&exporter.log(), "using it from now on"), 1, "{:#?}", exporter.log());
    clock.advance(Duration::from_secs(2 * 3600));
    exporter.wait_for_log("the jump", |log| count(log, "using it from now on") == 2).await;
    scene.deliver(Duration::ZERO, Status::Failed);
    scene.wait_for_truth(&exporter).await;
    // Time enough for what is pending to be given up: that is no lie any more.
    clock.advance(DAY);
    let is_expired = |scrape: &Scrape| scrape.sum(LOGGED, &["outcome=\"expired\""]) == 2.0;
    exporter.wait_for("the end of what is pending", is_expired).await;
}

/// With an API that fails from the start on, what fails meanwhile is live, over a restart too.
#[tokio::test]
async fn history_ends_with_the_first_answer_whatever_its_status() {
    let scene = Scene::new(Clock::Real).await;
    scene.deliver(Duration::from_secs(60), Status::Success);
    scene.simulator.set_faults(&always(Fault::Html(503)));
    let exporter = scene.start().await;
    let failed = |scrape: &Scrape| scrape.sum("talkover_exporter_polls_total", &["result=\"http_error\""]);
    exporter
        .wait_for("an answer for each", |scrape| {
            let each = ["w-1", "w-2"].map(|id| scrape.sum("talkover_exporter_polls_total", &[id, "http_error"]));
            each.iter().all(|polls| *polls >= 1.0)
        })
        .await;
    exporter.kill().await;
    scene.deliver(Duration::ZERO, Status::Failed);
    let exporter = scene.start().await;
    exporter.wait_for("another failure", |scrape| failed(scrape) >= 1.0).await;
    scene.simulator.set_faults(&FaultPlan::default());
    scene.wait_for_truth(&exporter).await;
    assert_eq!(exporter.terminate().await, Some(0));
    let state = scene.state();
    let sql = "SELECT count(*) FROM totals WHERE family = 'attempts' AND labels LIKE ?1 AND born_at IS NOT NULL";
    let live = |status: &str| state.query_row(sql, [format!("%{status}%")], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((live("success"), live("failed")), (0, 2));
}

#[tokio::test]
async fn a_state_that_was_made_by_a_clock_ahead_is_mended() {
    let scene = Scene::new(Clock::Real).await;
    let exporter = scene.start().await;
    exporter.wait_for("the first contact", |scrape| scrape.sum("talkover_up", &[]) == 2.0).await;
    assert_eq!(exporter.terminate().await, Some(0));
    // As versions did that believed a single Date; one of the webhooks has ignored an entry since.
    let state = scene.state();
    let ahead = i64::try_from((2 * DAY).as_micros()).unwrap();
    let now = scene.simulator.truth().now.as_micros();
    let is_spoilt = "UPDATE targets SET known_at = known_at + ?1, cut = cut + ?1, swept = swept + ?1";
    let changed = change_state(&scene.workspace.path("state.db"), |state| state.execute(is_spoilt, [ahead]));
    assert_eq!(changed, Ok(2));
    let has_read = "UPDATE targets SET watermark = ?1, swept = ?1 WHERE webhook_id = 'w-2'";
    let changed = change_state(&scene.workspace.path("state.db"), |state| state.execute(has_read, [now]));
    assert_eq!(changed, Ok(1));
    scene.deliver(Duration::from_secs(3600), Status::Success);
    scene.deliver(Duration::from_secs(60), Status::Failed);

    let exporter = scene.start().await;
    let scrape = scene.wait_for_truth(&exporter).await;
    assert_eq!(scrape.sum("talkover_exporter_history_gaps_total", &[]), 0.0);
    assert_eq!(count(&exporter.log(), "dated ahead of the API's clock"), 2, "{:#?}", exporter.log());
    assert_eq!(exporter.terminate().await, Some(0));
    // The API tells whole seconds, and nothing is known since a moment that has not come yet.
    let sql =
        "SELECT count(*) FROM targets, meta WHERE key = 'created_at' AND known_at BETWEEN value - 1000000 AND value";
    assert_eq!(state.query_row(sql, [], |row| row.get::<_, i64>(0)), Ok(2), "known since the state was made");
    scene.verify().await;

    let exporter = scene.start().await;
    scene.wait_for_truth(&exporter).await;
    assert_eq!(count(&exporter.log(), "dated ahead"), 0);
}

#[tokio::test]
async fn a_new_state_is_told_and_one_that_is_not_the_first_is_warned_of() {
    let scene = Scene::new(Clock::Real).await;
    scene.deliver(5 * DAY, Status::Success);
    let told = |log: &[String], level: &str| {
        let lines = log.iter().filter(|line| line.contains("made a new state file"));
        lines.filter(|line| line.contains(level) && line.contains("/state.db")).count()
    };
    for (info, warn) in [(1, 0), (0, 0)] {
        let exporter = scene.start().await;
        exporter.wait_for("the first contact", |scrape| scrape.sum("talkover_up", &[]) == 2.0).await;
        let log = exporter.log();
        assert_eq!((told(&log, " INFO "), told(&log, " WARN ")), (info, warn), "{log:#?}");
        assert_eq!(exporter.terminate().await, Some(0));
    }
    std::fs::remove_file(scene.workspace.path("state.db")).unwrap();
    let log = scene.start().await.log();
    assert_eq!((told(&log, " INFO "), told(&log, " WARN ")), (0, 1), "{log:#?}");
}
