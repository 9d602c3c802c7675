//! The daemon from its configuration to its metrics: what is counted, what survives, and what it costs.

use std::time::Duration;

use serde::Deserialize;
use talkover_simulator::{Clock, EntrySpec, Fault, Simulator, Status};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::harness::{Exporter, Scrape, Workspace, change_state, quiet_scenario, simulator, spawn, wait_for};

const ATTEMPTS: &str = "talkover_webhook_delivery_attempts_total";
const ENDED: &str = "talkover_webhook_deliveries_total";
const FAST: &str = "poll: {min_interval: 200ms, max_interval: 200ms, lookback: 1h, sweep_interval: 1s}\n";

/// An attempt made `ago` seconds before now.
fn attempt(simulator: &Simulator, ago: u64, attempt: u8, status: Status, delivery: Option<u32>) -> EntrySpec {
    let created_at = simulator.truth().now.minus(Duration::from_secs(ago));
    let http_status = match status {
        Status::Pending => None,
        Status::Success => Some(200),
        _ => Some(503),
    };
    EntrySpec { created_at, attempt, status, http_status, delivery, ..EntrySpec::default() }
}

#[tokio::test]
async fn attempts_deliveries_and_open_entries_are_counted_as_they_change() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, FAST);
    let insert = |spec| simulator.with_world(|world| world.insert("w-1", spec)).unwrap();
    insert(attempt(&simulator, 60, 1, Status::Success, None));
    let retried = insert(attempt(&simulator, 50, 1, Status::Retrying, None));
    let queued = insert(attempt(&simulator, 40, 1, Status::Pending, None));

    let exporter = Exporter::start(&config).await;
    let scrape = exporter.wait_for("three entries", |scrape| scrape.sum(ATTEMPTS, &[]) == 2.0).await;
    let open = |status: &str| {
        format!("talkover_webhook_deliveries_open{{environment=\"test\",webhook_id=\"w-1\",status=\"{status}\"}}")
    };
    assert_eq!((scrape.get(&open("pending")), scrape.get(&open("retrying"))), (Some(1.0), Some(1.0)));
    assert_eq!(scrape.sum(ENDED, &[]), 1.0);

    // The queued one is delivered; the other one is tried again and fails for good; and one turns up late.
    simulator.with_world(|world| {
        world.change(&queued, |entry| (entry.status, entry.http_status) = (Status::Success, Some(204)));
    });
    let delivery = simulator.with_world(|world| world.delivery_of(&retried));
    insert(attempt(&simulator, 1, 2, Status::Failed, delivery));
    insert(attempt(&simulator, 900, 1, Status::Failed, None));
    let scrape = exporter.wait_for("all outcomes", |scrape| scrape.sum(ATTEMPTS, &[]) == 5.0).await;
    assert_eq!(scrape.sum(ATTEMPTS, &["http_status=\"204\""]), 1.0);
    assert_eq!((scrape.get(&open("pending")), scrape.get(&open("retrying"))), (Some(0.0), Some(0.0)));
    assert_eq!(scrape.sum(ENDED, &["result=\"success\""]), 2.0);
    assert_eq!(scrape.sum(ENDED, &["result=\"failed\""]), 2.0);
    assert_eq!(scrape.sum("talkover_exporter_log_entries_total", &["outcome=\"late\""]), 1.0);
    let two = "talkover_webhook_attempts_per_delivery_bucket";
    assert_eq!(scrape.sum(two, &["result=\"failed\"", "le=\"2.0\""]), 2.0);
    assert_eq!(exporter.terminate().await, Some(0));
}

#[tokio::test]
async fn an_unusable_entry_costs_only_itself_and_counts_once() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, FAST);
    simulator.with_world(|world| {
        let now = world.now();
        world.insert_raw("w-1", now, r#"{"id": "broken", "created_at": "never"}"#).unwrap();
        world.insert_raw("w-1", now, "[1, 2]").unwrap();
        world.insert("w-1", EntrySpec { created_at: now, ..EntrySpec::default() }).unwrap();
    });
    let exporter = Exporter::start(&config).await;
    let polls = |scrape: &Scrape| scrape.sum("talkover_exporter_polls_total", &["w-1", "result=\"success\""]);
    let scrape = exporter.wait_for("five polls", |scrape| polls(scrape) >= 5.0).await;
    assert_eq!(scrape.sum("talkover_exporter_log_entries_total", &["outcome=\"invalid\""]), 2.0);
    assert_eq!(scrape.sum(ATTEMPTS, &[]), 1.0);
}

