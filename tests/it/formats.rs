//! Golden files of a scrape in both formats, made from a board that holds one of everything: births, held series,
//! exemplars, a webhook that is not read yet and one that is no longer listed, names that need escaping.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use talkover_core::delivery::{AttemptStatus, HttpStatus, OwnerType, Target, Timestamp};
use talkover_core::discovery::targets::WebhookInfo;
use talkover_core::discovery::{Endpoint, Method};
use talkover_core::ledger::labels::{AttemptLabel, AttemptLabels, HttpLabel, HttpStatusDetail, LabelPolicy};
use talkover_core::ledger::series::LogOutcome;
use talkover_core::ledger::series::{ATTEMPTS_BUCKETS, DELAY_BUCKETS};
use talkover_core::ledger::series::{Family, SeriesKey};
use talkover_core::ledger::totals::{Birth, HistogramTotals, NANOS_PER_SECOND, Total};
use talkover_core::server_time::LocalTime;
use talkover_core::spans::span::SampledAttempt;
use talkover_exporter::client::Exchange;
use talkover_exporter::exposition::Format;
use talkover_exporter::sinks::metrics::board::{Board, Display, Links, TargetView};
use talkover_exporter::sinks::metrics::daemon::{ApiMetrics, register_write_errors};
use talkover_exporter::sinks::metrics::exposure::Exposure;
use talkover_exporter::sinks::metrics::pushes::{PushResult, PushStatus};
use talkover_exporter::sinks::metrics::scrape::{LastScrape, Scraper};
use talkover_exporter::store::durable::DurableLedger;
use talkover_exporter::store::handle::StoreHandle;
use talkover_exporter::store::sqlite::SqliteStore;
use tempfile::TempDir;

const BUCKETS: [f64; 3] = [0.05, 1.0, 120.0];

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(1_767_268_800 + second)
}

/// The two labels of the duration histogram, not in their usual order.
fn duration_labels() -> Vec<AttemptLabel> {
    vec![AttemptLabel::Status, AttemptLabel::Event]
}

fn target(environment: &str, webhook_id: &str) -> Target {
    Target {
        environment: environment.into(),
        webhook_id: webhook_id.into(),
        owner_type: OwnerType::Campaign,
        owner_id: "c-1".into(),
        webhook_name: "Orders \"north\"\\south\nend".into(),
    }
}

fn view(target: Target) -> TargetView {
    TargetView::new(target, &DurableLedger::default(), Exposure::default(), None, Duration::from_millis(2500))
}

fn attempt(event: &str, status: AttemptStatus, code: u16) -> AttemptLabels {
    AttemptLabels { event: event.into(), status, http_status: HttpLabel::Exact(HttpStatus::Code(code)) }
}

fn filled(bounds: &[f64], per_unit: f64, amounts: &[u64]) -> Total {
    let mut histogram = HistogramTotals::new(bounds.into());
    amounts.iter().for_each(|amount| histogram.observe(*amount, per_unit));
    Total::Histogram(histogram)
}

/// A webhook of which everything is known, with one series that is held.
fn busy() -> TargetView {
    let info = WebhookInfo {
        owner_name: "Spring".into(),
        endpoint: Some(Endpoint { host: "hooks.example.com".into(), port: Some(443) }),
        is_enabled: true,
        max_retries: Some(5),
        timeout_seconds: Some(30),
        method: Method::Post,
    };
    let mut view = TargetView { info: Some(info), ..view(target("prod", "w-1")) };
    let held = attempt("a\"\\\n", AttemptStatus::Retrying, 503);
    let shown = attempt("b", AttemptStatus::Failed, 500);
    for (labels, count) in [(&held, 4), (&shown, 7)] {
        view.totals.set(labels.attempts_series(), Total::Counter(count));
        let durations = filled(&BUCKETS, NANOS_PER_SECOND, &[50_000_000, 50_000_001, 1_500_000_000, 3_600_000_000_000]);
        view.totals.set(labels.duration_series(&duration_labels()), durations);
    }
    let event: Arc<str> = "b".into();
    let delays = filled(&DELAY_BUCKETS, NANOS_PER_SECOND, &[1_250_000_000, 100_000_000_000_000]);
    view.totals.set(SeriesKey::new(Family::Delay, [event.clone()]), delays);
    for (result, attempts) in [("success", 1), ("failed", 11), ("abandoned", 12)] {
        let labels = [event.clone(), result.into()];
        view.totals.set(SeriesKey::new(Family::Deliveries, labels.clone()), Total::Counter(attempts * 100));
        let per_delivery = filled(&ATTEMPTS_BUCKETS, 1.0, &[attempts, 2]);
        view.totals.set(SeriesKey::new(Family::AttemptsPerDelivery, labels), per_delivery);
    }
    for (count, outcome) in (3..).zip(LogOutcome::ALL) {
        view.totals.set(SeriesKey::log_entries(outcome), Total::Counter(count));
    }
    view.totals.set(SeriesKey::history_gaps(), Total::Counter(2));
    let births = BTreeMap::from([
        (held.attempts_series(), Birth { at: at(5), is_held: true }),
        (held.duration_series(&duration_labels()), Birth { at: at(5), is_held: true }),
        (shown.attempts_series(), Birth { at: Timestamp::from_micros(at(6).as_micros() + 250_000), is_held: false }),
        (shown.duration_series(&duration_labels()), Birth { at: at(6), is_held: false }),
    ]);
    view.exposure.add(&births, Some(at(5)));
    let sampled = |labels: &AttemptLabels, second, duration_ns| SampledAttempt {
        labels: labels.clone(),
        duration_ns: Some(duration_ns),
        at: at(second),
        trace_id: [0xab; 16],
        span_id: [0x0c; 8],
    };
    let attempts =
        [sampled(&held, 5, 50_000_000), sampled(&shown, 6, 50_000_001), sampled(&shown, 7, 3_600_000_000_000)];
    view.exemplars.observe(&attempts, &policy());
    view.exposed = true;
    view.marks.watermark = Some(at(100));
    view.marks.last_attempt = [Some(at(1)), Some(at(2)), Some(at(3)), Some(at(4))];
    view.open = [3, 1];
    view.oldest_open = [Some(at(-50)), None];
    view.marks.contacted = true;
    (view.marks.streak.count, view.marks.streak.since) = (3, Some(at(70)));
    view.up = Some(true);
    view.last_success = Some(at(101));
    view.polls = [70, 6, 5, 4, 3, 2, 1];
    view
}

