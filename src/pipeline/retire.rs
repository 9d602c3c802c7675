//! Lets targets go that have not been listed for long enough: from the state first, and only then from what is shown.

use std::time::{Duration, Instant};

use tracing::{error, info};

use crate::shutdown::Shutdown;
use crate::sinks::metrics::board::Board;
use crate::store::handle::StoreHandle;
use talkover_core::delivery::Target;

/// How long a target that is not listed any more keeps its series.
pub const KEEP: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked for targets to let go.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Removes targets when their time has come, until `shutdown`.
pub async fn run(board: Board, store: StoreHandle, mut shutdown: Shutdown) {
    while shutdown.wait(LOOK_EVERY).await {
        for target in due(&board) {
            remove(&store, &board, target).await;
        }
    }
}

fn due(board: &Board) -> Vec<Target> {
    let now = Instant::now();
    board.read(|views| {
        let due = views.targets.values().filter(|view| view.retires.is_some_and(|at| at <= now));
        due.map(|view| view.target.clone()).collect()
    })
}

async fn remove(store: &StoreHandle, board: &Board, target: Target) {
    let (name, board) = (target.to_string(), board.clone());
    let removed = store.run(move |store| {
        let is_removed = store.remove_unlisted(&target)?;
        if is_removed {
            // While the store is held: nobody can list the target anew in between.
            board.remove_target(&target);
        }
        Ok(is_removed)
    });
    match removed.await {
        Ok(true) => info!(webhook = name, "forgotten: not listed for 24 h"),
        // It has been listed again in the meantime.
        Ok(false) => {}
        Err(failure) => error!(webhook = name, "{failure}"),
    }
}
