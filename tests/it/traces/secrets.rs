//! What customers must not lose to us: whatever secret an answer holds is found nowhere that we write, show or send.

use prost::Message;
use talkover_simulator::Clock;

use super::receiver::Receiver;
use super::truth::attempt_id;
use crate::harness::{Exporter, Scrape, Workspace, quiet_scenario, simulator, wait_for};

/// Stands in everything that must not be found again.
const MARK: &str = "s3cret";
/// The token of the simulated API, and the path of a webhook.
const OTHERS: [&str; 2] = ["talq_simulator", "whsec"];

/// An entry that holds the mark wherever the API may have put it.
fn entry(id: &str, created_at: &str, status: &str, error: &str) -> String {
    format!(
        r#"{{"id":"{id}","webhook_id":"w-1","event":"e","attempt":1,"status":"{status}","http_status":500,"error":{error},
           "request_payload":{{"phone":"{MARK}-payload"}},"response_body":"{MARK}-body","url":"https://h/{MARK}",
           "response_headers":{{"set-cookie":"{MARK}-header"}},"duration_ms":12,"created_at":"{created_at}"}}"#
    )
}

/// Texts of errors, as JSON, and what may be kept of each.
fn errors() -> Vec<(String, String)> {
    let long = format!("POST https://user:{MARK}@a.example/{MARK}?token={MARK} {}{MARK}", "x".repeat(300));
    [
        (
            format!(r#""cURL error 6: http://a.example:8080/{MARK}?key={MARK} is gone""#),
            "cURL error 6: http://a.example is gone".to_owned(),
        ),
        (format!(r#""first line\nat https://b.example/{MARK}\n{MARK}""#), "first line".to_owned()),
        (format!(r#""{long}""#), format!("POST https://a.example {}", "x".repeat(233))),
        (format!(r#"{{"message":"{MARK}"}}"#), String::new()),
        (
            format!(r#""`https://c.example/{MARK}` and \"https://d.example/{MARK}\"""#),
            "`https://c.example` and \"https://d.example\"".to_owned(),
        ),
    ]
    .into()
}

/// The state file, and those beside it.
fn files(workspace: &Workspace) -> Vec<(String, Vec<u8>)> {
    let directory = std::fs::read_dir(workspace.path("")).unwrap();
    let entries = directory.map(|entry| entry.unwrap().path());
    let own = entries.filter(|path| path.is_file() && path.file_name().unwrap().to_string_lossy().starts_with("state"));
    own.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

fn assert_clean(what: &str, bytes: &[u8]) {
    for secret in OTHERS.into_iter().chain([MARK]) {
        let is_there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!is_there, "{secret} is in {what}");
    }
}

#[tokio::test]
async fn what_an_answer_holds_in_confidence_is_found_nowhere_else() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let receiver = Receiver::start([]).await;
    let workspace = Workspace::new();
    let settings = format!(
        "log: {{level: trace}}\npoll: {{min_interval: 50ms, max_interval: 100ms}}\nmetrics: {{birth_hold: 0s}}\n\
         traces: {{endpoint: '{url}', headers: {{authorization: Bearer {MARK}}}, logs: true}}\n\
         telemetry: {{traces: true}}\n",
        url = receiver.url()
    );
    let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, &settings);
    let exporter = Exporter::start(&config).await;
    exporter.wait_for("the first contact", |scrape| scrape.sum("talkover_up", &[]) == 2.0).await;

    let now = simulator.truth().now;
    let insert = |id: &str, status: &str, error: &str| {
        let raw = entry(id, &now.to_rfc3339(), status, error);
        simulator.with_world(|world| world.insert_raw("w-1", now, &raw)).unwrap();
    };
    for (place, (error, _)) in errors().iter().enumerate() {
        insert(&format!("log-{place}"), if place % 2 == 0 { "failed" } else { "retrying" }, error);
    }
    insert("log-pending", "pending", &errors()[0].0);
    // Not usable: it is told of in the log.
    insert("", "failed", &errors()[0].0);
    let attempts = errors().len() as f64;
    let is_done = |scrape: &Scrape| {
        scrape.sum("talkover_webhook_delivery_attempts_total", &[]) == attempts
            && scrape.sum("talkover_exporter_log_entries_total", &["outcome=\"invalid\""]) == 1.0
            && scrape.get("talkover_exporter_span_queue_length") == Some(0.0)
            && scrape.get("talkover_exporter_log_record_queue_length") == Some(0.0)
    };
    exporter.wait_for("all attempts, sent", is_done).await;

    for (place, (_, kept)) in errors().iter().enumerate() {
        let spans = receiver.spans();
        let id = hex_bytes(&attempt_id(&format!("log-{place}")));
        let span = spans.iter().find(|span| span.span_id == id).unwrap();
        assert_eq!(span.status.as_ref().unwrap().message, *kept, "entry {place}");
    }
    let polls = || receiver.spans().iter().filter(|span| span.name == "poll").count();
    wait_for("the daemon's own spans", || async { (polls() > 2).then_some(()) }).await;
    for span in receiver.spans() {
        assert_clean("a span", &span.encode_to_vec());
    }
    let requests = receiver.logs();
    // Each attempt failed, and every other one was the last.
    let records = requests.iter().flat_map(|request| &request.resource_logs).flat_map(|one| &one.scope_logs);
    assert_eq!(
        records.map(|scope| scope.log_records.len()).sum::<usize>(),
        errors().len() + errors().len().div_ceil(2)
    );
    for request in &requests {
        assert_clean("log records", &request.encode_to_vec());
    }
    for (path, accept) in [
        ("/metrics", "text/plain"),
        ("/metrics", "application/openmetrics-text"),
        ("/", "*/*"),
        ("/api/v1/status", "*/*"),
    ] {
        let request = reqwest::Client::new().get(format!("{}{path}", exporter.url)).header("accept", accept);
        assert_clean(path, &request.send().await.unwrap().bytes().await.unwrap());
    }
    let log = exporter.log();
    assert!(log.len() > 20, "so little was logged: {log:#?}");
    log.iter().for_each(|line| assert_clean(line, line.as_bytes()));
    let files = files(&workspace);
    assert!(files.len() >= 2, "{files:?}");
    // Beside a running daemon, and of one that was killed, with what SQLite has left in its log.
    exporter.kill().await;
    for (name, bytes) in files.iter().chain(&self::files(&workspace)) {
        assert_clean(name, bytes);
    }
}

fn hex_bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|place| u8::from_str_radix(&hex[place..place + 2], 16).unwrap()).collect()
}
