//! Detects loops of the daemon that are stuck: a half-dead daemon must not pass for healthy.
//!
//! Each loop reports every turn, that is, every iteration. If a loop has not turned for twice its longest wait,
//! `/-/healthy` fails and names it, and systemd's watchdog is no longer notified. A loop that waits for another loop
//! *rests*: only the other one is watched. Only time in which the process runs counts: after a frozen process or a
//! sleeping machine no loop is late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tracing::{error, info, warn};

use crate::shutdown::Shutdown;

/// How often the loops are checked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most that one check adds to the time that counts: a longer gap between checks means that the process did not
/// run.
const MAX_STEP: Duration = Duration::from_secs(2);
/// An idle loop turns this often, only to show that it is alive.
const TURN_EVERY: Duration = Duration::from_secs(15);
/// The longest wait of a loop that turns every `TURN_EVERY`, with room for a busy machine.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The loops that are watched. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Watchdog(Arc<SharedLoops>);

#[derive(Debug, Default)]
struct SharedLoops(Mutex<LoopsState>);

#[derive(Debug, Default)]
struct LoopsState {
    /// How long the process has run, as of the last check.
    now: Duration,
    loops: BTreeMap<u64, WatchedLoop>,
    /// How many loops there have been.
    count: u64,
}

#[derive(Debug)]
struct WatchedLoop {
    name: String,
    longest_wait: Duration,
    /// `None` while it rests.
    turned_at: Option<Duration>,
}

/// Reports the turns of one loop, which is watched until this is dropped.
#[derive(Debug)]
pub struct Turns {
    watchdog: Watchdog,
    number: u64,
}

impl Watchdog {
    /// Starts to watch a loop whose turns are at most `longest_wait` apart.
    pub fn watch(&self, name: impl Into<String>, longest_wait: Duration) -> Turns {
        let mut state = self.lock();
        let number = state.count;
        let turned_at = Some(state.now);
        state.count += 1;
        state.loops.insert(number, WatchedLoop { name: name.into(), longest_wait, turned_at });
        Turns { watchdog: self.clone(), number }
    }

    /// Returns `Ok` if no loop is stuck.
    ///
    /// # Errors
    /// The loops that are stuck, and for how long, in one line.
    pub fn check(&self) -> Result<(), String> {
        let stuck: Vec<String> = self.stuck().into_values().collect();
        if stuck.is_empty() { Ok(()) } else { Err(stuck.join(", ")) }
    }

    /// Returns the loops that are stuck, by number: the name, and for how long.
    fn stuck(&self) -> BTreeMap<u64, String> {
        let state = self.lock();
        let stuck = state.loops.iter().filter_map(|(number, watched)| {
            let age = state.now.saturating_sub(watched.turned_at?);
            let is_stuck = age >= watched.longest_wait * 2;
            is_stuck.then(|| (*number, format!("{} has not turned for {} s", watched.name, age.as_secs())))
        });
        stuck.collect()
    }

    /// Starts the thread that checks the loops until the last clone is dropped: its own thread, because a stuck loop
    /// may block all others. It also notifies systemd's watchdog if that is enabled.
    pub fn start(&self) {
        let shared = Arc::downgrade(&self.0);
        if let Err(error) = thread::Builder::new().name("watchdog".to_owned()).spawn(move || look(&shared)) {
            warn!(%error, "failed to start the watchdog thread");
        }
    }

    fn pass(&self, time: Duration) {
        self.lock().now += time.min(MAX_STEP);
    }

    fn lock(&self) -> MutexGuard<'_, LoopsState> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(shared: &Weak<SharedLoops>) {
    let is_fed = sd_notify::watchdog_enabled().is_some();
    let mut looked = Instant::now();
    let mut reported = BTreeSet::new();
    loop {
        thread::sleep(LOOK_EVERY);
        let Some(watchdog) = shared.upgrade().map(Watchdog) else { return };
        watchdog.pass(looked.elapsed());
        looked = Instant::now();
        let stuck = watchdog.stuck();
        if is_fed && stuck.is_empty() {
            tell_systemd(NotifyState::Watchdog);
        }
        for (_, what) in stuck.iter().filter(|(number, _)| !reported.contains(*number)) {
            error!("{what}: a bug, or a disk that hangs");
        }
        if stuck.is_empty() && !reported.is_empty() {
            info!("all loops are running again");
        }
        reported = stuck.into_keys().collect();
    }
}

