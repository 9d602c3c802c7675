//! What both protocols to a receiver share: certificates, encodings, timeouts, and the text of errors.

use std::time::Duration;

use thiserror::Error;

use crate::config::{LoadedFile, OtlpSignal, OtlpTls};
use crate::tls_mismatch::{self, Acquaintance};

/// A connection that takes longer than this will not be established.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The `User-Agent` of this program.
pub(super) const USER_AGENT: &str = concat!("talkover-exporter/", env!("CARGO_PKG_VERSION"));

/// How the body of a request is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is.
    Identity,
    /// Compressed.
    Gzip,
}

/// Why a receiver cannot be used.
#[derive(Debug, Error)]
pub enum TransportError {
    /// No endpoint is set.
    #[error("no traces endpoint is configured")]
    NoEndpoint,
    /// The HTTP library rejects the settings.
    #[error("{0}: failed to set up the HTTP client: {1}")]
    Http(OtlpSignal, #[source] reqwest::Error),
    /// The gRPC library rejects the settings.
    #[error("{0}: failed to set up the gRPC client: {1}")]
    Grpc(OtlpSignal, #[source] tonic::transport::Error),
}

/// The certificates of a section `tls`, in PEM form.
#[derive(Default)]
pub(super) struct Certificates {
    pub(super) ca: Option<Vec<u8>>,
    /// A certificate and its key.
    pub(super) client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Certificates {
    pub(super) fn of(tls: &OtlpTls) -> Self {
        let content = |file: &LoadedFile| file.content.to_vec();
        let client = tls.cert_file.as_ref().zip(tls.key_file.as_ref());
        let client = client.map(|(cert, key)| (content(cert), content(key)));
        Self { ca: tls.ca_file.as_ref().map(content), client }
    }
}

/// What is wrong with the URL's scheme, otherwise the innermost cause: the outer ones contain the URL, or say nothing.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static), scheme: &str) -> String {
    if let Some(reason) = tls_mismatch::explain(error, scheme, Acquaintance::Known) {
        return reason.to_owned();
    }
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_error_the_innermost_cause_is_told() {
        let missing = std::io::Error::from_raw_os_error(2);
        assert_eq!(innermost(&missing, "http"), "No such file or directory (os error 2)", "it has no source");
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        let plain = std::io::Error::other(plain);
        assert!(
            innermost(&plain, "https").starts_with("the URL begins with https://, but the port does not speak TLS")
        );
        let refused = std::io::Error::other(std::io::Error::other("refused"));
        assert_eq!(innermost(&std::io::Error::other(refused), "http"), "refused");
    }
}
