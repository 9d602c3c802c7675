//! Builds HTTP clients that trust the system's certificate authorities, if there are any.
//!
//! A small container has none, and `SSL_CERT_FILE` or `SSL_CERT_DIR`, set for another program, may point nowhere. That
//! is no reason not to start: `http://` needs no authority, and a private one may be configured. Used by the API's
//! client and by that of the OTLP receiver.

use std::error::Error;

use reqwest::{Certificate, Client, ClientBuilder};
use tracing::warn;

/// A client with `settings`, which are made again for each attempt, that trusts the system's authorities and `own`; if
/// the system's cannot be loaded, it logs a warning and trusts `own` alone.
///
/// # Errors
/// If the settings contradict each other.
pub fn build(settings: impl Fn() -> reqwest::Result<ClientBuilder>, own: &[Certificate]) -> reqwest::Result<Client> {
    settings()?.tls_certs_merge(own.to_vec()).build().or_else(|error| {
        let client = settings()?.tls_certs_only(own.to_vec()).build()?;
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        warn!(
            "failed to load the system's certificate authorities; trusting only those in the configuration: {reason}"
        );
        Ok(client)
    })
}
