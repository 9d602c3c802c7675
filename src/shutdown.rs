//! How everything stops: one signal that every task can wait for, next to whatever else it waits for.

use std::task::Poll;
use std::time::Duration;

use tokio::signal::unix::{self, SignalKind};
use tokio::sync::watch;

/// Asks for the end.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Is told of the end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// A trigger and the signal that it gives. Dropping the trigger gives the signal too.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Asks for the end, once and for all.
    pub fn shut_down(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when the end is asked for.
    pub async fn recv(&mut self) {
        // An error means that nobody is left who could ask.
        let _ended = self.0.wait_for(|is_requested| *is_requested).await;
    }

    /// Waits for `duration`, or less where the end is asked for. Says whether it may go on.
    pub async fn wait(&mut self, duration: Duration) -> bool {
        tokio::time::timeout(duration, self.recv()).await.is_err()
    }
}

/// What asks every command to end: SIGTERM and SIGINT.
pub const END: &[SignalKind] = &[SignalKind::terminate(), SignalKind::interrupt()];
/// SIGHUP too, for what is not to outlive the terminal in which it was started.
pub const END_OR_HANGUP: &[SignalKind] = &[SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];

/// From now on none of `kinds` ends the process: what this gives returns at the first of them. Within a runtime.
///
/// # Errors
/// Where the operating system lets no handler be installed.
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
