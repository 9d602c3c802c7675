//! The real daemon with a receiver of spans: kills, stops, reloads, its metrics and its log.

use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use talkover_core::delivery::{OwnerType, Target, Timestamp};
use talkover_core::ledger::state::Changes;
use talkover_core::server_time::LocalTime;
use talkover_exporter::store::Store as _;
use talkover_exporter::store::sqlite::SqliteStore;
use talkover_simulator::{Clock, Simulator};
use tokio::time::{Instant, sleep_until};

use super::receiver::{Answer, Receiver};
use super::rig::{PROTOCOLS, assert_all, batch, names};
use super::tls::mutual_tls;
use crate::faults::front::fixture;
use crate::harness::{Exporter, Workspace, quiet_scenario, refused, simulator, spawn, wait_for};

const SPANS: &str = "talkover_exporter_spans_total";
const LENGTH: &str = "talkover_exporter_span_queue_length";
const RELOADED: &str = "talkover_exporter_config_last_reload_successful";
const OLDEST: &str = "talkover_exporter_span_queue_oldest_timestamp_seconds";

/// A daemon that has nothing to count, and a state file into which spans are put while it does not run.
struct Scene {
    simulator: Simulator,
    workspace: Workspace,
}

impl Scene {
    async fn new() -> Self {
        Self { simulator: simulator(quiet_scenario(), Clock::Real).await, workspace: Workspace::new() }
    }

    fn configure(&self, traces: &str) -> PathBuf {
        let more = format!("traces: {{{traces}}}\n");
        self.workspace.configure(&self.simulator.base_url(), &quiet_scenario().webhooks, &more)
    }

    fn queue(&self, spans: impl IntoIterator<Item = String>) {
        let target = Target {
            environment: "test".into(),
            webhook_id: "w-1".into(),
            owner_type: OwnerType::Agent,
            owner_id: "a-1".into(),
            webhook_name: "w-1".into(),
        };
        let mut store =
            SqliteStore::open(&self.workspace.path("state.db"), LocalTime::new(Timestamp::from_seconds(1))).unwrap();
        _ = store.commit(&target, Changes::default(), &batch(spans)).unwrap();
    }
}

async fn wait_for_empty(exporter: &Exporter) {
    exporter.wait_for("an empty queue", |scrape| scrape.get(LENGTH) == Some(0.0)).await;
}

#[tokio::test]
async fn killed_at_any_moment_it_loses_no_span() {
    const KILLS: usize = 50;
    const EACH: usize = 40;
    let scene = Scene::new().await;
    let receiver = Receiver::start([]).await;
    let mut random = StdRng::seed_from_u64(7);
    for kill in 0..KILLS {
        scene.queue(names(kill * EACH, EACH));
        let answers = [Answer::Accept, Answer::BreakOff, Answer::Hang, Answer::Unavailable];
        receiver.always(answers[kill % answers.len()].clone());
        let config = scene.configure(&format!("endpoint: '{}', protocol: {}", receiver.url(), PROTOCOLS[kill % 2]));
        let life = Duration::from_millis(random.random_range(0..150));
        if kill % 5 == 0 {
            // Killed while it starts.
            let end = Instant::now() + life;
            let mut child = spawn(&config, &[]);
            sleep_until(end).await;
            child.kill().await.unwrap();
        } else {
            let exporter = Exporter::start(&config).await;
            let end = Instant::now() + life;
            sleep_until(end).await;
            exporter.kill().await;
        }
    }
    // At least once, whatever this machine does meanwhile, a kill meets spans that have arrived and are not
    // acknowledged.
    receiver.always(Answer::BreakOff);
    let before = receiver.seen().len();
    let exporter = Exporter::start(&scene.configure(&format!("endpoint: '{}'", receiver.url()))).await;
    wait_for("a request", || async { (receiver.seen().len() > before).then_some(()) }).await;
    exporter.kill().await;
    receiver.always(Answer::Accept);
    let exporter = Exporter::start(&scene.configure(&format!("endpoint: '{}'", receiver.url()))).await;
    wait_for_empty(&exporter).await;
    assert_all(&receiver, names(0, KILLS * EACH));
    assert!(receiver.taken().values().any(|times| *times > 1), "no kill has met a span on its way");
    assert_eq!(exporter.terminate().await, Some(0));
}

#[tokio::test]
async fn what_waits_is_shown_and_a_receiver_that_hangs_delays_no_end() {
    let scene = Scene::new().await;
    scene.queue(names(0, 5));
    let receiver = Receiver::start([]).await;
    receiver.always(Answer::Hang);
    let config = scene.configure(&format!("endpoint: '{}', max_queued_spans: 4", receiver.url()));
    let exporter = Exporter::start(&config).await;
    let scrape = exporter.scrape().await;
    assert_eq!(scrape.get(LENGTH), Some(4.0));
    assert_eq!(scrape.get("talkover_exporter_span_queue_capacity"), Some(4.0));
    assert_eq!(scrape.get(OLDEST), Some(1.7e9));
    assert_eq!(scrape.sum(SPANS, &["dropped"]), 1.0);
    assert_eq!(scrape.sum(SPANS, &["exported"]) + scrape.sum(SPANS, &["rejected"]), 0.0);
    let is_told = |log: &[String]| log.iter().any(|line| line.contains("span queue longer than max_queued_spans"));
    exporter.wait_for_log("the spans that were dropped", is_told).await;
    assert_eq!(exporter.terminate().await, Some(0));

    receiver.always(Answer::Accept);
    let exporter = Exporter::start(&config).await;
    wait_for_empty(&exporter).await;
    let scrape = exporter.scrape().await;
    assert_eq!((scrape.sum(SPANS, &["exported"]), scrape.get(OLDEST)), (4.0, None));
    assert_all(&receiver, names(1, 4));
}

