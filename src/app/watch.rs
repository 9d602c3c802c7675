//! Asks for a reload when the configuration file or one that it names has changed, or when somebody sends SIGHUP.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use crate::blocking;
use crate::reload::Reloader;
use crate::shutdown::Shutdown;
use crate::stamp::Stamp;

/// How often the files are looked at. That sees what a notification does not: links swapped under it, as Kubernetes
/// does, and file systems of other machines.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The files that make the configuration, its own and those that it names, as they were when they were last read.
/// Clones share it.
#[derive(Clone, Debug, Default)]
pub struct WatchedFiles(Arc<Mutex<Vec<Stamp>>>);

impl WatchedFiles {
    /// Watches these files from now on, and no others. Those that were watched before count as read when they last
    /// were: what has changed since then is still a change. Waits for the disk.
    pub fn set(&self, files: Vec<PathBuf>) {
        let mut known = self.known();
        let stamp = |file: PathBuf| known.iter().find(|stamp| stamp.path() == file).cloned();
        *known = files.into_iter().map(|file| stamp(file.clone()).unwrap_or_else(|| Stamp::of(&file))).collect();
    }

    /// The files as they are now.
    async fn stamps(&self) -> Vec<Stamp> {
        let known = self.known().clone();
        blocking::run(move || known.iter().map(|stamp| Stamp::of(stamp.path())).collect()).await
    }

    /// The first that differs.
    fn changed(&self, now: &[Stamp]) -> Option<PathBuf> {
        let known = self.known();
        let changed =
            known.iter().find(|stamp| now.iter().any(|other| other.path() == stamp.path() && other != *stamp));
        changed.map(|stamp| stamp.path().to_owned())
    }

    /// Takes them for read as they are in `now`.
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

/// Asks for a reload when one of `watched` has changed, until `shutdown`. What came of it is in the log.
pub async fn files(watched: WatchedFiles, reloader: Reloader, mut shutdown: Shutdown) {
    while shutdown.wait(LOOK_EVERY).await {
        let mut now = watched.stamps().await;
        let Some(changed) = watched.changed(&now) else { continue };
        // Whoever writes it, or the one after it, may not have ended yet.
        loop {
            if !shutdown.wait(LOOK_EVERY / 4).await {
                return;
            }
            let later = watched.stamps().await;
            if later == now {
                break;
            }
            now = later;
        }
        // Before they are read: what changes from now on is seen at the next look.
        watched.take(now);
        let _told_in_the_log = reloader.reload(format!("{} has changed", changed.display())).await;
    }
}

/// From now on SIGHUP does not end the process: it comes by what this gives. Within a runtime.
pub fn hangups() -> Option<Signal> {
    signal(SignalKind::hangup()).inspect_err(|error| warn!("SIGHUP will end the daemon: {error}")).ok()
}

/// Asks for a reload at each of `hangups`, until `shutdown`. What came of it is in the log.
pub async fn follow(mut hangups: Signal, reloader: Reloader, mut shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.recv() => return,
            received = hangups.recv() => if received.is_none() { return },
        }
        let _told_in_the_log = reloader.reload("SIGHUP").await;
    }
}
