//! Work that waits for a disk or computes for long, kept away from the threads that serve others.

use tokio::task::JoinHandle;

/// Runs `work` on a thread that may block. A panic of `work` is resumed in the caller: it is a defect, and what it left
/// half done must not be used.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    ended(tokio::task::spawn_blocking(work)).await
}

/// Returns what a task returns. Its panic is resumed in the caller.
pub async fn ended<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(done) => done,
        Err(failure) => match failure.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and drops the caller.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}
