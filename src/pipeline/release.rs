//! Ends the holds of series that are served as 0, and the state of catching up: commits the end, and only then shows
//! it.

use std::time::{Duration, Instant};

use prometheus::IntCounter;

use crate::logging::about::about_webhook;
use crate::shutdown::Shutdown;
use crate::sinks::metrics::board::Board;
use crate::store::Release;
use crate::store::durable::Durable;
use crate::store::error::StoreError;
use crate::store::handle::StoreHandle;
use crate::watchdog::Turns;
use talkover_core::delivery::Target;

/// How often holds are checked: a tenth of their time, within these bounds.
const TICKS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Ends holds when they have lasted for `birth_hold` since the first scrape that showed them, until `shutdown`.
pub async fn run(board: Board, store: StoreHandle, write_errors: IntCounter, mut shutdown: Shutdown, turns: Turns) {
    let mut is_failing = false;
    let tick = || (board.read(|views| views.display.birth_hold) / 10).clamp(TICKS.0, TICKS.1);
    while turns.wait(&mut shutdown, tick()).await {
        for (target, due) in due(&board) {
            match turns.resting(commit(&store, &target, due)).await {
                Ok(released) => {
                    is_failing = false;
                    about_webhook!(debug, &target, series = released.series.len(), "birth hold ended");
                    board.update(&target, |view, _| view.exposure.release(&released));
                }
                Err(failure) => {
                    write_errors.inc();
                    if !std::mem::replace(&mut is_failing, true) {
                        about_webhook!(
                            error,
                            &target,
                            "failed to record that a scrape showed new series; they stay at 0: {failure}"
                        );
                    }
                }
            }
        }
    }
}

fn due(board: &Board) -> Vec<(Target, Release)> {
    let now = Instant::now();
    board.read(|views| {
        let hold = views.display.birth_hold;
        let due = views.targets.values().map(|view| (view, view.exposure.due(now, hold)));
        due.filter(|(_, due)| !due.is_empty()).map(|(view, due)| (view.target.clone(), due)).collect()
    })
}

async fn commit(store: &StoreHandle, target: &Target, due: Release) -> Result<Durable<Release>, StoreError> {
    let target = target.clone();
    store.run(move |store| store.release(&target, due)).await
}
