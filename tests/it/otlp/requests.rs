//! A board that has one of everything, as requests of any size.

use std::collections::BTreeMap;
use std::convert::Infallible;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use talkover_core::delivery::Timestamp;
use talkover_core::server_time::LocalTime;
use talkover_exporter::exposition::Format;
use talkover_exporter::sinks::metrics::otlp::points::PushTimes;
use talkover_exporter::sinks::metrics::otlp::requests::{PushOrigin, RequestLimits, for_each};
use talkover_exporter::sinks::metrics::scrape::{Scrape as Snapshot, Scraper};

use super::pushed::{Push, pushes};
use crate::formats::scraper;
use crate::harness::Scrape;

/// The end of 2025, when the state and the board of the fixture begin.
const MADE: i64 = 1_767_268_800;
const SECOND: u64 = 1_000_000_000;

fn times() -> PushTimes {
    let at = |second| LocalTime::new(Timestamp::from_seconds(MADE + second));
    PushTimes { now: at(1_000), state_created: at(-1), process_started: at(500) }
}

fn requests(
    scrape: &Snapshot,
    max_points: usize,
    max_bytes: usize,
    skipped: usize,
) -> Vec<ExportMetricsServiceRequest> {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let origin = PushOrigin {
        resource_attributes: vec![pair("service.name", "deliveries")],
        daemon_attributes: vec![pair("service.name", "daemon")],
        instance_id: "i".to_owned(),
    };
    let mut requests = Vec::new();
    let limits = RequestLimits { max_points, max_bytes, skipped };
    let done = for_each(scrape, &origin, &times(), &limits, |request| {
        requests.push(request.message);
        Ok::<_, Infallible>(())
    });
    assert!(done.is_ok());
    requests
}

fn push(scrape: &Snapshot, max_points: usize) -> Push {
    let mut pushes = pushes(&requests(scrape, max_points, usize::MAX, 0));
    assert_eq!(pushes.len(), 1);
    pushes.remove(0)
}

/// What differs from one look at this machine to the next.
fn is_stable(series: &str) -> bool {
    !series.starts_with("process_") && !series.starts_with("talkover_exporter_state_size_bytes")
}

fn stable(samples: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    samples.iter().filter(|(series, _)| is_stable(series)).map(|(series, value)| (series.clone(), *value)).collect()
}

fn scraped(scraper: &Scraper) -> Scrape {
    let mut text = String::new();
    scraper.write(Format::Text, &mut text).unwrap();
    Scrape::unbalanced(text)
}

#[test]
fn the_data_points_are_the_series_of_a_scrape() {
    let (scraper, _directory) = scraper();
    let expected = scraped(&scraper);
    let scrape = scraper.observe();
    for max_points in [1, 7, usize::MAX] {
        let push = push(&scrape, max_points);
        assert_eq!(stable(&push.samples), stable(expected.samples()), "{max_points}");
        let names = |samples: &BTreeMap<String, f64>| {
            samples.keys().filter(|series| !is_stable(series)).cloned().collect::<Vec<_>>()
        };
        assert_eq!(names(&push.samples), names(expected.samples()));
    }
    assert!(expected.samples().len() > 150, "the fixture has one of everything");
}

#[test]
fn each_environment_has_a_resource_and_the_daemon_its_own() {
    let (scraper, _directory) = scraper();
    let push = push(&scraper.observe(), usize::MAX);
    for (series, point) in &push.series {
        let environment = series.split_once("environment=\"").map(|(_, rest)| rest.split('"').next().unwrap());
        let service = if environment.is_some() { "deliveries" } else { "daemon" };
        assert_eq!(point.resource, (environment.map(str::to_owned), service.to_owned()), "{series}");
    }
    let request = &requests(&scraper.observe(), usize::MAX, usize::MAX, 0)[0];
    assert_eq!(request.resource_metrics.len(), 3, "prod, staging, the daemon");
}

#[test]
fn what_is_durable_starts_with_its_birth_or_the_state_and_the_rest_with_the_process() {
    let (scraper, _directory) = scraper();
    let push = push(&scraper.observe(), usize::MAX);
    let start = |series: &str| push.series[series].start as i64 / SECOND as i64 - MADE;
    let of = |labels: &str| {
        format!("talkover_webhook_delivery_attempts_total{{environment=\"prod\",webhook_id=\"w-1\",{labels}}}")
    };
    let (held, shown) = (
        of(r#"event="a\"\\\n",status="retrying",http_status="503""#),
        of(r#"event="b",status="failed",http_status="500""#),
    );
    assert_eq!((start(&held), push.get(&held)), (5, Some(0.0)), "it is held");
    assert_eq!(push.series[&held].exemplars, Vec::<Vec<u8>>::new());
    assert_eq!((start(&shown), push.get(&shown)), (6, Some(7.0)));
    assert_eq!(push.series[&shown].exemplars, [vec![0xab; 16]]);
    let history = r#"talkover_webhook_deliveries_total{environment="prod",webhook_id="w-1",event="b",result="failed"}"#;
    assert_eq!(start(history), -1);
    assert_eq!(start(r#"talkover_exporter_log_entries_total{environment="prod",webhook_id="w-1",outcome="new"}"#), -1);
    assert_eq!(start(r#"talkover_exporter_polls_total{environment="prod",webhook_id="w-1",result="success"}"#), 500);
    assert_eq!(start(r#"talkover_api_requests_total{code="200",endpoint="logs",environment="prod"}"#), 500);
    assert_eq!(push.series["talkover_exporter_state_created_timestamp_seconds"].start, 0, "a gauge has no start");
}

#[test]
fn a_request_is_full_at_its_limits_and_what_a_receiver_has_is_left_out() {
    let (scraper, _directory) = scraper();
    let scrape = scraper.observe();
    let all = push(&scrape, usize::MAX);
    let sizes: Vec<usize> = requests(&scrape, 7, usize::MAX, 0)
        .iter()
        .map(|one| pushes(std::slice::from_ref(one))[0].series.len())
        .collect();
    let (last, full) = sizes.split_last().unwrap();
    assert!(full.len() > 5 && full.iter().all(|size| *size == 7) && *last <= 7, "{sizes:?}");
    let small = requests(&scrape, usize::MAX, 2_000, 0);
    assert!(small.len() > 5);
    for request in &small {
        // The resources come on top.
        assert!(request.encoded_len() < 2_000 + 1_500, "{}", request.encoded_len());
    }
    for skipped in [1, 7, 50, all.series.len() - 1] {
        let rest = pushes(&requests(&scrape, 20, usize::MAX, skipped)).remove(0);
        assert_eq!(rest.series.len(), all.series.len() - skipped);
        assert!(rest.series.iter().all(|(series, point)| all.series[series] == *point));
    }
    assert_eq!(requests(&scrape, 20, usize::MAX, all.series.len()), []);
}
