//! Lets a target go that has not been named for long enough: from the state first, and only then from what is shown.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{error, info};

use crate::delivery::Target;
use crate::shutdown::Shutdown;
use crate::sinks::metrics::board::Board;
use crate::store::handle::StoreHandle;

/// How soon it is tried again where the state file cannot be written.
const RETRY: Duration = Duration::from_secs(60);

/// Removes `target` after `rest`, unless `shutdown` comes before.
pub async fn run(target: Target, rest: Duration, board: Board, store: StoreHandle, mut shutdown: Shutdown) {
    let mut due = Instant::now() + rest;
    loop {
        tokio::select! {
            () = shutdown.recv() => return,
            () = sleep_until(due) => {}
        }
        let (store, forgotten) = (store.clone(), target.clone());
        match tokio::task::spawn_blocking(move || store.remove(&forgotten)).await {
            Ok(Ok(())) => {
                info!(%target, "forgotten: it has not been named for 24 h");
                return board.remove_target(&target);
            }
            Ok(Err(failure)) => error!(%target, "{failure}"),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
        due = Instant::now() + RETRY;
    }
}
