//! The demonstration, as the first command of the README starts it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::harness::{BINARY, Scrape, wait_for};
use crate::traces::receiver::Receiver;

/// A demonstration that keeps its state in `temporary`, and where it serves its metrics.
async fn start(temporary: &Path) -> (Child, String) {
    let mut demo = Command::new(BINARY)
        .args(["demo", "--listen", "127.0.0.1:0"])
        .env("TMPDIR", temporary)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some((_, url)) = line.split_once("Metrics ") {
            return (demo, url.trim().to_owned());
        }
    }
}

#[tokio::test]
async fn there_is_one_of_everything_soon() {
    // It is killed, and so leaves its state behind.
    let temporary = tempfile::tempdir().unwrap();
    let (_demo, url) = start(temporary.path()).await;
    let has_everything = |scrape: &Scrape| {
        let attempts = |label: &str| scrape.sum("talkover_webhook_delivery_attempts_total", &[label]);
        let open = scrape.sum("talkover_webhook_deliveries_open", &["status=\"pending\""]);
        let retried = scrape.sum("talkover_webhook_attempts_per_delivery_count", &[])
            - scrape.sum("talkover_webhook_attempts_per_delivery_bucket", &["le=\"1.0\""]);
        let outcomes = ["success", "failed", "retrying"].map(|status| attempts(&format!("status=\"{status}\"")));
        outcomes.iter().all(|count| *count > 0.0)
            && attempts("http_status=\"none\"") > 0.0
            && open > 0.0
            && retried > 0.0
            && scrape.of("talkover_up").count() >= 4
            && scrape.sum("talkover_webhook_info", &["owner_type=\"campaign\"", "url_host=\"hooks.example.com\""])
                == 1.0
            && scrape.of("talkover_webhook_max_retries").count() >= 4
            && scrape.of("talkover_exporter_discovery_last_success_timestamp_seconds").count() == 1
    };
    let everything = wait_for("one of everything", || async {
        let text = reqwest::get(&url).await.ok()?.text().await.ok()?;
        let scrape = Scrape::parse(text);
        has_everything(&scrape).then_some(())
    });
    everything.await;
}

#[tokio::test]
async fn spans_go_where_the_variables_of_open_telemetry_say() {
    let receiver = Receiver::start([]).await;
    let temporary = tempfile::tempdir().unwrap();
    let _demo = Command::new(BINARY)
        .args(["demo", "--listen", "127.0.0.1:0"])
        .env("TMPDIR", temporary.path())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let is_there = || receiver.spans().iter().any(|span| span.name.starts_with("deliver "));
    wait_for("the span of a delivery", || async { is_there().then_some(()) }).await;
}

#[tokio::test]
async fn it_ends_with_its_terminal_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let (mut demo, url) = start(temporary.path()).await;
    wait_for("its metrics", || async { reqwest::get(&url).await.ok() }).await;
    let id = i32::try_from(demo.id().unwrap()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), rustix::process::Signal::HUP).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), demo.wait()).await.expect("no end").unwrap();
    assert_eq!(ended.code(), Some(0));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}