#[tokio::test]
async fn a_restart_goes_on_from_the_first_scrape() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, FAST);
    for ago in 1..=30 {
        let spec = attempt(&simulator, ago, 1, Status::Success, None);
        simulator.with_world(|world| world.insert("w-1", spec)).unwrap();
    }
    let exporter = Exporter::start(&config).await;
    let before = exporter.wait_for("all entries", |scrape| scrape.sum(ATTEMPTS, &[]) == 30.0).await;
    assert_eq!(exporter.terminate().await, Some(0));
    let exporter = Exporter::start(&config).await;
    let after = exporter.scrape().await;
    assert_eq!(before.durable().collect::<Vec<_>>(), after.durable().collect::<Vec<_>>());
    let again = exporter.wait_for("a poll", |scrape| scrape.sum("talkover_up", &[]) == 2.0).await;
    assert_eq!(again.sum(ATTEMPTS, &[]), 30.0);
}

#[tokio::test]
async fn a_poll_that_brings_nothing_writes_nothing() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, FAST);
    let spec = attempt(&simulator, 5, 1, Status::Success, None);
    simulator.with_world(|world| world.insert("w-1", spec)).unwrap();
    let exporter = Exporter::start(&config).await;
    exporter.wait_for("the entry", |scrape| scrape.sum(ATTEMPTS, &[]) == 1.0).await;
    let polls = |scrape: &Scrape| scrape.sum("talkover_exporter_polls_total", &["success"]);
    let start = polls(&exporter.scrape().await);
    let log = || std::fs::read(workspace.path("state.db-wal")).unwrap();
    // A sweep has come after the entry by then, both targets have been polled, and that they have caught up is
    // committed.
    let is_quiet = |scrape: &Scrape| scrape.sum("talkover_exporter_catching_up", &[]) == 0.0;
    exporter.wait_for("a sweep", |scrape| polls(scrape) >= start + 12.0 && is_quiet(scrape)).await;
    let before = log();
    exporter.wait_for("more polls", |scrape| polls(scrape) >= start + 40.0).await;
    assert!(before == log(), "the write-ahead log has changed");
}

#[tokio::test]
async fn retry_after_is_obeyed_and_failures_are_told_apart() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks[..1], FAST);
    simulator.push_fault(Fault::RateLimited(Some(Duration::from_secs(2))));
    let exporter = Exporter::start(&config).await;
    let scrape = exporter.wait_for("success", |scrape| scrape.sum("talkover_up", &[]) == 1.0).await;
    let requests = simulator.requests();
    let pause = requests[1].at.since(requests[0].at);
    assert!(pause >= Duration::from_secs(2), "{pause:?}");
    assert_eq!(scrape.sum("talkover_exporter_polls_total", &["result=\"rate_limited\""]), 1.0);
    assert_eq!(scrape.sum("talkover_api_requests_total", &["code=\"429\""]), 1.0);

    simulator.set_tokens(vec!["talq_other".to_owned()]);
    let scrape = exporter.wait_for("unauthorized", |scrape| scrape.sum("talkover_up", &[]) == 0.0).await;
    assert!(scrape.sum("talkover_exporter_polls_total", &["result=\"unauthorized\""]) >= 1.0);
    workspace.write("token", "talq_other");
    exporter.wait_for("the new token", |scrape| scrape.sum("talkover_up", &[]) == 1.0).await;
}

#[tokio::test]
async fn readiness_waits_for_the_first_walk_or_three_failures() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks[..1], FAST);
    for _ in 0..3 {
        simulator.push_fault(Fault::Status(500));
    }
    let exporter = Exporter::start(&config).await;
    let ready = || async { reqwest::get(format!("{}/-/ready", exporter.url)).await.unwrap().status().as_u16() };
    wait_for("readiness", || async { (ready().await == 200).then_some(()) }).await;
    let scrape = exporter.scrape().await;
    assert_eq!(scrape.sum("talkover_exporter_polls_total", &["result=\"http_error\""]), 3.0);
    let healthy = reqwest::get(format!("{}/-/healthy", exporter.url)).await.unwrap();
    assert_eq!(healthy.status(), 200);
}

/// A line of the log. A key that a line holds twice is an error: of such a line most readers keep only one of the
/// values.
#[derive(Deserialize)]
struct LogLine {
    timestamp: String,
    level: String,
    message: String,
    target: String,
    environment: Option<String>,
    webhook_id: Option<String>,
}

