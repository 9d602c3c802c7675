//! What a scrape shows of targets: those that discovery knows and those that it does not, and one state whatever is
//! written meanwhile.

use std::sync::Arc;
use std::time::Duration;

use talkover_core::delivery::{AttemptStatus, HttpStatus, OwnerType, Target, Timestamp};
use talkover_core::discovery::targets::WebhookInfo;
use talkover_core::discovery::{Endpoint, Method};
use talkover_core::ledger::labels::{AttemptLabels, HttpLabel};
use talkover_core::ledger::totals::{Birth, Total};
use talkover_core::spans::span::SampledAttempt;
use talkover_core::testing::policy;

use super::*;
use crate::sinks::metrics::board::TargetView;
use crate::sinks::metrics::exposure::Exposure;
use crate::sinks::metrics::pushes::PushStatus;
use crate::store::durable::DurableLedger;
use crate::store::handle::StoreHandle;
use crate::store::sqlite::SqliteStore;
use talkover_core::server_time::LocalTime;

fn view(id: &str, info: Option<WebhookInfo>) -> TargetView {
    let target = Target {
        environment: "test".into(),
        webhook_id: id.into(),
        owner_type: OwnerType::Campaign,
        owner_id: "c".into(),
        webhook_name: "Orders".into(),
    };
    TargetView { info, ..TargetView::new(target, &DurableLedger::default(), Exposure::default(), None, Duration::ZERO) }
}

/// The lines of a family in a scrape of `board`, without its name.
fn series(board: &Board, format: Format, name: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = StoreHandle::new(SqliteStore::open(&path, LocalTime::new(Timestamp::default())).unwrap());
    let scraper = Scraper {
        board: board.clone(),
        store: store.info().clone(),
        registry: Registry::new(),
        pushes: PushStatus::default(),
        last_scrape: LastScrape::default(),
    };
    let mut out = String::new();
    scraper.write(format, &mut out).unwrap();
    out.lines().filter_map(|line| line.strip_prefix(name)).map(ToOwned::to_owned).collect()
}

fn board(views: impl IntoIterator<Item = TargetView>) -> Board {
    let board = Board::default();
    board.add_environment("test".into(), 30);
    views.into_iter().for_each(|view| board.add_target(view));
    board
}

#[test]
fn what_discovery_knows_is_shown_and_the_rest_is_empty_or_absent() {
    let info = WebhookInfo {
        owner_name: "Spring".into(),
        endpoint: Some(Endpoint { host: "hooks.example.com".into(), port: Some(443) }),
        is_enabled: false,
        max_retries: Some(0),
        timeout_seconds: None,
        method: Method::Post,
    };
    let board = board([view("by-hand", None), view("found", Some(info))]);
    let series = |name| series(&board, Format::Text, name);
    let common = r#"webhook_name="Orders",owner_type="campaign",owner_id="c""#;
    assert_eq!(
        series("talkover_webhook_info"),
        [
            format!(r#"{{environment="test",webhook_id="by-hand",{common},owner_name="",url_host=""}} 1"#),
            format!(
                r#"{{environment="test",webhook_id="found",{common},owner_name="Spring",url_host="hooks.example.com"}} 1"#
            ),
        ]
    );
    let found = |value| vec![format!(r#"{{environment="test",webhook_id="found"}} {value}"#)];
    assert_eq!(series("talkover_webhook_enabled"), found(0));
    assert_eq!(series("talkover_webhook_max_retries"), found(0));
    assert_eq!(series("talkover_webhook_timeout_seconds"), [""; 0]);

    board.update(&view("found", None).target, |view, _| {
        let info = view.info.as_mut().unwrap();
        (info.is_enabled, info.timeout_seconds, info.owner_name) = (true, Some(30), Arc::from(""));
    });
    assert_eq!(series("talkover_webhook_enabled"), found(1));
    assert_eq!(series("talkover_webhook_timeout_seconds"), found(30));
}

fn labels(event: &str) -> AttemptLabels {
    AttemptLabels {
        event: event.into(),
        status: AttemptStatus::Success,
        http_status: HttpLabel::Exact(HttpStatus::Code(200)),
    }
}

#[test]
fn the_order_of_series_does_not_depend_on_exemplars() {
    let mut view = TargetView { exposed: true, ..view("w", None) };
    for event in ["b", "a", "c"] {
        view.totals.set(labels(event).attempts_series(), Total::Counter(1));
    }
    let sampled = SampledAttempt {
        labels: labels("b"),
        duration_ns: None,
        at: Timestamp::from_seconds(7),
        trace_id: [1; 16],
        span_id: [2; 8],
    };
    view.exemplars.observe(&[sampled], &policy().labels);
    let lines = series(&board([view]), Format::OpenMetrics, "talkover_webhook_delivery_attempts_total");
    let events: Vec<&str> = lines.iter().map(|line| line.split('"').nth(5).unwrap()).collect();
    assert_eq!(events, ["a", "b", "c"]);
    assert!(
        lines[1].ends_with("} 1 # {trace_id=\"01010101010101010101010101010101\",span_id=\"0202020202020202\"} 1 7")
    );
}

#[test]
fn a_snapshot_stays_as_it_was_and_shares_what_scrapes_have_shown() {
    let mut held = TargetView { exposed: true, ..view("w", None) };
    let key = labels("a").attempts_series();
    held.totals.set(key.clone(), Total::Counter(5));
    held.exposure.add(&[(key.clone(), Birth { at: Timestamp::from_seconds(1), is_held: true })].into(), None);
    let board = board([held]);
    let before = board.snapshot();
    // A commit while a scrape is on its way, and only then does the scrape say what it has shown.
    board.update(&view("w", None).target, |view, environment| {
        view.totals.set(key.clone(), Total::Counter(6));
        environment.entries_read.new += 1;
    });
    let now = Instant::now();
    before.targets.values().for_each(|view| view.exposure.note_scrape(now));
    let after = board.snapshot();
    let total = |views: &Views| views.targets.values().map(|view| view.totals.counter(&key)).collect::<Vec<_>>();
    assert_eq!((total(&before), total(&after)), (vec![5], vec![6]));
    assert_eq!((before.environments["test"].entries_read.new, after.environments["test"].entries_read.new), (0, 1));
    let due =
        after.targets.values().map(|view| view.exposure.due(now + Duration::from_secs(65), Duration::from_secs(65)));
    assert_eq!(
        due.map(|due| due.series).collect::<Vec<_>>(),
        [[key.clone()]],
        "the hold began with the snapshot's scrape"
    );
}
