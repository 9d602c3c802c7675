//! A whole scrape as a golden file: every family, in the order and form in which Prometheus gets it.

use std::time::Duration;

use talkover_exporter::sinks::metrics::catalogue;
use talkover_simulator::{Clock, EntrySpec, ManualClock, Moment, Status};

use crate::harness::{Exporter, Scrape, Workspace, quiet_scenario, simulator};

/// Families whose values are those of this machine and this moment.
const VOLATILE: [&str; 7] = [
    "process_",
    "talkover_api_clock_offset_seconds",
    "talkover_api_request",
    "talkover_exporter_build_info",
    "talkover_exporter_config_last_reload_success_timestamp_seconds",
    "talkover_exporter_polls_total{",
    "talkover_exporter_state_",
];
const VOLATILE_TOO: [&str; 2] = ["talkover_exporter_entries_read_total{", "talkover_api_rate_limit_remaining{"];

/// The scrape with volatile values left out; series of volatile families stand for all of them.
fn normalised(scrape: &Scrape) -> String {
    let is_volatile = |line: &str| VOLATILE.iter().chain(&VOLATILE_TOO).any(|prefix| line.starts_with(prefix));
    let lines = scrape.text.lines().map(|line| match line.rsplit_once(' ') {
        Some((series, _)) if is_volatile(line) => {
            let series = if series.contains("build_info") { "talkover_exporter_build_info{…}" } else { series };
            format!("{series} …")
        }
        _ => line.to_owned(),
    });
    lines.map(|line| line + "\n").collect()
}

/// The scrape of a world in which one of everything has happened by noon of a certain day.
async fn scrape() -> Scrape {
    let noon = Moment::from_seconds(1_767_268_800);
    let simulator = simulator(quiet_scenario(), Clock::Manual(ManualClock::new(noon))).await;
    let ago = |seconds| noon.minus(Duration::from_secs(seconds));
    let entry = |seconds: u64, status: Status, http_status: Option<u16>| EntrySpec {
        created_at: ago(seconds),
        status,
        http_status,
        ..EntrySpec::default()
    };
    simulator.with_world(|world| {
        let mut delivered = entry(3600, Status::Success, Some(200));
        delivered.delivered_at = Some(ago(3597));
        world.insert("w-1", delivered).unwrap();
        let mut slow = entry(1800, Status::Failed, Some(503));
        slow.duration_ms = Some(61_000);
        world.insert("w-1", slow).unwrap();
        let first = world.insert("w-1", entry(900, Status::Retrying, None)).unwrap();
        let delivery = world.delivery_of(&first);
        let second = EntrySpec { attempt: 2, delivery, ..entry(840, Status::Success, Some(204)) };
        world.insert("w-1", second).unwrap();
        world.insert("w-1", entry(60, Status::Retrying, Some(429))).unwrap();
        world.insert("w-1", entry(30, Status::Pending, None)).unwrap();
        world.insert("w-1", entry(90_000, Status::Success, Some(200))).unwrap();
        world.insert_raw("w-1", ago(20), r#"{"id": "broken"}"#).unwrap();
        let strange =
            r#"{"id": "x", "created_at": "2026-01-01T11:59:00Z", "status": "teleported", "event": "a \"b\"\\c"}"#;
        world.insert_raw("w-2", ago(60), strange).unwrap();
    });
    let workspace = Workspace::new();
    let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, "metrics: {birth_hold: 65s}\n");
    let exporter = Exporter::start(&config).await;
    exporter.wait_for("both webhooks", |scrape| scrape.sum("talkover_up", &[]) == 2.0).await
}

#[tokio::test]
async fn a_scrape_looks_like_this() {
    let scrape = scrape().await;
    insta::assert_snapshot!(normalised(&scrape));
}

#[tokio::test]
async fn the_catalogue_names_every_family_and_every_family_is_in_the_catalogue() {
    let scrape = scrape().await;
    let mut served: Vec<&str> = scrape
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let mut named: Vec<&str> = catalogue::all().map(|metric| metric.name).collect();
    // There only if the process has a limit of address space, discovery has found something, a span or a log record
    // waits, metrics were pushed, or a delivery was lost.
    let conditional = [
        "process_virtual_memory_max_bytes",
        "talkover_webhook_enabled",
        "talkover_webhook_max_retries",
        "talkover_webhook_timeout_seconds",
        "talkover_exporter_discovery_last_success_timestamp_seconds",
        "talkover_exporter_span_queue_oldest_timestamp_seconds",
        "talkover_webhook_failing_since_timestamp_seconds",
        "talkover_exporter_metric_push_last_success_timestamp_seconds",
        "talkover_exporter_log_record_queue_oldest_timestamp_seconds",
    ];
    for names in [&mut served, &mut named] {
        names.retain(|name| !conditional.contains(name));
        names.sort_unstable();
    }
    assert_eq!(served, named);
}

#[tokio::test]
async fn the_text_format_is_compressed_where_that_is_accepted() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, "metrics: {birth_hold: 65s}\n");
    let exporter = Exporter::start(&config).await;
    let client = reqwest::Client::builder().no_gzip().build().unwrap();
    let request = client.get(format!("{}/metrics", exporter.url));
    let plain = request.try_clone().unwrap().send().await.unwrap();
    assert_eq!(plain.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(!plain.headers().contains_key("content-encoding"));
    let compressed = request.header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(compressed.headers()["content-encoding"], "gzip");
    assert!(compressed.bytes().await.unwrap().starts_with(&[0x1F, 0x8B]));
}
