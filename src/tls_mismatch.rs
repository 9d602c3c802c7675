//! Recognises from a failed connection that one end speaks TLS and the other does not: the most frequent mistake in a
//! URL, which the libraries' messages do not reveal.
//!
//! Opens no connection of its own. Called when an error of the API's or the OTLP receiver's connection becomes text.

use std::error::Error;
use std::io;

/// `https://` to a port without TLS.
const NO_TLS: &str = "the URL begins with https://, but the port does not speak TLS (plain HTTP?)";
/// `http://` to a port with TLS.
const TLS: &str = "the URL begins with http://, but the port seems to speak TLS";
/// `http://` to a port that closes the connection: OpenSSL does that if it receives no TLS.
const PERHAPS_TLS: &str =
    "the connection was closed without an answer; if the port speaks TLS, the URL must begin with https://";

/// How servers word their answer to plain HTTP on a TLS port: Go, nginx, Apache.
const REFUSALS: [&str; 3] =
    ["HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port", "plain HTTP to an SSL-enabled"];

/// Whether this peer has ever been understood; then a broken connection does not indicate a wrong URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquaintance {
    /// It has never answered.
    Stranger,
    /// It has answered in HTTP.
    Known,
}

/// What is wrong with the URL's scheme, if `error` shows it.
pub fn explain(error: &(dyn Error + 'static), scheme: &str, peer: Acquaintance) -> Option<&'static str> {
    let is_https = scheme == "https";
    let mut cause = Some(error);
    while let Some(error) = cause {
        if is_https && lacks_tls(error) {
            return Some(NO_TLS);
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>().filter(|_| !is_https) {
            if error.is_parse() {
                return Some(TLS);
            }
            if peer == Acquaintance::Stranger && (error.is_incomplete_message() || is_reset(error)) {
                return Some(PERHAPS_TLS);
            }
        }
        cause = error.source();
    }
    None
}

/// Whether an answer with the status 400 says that the port wants TLS.
pub fn explain_bad_request(body: &[u8], scheme: &str) -> Option<&'static str> {
    let body = String::from_utf8_lossy(body);
    let is_refusal = scheme == "http" && REFUSALS.iter().any(|words| body.contains(words));
    is_refusal.then_some("the URL begins with http://, but the port speaks TLS")
}

/// Whether something other than the expected TLS record was received. An I/O error does not have what it wraps as its
/// source.
fn lacks_tls(error: &(dyn Error + 'static)) -> bool {
    if let Some(wrapped) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return lacks_tls(wrapped);
    }
    matches!(
        error.downcast_ref::<rustls::Error>(),
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType))
    )
}

fn is_reset(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionReset)
}
