//! Builds HTTP clients that trust the system's certificate authorities, as far as there are any.
//!
//! A small container has none, and `SSL_CERT_FILE` or `SSL_CERT_DIR`, set for another program, may lead nowhere. That
//! is no reason not to start: `http://` needs no authority, and a private one may be named. Called by the API's client
//! and the spans'.

use std::error::Error;

use reqwest::{Certificate, Client, ClientBuilder};
use tracing::warn;

/// A client with `settings`, which are made anew at each call, that trusts the system's authorities and `own`; `own`
/// alone, with a warning, if the system's cannot be loaded.
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
