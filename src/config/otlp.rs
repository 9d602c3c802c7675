//! What the section `traces` and the variables of OpenTelemetry have in common: the protocols, and what a header may
//! be.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// The transport of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TracesProtocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with binary protobuf.
    HttpProtobuf,
}

/// The protocols, as they are written.
pub(super) const PROTOCOLS: &[(&str, TracesProtocol)] =
    &[("grpc", TracesProtocol::Grpc), ("http/protobuf", TracesProtocol::HttpProtobuf)];

/// Adds a header, its value marked sensitive.
pub(super) fn add_header(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no name of an HTTP header"))?;
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| format!("the value of `{name}` holds characters that an HTTP header must not carry"))?;
    value.set_sensitive(true);
    match headers.insert(&name, value) {
        None => Ok(()),
        Some(_) => Err(format!("`{name}` stands there twice: the case of letters does not matter")),
    }
}
