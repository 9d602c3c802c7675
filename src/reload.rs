//! How a running daemon is asked to read its configuration again: by a signal, by a request, or because the file has
//! changed.

use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for the one under way.
const WAITING: usize = 8;

/// Asks for a reload. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloader(mpsc::Sender<ReloadRequest>);

/// Is asked for reloads.
#[derive(Debug)]
pub struct Reloads(mpsc::Receiver<ReloadRequest>);

/// Somebody asks for a reload.
#[derive(Debug)]
pub struct ReloadRequest {
    /// What made them ask, for the log.
    pub cause: String,
    answer: oneshot::Sender<Result<(), String>>,
}

/// A way to ask, and the place where that arrives.
pub fn channel() -> (Reloader, Reloads) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Reloader(sender), Reloads(receiver))
}

impl Reloader {
    /// Has the configuration read again, and returns when it is in force.
    ///
    /// # Errors
    /// Why it is not, a line for each fault; then the one before stays in force.
    pub async fn reload(&self, cause: impl Into<String>) -> Result<(), String> {
        let (answer, outcome) = oneshot::channel();
        let stopping = || "the daemon is stopping".to_owned();
        self.0.send(ReloadRequest { cause: cause.into(), answer }).await.map_err(|_closed| stopping())?;
        outcome.await.unwrap_or_else(|_dropped| Err(stopping()))
    }
}

impl Reloads {
    /// The next request; nothing once nobody is left who could ask.
    pub async fn recv(&mut self) -> Option<ReloadRequest> {
        self.0.recv().await
    }
}

impl ReloadRequest {
    /// Tells the one who asked what came of it.
    pub fn answer(self, outcome: Result<(), String>) {
        // Whoever asked may have gone.
        let _gone = self.answer.send(outcome);
    }
}
