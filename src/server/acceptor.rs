//! Accepts TLS connections, each with the certificate that the web file names by then.

use std::io;
use std::pin::Pin;

use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::io::{AsyncRead, AsyncWrite};

use super::reload::Live;

/// Looks for a new certificate before each handshake.
#[derive(Clone, Debug)]
pub(super) struct Acceptor {
    inner: RustlsAcceptor,
    live: Live,
}

impl Acceptor {
    pub(super) fn new(live: Live, config: RustlsConfig) -> Self {
        Self { inner: RustlsAcceptor::new(config), live }
    }
}

impl<I, S> Accept<I, S> for Acceptor
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Send + 'static,
{
    type Stream = <RustlsAcceptor as Accept<I, S>>::Stream;
    type Service = <RustlsAcceptor as Accept<I, S>>::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let Self { inner, live } = self.clone();
        Box::pin(async move {
            live.current().await;
            inner.accept(stream, service).await
        })
    }
}
