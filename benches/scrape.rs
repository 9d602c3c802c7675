//! A scrape of 100,000 lines, rendered in both formats.
//!
//! `cargo bench --bench scrape` prints processor time a scrape and a line. Processor time, because the wall clock of a
//! shared machine says little.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that meets what it does not expect has to fail"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use talkover_core::delivery::{AttemptStatus, HttpStatus, OwnerType, Target, Timestamp};
use talkover_core::ledger::labels::{AttemptLabel, AttemptLabels, HttpLabel, HttpStatusDetail, LabelPolicy};
use talkover_core::ledger::series::{ATTEMPTS_BUCKETS, DELAY_BUCKETS};
use talkover_core::ledger::series::{Family, SeriesKey};
use talkover_core::ledger::totals::{Birth, HistogramTotals, NANOS_PER_SECOND, Total};
use talkover_core::server_time::LocalTime;
use talkover_core::spans::span::SampledAttempt;
use talkover_exporter::exposition::Format;
use talkover_exporter::sinks::metrics::board::{Board, Display, TargetView};
use talkover_exporter::sinks::metrics::exposure::Exposure;
use talkover_exporter::sinks::metrics::pushes::PushStatus;
use talkover_exporter::sinks::metrics::scrape::{LastScrape, Scraper};
use talkover_exporter::store::durable::DurableLedger;
use talkover_exporter::store::handle::StoreHandle;
use talkover_exporter::store::sqlite::SqliteStore;

/// Webhooks, each with [`EVENTS`] events.
const TARGETS: usize = 22;
/// Events, each with five outcomes.
const EVENTS: usize = 40;
/// Buckets of the duration histogram, in seconds: the default ones.
const BUCKETS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0];
/// Scrapes of each format.
const SCRAPES: u32 = 10;

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let store = StoreHandle::new(
        SqliteStore::open(&directory.path().join("state.db"), LocalTime::new(Timestamp::from_seconds(0))).unwrap(),
    );
    let scraper = Scraper {
        board: board(),
        store: store.info().clone(),
        registry: Registry::new(),
        pushes: PushStatus::default(),
        last_scrape: LastScrape::default(),
    };
    let scrape = |format| {
        let mut text = String::new();
        scraper.write(format, &mut text).unwrap();
        text
    };
    for (name, format) in [("text", Format::Text), ("OpenMetrics", Format::OpenMetrics)] {
        let text = scrape(format);
        let lines = text.lines().count();
        let before = cpu();
        for _ in 0..SCRAPES {
            // The figures of the process change from one scrape to the next.
            assert!(scrape(format).len().abs_diff(text.len()) < 100);
        }
        let seconds = (cpu() - before) / f64::from(SCRAPES);
        println!(
            "{name}: {lines} lines, {} KB, {:.1} ms a scrape, {:.0} ns a line",
            text.len() / 1000,
            seconds * 1e3,
            seconds * 1e9 / lines as f64
        );
    }
}

/// Seconds of processor time that this process has used.
fn cpu() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// A board with everything that a busy daemon shows of its webhooks.
fn board() -> Board {
    let board = Board::default();
    board.set_display(Display {
        duration_labels: AttemptLabel::ALL.to_vec(),
        duration_buckets: BUCKETS.into(),
        birth_hold: Duration::from_secs(65),
        links: talkover_exporter::sinks::metrics::board::Links::default(),
    });
    board.add_environment("production".into(), 60);
    for number in 0..TARGETS {
        board.add_target(view(number));
    }
    board
}

fn view(number: usize) -> TargetView {
    let target = Target {
        environment: "production".into(),
        webhook_id: format!("9d2c8e54-7c1f-4a7e-9f53-0000000000{number:02}").into(),
        owner_type: OwnerType::Campaign,
        owner_id: "campaign-7".into(),
        webhook_name: format!("Orders {number}").into(),
    };
    let mut view =
        TargetView::new(target, &DurableLedger::default(), Exposure::default(), None, Duration::from_secs(15));
    view.exposed = true;
    let mut births = BTreeMap::new();
    let mut sampled = Vec::new();
    for event in 0..EVENTS {
        let event: Arc<str> = format!("order.changed.{event}").into();
        for (status, code) in [
            (AttemptStatus::Success, 200),
            (AttemptStatus::Success, 204),
            (AttemptStatus::Failed, 500),
            (AttemptStatus::Failed, 404),
            (AttemptStatus::Retrying, 503),
        ] {
            let http_status = HttpLabel::Exact(HttpStatus::Code(code));
            let labels = AttemptLabels { event: event.clone(), status, http_status };
            let durations = labels.duration_series(&AttemptLabel::ALL);
            view.totals.set(labels.attempts_series(), Total::Counter(123_456));
            view.totals.set(durations.clone(), filled(&BUCKETS, NANOS_PER_SECOND));
            for series in [labels.attempts_series(), durations] {
                births.insert(series, Birth { at: Timestamp::from_seconds(1_700_000_000), is_held: false });
            }
            sampled.push(SampledAttempt {
                labels,
                duration_ns: Some(300_000_000),
                at: Timestamp::from_seconds(1_700_000_100),
                trace_id: [7; 16],
                span_id: [9; 8],
            });
        }
        view.totals.set(SeriesKey::new(Family::Delay, [event.clone()]), filled(&DELAY_BUCKETS, NANOS_PER_SECOND));
        for result in ["success", "failed"] {
            let labels = [event.clone(), result.into()];
            view.totals.set(SeriesKey::new(Family::Deliveries, labels.clone()), Total::Counter(98_765));
            view.totals.set(SeriesKey::new(Family::AttemptsPerDelivery, labels), filled(&ATTEMPTS_BUCKETS, 1.0));
        }
    }
    view.exposure.add(&births, None);
    let policy = LabelPolicy {
        http_status: HttpStatusDetail::Exact,
        duration_labels: AttemptLabel::ALL.to_vec(),
        duration_buckets: BUCKETS.into(),
        max_events: 50,
        max_label_sets: 1000,
    };
    view.exemplars.observe(&sampled, &policy);
    view
}

/// A histogram with an observation in each bucket.
fn filled(bounds: &[f64], per_unit: f64) -> Total {
    let mut histogram = HistogramTotals::new(bounds.into());
    for bound in bounds {
        histogram.observe((bound * per_unit) as u64, per_unit);
    }
    Total::Histogram(histogram)
}
