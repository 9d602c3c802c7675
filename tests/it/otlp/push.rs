//! The real daemon with a receiver of metrics.

use std::path::PathBuf;

use talkover_simulator::{Clock, EntrySpec, Scenario, Simulator, Status};

use super::pushed::{Push, pushes};
use crate::harness::{Exporter, Scrape, Workspace, all_true_attempts, quiet_scenario, simulator, wait_for};
use crate::traces::receiver::{Answer, Receiver};

const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];
const PUSHES: &str = "talkover_exporter_metric_pushes_total";
const ATTEMPTS: &str = "talkover_webhook_delivery_attempts_total";

/// Pushes often, so that nobody has to wait, and holds births only if told so.
fn settings(receiver: &Receiver, protocol: &str, hold: &str, more: &str) -> String {
    format!(
        "poll: {{min_interval: 50ms, max_interval: 100ms, lookback: 20s, sweep_interval: 2s}}\n\
         metrics: {{birth_hold: {hold}, otlp: {{endpoint: '{}', protocol: {protocol}, interval: 50ms}}}}\n{more}",
        receiver.url()
    )
}

fn configure(workspace: &Workspace, simulator: &Simulator, scenario: &Scenario, settings: &str) -> PathBuf {
    workspace.configure(&simulator.base_url(), &scenario.webhooks, settings)
}

fn last(receiver: &Receiver) -> Push {
    pushes(&receiver.metrics()).pop().unwrap_or_default()
}

/// Waits for a push in which `is_there`.
async fn wait_for_push(receiver: &Receiver, what: &str, is_there: impl Fn(&Push) -> bool) -> Push {
    wait_for(what, || async {
        let push = last(receiver);
        is_there(&push).then_some(push)
    })
    .await
}

fn attempts(push: &Push) -> f64 {
    push.of(ATTEMPTS).map(|(_, value)| value).sum()
}

