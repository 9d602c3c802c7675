//! The file, character by character.

use super::*;
use talkover_core::delivery::{AttemptStatus, OwnerType, Target};
use talkover_core::ledger::labels::{AttemptLabel, HttpStatusDetail};
use talkover_core::ledger::series::LogOutcome;

const FROM: Timestamp = Timestamp::from_seconds(1_764_000_100);

fn labels() -> LabelPolicy {
    LabelPolicy {
        http_status: HttpStatusDetail::Exact,
        duration_labels: vec![AttemptLabel::Event],
        duration_buckets: [0.5].into(),
        max_events: 10,
        max_label_sets: 10,
    }
}

fn past(end: i64, samples_until: i64) -> Past {
    let target = Target {
        environment: "prod".into(),
        webhook_id: "w-1".into(),
        owner_type: OwnerType::Campaign,
        owner_id: "c-1".into(),
        webhook_name: "Say \"hi\"".into(),
    };
    let [end, samples_until] = [end, samples_until].map(|after| FROM.plus(Duration::from_secs(after as u64)));
    Past { target, info: None, from: FROM, end, samples_until }
}

fn written(past: Past, points: &[(PastSeries, i64, &[u64])]) -> (String, Written) {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::new(directory.path()).unwrap();
    for (series, after, numbers) in points {
        let slot = GridTime::showing(FROM.plus(Duration::from_secs(*after as u64)));
        spool.push(0, series.clone(), Point { slot, numbers: numbers.to_vec() }).unwrap();
    }
    let labels = labels();
    let pasts = [past];
    let history = History { pasts: &pasts, spool: &spool, labels: &labels };
    let mut text = Vec::new();
    let written = history.write(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(written.bytes, text.len() as u64);
    assert_eq!(written.samples, text.lines().filter(|line| !line.starts_with('#')).count() as u64);
    (text, written)
}

fn new_entries() -> PastSeries {
    PastSeries::Total(SeriesKey::log_entries(LogOutcome::New))
}

#[test]
fn a_file_has_families_series_and_times_in_order() {
    let duration = PastSeries::Total(SeriesKey::new(Family::Duration, ["paid".into()]));
    let (text, written) = written(
        past(700, 700),
        &[
            (new_entries(), 10, &[1]),
            (new_entries(), 650, &[3]),
            (duration, 300, &[1, 0, 250_000_000]),
            (PastSeries::LastAttempt(AttemptStatus::Success), 10, &[1_764_000_110_000_000]),
        ],
    );
    insta::assert_snapshot!(text);
    assert_eq!(written.series, 7);
}

#[test]
fn where_a_daemon_goes_on_counters_end_with_a_reset() {
    let (text, _) = written(past(90_000, 320), &[(new_entries(), 310, &[5])]);
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let series = r#"talkover_exporter_log_entries_total{environment="prod",webhook_id="w-1",outcome="new"}"#;
    assert_eq!(
        lines[..3],
        [(0, 1_764_000_300), (5, 1_764_000_420), (0, 1_764_000_421)]
            .map(|(value, time)| format!("{series} {value} {time}"))
    );
    assert!(
        lines[3..].iter().all(|line| line.starts_with("talkover_webhook_info{") && line.contains("} 1 ")),
        "{text}"
    );
}

#[test]
fn a_webhook_without_a_past_is_left_out() {
    assert_eq!(written(past(90_000, 0), &[]), ("# EOF\n".to_owned(), Written { bytes: 6, ..Written::default() }));
}

#[test]
fn every_metric_is_in_the_catalogue_and_comes_in_order() {
    let names: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
    assert!(names.is_sorted());
    for (name, content) in METRICS {
        let metric = catalogue::all().find(|metric| metric.name == name).unwrap();
        assert_eq!(content.family().is_some(), metric.kind != Kind::Gauge, "{name}");
    }
    assert!(Family::ALL.iter().all(|family| METRICS.iter().any(|(_, content)| content.family() == Some(*family))));
}
