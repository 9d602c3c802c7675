//! Accepts connections. TLS handshakes use the current certificate of the web file, and every connection is guarded
//! against clients that read nothing.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use axum::Extension;
use axum::middleware::AddExtension;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::Layer;

use super::progress::{ClientProgress, GuardedStream};
use super::reload::Live;

type AcceptFuture<S, T> = Pin<Box<dyn Future<Output = io::Result<(S, T)>> + Send>>;

/// Checks for a new certificate before each handshake.
#[derive(Clone, Debug)]
pub(super) struct TlsAcceptor {
    inner: RustlsAcceptor,
    live: Live,
}

impl TlsAcceptor {
    pub(super) fn new(live: Live, config: RustlsConfig) -> Self {
        Self { inner: RustlsAcceptor::new(config), live }
    }
}

impl<I, S> Accept<I, S> for TlsAcceptor
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Send + 'static,
{
    type Stream = <RustlsAcceptor as Accept<I, S>>::Stream;
    type Service = <RustlsAcceptor as Accept<I, S>>::Service;
    type Future = AcceptFuture<Self::Stream, Self::Service>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let Self { inner, live } = self.clone();
        Box::pin(async move {
            live.current().await;
            inner.accept(stream, service).await
        })
    }
}

/// Guards the connections of another acceptor, and gives each request the [`ClientProgress`] of its connection.
#[derive(Clone, Debug)]
pub(super) struct GuardingAcceptor<A> {
    pub(super) inner: A,
    pub(super) write_timeout: Duration,
}

impl<A, I, S> Accept<I, S> for GuardingAcceptor<A>
where
    A: Accept<I, S>,
    A::Stream: Send,
    A::Service: Send,
    A::Future: Send + 'static,
{
    type Stream = GuardedStream<A::Stream>;
    type Service = AddExtension<A::Service, ClientProgress>;
    type Future = AcceptFuture<Self::Stream, Self::Service>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let (accepted, write_timeout) = (self.inner.accept(stream, service), self.write_timeout);
        Box::pin(async move {
            let (stream, service) = accepted.await?;
            let (stream, progress) = GuardedStream::new(stream, write_timeout);
            Ok((stream, Extension(progress).layer(service)))
        })
    }
}