/// Counters and histograms that a restart does not change.
fn assert_continues(before: &Push, after: &Push) {
    let mut compared = 0;
    for (series, point) in before.series.iter().filter(|(_, point)| point.start > 0) {
        let is_durable = ["talkover_webhook_", "talkover_exporter_log_entries", "talkover_exporter_history_gaps"]
            .iter()
            .any(|prefix| series.starts_with(prefix));
        let now = &after.series[series];
        if is_durable {
            assert_eq!(now.start, point.start, "{series}");
            compared += 1;
        } else {
            assert!(now.start > point.start, "{series} starts with the process");
        }
    }
    assert!(compared > 20, "only {compared} series were compared");
    for (series, value) in before.samples.iter().filter(|(series, _)| series.starts_with("talkover_webhook_delivery_"))
    {
        assert!(after.samples[series] >= *value, "{series} went down");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_has_what_a_scrape_shows_over_kills_and_restarts() {
    let scenario = Scenario::from_yaml(include_str!("../busy.yml"), "busy.yml").unwrap();
    for protocol in PROTOCOLS {
        let simulator = simulator(scenario.clone(), Clock::Real).await;
        let receiver = Receiver::start([]).await;
        let workspace = Workspace::new();
        let traces = format!("traces: {{endpoint: '{}', protocol: {protocol}}}\n", receiver.url());
        let config = configure(&workspace, &simulator, &scenario, &settings(&receiver, protocol, "0s", &traces));
        let exporter = Exporter::start(&config).await;
        let first = wait_for_push(&receiver, "history", |push| attempts(push) > 300.0).await;
        exporter.kill().await;
        let exporter = Exporter::start(&config).await;
        let second = wait_for_push(&receiver, "live attempts", |push| attempts(push) > attempts(&first) + 100.0).await;
        assert_continues(&first, &second);
        simulator.settle_and_freeze();
        let wanted: f64 = all_true_attempts(&simulator, &scenario.webhooks).values().sum();
        let counted = |scrape: &Scrape| scrape.attempts().values().sum::<f64>() == wanted;
        let scrape = exporter.wait_for("all attempts", counted).await;
        let push = wait_for_push(&receiver, "all attempts", |push| attempts(push) == wanted).await;
        assert_continues(&first, &push);
        // What no longer changes is the same to the last series.
        let of_deliveries = |samples: &std::collections::BTreeMap<String, f64>| {
            let own = samples.iter().filter(|(series, _)| series.starts_with("talkover_webhook_"));
            own.map(|(series, value)| (series.clone(), *value)).collect::<Vec<_>>()
        };
        assert_eq!(of_deliveries(&push.samples), of_deliveries(scrape.samples()), "{protocol}");
        // Of the rest, the same series; but a queue has an oldest item only while it is not empty.
        let comes_and_goes = |series: &str| series.contains("metric_push_last") || series.contains("queue_oldest");
        let names = |samples: &std::collections::BTreeMap<String, f64>| {
            samples.keys().filter(|series| !comes_and_goes(series)).cloned().collect::<Vec<_>>()
        };
        assert_eq!(names(&push.samples), names(exporter.scrape().await.samples()), "{protocol}");
        let exemplars = push.series.values().map(|point| point.exemplars.len()).sum::<usize>();
        assert!(exemplars > 5, "{exemplars} exemplars");
        let requests = receiver.metrics().len();
        assert_eq!(exporter.terminate().await, Some(0));
        assert!(receiver.metrics().len() > requests, "the last values are pushed at the end");
    }
}

#[tokio::test]
async fn a_birth_is_held_until_a_receiver_has_seen_it() {
    let (simulator, scenario) = (simulator(quiet_scenario(), Clock::Real).await, quiet_scenario());
    let receiver = Receiver::start([]).await;
    let workspace = Workspace::new();
    let config = configure(&workspace, &simulator, &scenario, &settings(&receiver, "grpc", "200ms", ""));
    let exporter = Exporter::start(&config).await;
    let up = |push: &Push| push.of("talkover_up").map(|(_, value)| value).sum::<f64>() == 2.0;
    wait_for_push(&receiver, "the first contact", up).await;
    receiver.always(Answer::Unavailable);
    let seen = receiver.seen().len();
    let now = simulator.truth().now;
    let raw = format!(
        r#"{{"id":"log-1","webhook_id":"w-1","event":"e","attempt":1,"status":"failed","http_status":500,"created_at":"{}"}}"#,
        now.to_rfc3339()
    );
    simulator.with_world(|world| world.insert_raw("w-1", now, &raw)).unwrap();
    // Longer than a hold: many pushes fail, and nobody scrapes.
    wait_for("pushes that fail", || async { (receiver.seen().len() > seen + 8).then_some(()) }).await;
    let before = receiver.metrics().len();
    receiver.always(Answer::Accept);
    let series = r#"talkover_webhook_delivery_attempts_total{environment="test",webhook_id="w-1",event="e",status="failed",http_status="500"}"#;
    wait_for_push(&receiver, "the value", |push| push.get(series) == Some(1.0)).await;
    let pushes = pushes(&receiver.metrics()[before..]);
    let values: Vec<f64> = pushes.iter().filter_map(|push| push.get(series)).collect();
    assert_eq!(values.first(), Some(&0.0), "the first value that a receiver sees is 0");
    let starts: Vec<u64> = pushes.iter().filter_map(|push| push.series.get(series)).map(|point| point.start).collect();
    assert!(starts.windows(2).all(|pair| pair[0] == pair[1]), "{starts:?}");
    assert!(starts[0] / 1_000_000_000 >= now.as_seconds() as u64, "it starts with its birth");
    assert_eq!(exporter.terminate().await, Some(0));
}

#[tokio::test]
async fn a_scraper_sees_the_birth_although_pushes_have_shown_it() {
    let (simulator, scenario) = (simulator(quiet_scenario(), Clock::Real).await, quiet_scenario());
    let receiver = Receiver::start([]).await;
    let workspace = Workspace::new();
    let config = configure(&workspace, &simulator, &scenario, &settings(&receiver, "grpc", "200ms", ""));
    let exporter = Exporter::start(&config).await;
    exporter.wait_for("the first contact", |scrape| scrape.sum("talkover_up", &[]) == 2.0).await;
    let now = simulator.truth().now;
    let spec = EntrySpec { created_at: now, status: Status::Failed, http_status: Some(500), ..EntrySpec::default() };
    simulator.with_world(|world| world.insert("w-1", spec)).unwrap();
    let attempts = |push: &Push| push.of(ATTEMPTS).next().map(|(_, value)| value);
    wait_for_push(&receiver, "the birth", |push| push.of(ATTEMPTS).next().is_some()).await;
    // Longer than a hold, and nobody scrapes.
    let seen = receiver.metrics().len();
    wait_for("further pushes", || async { (receiver.metrics().len() > seen + 8).then_some(()) }).await;
    assert!(pushes(&receiver.metrics()).iter().all(|push| attempts(push).is_none_or(|value| value == 0.0)));
    let sum = |scrape: &Scrape| scrape.sum(ATTEMPTS, &[]);
    assert_eq!(sum(&exporter.scrape().await), 0.0, "the first value that a scraper sees is 0");
    exporter.wait_for("the value", |scrape| sum(scrape) == 1.0).await;
    assert_eq!(exporter.terminate().await, Some(0));
}

#[tokio::test]
async fn whatever_a_receiver_answers_the_next_push_makes_up_for_it() {
    let (simulator, scenario) = (simulator(quiet_scenario(), Clock::Real).await, quiet_scenario());
    for protocol in PROTOCOLS {
        for (answer, outcome) in [
            (Answer::Unavailable, "failed"),
            (Answer::BreakOff, "failed"),
            (Answer::Busy(1), "failed"),
            (Answer::Invalid, "rejected"),
            (Answer::Unauthorized, "rejected"),
            (Answer::Partial(3), "rejected"),
        ] {
            let receiver = Receiver::start([answer.clone()]).await;
            let workspace = Workspace::new();
            let config = configure(&workspace, &simulator, &scenario, &settings(&receiver, protocol, "0s", ""));
            let exporter = Exporter::start(&config).await;
            let label = [&*format!("outcome=\"{outcome}\"")];
            let scrape = exporter
                .wait_for("a push after that", |scrape| scrape.sum(PUSHES, &["outcome=\"exported\""]) >= 1.0)
                .await;
            assert_eq!(scrape.sum(PUSHES, &label), 1.0, "{protocol}, {answer:?}");
            assert!(scrape.get("talkover_exporter_metric_push_last_success_timestamp_seconds") > Some(1.7e9));
            let push = last(&receiver);
            assert_eq!(push.get("talkover_exporter_config_last_reload_successful"), Some(1.0));
            assert_eq!(exporter.terminate().await, Some(0));
        }
    }
}

#[tokio::test]
async fn requests_that_are_too_large_become_smaller_ones_and_nothing_is_sent_twice() {
    let (simulator, scenario) = (simulator(quiet_scenario(), Clock::Real).await, quiet_scenario());
    for protocol in PROTOCOLS {
        let receiver = Receiver::start([]).await;
        receiver.always(Answer::AtMost(20));
        let workspace = Workspace::new();
        let config = configure(&workspace, &simulator, &scenario, &settings(&receiver, protocol, "0s", ""));
        let exporter = Exporter::start(&config).await;
        let is_done = |scrape: &Scrape| scrape.sum(PUSHES, &["outcome=\"exported\""]) >= 2.0;
        let scrape = exporter.wait_for("two pushes", is_done).await;
        assert_eq!(scrape.sum(PUSHES, &["outcome=\"rejected\""]) + scrape.sum(PUSHES, &["outcome=\"failed\""]), 0.0);
        // It would panic at a series that came twice in one push.
        let complete = pushes(&receiver.metrics()).remove(0);
        assert!(complete.series.len() > 60, "{}", complete.series.len());
        assert_eq!(exporter.terminate().await, Some(0));
    }
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_at_all_is_not_asked_for_every_data_point() {
    let (simulator, scenario) = (simulator(quiet_scenario(), Clock::Real).await, quiet_scenario());
    let receiver = Receiver::start([]).await;
    receiver.always(Answer::AtMost(0));
    let workspace = Workspace::new();
    let otlp = format!("metrics: {{birth_hold: 0s, otlp: {{endpoint: '{}', interval: 1h}}}}\n", receiver.url());
    let config = configure(&workspace, &simulator, &scenario, &otlp);
    let exporter = Exporter::start(&config).await;
    let is_failed = |scrape: &Scrape| scrape.sum(PUSHES, &["outcome=\"failed\""]) >= 1.0;
    let scrape = exporter.wait_for("a push that is given up", is_failed).await;
    let pushes = scrape.sum(PUSHES, &["outcome=\"failed\""]) as usize;
    let requests = receiver.seen().len();
    // Smaller ones, down to one data point, and eight of those; one more push may have begun.
    assert!((15..=(pushes + 1) * 22).contains(&requests), "{requests} requests for {pushes} pushes");
    exporter.wait_for_log("why", |log| log.iter().any(|line| line.contains("single data points too large"))).await;
    assert_eq!(exporter.terminate().await, Some(0));
}

#[tokio::test]
async fn failures_are_told_once_and_without_secrets_and_a_reload_exchanges_the_receiver() {
    let (simulator, scenario) = (simulator(quiet_scenario(), Clock::Real).await, quiet_scenario());
    let [first, second] = [Receiver::start([]).await, Receiver::start([]).await];
    first.always(Answer::Unauthorized);
    let workspace = Workspace::new();
    let with = |receiver: &Receiver, interval: &str| {
        let headers = "headers: {authorization: Bearer s3cret-key}";
        let otlp = format!(
            "metrics: {{birth_hold: 0s, otlp: {{endpoint: '{}', interval: {interval}, {headers}}}}}\n",
            receiver.url()
        );
        configure(&workspace, &simulator, &scenario, &otlp)
    };
    let exporter = Exporter::start_with(&with(&first, "300ms"), &[("RUST_LOG", "debug".to_owned())]).await;
    let is_told = |log: &[String]| log.iter().any(|line| line.contains("failed to push metrics"));
    exporter.wait_for_log("the refusal", is_told).await;
    let seen = first.seen().len();
    wait_for("some more pushes", || async { (first.seen().len() > seen + 5).then_some(()) }).await;
    with(&second, "1h");
    exporter.signal(rustix::process::Signal::HUP);
    let push = wait_for_push(&second, "a push to the other receiver", |push| !push.series.is_empty()).await;
    assert!(push.get(r#"talkover_exporter_metric_pushes_total{outcome="rejected"}"#) > Some(5.0));
    // With unchanged settings, a reload makes the next push due.
    exporter.signal(rustix::process::Signal::HUP);
    wait_for("a push after a reload", || async { (second.seen().len() >= 2).then_some(()) }).await;
    let log = exporter.log();
    let lines = |text: &str| log.iter().filter(|line| line.contains(text)).count();
    assert_eq!(lines("failed to push metrics"), 1, "{log:#?}");
    assert_eq!(lines("s3cret"), 0, "{log:#?}");
    assert_eq!(second.seen()[0].headers["authorization"], "Bearer s3cret-key");
    assert_eq!(exporter.terminate().await, Some(0));
}
