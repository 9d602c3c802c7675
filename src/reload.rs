//! How a running daemon is asked to read its configuration again: by a signal, by a request, or because a file has
//! changed.

use tokio::sync::{mpsc, oneshot};

/// Requests that may wait while another one is processed.
const WAITING: usize = 8;

/// Requests reloads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloader(mpsc::Sender<ReloadRequest>);

/// Receives requests for a reload.
#[derive(Debug)]
pub struct Reloads(mpsc::Receiver<ReloadRequest>);

/// A request for a reload.
#[derive(Debug)]
pub struct ReloadRequest {
    /// What caused it, for the log.
    pub cause: String,
    answer: oneshot::Sender<Result<(), String>>,
}

/// A sender of requests, and their receiver.
pub fn channel() -> (Reloader, Reloads) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Reloader(sender), Reloads(receiver))
}

impl Reloader {
    /// Has the configuration read again, and returns when it is in force.
    ///
    /// # Errors
    /// Why it is rejected, a line for each fault; then the previous one stays in force.
    pub async fn reload(&self, cause: impl Into<String>) -> Result<(), String> {
        let (answer, outcome) = oneshot::channel();
        let stopping = || "the daemon is stopping".to_owned();
        self.0.send(ReloadRequest { cause: cause.into(), answer }).await.map_err(|_closed| stopping())?;
        outcome.await.unwrap_or_else(|_dropped| Err(stopping()))
    }
}

impl Reloads {
    /// The next request; `None` once nobody can send one any more.
    pub async fn recv(&mut self) -> Option<ReloadRequest> {
        self.0.recv().await
    }
}

impl ReloadRequest {
    /// Answers the request.
    pub fn answer(self, outcome: Result<(), String>) {
        // The requester may be gone.
        let _gone = self.answer.send(outcome);
    }
}
