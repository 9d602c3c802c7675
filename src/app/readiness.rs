//! When the metrics are worth scraping.

use std::fmt::Write as _;
use std::time::Instant;

use tracing::info;

use crate::logging::about::rough;
use crate::server::health::Readiness;
use crate::sinks::metrics::board::{Board, EnvironmentView, TargetView, Views};
use crate::sinks::metrics::progress::{self, FirstContact, approximately};

/// Failed polls after which a target no longer prevents readiness.
const FAILURES_UNTIL_READY: u64 = 3;

/// Ready means worth scraping: every target has durable totals, or has failed often enough for `talkover_up` to show
/// it. Once ready, the daemon stays ready: targets that are added later change nothing.
pub(super) fn show(board: &Board, readiness: &Readiness) {
    if readiness.check().is_ok() {
        return;
    }
    match board.read(waiting_for) {
        Some(reason) => readiness.set_waiting(reason),
        None => {
            readiness.set_ready();
            let (webhooks, failing) = board.read(|views| {
                let failing = views.listed().filter(|view| view.up == Some(false)).count();
                (views.listed().count(), failing)
            });
            info!(webhooks, failing, "ready, after {}", rough(readiness.age()));
        }
    }
}

fn waiting_for(views: &Views) -> Option<String> {
    waiting_for_discovery(views).or_else(|| waiting_for_targets(views))
}

fn waiting_for_discovery(views: &Views) -> Option<String> {
    let is_waiting = |name: &str, view: &EnvironmentView| {
        let has_failed = u64::from(view.discovery_failures) >= FAILURES_UNTIL_READY || is_dead(views, name);
        view.is_searching && !has_failed
    };
    let (name, _) = views.environments.iter().find(|(name, view)| is_waiting(name, view))?;
    Some(format!("the discovery of environment {name} has not read all lists yet"))
}

/// Whether an environment has targets, of which each has failed often enough and none was ever read. Its discovery will
/// hardly do better, and may take long to fail as often, because requests are made rarely during an outage.
fn is_dead(views: &Views, name: &str) -> bool {
    let mut targets = views.listed().filter(|view| &*view.target.environment == name).peekable();
    let only_fails = |view: &TargetView| successes(view) == 0 && failures(view) >= FAILURES_UNTIL_READY;
    targets.peek().is_some() && targets.all(only_fails)
}

fn successes(view: &TargetView) -> u64 {
    view.polls.first().copied().unwrap_or(0)
}

fn failures(view: &TargetView) -> u64 {
    view.polls.iter().skip(1).sum()
}

fn waiting_for_targets(views: &Views) -> Option<String> {
    let is_waiting = |view: &&TargetView| !view.exposed && failures(view) < FAILURES_UNTIL_READY;
    let waiting: Vec<&TargetView> = views.listed().filter(is_waiting).collect();
    let first = waiting.first()?;
    let count = views.listed().count();
    let mut reason = format!("{} of {count} webhooks not read yet, among them {}", waiting.len(), first.target);
    let environment = &first.target.environment;
    if let Some(contact) = progress::first_contact(views, environment, Instant::now()).filter(|one| one.pages > 0) {
        let FirstContact { ratio, pages, entries, remaining, .. } = &contact;
        let reached = contact.reached_text();
        let left = remaining.map_or_else(String::new, |left| format!(", about {} left", approximately(left)));
        let done = ratio * 100.0;
        // Writing to a string cannot fail.
        let _ = write!(reason, "; {environment}: {done:.0} % done, {pages} pages, {entries} entries{reached}{left}");
    }
    Some(reason)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sinks::metrics::exposure::Exposure;
    use crate::store::durable::DurableLedger;
    use talkover_core::delivery::{OwnerType, Target};

    /// A board with an environment that is being searched, and one webhook in it whose polls came to these numbers.
    fn waiting_after(successes: u64, failures: u64) -> Option<String> {
        let board = Board::default();
        board.add_environment("prod".into(), 30);
        board.update_environment(&"prod".into(), |view| view.is_searching = true);
        let target = Target {
            environment: "prod".into(),
            webhook_id: "w".into(),
            webhook_name: "w".into(),
            owner_type: OwnerType::Agent,
            owner_id: "a".into(),
        };
        let mut view = TargetView::new(target, &DurableLedger::default(), Exposure::default(), None, Duration::ZERO);
        (view.polls[0], view.polls[3]) = (successes, failures);
        board.add_target(view);
        board.read(waiting_for)
    }

    #[test]
    fn the_discovery_of_a_dead_environment_is_not_waited_for() {
        assert_eq!(waiting_after(0, 3), None);
        for (successes, failures) in [(0, 2), (1, 3)] {
            let reason = waiting_after(successes, failures);
            assert!(
                reason.is_some_and(|reason| reason.contains("prod has not read all lists")),
                "{successes} {failures}"
            );
        }
    }
}
