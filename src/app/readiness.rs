//! When the metrics are worth scraping.

use crate::server::health::Readiness;
use crate::sinks::metrics::board::{Board, EnvironmentView, TargetView, Views};

/// Failed polls after which a target no longer keeps the daemon from being ready.
const FAILURES_UNTIL_READY: u64 = 3;

/// Ready means worth scraping: every target has durable totals, or has failed often enough for `talkover_up` to tell. What
/// comes later, when targets are added, does not take back what was said.
pub(super) fn show(board: &Board, readiness: &Readiness) {
    if readiness.check().is_ok() {
        return;
    }
    match board.read(waiting_for) {
        Some(reason) => readiness.set_waiting(reason),
        None => readiness.set_ready(),
    }
}

fn waiting_for(views: &Views) -> Option<String> {
    waiting_for_discovery(views).or_else(|| waiting_for_targets(views))
}

fn waiting_for_discovery(views: &Views) -> Option<String> {
    let is_waiting = |view: &EnvironmentView| {
        let has_failed = u64::from(view.discovery_failures) >= FAILURES_UNTIL_READY;
        view.is_searching && !has_failed
    };
    let (name, _) = views.environments.iter().find(|(_, view)| is_waiting(view))?;
    Some(format!("the discovery of environment {name} has not read all lists yet"))
}

fn waiting_for_targets(views: &Views) -> Option<String> {
    let failures = |view: &TargetView| view.polls.iter().skip(1).sum::<u64>();
    let is_waiting = |view: &&TargetView| !view.exposed && failures(view) < FAILURES_UNTIL_READY;
    let waiting: Vec<&TargetView> = views.listed().filter(is_waiting).collect();
    let first = waiting.first()?;
    Some(format!("{} of {} webhooks not read yet, among them {}", waiting.len(), views.listed().count(), first.target))
}
