//! Work that waits for a disk or computes for long, kept away from the threads that serve others.

/// Runs `work` on a thread that may block. A panic of `work` is resumed in the caller: it is a defect, and what it left
/// half done must not be used.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failure) => match failure.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and drops the caller.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}
