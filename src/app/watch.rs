//! Asks for a reload when the configuration file has changed, or when somebody sends SIGHUP.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use crate::reload::Reloader;
use crate::shutdown::Shutdown;
use crate::stamp::Stamp;

/// How often the file is looked at. That sees what a notification does not: links swapped under it, as Kubernetes does, and
/// file systems of other machines.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Watches the file at `path` until `shutdown`. What came of a reload is in the log.
pub async fn file(path: PathBuf, reloader: Reloader, mut shutdown: Shutdown) {
    let mut known = Stamp::of(&path);
    while shutdown.wait(LOOK_EVERY).await {
        if !known.has_changed() {
            continue;
        }
        // Whoever writes it may not have ended yet.
        let mut now = Stamp::of(&path);
        while shutdown.wait(LOOK_EVERY / 4).await && now.has_changed() {
            now = Stamp::of(&path);
        }
        known = now;
        let _told_in_the_log = reloader.reload("the file has changed").await;
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
