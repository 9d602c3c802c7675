//! How everything stops: one signal that every task can wait for, next to whatever else it waits for.

use std::time::Duration;

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

/// From now on SIGTERM and SIGINT do not end the process: what this gives returns at the first of them. Within a runtime.
///
/// # Errors
/// Where the operating system lets no handler be installed.
pub fn signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
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
