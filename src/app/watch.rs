//! Requests a reload when the configuration file, or a file that it names, has changed, and at each SIGHUP.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use crate::blocking;
use crate::reload::Reloader;
use crate::shutdown::Shutdown;
use crate::stamp::Stamp;
use crate::watchdog::Turns;

/// How often the files are checked. That also detects what notifications miss: links that are swapped, as Kubernetes
/// does, and network file systems.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The configuration file and the files that it names, as they were when they were last read. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct WatchedFiles(Arc<Mutex<Vec<Stamp>>>);

impl WatchedFiles {
    /// Watches these files from now on, and no others. Files that were watched before keep the stamp of their last
    /// reading: what has changed since then is still a change. Blocks on the disk.
    pub fn set(&self, files: Vec<PathBuf>) {
        let mut known = self.known();
        let stamp = |file: PathBuf| known.iter().find(|stamp| stamp.path() == file).cloned();
        *known = files.into_iter().map(|file| stamp(file.clone()).unwrap_or_else(|| Stamp::of(&file))).collect();
    }

    /// The current stamps of the files.
    async fn stamps(&self) -> Vec<Stamp> {
        let known = self.known().clone();
        blocking::run(move || known.iter().map(|stamp| Stamp::of(stamp.path())).collect()).await
    }

    /// The first file that differs.
    fn changed(&self, now: &[Stamp]) -> Option<PathBuf> {
        let known = self.known();
        let changed =
            known.iter().find(|stamp| now.iter().any(|other| other.path() == stamp.path() && other != *stamp));
        changed.map(|stamp| stamp.path().to_owned())
    }

    /// Records `now` as the stamps of the last reading.
    fn take(&self, now: Vec<Stamp>) {
        let mut known = self.known();
        for stamp in now {
            known.iter_mut().filter(|known| known.path() == stamp.path()).for_each(|known| *known = stamp.clone());
        }
    }

    fn known(&self) -> MutexGuard<'_, Vec<Stamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests a reload when one of `watched` has changed, until `shutdown`. The log says how it ended.
pub async fn files(watched: WatchedFiles, reloader: Reloader, mut shutdown: Shutdown, turns: Turns) {
    while turns.wait(&mut shutdown, LOOK_EVERY).await {
        let mut now = watched.stamps().await;
        let Some(changed) = watched.changed(&now) else { continue };
        // The file, or the next one, may still be being written.
        loop {
            if !turns.wait(&mut shutdown, LOOK_EVERY / 4).await {
                return;
            }
            let later = watched.stamps().await;
            if later == now {
                break;
            }
            now = later;
        }
        // Before they are read: what changes from now on is seen next time.
        watched.take(now);
        let reload = reloader.reload(format!("{} has changed", changed.display()));
        let _told_in_the_log = turns.resting(reload).await;
    }
}

/// From now on SIGHUP does not end the process, but arrives through the returned signal. Call it within a runtime.
pub fn hangups() -> Option<Signal> {
    signal(SignalKind::hangup())
        .inspect_err(|error| warn!("failed to handle SIGHUP, which will end the daemon: {error}"))
        .ok()
}

/// Requests a reload at each of `hangups`, until `shutdown`. The result is logged elsewhere.
pub async fn follow(mut hangups: Signal, reloader: Reloader, mut shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.recv() => return,
            received = hangups.recv() => if received.is_none() { return },
        }
        let _told_in_the_log = reloader.reload("SIGHUP").await;
    }
}