#[tokio::test]
async fn an_endpoint_comes_changes_and_goes_without_a_restart() {
    let scene = Scene::new().await;
    scene.queue(names(0, 5));
    let [first, second] = [Receiver::start([]).await, Receiver::start([]).await];
    let exporter = Exporter::start(&scene.configure("")).await;
    let waits = |line: &String| line.contains("no traces endpoint configured") && line.contains("waiting=5");
    exporter.wait_for_log("what waits", |log| log.iter().any(waits)).await;
    scene.configure(&format!("endpoint: '{}'", first.url()));
    exporter.signal(Signal::HUP);
    wait_for_empty(&exporter).await;
    assert_all(&first, names(0, 5));

    for (traces, is_good) in [
        (format!("endpoint: '{}', tls: {{ca_file: /nowhere}}", second.url()), 0.0),
        (format!("endpoint: '{}', protocol: http/protobuf", second.url()), 1.0),
    ] {
        scene.configure(&traces);
        exporter.signal(Signal::HUP);
        exporter.wait_for("a reload", |scrape| scrape.get(RELOADED) == Some(is_good)).await;
    }
    assert_eq!(exporter.terminate().await, Some(0));
    scene.queue(names(5, 5));
    let config = scene.workspace.path("config.yml");
    let exporter = Exporter::start(&config).await;
    wait_for_empty(&exporter).await;
    assert_all(&second, names(5, 5));
    assert_eq!(first.taken().len(), 5);
}

#[tokio::test]
async fn certificates_that_are_exchanged_are_used_without_a_restart() {
    for protocol in PROTOCOLS {
        let scene = Scene::new().await;
        scene.queue(names(0, 5));
        let receiver = Receiver::start_tls(mutual_tls());
        let copy = |source: &str, name: &str| {
            let content = std::fs::read_to_string(fixture(source)).unwrap();
            scene.workspace.write(name, &content)
        };
        // The receiver's authority is not trusted, and the client's certificate is not the receiver's authority's.
        let (ca, cert, key) =
            (copy("untrusted.crt", "ca.pem"), copy("untrusted.crt", "c.pem"), copy("untrusted.key", "k.pem"));
        let tls = format!("tls: {{ca_file: {ca:?}, cert_file: {cert:?}, key_file: {key:?}}}");
        let config = scene.configure(&format!("endpoint: '{}', protocol: {protocol}, {tls}", receiver.url()));
        let exporter = Exporter::start(&config).await;
        let is_told = |log: &[String]| log.iter().any(|line| line.contains("failed to send spans"));
        exporter.wait_for_log("a failure", is_told).await;
        assert_eq!(exporter.scrape().await.get(LENGTH), Some(5.0));

        copy("ca.crt", "ca.pem");
        copy("client.crt", "c.pem");
        copy("client.key", "k.pem");
        wait_for_empty(&exporter).await;
        assert_all(&receiver, names(0, 5));
    }
}

#[tokio::test]
async fn the_log_tells_each_change_once_and_no_secret() {
    let scene = Scene::new().await;
    scene.queue(names(0, 5));
    let receiver =
        Receiver::start([Answer::Unavailable, Answer::Hang, Answer::Unavailable, Answer::Unauthorized]).await;
    let traces = format!("endpoint: '{}', headers: {{authorization: Bearer s3cret-key}}", receiver.url());
    let variables = [("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "3000".to_owned()), ("RUST_LOG", "debug".to_owned())];
    let exporter = Exporter::start_with(&scene.configure(&traces), &variables).await;
    wait_for_empty(&exporter).await;
    let is_told = |log: &[String]| log.iter().any(|line| line.contains("rejected 5 of 5 spans"));
    let log = exporter.wait_for_log("what was refused", is_told).await;
    let lines = |text: &str| log.iter().filter(|line| line.contains(text)).count();
    assert_eq!(lines("failed to send spans"), 1, "{log:#?}");
    assert_eq!(lines("rejected 5 of 5"), 1, "{log:#?}");
    assert_eq!(lines("s3cret"), 0, "{log:#?}");
    assert_eq!(receiver.seen().last().unwrap().headers["authorization"], "Bearer s3cret-key");
    assert_eq!(exporter.scrape().await.sum(SPANS, &["rejected"]), 5.0);
}

#[tokio::test]
async fn a_client_certificate_that_is_none_is_told_at_the_start() {
    let scene = Scene::new().await;
    let file = scene.workspace.write("none.pem", "no certificate\n");
    let tls = format!("tls: {{cert_file: {file:?}, key_file: {file:?}}}");
    for protocol in PROTOCOLS {
        let traces = format!("endpoint: 'https://127.0.0.1:1', protocol: {protocol}, {tls}");
        let verdict = refused(&scene.configure(&traces), &[]).await;
        assert_eq!(verdict.code, Some(1), "{verdict:#?}");
        assert!(verdict.stderr.contains("traces: failed to set up"), "{verdict:#?}");
    }
}
