//! Drops targets that have been unlisted for long enough: from the state first, and only then from the board.
//!
//! The rule: a target is dropped after the daemon has run for [`KEEP`] since it was last listed. That time is measured
//! by the monotonic clock and added up over restarts in the state; the time in between does not count. No clock that
//! can be set decides it, because what is dropped cannot be brought back; and after a day of downtime there is still a
//! day to list the target again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::logging::about::about_webhook;
use crate::shutdown::Shutdown;
use crate::sinks::metrics::board::Board;
use crate::store::handle::StoreHandle;
use crate::watchdog::Turns;
use talkover_core::delivery::Target;

/// How long a target that is no longer listed keeps its series.
pub const KEEP: Duration = Duration::from_secs(24 * 3600);
/// How often targets to drop are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often the state learns how long targets have been unlisted. A crash makes a target stay for this much longer;
/// each time costs a write to disk.
const KEEP_EVERY: Duration = Duration::from_secs(600);

/// Drops targets that have been unlisted for long enough, until `shutdown`.
pub async fn run(board: Board, store: StoreHandle, mut shutdown: Shutdown, turns: Turns) {
    let mut kept = Instant::now();
    let mut refused = BTreeSet::new();
    while turns.wait(&mut shutdown, LOOK_EVERY).await {
        for target in due(&board) {
            turns.resting(remove(&store, &board, target, &mut refused)).await;
        }
        if kept.elapsed() >= KEEP_EVERY {
            kept = Instant::now();
            turns.resting(keep(&store, &board, kept)).await;
        }
    }
    turns.resting(keep(&store, &board, Instant::now())).await;
}

/// Writes down how long targets have been unlisted at `now`.
async fn keep(store: &StoreHandle, board: &Board, now: Instant) {
    let unlisted = unlisted(board, now);
    if unlisted.is_empty() {
        return;
    }
    if let Err(failure) = store.run(move |store| store.keep_unlisted_for(&unlisted)).await {
        // A later start then keeps them for longer.
        warn!("failed to record how long webhooks have been unlisted: {failure}");
    }
}

fn unlisted(board: &Board, now: Instant) -> Vec<(Target, Duration)> {
    board.read(|views| {
        let retiring = views.targets.values().filter_map(|view| Some((view.target.clone(), view.retires?)));
        retiring.map(|(target, at)| (target, KEEP.saturating_sub(at.saturating_duration_since(now)))).collect()
    })
}

fn due(board: &Board) -> Vec<Target> {
    let now = Instant::now();
    board.read(|views| {
        let due = views.targets.values().filter(|view| view.retires.is_some_and(|at| at <= now));
        due.map(|view| view.target.clone()).collect()
    })
}

/// Drops `target`. `refused` holds the targets that the store has refused to drop, which is logged once for each.
async fn remove(store: &StoreHandle, board: &Board, target: Target, refused: &mut BTreeSet<Target>) {
    let (removing, board) = (target.clone(), board.clone());
    let removed = store.run(move |store| {
        let is_removed = store.remove_unlisted(&removing)?;
        if is_removed {
            // While the store is locked, so that the target cannot be listed again in between.
            board.remove_target(&removing);
        }
        Ok(is_removed)
    });
    match removed.await {
        Err(failure) if refused.insert(target.clone()) => {
            about_webhook!(error, &target, "failed to drop a webhook that is no longer listed: {failure}");
        }
        Err(failure) => about_webhook!(debug, &target, "failed again to drop a webhook: {failure}"),
        Ok(_) if refused.remove(&target) => about_webhook!(info, &target, "webhook dropped after all"),
        Ok(true) => about_webhook!(info, &target, "webhook dropped: not listed for 24 h"),
        // It has been listed again in the meantime.
        Ok(false) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::discover::view;
    use crate::store::Loaded;
    use talkover_core::delivery::OwnerType;
    use talkover_core::discovery::targets::ListedTarget;

    fn target(webhook_id: &str) -> Target {
        Target {
            environment: "test".into(),
            webhook_id: webhook_id.into(),
            owner_type: OwnerType::Agent,
            owner_id: "a-1".into(),
            webhook_name: "orders".into(),
        }
    }

    #[test]
    fn a_target_stays_for_as_long_as_the_daemon_has_yet_to_run() {
        let board = Board::default();
        for webhook in ["listed", "gone"] {
            let listed = ListedTarget { target: target(webhook), info: None, known_at: None };
            board.add_target(view(&listed, &Loaded::default(), Duration::ZERO));
        }
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        let start = Instant::now();
        assert_eq!(unlisted(&board, start), []);
        board.retire_target(&target("gone"), start + KEEP - hours(14));
        for (after, shown_for) in [(0, 14), (3, 17), (10, 24), (30, 24)] {
            let expected = [(target("gone"), hours(shown_for))];
            assert_eq!(unlisted(&board, start + hours(after)), expected, "{after} h");
        }
    }
}