fn policy() -> LabelPolicy {
    LabelPolicy {
        http_status: HttpStatusDetail::Exact,
        duration_labels: duration_labels(),
        duration_buckets: BUCKETS.into(),
        max_events: 10,
        max_label_sets: 10,
    }
}

fn board() -> Board {
    let board = Board::default();
    let display = Display {
        duration_labels: duration_labels(),
        duration_buckets: BUCKETS.into(),
        birth_hold: Duration::from_secs(65),
        links: Links::default(),
    };
    board.set_display(display);
    board.set_config(|config| (config.is_good, config.loaded_at) = (true, at(0)));
    for (environment, budget) in [("staging", 7), ("prod", 60)] {
        board.add_environment(environment.into(), budget);
    }
    board.update_environment(&"prod".into(), |view| {
        view.entries_read.new = 10;
        view.entries_read.unchanged = 90;
        view.clock_offset = Some(-0.75);
        view.rate_limit = Some(100);
        view.rate_limit_remaining = Some(99);
        view.discovery_last_success = Some(at(9));
    });
    board.add_target(busy());
    // Not read yet, and failing.
    let mut failing = view(target("prod", "w-0"));
    failing.fail("the API answered 502", at(102));
    failing.totals.set(attempt("b", AttemptStatus::Failed, 500).attempts_series(), Total::Counter(1));
    board.add_target(failing);
    // Read before, and no longer listed.
    let mut unlisted = view(target("staging", "w-1"));
    unlisted.exposed = true;
    unlisted.totals.set(attempt("b", AttemptStatus::Unknown, 0).attempts_series(), Total::Counter(9));
    board.add_target(unlisted);
    board.retire_target(&target("staging", "w-1"), Instant::now() + Duration::from_secs(3600));
    board
}

/// What has one of everything, and the directory of its state.
pub(crate) fn scraper() -> (Scraper, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store =
        StoreHandle::new(SqliteStore::open(&directory.path().join("state.db"), LocalTime::new(at(-1))).unwrap());
    let registry = Registry::new();
    let api = ApiMetrics::register(&registry).unwrap();
    api.add_environment("prod");
    let exchange = Exchange {
        code: Some(200),
        duration: Duration::from_millis(75),
        date: None,
        rate_limit: None,
        rate_limit_remaining: None,
    };
    api.record("prod", "logs", &exchange);
    register_write_errors(&registry).unwrap().inc();
    store.run_blocking(|store| store.limit_spans(10_000)).unwrap();
    let pushes = PushStatus::default();
    pushes.record(PushResult::Failed, LocalTime::new(at(0)));
    pushes.record(PushResult::Exported, LocalTime::new(at(1)));
    (
        Scraper { board: board(), store: store.info().clone(), registry, pushes, last_scrape: LastScrape::default() },
        directory,
    )
}

/// Without what is this machine's.
fn scrape(format: Format) -> String {
    let (scraper, _directory) = scraper();
    let mut text = String::new();
    scraper.write(format, &mut text).unwrap();
    let is_ours = |line: &&str| {
        !["process_", "talkover_exporter_build_info{", "talkover_exporter_state_size_bytes "]
            .iter()
            .any(|prefix| line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ").starts_with(prefix))
    };
    text.lines().filter(is_ours).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_text_format_looks_like_this() {
    insta::assert_snapshot!(scrape(Format::Text));
}

#[test]
fn openmetrics_looks_like_this() {
    insta::assert_snapshot!(scrape(Format::OpenMetrics));
}
