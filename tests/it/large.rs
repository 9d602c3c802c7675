//! What is large: a walk over many pages that is interrupted, and answers that are larger than the daemon reads.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Query;
use serde::Deserialize;
use talkover_simulator::{Clock, Scenario, Webhook};

use crate::harness::{Exporter, Workspace, quiet_scenario, simulator, true_attempts, wait_for};

const ATTEMPTS: &str = "talkover_webhook_delivery_attempts_total";
const SETTINGS: &str = "poll: {min_interval: 50ms, max_interval: 100ms}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_long_walk_goes_on_where_a_kill_has_stopped_it() {
    const PAGES: usize = 200;
    let webhook = Webhook { backlog: 100 * PAGES as u32, ..Webhook::of_agent("a-1", "w-1") };
    let scenario = Scenario {
        history: Duration::from_secs(20 * 3600),
        webhooks: vec![webhook],
        rate_limit_per_minute: 1_000_000,
        ..Scenario::default()
    };
    let simulator = simulator(scenario.clone(), Clock::Real).await;
    simulator.settle_and_freeze();
    let workspace = Workspace::new();
    let config = workspace.configure(&simulator.base_url(), &scenario.webhooks, SETTINGS);
    for pages in [60, 120, 170] {
        let exporter = Exporter::start(&config).await;
        wait_for("pages", || async { (simulator.requests().len() >= pages).then_some(()) }).await;
        exporter.kill().await;
    }
    let exporter = Exporter::start(&config).await;
    let expected = (100 * PAGES) as f64;
    let scrape = exporter.wait_for("the totals", |scrape| scrape.sum(ATTEMPTS, &["w-1"]) == expected).await;
    for (series, count) in true_attempts(&simulator, "test", "w-1") {
        assert_eq!(scrape.get(&series), Some(count), "{series}");
    }
    // An interruption costs what was not on disk yet: 50 pages at most, and some to find the way back.
    let walk: Vec<String> = simulator.requests().into_iter().map(|request| request.path).collect();
    let distinct: HashSet<&String> = walk.iter().collect();
    assert!(distinct.len() >= PAGES, "{} pages", distinct.len());
    let first_poll = walk.iter().take_while(|path| !path.ends_with(&format!("page={PAGES}"))).count();
    assert!(first_poll < PAGES + 3 * 60, "{first_poll} requests for {PAGES} pages");
}

/// A log whose entries are as large as they come. The simulated API would take seconds for each answer.
#[derive(Clone, Default)]
struct LargeLog(Arc<Mutex<Vec<Bytes>>>);

#[derive(Deserialize)]
struct Page {
    page: usize,
    per_page: usize,
}

impl LargeLog {
    /// Adds an entry with a payload of so many MiB at the top of the list.
    fn insert(&self, mebibytes: usize) {
        let mut entries = self.0.lock().unwrap();
        let created_at = jiff::Timestamp::now();
        let entry = format!(
            r#"{{"id":"log-{}","event":"e","attempt":1,"status":"success","http_status":200,"created_at":"{created_at}",
                "request_payload":{{"text":"{}"}}}}"#,
            entries.len(),
            "x".repeat(mebibytes << 20)
        );
        entries.insert(0, entry.into());
    }

    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = self.clone();
        let router = Router::new().fallback(move |Query(page): Query<Page>| async move { log.answer(&page) });
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn answer(&self, page: &Page) -> Vec<u8> {
        let entries = self.0.lock().unwrap();
        let shown: Vec<&[u8]> =
            entries.iter().skip((page.page - 1) * page.per_page).take(page.per_page).map(|entry| &**entry).collect();
        let pagination = format!(
            r#"],"pagination":{{"current_page":{},"per_page":{},"total":{}}}}}"#,
            page.page,
            page.per_page,
            entries.len()
        );
        [br#"{"success":true,"data":["#.to_vec(), shown.join(&b","[..]), pagination.into_bytes()].concat()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_32_mib_is_read_in_smaller_pages_and_an_entry_over_it_is_walked_past() {
    let log = LargeLog::default();
    (0..3).for_each(|_| log.insert(12));
    let workspace = Workspace::new();
    let webhooks = &quiet_scenario().webhooks[..1];
    let config = workspace.configure(&log.serve().await, webhooks, "poll: {min_interval: 500ms, max_interval: 1s}\n");
    let exporter = Exporter::start(&config).await;
    exporter.wait_for("three entries of 12 MiB", |scrape| scrape.sum(ATTEMPTS, &[]) == 3.0).await;

    log.insert(33);
    log.insert(0);
    let scrape = exporter.wait_for("what stands before it", |scrape| scrape.sum(ATTEMPTS, &[]) == 4.0).await;
    let invalid = "talkover_exporter_log_entries_total{environment=\"test\",webhook_id=\"w-1\",outcome=\"invalid\"}";
    assert_eq!(scrape.get(invalid), Some(1.0));
    log.insert(0);
    let scrape = exporter.wait_for("one more", |scrape| scrape.sum(ATTEMPTS, &[]) == 5.0).await;
    assert_eq!(scrape.get(invalid), Some(1.0), "it counts once, however often it is read");
}
