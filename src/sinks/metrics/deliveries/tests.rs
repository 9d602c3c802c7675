//! What a scrape shows of webhooks that discovery knows, and of those that it does not.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::sinks::metrics::exposure::Exposure;
use crate::store::durable::DurableLedger;
use talkover_core::delivery::{OwnerType, Target};
use talkover_core::discovery::targets::WebhookInfo;
use talkover_core::discovery::{Endpoint, Method};

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

/// The series of a family: the values of their labels, in the catalogue's order, and their value.
fn series(board: &Board, metric: &Metric) -> Vec<(Vec<String>, f64)> {
    let families = TargetCollector::new(board.clone()).collect();
    let family = families.into_iter().find(|family| family.name() == metric.name).unwrap();
    let labels = |sample: &prometheus::proto::Metric| {
        let value =
            |name: &&str| sample.get_label().iter().find(|label| label.name() == *name).unwrap().value().to_owned();
        metric.all_labels().iter().map(value).collect()
    };
    family.get_metric().iter().map(|sample| (labels(sample), sample.get_gauge().get_value())).collect()
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
    let board = Board::default();
    board.add_environment("test".into(), 30);
    board.add_target(view("by-hand", None));
    board.add_target(view("found", Some(info)));
    let texts = |values: &[&str]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = [
        (texts(&["test", "by-hand", "Orders", "campaign", "c", "", ""]), 1.0),
        (texts(&["test", "found", "Orders", "campaign", "c", "Spring", "hooks.example.com"]), 1.0),
    ];
    assert_eq!(series(&board, &catalogue::WEBHOOK_INFO), expected);
    let found = |value| vec![(texts(&["test", "found"]), value)];
    assert_eq!(series(&board, &catalogue::WEBHOOK_ENABLED), found(0.0));
    assert_eq!(series(&board, &catalogue::WEBHOOK_MAX_RETRIES), found(0.0));
    assert_eq!(series(&board, &catalogue::WEBHOOK_TIMEOUT), []);

    board.update(&view("found", None).target, |view, _| {
        let info = view.info.as_mut().unwrap();
        (info.is_enabled, info.timeout_seconds, info.owner_name) = (true, Some(30), Arc::from(""));
    });
    assert_eq!(series(&board, &catalogue::WEBHOOK_ENABLED), found(1.0));
    assert_eq!(series(&board, &catalogue::WEBHOOK_TIMEOUT), found(30.0));
}
