//! Connections that can be made to break: reset, cut in the middle of an answer, dripping, or wrong about its length.
//!
//! HTTP libraries refuse to send what is wrong, so the transport's faults are committed here, below them. Other
//! connections are passed through unchanged. Used by `Simulator` and `server`.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Interval, interval_at};

use super::lock;

/// How long a client may read half a body before the connection is reset: a reset may discard what was not read.
const BEFORE_RESET: Duration = Duration::from_millis(50);

/// What happens to a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Break {
    /// It works.
    #[default]
    Sound,
    /// The next answer ends in the middle of its body, and the connection with it.
    Truncate,
    /// The next answer is not sent; the connection is reset (RST) instead.
    Reset,
    /// The next answer ends in the middle of its body, and the connection is reset (RST).
    ResetInBody,
    /// The next answer's body is sent a byte at a time, with this pause between bytes.
    Drip(Duration),
    /// The next answer promises twice the body.
    DoubleLength,
    /// The next answer promises half the body.
    HalveLength,
    /// It is over.
    Over,
}

/// Breaks the connection on which a request came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire(Arc<Mutex<Break>>);

impl Wire {
    /// Makes the answer to this request fail on its way.
    pub(super) fn break_next(&self, how: Break) {
        *lock(&self.0) = how;
    }

    fn state(&self) -> Break {
        *lock(&self.0)
    }
}

impl Connected<IncomingStream<'_, BreakableListener>> for Wire {
    fn connect_info(stream: IncomingStream<'_, BreakableListener>) -> Self {
        stream.io().wire.clone()
    }
}

/// Accepts connections that can be made to break.
pub(crate) struct BreakableListener(pub(crate) TcpListener);

impl Listener for BreakableListener {
    type Io = BreakableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Sends small answers at once; if that cannot be set, the connection works all the same.
        let _refused = stream.set_nodelay(true);
        (BreakableStream { stream, wire: Wire::default(), unsent: Vec::new(), pause: None }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// A connection that can be made to break.
pub(crate) struct BreakableStream {
    stream: TcpStream,
    wire: Wire,
    /// Bytes of the server that were not sent yet.
    unsent: Vec<u8>,
    /// The pause before the next piece.
    pause: Option<Interval>,
}

impl BreakableStream {
    /// Sends the bytes of the server.
    fn poll_unsent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.unsent))?;
            self.unsent.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the end of the pause that [`Self::pause_for`] has begun.
    fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.poll_tick(context));
            self.pause = None;
        }
        Poll::Ready(())
    }

    fn pause_for(&mut self, duration: Duration) {
        self.pause = Some(interval_at(Instant::now() + duration, duration));
    }

    /// Sends a piece of an answer, and then switches the connection to `next` after a pause.
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
        piece: &[u8],
        next: Break,
        pause: Option<Duration>,
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.stream).poll_write(context, piece))?;
        if sent == piece.len() {
            self.wire.break_next(next);
        }
        if let Some(pause) = pause {
            self.pause_for(pause);
        }
        Poll::Ready(Ok(sent))
    }
}

impl AsyncRead for BreakableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for BreakableStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_pause(context));
        ready!(self.poll_unsent(context))?;
        let state = self.wire.state();
        match state {
            Break::Sound => Pin::new(&mut self.stream).poll_write(context, bytes),
            Break::Truncate => self.poll_piece(context, half_of_body(bytes), Break::Over, None),
            Break::ResetInBody => self.poll_piece(context, half_of_body(bytes), Break::Reset, Some(BEFORE_RESET)),
            Break::Drip(pause) => self.poll_piece(context, drop_of_body(bytes), state, Some(pause)),
            Break::DoubleLength | Break::HalveLength => {
                let change = |length: usize| if state == Break::DoubleLength { length * 2 } else { length / 2 };
                self.unsent = with_length(bytes, change);
                self.wire.break_next(Break::Sound);
                Poll::Ready(Ok(bytes.len()))
            }
            Break::Reset => {
                // Closing a socket with a zero linger time resets the connection instead of ending it.
                self.stream.set_zero_linger()?;
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            Break::Over => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.state() == Break::Reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Where the body of an answer begins. The server writes an answer of known length in one piece; what is left of one
/// has no head.
fn body_start(answer: &[u8]) -> usize {
    answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |end| end + 4)
}

/// The head of an answer and half of its body. If the head is sent alone, the body is missing altogether.
fn half_of_body(answer: &[u8]) -> &[u8] {
    let start = body_start(answer);
    &answer[..start + (answer.len() - start) / 2]
}

/// The head of an answer and the first byte of its body, or the next byte of what is left.
fn drop_of_body(answer: &[u8]) -> &[u8] {
    &answer[..(body_start(answer) + 1).min(answer.len())]
}

/// The answer with another `Content-Length`.
fn with_length(answer: &[u8], change: impl FnOnce(usize) -> usize) -> Vec<u8> {
    let (head, body) = answer.split_at(body_start(answer));
    let mut changed = Vec::with_capacity(answer.len() + 1);
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        if !line.to_ascii_lowercase().starts_with(b"content-length:") {
            changed.extend_from_slice(line);
        }
    }
    // The head ends with an empty line; add the header before that.
    changed.truncate(changed.len().saturating_sub(2));
    changed.extend_from_slice(format!("content-length: {}\r\n\r\n", change(body.len())).as_bytes());
    changed.extend_from_slice(body);
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_cut_in_its_body() {
        assert_eq!(half_of_body(b"HTTP/1.1 200 OK\r\n\r\n12345678"), b"HTTP/1.1 200 OK\r\n\r\n1234");
        assert_eq!(half_of_body(b"HTTP/1.1 200 OK\r\n\r\n"), b"HTTP/1.1 200 OK\r\n\r\n");
    }

    #[test]
    fn an_answer_drips_from_the_first_byte_of_its_body() {
        assert_eq!(drop_of_body(b"HTTP/1.1 200 OK\r\n\r\n12345678"), b"HTTP/1.1 200 OK\r\n\r\n1");
        assert_eq!(drop_of_body(b"2345678"), b"2");
    }

    #[test]
    fn a_length_is_changed_and_nothing_else() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nx: y\r\n\r\n12345678";
        let expected = b"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 16\r\n\r\n12345678";
        assert_eq!(with_length(answer, |length| length * 2), expected);
    }
}