/// Completes when a loop that waits for something else must turn. Do not await it alone: it ignores the shutdown.
pub async fn next_turn() {
    tokio::time::sleep_until(tokio::time::Instant::now() + TURN_EVERY).await;
}

/// Notifies systemd, if it started the daemon and wants to be notified.
pub fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "failed to notify systemd");
    }
}

impl Turns {
    /// Records that the loop turns now.
    pub fn turn(&self) {
        self.set(true);
    }

    /// Records that the loop has nothing to do until it turns again.
    pub fn rest(&self) {
        self.set(false);
    }

    /// Rests until `work` is done, which is watched separately.
    pub async fn resting<T>(&self, work: impl Future<Output = T>) -> T {
        self.rest();
        let done = work.await;
        self.turn();
        done
    }

    /// Waits for `duration`, turning meanwhile, or until the shutdown. Returns whether the loop should continue.
    pub async fn wait(&self, shutdown: &mut Shutdown, duration: Duration) -> bool {
        let mut rest = duration;
        loop {
            self.turn();
            let part = rest.min(TURN_EVERY);
            rest -= part;
            if !shutdown.wait(part).await {
                return false;
            }
            if rest.is_zero() {
                self.turn();
                return true;
            }
        }
    }

    fn set(&self, is_turning: bool) {
        let mut state = self.watchdog.lock();
        let now = state.now;
        if let Some(watched) = state.loops.get_mut(&self.number) {
            watched.turned_at = is_turning.then_some(now);
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.watchdog.lock().loops.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown;

    fn pass(watchdog: &Watchdog, seconds: u32) {
        (0..seconds).for_each(|_| watchdog.pass(Duration::from_secs(1)));
    }

    #[test]
    fn a_loop_that_no_longer_turns_is_named_after_twice_its_longest_wait() {
        let watchdog = Watchdog::default();
        let (slow, fast) = (watchdog.watch("slow", LONGEST_WAIT * 10), watchdog.watch("fast", LONGEST_WAIT));
        pass(&watchdog, 59);
        assert_eq!(watchdog.check(), Ok(()));
        slow.turn();
        pass(&watchdog, 4);
        assert_eq!(watchdog.check(), Err("fast has not turned for 63 s".to_owned()));
        fast.turn();
        assert_eq!(watchdog.check(), Ok(()));
        // One that rests is not missed, and one that has ended neither.
        fast.rest();
        pass(&watchdog, 500);
        assert_eq!(watchdog.check(), Ok(()));
        pass(&watchdog, 100);
        assert_eq!(watchdog.check(), Err("slow has not turned for 604 s".to_owned()));
        drop(slow);
        assert_eq!(watchdog.check(), Ok(()));
    }

    #[test]
    fn a_process_that_was_frozen_has_missed_nothing() {
        let watchdog = Watchdog::default();
        let _loop = watchdog.watch("loop", LONGEST_WAIT);
        pass(&watchdog, 50);
        watchdog.pass(Duration::from_secs(3600));
        assert_eq!(watchdog.check(), Ok(()));
        pass(&watchdog, 8);
        assert!(watchdog.check().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_turns_meanwhile() {
        let watchdog = Watchdog::default();
        let turns = watchdog.watch("loop", LONGEST_WAIT);
        let (trigger, mut shutdown) = shutdown::channel();
        let waiting = async {
            let begun = tokio::time::Instant::now();
            assert!(turns.wait(&mut shutdown, Duration::from_secs(100)).await);
            assert_eq!(begun.elapsed(), Duration::from_secs(100));
        };
        let looking = async {
            for _ in 0..100 {
                tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_secs(1)).await;
                pass(&watchdog, 1);
                assert_eq!(watchdog.check(), Ok(()));
            }
        };
        tokio::join!(waiting, looking);
        trigger.shut_down();
        assert!(!turns.wait(&mut shutdown, Duration::from_secs(100)).await);
    }
}
