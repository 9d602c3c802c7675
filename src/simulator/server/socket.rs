//! Connections that can be made to break: reset without an answer, or cut in the middle of one.
//!
//! HTTP libraries refuse to send what is wrong, so the faults of the transport are committed here, below them. A
//! connection that is not told to break is passed through unchanged. Used by `Simulator` and `server`.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The connection works.
const SOUND: u8 = 0;
/// The next answer ends in the middle of its body, and the connection with it.
const TRUNCATE: u8 = 1;
/// The next answer is not sent; the connection is reset instead.
const RESET: u8 = 2;
/// The connection is over.
const OVER: u8 = 3;

/// By what a request's handler breaks the connection that the request came on.
#[derive(Clone, Debug, Default)]
pub(in crate::simulator) struct Wire(Arc<AtomicU8>);

impl Wire {
    /// The answer to this request, and everything after it, is replaced by a reset (RST).
    pub(super) fn reset(&self) {
        self.0.store(RESET, Ordering::SeqCst);
    }

    /// The answer to this request ends in the middle of its body.
    pub(super) fn truncate(&self) {
        self.0.store(TRUNCATE, Ordering::SeqCst);
    }
}

impl Connected<IncomingStream<'_, BreakableListener>> for Wire {
    fn connect_info(stream: IncomingStream<'_, BreakableListener>) -> Self {
        stream.io().wire.clone()
    }
}

/// Accepts connections that can be made to break.
pub(in crate::simulator) struct BreakableListener(pub(in crate::simulator) TcpListener);

impl Listener for BreakableListener {
    type Io = BreakableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Small answers wait for nothing; a connection that refuses works all the same.
        let _refused = stream.set_nodelay(true);
        (BreakableStream { stream, wire: Wire::default() }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// A connection that can be made to break.
pub(in crate::simulator) struct BreakableStream {
    stream: TcpStream,
    wire: Wire,
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
        match self.wire.0.load(Ordering::SeqCst) {
            SOUND => Pin::new(&mut self.stream).poll_write(context, bytes),
            TRUNCATE => {
                let written = Pin::new(&mut self.stream).poll_write(context, half_of_body(bytes));
                if written.is_ready() {
                    self.wire.0.store(OVER, Ordering::SeqCst);
                }
                written
            }
            RESET => {
                // Closing a socket that lingers for no time resets the connection instead of ending it.
                self.stream.set_zero_linger()?;
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            _ => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.0.load(Ordering::SeqCst) == RESET {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The head of an answer and half of its body. The server writes an answer of known length in one piece; where the
/// head comes alone, the body is missing altogether.
fn half_of_body(answer: &[u8]) -> &[u8] {
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |end| end + 4);
    &answer[..head + (answer.len() - head) / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_cut_in_its_body() {
        assert_eq!(half_of_body(b"HTTP/1.1 200 OK\r\n\r\n12345678"), b"HTTP/1.1 200 OK\r\n\r\n1234");
        assert_eq!(half_of_body(b"HTTP/1.1 200 OK\r\n\r\n"), b"HTTP/1.1 200 OK\r\n\r\n");
    }
}
