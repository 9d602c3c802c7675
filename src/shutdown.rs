//! How everything stops: one signal for which every task can wait, besides whatever else it waits for.

use std::task::Poll;
use std::time::Duration;

use tokio::signal::unix::{self, SignalKind};
use tokio::sync::watch;

/// Requests the end.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Receives the signal. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// A trigger and its signal. Dropping the trigger triggers the signal too.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Requests the end, once and for all.
    pub fn shut_down(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Whether the end was requested.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when the end is requested.
    pub async fn recv(&mut self) {
        // An error means that the trigger is gone.
        let _ended = self.0.wait_for(|is_requested| *is_requested).await;
    }

    /// Waits for `duration`, or until the end is requested. Returns whether the caller may go on.
    pub async fn wait(&mut self, duration: Duration) -> bool {
        tokio::time::timeout(duration, self.recv()).await.is_err()
    }
}

/// The signals that end every command: SIGTERM and SIGINT.
pub const END: &[SignalKind] = &[SignalKind::terminate(), SignalKind::interrupt()];
/// Also SIGHUP, for commands that must not outlive their terminal.
pub const END_OR_HANGUP: &[SignalKind] = &[SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];

/// From now on none of `kinds` ends the process: the returned future completes at the first of them. Call it within a
/// runtime.
///
/// # Errors
/// If the operating system refuses to install a handler.
pub fn signal(kinds: &[SignalKind]) -> std::io::Result<impl Future<Output = ()> + use<>> {
    let mut signals = kinds.iter().map(|kind| unix::signal(*kind)).collect::<Result<Vec<_>, _>>()?;
    Ok(std::future::poll_fn(move |context| {
        let is_there = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if is_there { Poll::Ready(()) } else { Poll::Pending }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_its_time_or_with_the_program() {
        let (trigger, mut shutdown) = channel();
        assert!(shutdown.wait(Duration::from_secs(3600)).await);
        trigger.shut_down();
        assert!(!shutdown.wait(Duration::from_secs(3600)).await);
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn a_dropped_trigger_is_an_end_too() {
        let (trigger, mut shutdown) = channel();
        drop(trigger);
        shutdown.recv().await;
    }
}
