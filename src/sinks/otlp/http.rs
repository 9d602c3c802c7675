//! OTLP over HTTP with binary Protocol Buffers.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, Identity, Response, Url};

use super::connection::{CONNECT_TIMEOUT, Certificates, Encoding, TransportError, USER_AGENT, innermost};
use super::verdict::Verdict;
use crate::config::{OtlpReceiver, OtlpSignal};
use crate::http_client;
use crate::local_clock;

/// The limit of an answer that is read: it contains a number and a message at most.
const MAX_ANSWER: usize = 64 * 1024;

/// A client for one URL.
pub(super) struct Http {
    client: Client,
    url: Url,
    headers: HeaderMap,
}

impl Http {
    pub(super) fn new(
        signal: OtlpSignal,
        url: Url,
        mut headers: HeaderMap,
        certificates: Certificates,
        timeout: Duration,
    ) -> Result<Self, TransportError> {
        let client = client_of(signal, certificates, timeout)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        // An answer is short, and is read only as far as needed.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(Self { client, url, headers })
    }

    pub(super) async fn send(&self, request: &impl Message, encoding: Encoding) -> Verdict {
        let mut headers = self.headers.clone();
        let mut body = request.encode_to_vec();
        if encoding == Encoding::Gzip {
            match gzip(&body) {
                Ok(compressed) => body = compressed,
                Err(error) => return Verdict::Unreachable(format!("failed to compress the request: {error}")),
            }
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let sent = self.client.post(self.url.clone()).headers(headers).body(body).send();
        let mut response = match sent.await {
            Ok(response) => response,
            Err(error) => return Verdict::Unreachable(innermost(&error, self.url.scheme())),
        };
        match read(&mut response).await {
            Ok(body) => Verdict::of_http(response.status(), response.headers(), &body, local_clock::now().timestamp()),
            // The status alone is enough, unless it is a success, which the body may partly revoke.
            Err(_) if !response.status().is_success() => {
                Verdict::of_http(response.status(), response.headers(), b"", local_clock::now().timestamp())
            }
            Err(error) => Verdict::Unreachable(innermost(&error, self.url.scheme())),
        }
    }
}

/// A client for `receiver`, for requests that take at most `timeout`.
///
/// # Errors
/// If a certificate cannot be used, or the settings contradict each other.
pub(crate) fn client(receiver: &OtlpReceiver, signal: OtlpSignal, timeout: Duration) -> Result<Client, TransportError> {
    client_of(signal, Certificates::of(&receiver.tls), timeout)
}

fn client_of(signal: OtlpSignal, certificates: Certificates, timeout: Duration) -> Result<Client, TransportError> {
    let failed = |error| TransportError::Http(signal, error);
    let own = certificates.ca.map_or_else(|| Ok(Vec::new()), |pem| Certificate::from_pem_bundle(&pem));
    let own = own.map_err(failed)?;
    let identity = certificates.client.map(|(certificate, key)| [certificate, key].join(&b'\n'));
    let settings = || {
        let builder = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT.min(timeout));
        match &identity {
            Some(pem) => Ok(builder.identity(Identity::from_pem(pem)?)),
            None => Ok(builder),
        }
    };
    http_client::build(settings, &own).map_err(failed)
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    // Level 1 shrinks a batch of spans to a tenth; higher levels take twice the time and save few bytes.
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

async fn read(response: &mut Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            body.truncate(MAX_ANSWER);
            break;
        }
    }
    Ok(body)
}
