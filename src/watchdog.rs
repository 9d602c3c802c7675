//! Notices when a loop of the daemon no longer turns: a daemon that is half dead must not pass for alive.
//!
//! Each loop reports its turns. One that has not turned for twice its longest wait makes `/-/healthy` fail with its
//! name, and systemd's watchdog is no longer fed. A loop that waits for another one *rests*: the other one is watched.
//! Times count while the process runs: one that was frozen, or a machine that slept, has not missed anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tracing::{error, info, warn};

use crate::shutdown::Shutdown;

/// How often loops are looked at, and the most that a look adds to the time that has passed: had the process been able
/// to run, it would have looked sooner.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const MAX_STEP: Duration = Duration::from_secs(2);
/// How long a loop waits before it turns again, for nothing but to show that it does.
const TURN_EVERY: Duration = Duration::from_secs(15);
/// The longest wait of a loop that turns that often: room for a machine with much to do.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Knows the loops. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Watchdog(Arc<SharedLoops>);

#[derive(Debug, Default)]
struct SharedLoops(Mutex<LoopsState>);

#[derive(Debug, Default)]
struct LoopsState {
    /// How long the process has run, as far as it was looked at.
    now: Duration,
    loops: BTreeMap<u64, WatchedLoop>,
    /// Loops so far.
    count: u64,
}

#[derive(Debug)]
struct WatchedLoop {
    name: String,
    longest_wait: Duration,
    /// `None` while it rests.
    turned_at: Option<Duration>,
}

/// The turns of one loop, which is watched until this is dropped.
#[derive(Debug)]
pub struct Turns {
    watchdog: Watchdog,
    number: u64,
}

impl Watchdog {
    /// Watches a loop from now on, whose turns are at most `longest_wait` apart.
    pub fn watch(&self, name: impl Into<String>, longest_wait: Duration) -> Turns {
        let mut state = self.lock();
        let number = state.count;
        let turned_at = Some(state.now);
        state.count += 1;
        state.loops.insert(number, WatchedLoop { name: name.into(), longest_wait, turned_at });
        Turns { watchdog: self.clone(), number }
    }

    /// Whether all loops turn.
    ///
    /// # Errors
    /// Those that do not, and for how long, in one line.
    pub fn check(&self) -> Result<(), String> {
        let stuck: Vec<String> = self.stuck().into_values().collect();
        if stuck.is_empty() { Ok(()) } else { Err(stuck.join(", ")) }
    }

    /// The loops that do not turn, by their numbers: which, and for how long.
    fn stuck(&self) -> BTreeMap<u64, String> {
        let state = self.lock();
        let stuck = state.loops.iter().filter_map(|(number, watched)| {
            let age = state.now.saturating_sub(watched.turned_at?);
            let is_stuck = age >= watched.longest_wait * 2;
            is_stuck.then(|| (*number, format!("{} has not turned for {} s", watched.name, age.as_secs())))
        });
        stuck.collect()
    }

    /// Looks at the loops from a thread of its own, which no loop can keep from running, for as long as somebody has a
    /// clone. Tells systemd that all of them turn, where it wants to know.
    pub fn start(&self) {
        let shared = Arc::downgrade(&self.0);
        if let Err(error) = thread::Builder::new().name("watchdog".to_owned()).spawn(move || look(&shared)) {
            warn!(%error, "failed to start the thread that watches the others");
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
            error!("{what}: a defect of this program, or a disk that does not answer");
        }
        if stuck.is_empty() && !reported.is_empty() {
            info!("all loops turn again");
        }
        reported = stuck.into_keys().collect();
    }
}

/// Returns when a loop that waits for something else has to turn. Never waited for alone: it does not end with the
/// program.
pub async fn next_turn() {
    tokio::time::sleep_until(tokio::time::Instant::now() + TURN_EVERY).await;
}

/// Tells systemd, where that has started us and wants to know.
pub fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "failed to notify systemd");
    }
}

impl Turns {
    /// Notes that the loop turns now.
    pub fn turn(&self) {
        self.set(true);
    }

    /// Notes that the loop has nothing to do until it turns again.
    pub fn rest(&self) {
        self.set(false);
    }

    /// Rests until `work` is done, which is watched by itself.
    pub async fn resting<T>(&self, work: impl Future<Output = T>) -> T {
        self.rest();
        let done = work.await;
        self.turn();
        done
    }

    /// Waits for `duration`, or less where the end is asked for, and turns meanwhile. Says whether the loop may go on.
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
