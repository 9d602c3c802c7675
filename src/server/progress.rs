//! Closes connections whose client has stopped reading: one that no longer reads from its socket, or an HTTP/2 client
//! that leaves its flow-control windows at 0.
//!
//! Progress means that the client takes the next chunk of a response. Other traffic does not count: a client that
//! leaves its windows at 0 may still send pings. A chunk has at most 32 KiB, so any real network is far faster than
//! [`ClientProgress`] demands. [`super::acceptor`] wraps every connection in it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How often a connection is checked within the time that it may stall.
const LOOKS: u32 = 8;

/// The progress of the responses of one connection. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct ClientProgress(Arc<Mutex<AnswersUnderWay>>);

#[derive(Debug)]
struct AnswersUnderWay {
    /// How many responses are being sent.
    answers: usize,
    /// Since when a write to the socket has been waiting.
    blocked_since: Option<Instant>,
    /// When the client last took a chunk of a response.
    taken_at: Instant,
}

impl ClientProgress {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(AnswersUnderWay { answers: 0, blocked_since: None, taken_at: Instant::now() })))
    }

    /// Returns since when the client has taken nothing although a response is waiting; `None` if it has not stalled.
    fn stalled_since(&self) -> Option<Instant> {
        self.look(|state| {
            let unsent = (state.answers > 0).then_some(state.taken_at);
            [unsent, state.blocked_since].into_iter().flatten().min()
        })
    }

    fn look<T>(&self, look: impl FnOnce(&mut AnswersUnderWay) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tracks the body of each response of a connection that has a [`ClientProgress`].
pub(super) async fn watch(request: Request, next: Next) -> Response {
    let progress = request.extensions().get::<ClientProgress>().cloned();
    let response = next.run(request).await;
    match progress {
        Some(progress) => response.map(|body| Body::new(TrackedBody::new(body, progress))),
        None => response,
    }
}

/// The body of a response, whose chunks are counted as progress.
struct TrackedBody {
    body: Body,
    progress: ClientProgress,
}

impl TrackedBody {
    fn new(body: Body, progress: ClientProgress) -> Self {
        progress.look(|state| {
            if state.answers == 0 {
                state.taken_at = Instant::now();
            }
            state.answers += 1;
        });
        Self { body, progress }
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.progress.look(|state| (state.answers, state.taken_at) = (state.answers - 1, Instant::now()));
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.progress.look(|state| state.taken_at = Instant::now());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that fails when its client has stalled for too long.
#[derive(Debug)]
pub(super) struct GuardedStream<S> {
    stream: S,
    progress: ClientProgress,
    write_timeout: Duration,
    /// When the connection is checked next, whether or not anything happens on it.
    look: Pin<Box<Sleep>>,
}

impl<S> GuardedStream<S> {
    /// Guards `stream`; also returns the progress of its responses, for its requests.
    pub(super) fn new(stream: S, write_timeout: Duration) -> (Self, ClientProgress) {
        let progress = ClientProgress::new();
        let look = Box::pin(tokio::time::sleep_until(Instant::now() + write_timeout / LOOKS));
        (Self { stream, progress: progress.clone(), write_timeout, look }, progress)
    }

    /// Fails if the client has stalled for too long.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.look.as_mut().poll(context).is_ready() {
            if self.progress.stalled_since().is_some_and(|since| since.elapsed() >= self.write_timeout) {
                let reason = "the client has read nothing for server.write_timeout";
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
            let next = Instant::now() + self.write_timeout / LOOKS;
            self.look.as_mut().reset(next);
        }
        Ok(())
    }

    /// Records whether a write had to wait.
    fn note<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.progress.look(|state| match written {
            Poll::Pending => _ = state.blocked_since.get_or_insert_with(Instant::now),
            Poll::Ready(_) => state.blocked_since = None,
        });
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GuardedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.note(ended)
    }
}

#[cfg(test)]
mod tests;