#[tokio::test]
async fn a_log_in_json_has_every_key_once() {
    let workspace = Workspace::new();
    let more = format!("{FAST}log: {{format: json, level: debug}}\n");
    // Nobody listens at port 1.
    let config = workspace.configure("http://127.0.0.1:1", &quiet_scenario().webhooks[..1], &more);
    let mut child = spawn(&config, &[]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut told: Vec<LogLine> = Vec::new();
    while !told.iter().any(|line| line.message.contains("API unreachable: the connection failed")) {
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await.unwrap().unwrap().unwrap();
        let read: LogLine = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(!read.timestamp.is_empty() && !read.level.is_empty() && !read.target.is_empty(), "{line}");
        told.push(read);
    }
    let started = told.iter().find(|line| line.message == "started").unwrap();
    assert_eq!((started.target.as_str(), &started.webhook_id), ("app", &None));
    let failed = told.iter().find(|line| line.target == "pipeline" && line.environment.is_some()).unwrap();
    assert_eq!(failed.environment.as_deref(), Some("test"));
}

#[tokio::test]
async fn a_second_daemon_on_the_same_state_is_refused() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, FAST);
    let _first = Exporter::start(&config).await;
    let second = std::process::Command::new(crate::harness::BINARY).args(["run", "--config"]).arg(&config).output();
    let second = second.unwrap();
    assert_eq!(second.status.code(), Some(1));
    let message = String::from_utf8(second.stderr).unwrap();
    assert!(message.contains("is in use by another talkover-exporter"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[tokio::test]
async fn a_webhook_that_is_no_longer_named_keeps_its_series_for_a_day() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let webhooks = quiet_scenario().webhooks;
    for webhook in ["w-1", "w-2"] {
        let spec = attempt(&simulator, 60, 1, Status::Success, None);
        simulator.with_world(|world| world.insert(webhook, spec)).unwrap();
    }
    let config = workspace.configure(&simulator.base_url(), &webhooks, FAST);
    let exporter = Exporter::start(&config).await;
    exporter.wait_for("both", |scrape| scrape.sum(ATTEMPTS, &[]) == 2.0).await;
    assert_eq!(exporter.terminate().await, Some(0));

    workspace.configure(&simulator.base_url(), &webhooks[..1], FAST);
    let exporter = Exporter::start(&config).await;
    let scrape = exporter.wait_for("a poll", |scrape| scrape.sum("talkover_up", &[]) == 1.0).await;
    assert_eq!(scrape.sum(ATTEMPTS, &["w-2"]), 1.0);
    assert_eq!(scrape.of("talkover_up").count(), 1, "what is not polled is neither up nor down");
    assert_eq!(scrape.sum("talkover_webhook_info", &["w-2", "owner_type=\"campaign\""]), 1.0);
    assert_eq!(exporter.terminate().await, Some(0));

    let state = rusqlite::Connection::open(workspace.path("state.db")).unwrap();
    // However far ahead the clock may be: what counts is for how long the daemon has run since.
    let ten_days = 10 * 24 * 3600 * 1_000_000_i64;
    let age = "UPDATE targets SET unlisted_at = unlisted_at - ?1";
    let changed = change_state(&workspace.path("state.db"), |state| state.execute(age, [ten_days])).unwrap();
    assert_eq!(changed, 2);
    let exporter = Exporter::start(&config).await;
    exporter
        .wait_for_log("how long its series stay", |lines| lines.iter().any(|line| line.contains("expire in 24.0 h")))
        .await;
    let scrape = exporter.wait_for("a poll", |scrape| scrape.sum("talkover_up", &[]) == 1.0).await;
    assert_eq!(scrape.sum(ATTEMPTS, &["w-2"]), 1.0);
    assert_eq!(exporter.terminate().await, Some(0));
    let sql = "SELECT unlisted_for_seconds FROM targets WHERE webhook_id = 'w-2'";
    let shown_for: i64 = state.query_row(sql, [], |row| row.get(0)).unwrap();
    assert!((0..600).contains(&shown_for), "{shown_for} s");
    let age = "UPDATE targets SET unlisted_for_seconds = 86399 WHERE webhook_id = 'w-2'";
    change_state(&workspace.path("state.db"), |state| state.execute(age, [])).unwrap();
    let exporter = Exporter::start(&config).await;
    let is_gone = |scrape: &Scrape| scrape.sum(ATTEMPTS, &["w-2"]) == 0.0;
    let scrape = exporter.wait_for("the end of its series", is_gone).await;
    assert!(!scrape.text.contains("w-2") && scrape.sum(ATTEMPTS, &["w-1"]) == 1.0);
    for table in ["entries", "totals", "pruned_totals"] {
        let sql = format!("SELECT count(*) FROM {table} WHERE target NOT IN (SELECT id FROM targets)");
        assert_eq!(state.query_row(&sql, [], |row| row.get::<_, i64>(0)), Ok(0), "{table}");
    }
}
