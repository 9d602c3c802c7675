//! Maintains the state file: logs an error if its path no longer leads to it, checks it if another program has written
//! to it, and checkpoints the write-ahead log, so that a copy of the file alone is about an hour old at most.

use std::pin::pin;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tracing::{error, warn};

use crate::blocking;
use crate::shutdown::Shutdown;
use crate::store::handle::StoreHandle;
use crate::store::problems::Detached;
use crate::store::{FileCheck, Store};
use crate::watchdog::Turns;

/// How often the path is compared with the open file.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The shortest time between two checks of the whole file, while another program writes to it.
const CHECK_EVERY: Duration = Duration::from_secs(3600);
/// How often a check is interrupted until it ends.
const INTERRUPT_EVERY: Duration = Duration::from_millis(50);
/// How often the write-ahead log is checkpointed into the file, beyond what SQLite does by itself.
const CARRY_OVER_EVERY: Duration = Duration::from_secs(3600);
/// The time between the first two messages. It doubles with each message, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// The longest time between two messages.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Maintains the state until `shutdown`, and a last time then.
pub async fn run(store: StoreHandle, write_errors: IntCounter, mut shutdown: Shutdown, turns: Turns) {
    let mut message = RepeatedMessage::default();
    let mut carried_over = Instant::now();
    let mut checked: Option<Instant> = None;
    loop {
        let goes_on = turns.wait(&mut shutdown, LOOK_EVERY).await;
        let detached = turns.resting(look(&store)).await;
        let is_due = !goes_on || detached.is_some() || carried_over.elapsed() >= CARRY_OVER_EVERY;
        if is_due {
            carried_over = Instant::now();
            if let Err(failure) = turns.resting(store.run(|store| store.checkpoint())).await {
                write_errors.inc();
                warn!("failed to checkpoint the write-ahead log into the state file: {failure}");
            }
        }
        if message.is_due(detached.is_some(), Instant::now())
            && let Some(Detached { what, remedy }) = detached
        {
            error!("the next start would not find the state: {what}; {remedy}");
        }
        if !goes_on {
            return;
        }
        let may_check = checked.is_none_or(|checked| checked.elapsed() >= CHECK_EVERY);
        if may_check && turns.resting(check(&store, &mut shutdown)).await {
            checked = Some(Instant::now());
        }
    }
}

/// Checks the whole file, if that is due, without blocking the store. Returns whether it was.
async fn check(store: &StoreHandle, shutdown: &mut Shutdown) -> bool {
    let Some(FileCheck { run, interrupt }) = ask(store, |store| store.take_due_check()).await else { return false };
    let mut running = pin!(blocking::run(run));
    tokio::select! {
        fault = &mut running => ask(store, |store| store.note_checked(fault)).await,
        () = shutdown.recv() => {
            // One interruption has no effect between two statements.
            while tokio::time::timeout(INTERRUPT_EVERY, &mut running).await.is_err() {
                interrupt();
            }
        }
    }
    true
}

async fn look(store: &StoreHandle) -> Option<Detached> {
    ask(store, |store| store.find_detached()).await
}

async fn ask<T: Send + 'static>(store: &StoreHandle, work: impl FnOnce(&mut dyn Store) -> T + Send + 'static) -> T {
    let handle = store.clone();
    blocking::run(move || handle.run_blocking(work)).await
}

/// When a lasting problem is logged: at growing intervals.
#[derive(Debug, Default)]
struct RepeatedMessage(Option<(Instant, Duration)>);

impl RepeatedMessage {
    /// Whether to log the problem `now`; `is_there` says whether it still exists.
    fn is_due(&mut self, is_there: bool, now: Instant) -> bool {
        let (is_due, next) = match self.0.filter(|_| is_there) {
            None => (is_there, is_there.then_some((now, FIRST_PAUSE))),
            Some((last, pause)) if now.saturating_duration_since(last) >= pause => {
                (true, Some((now, (pause * 2).min(LONGEST_PAUSE))))
            }
            same => (false, same),
        };
        self.0 = next;
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_problem_is_logged_at_growing_intervals() {
        let start = Instant::now();
        let mut message = RepeatedMessage::default();
        let mut at = Vec::new();
        for minute in 0..300 {
            if message.is_due(true, start + Duration::from_secs(minute * 60)) {
                at.push(minute);
            }
        }
        assert_eq!(at, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
        assert!(!message.is_due(false, start));
        assert!(message.is_due(true, start), "at once when the problem returns");
    }
}
