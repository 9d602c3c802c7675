//! Looks after the state file: tells when its path no longer leads to it, and carries over what was committed, so that
//! a copy of the file alone is never days old.

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
/// How often the whole file is read at most, where something else writes to it.
const CHECK_EVERY: Duration = Duration::from_secs(3600);
/// How often a check is told to stop, until it does.
const INTERRUPT_EVERY: Duration = Duration::from_millis(50);
/// How often what was committed is carried over into the file, beyond what SQLite does by itself.
const CARRY_OVER_EVERY: Duration = Duration::from_secs(3600);
/// The time between the first two messages; it doubles with each, up to
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Looks after the state until `shutdown`, and once more then.
pub async fn run(store: StoreHandle, write_errors: IntCounter, mut shutdown: Shutdown, turns: Turns) {
    let mut told = Told::default();
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
        if told.is_due(detached.is_some(), Instant::now())
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

/// Checks the whole file, if that is due, while others work with the store. Returns whether it was.
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

/// When a lasting problem is told: at growing distances.
#[derive(Debug, Default)]
struct Told(Option<(Instant, Duration)>);

impl Told {
    /// Whether it is to be told `now`, if it is there.
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
    fn a_lasting_problem_is_told_at_growing_distances() {
        let start = Instant::now();
        let mut told = Told::default();
        let mut at = Vec::new();
        for minute in 0..300 {
            if told.is_due(true, start + Duration::from_secs(minute * 60)) {
                at.push(minute);
            }
        }
        assert_eq!(at, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
        assert!(!told.is_due(false, start));
        assert!(told.is_due(true, start), "when it comes back, at once");
    }
}
