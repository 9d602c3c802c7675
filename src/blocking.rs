//! Work that waits for a disk or computes for long, away from the threads that serve others.

/// Does `work` on a thread that may wait. A panic of `work` goes on in the caller: it is a defect, and what it left
/// half done is not to be built on.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failure) => match failure.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and drops whoever waits here.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}
