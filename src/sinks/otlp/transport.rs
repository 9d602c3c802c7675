//! The connection to a receiver: OTLP over gRPC or over HTTP, each request made once.
//!
//! Retries nothing by itself and follows no redirect. One exception: if the receiver says that it cannot decompress a
//! request, and no setting asks for compression, the request is sent again uncompressed. Header values are secrets:
//! they appear in no error and no debug output. Called by the exporters; set up by the daemon when it starts and reloads,
//! so that an unusable certificate is reported then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prost::Message;
use tracing::info;

use super::connection::{Certificates, Encoding, TransportError};
use super::grpc::Grpc;
use super::http::Http;
use super::verdict::Verdict;
use crate::config::{OtlpProtocol, OtlpReceiver, OtlpSignal};

/// The timeout of a request if no variable sets another one: the specification's default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The connection to the receiver.
pub struct Transport {
    way: Way,
    timeout: Duration,
    /// Whether requests are compressed.
    compresses: AtomicBool,
    /// Whether a variable sets that.
    is_told_to: bool,
    /// Texts that must not be logged.
    secrets: Vec<String>,
}

enum Way {
    Grpc(Box<Grpc>),
    Http(Http),
}

impl Transport {
    /// Sets the client up; connects to nothing yet.
    ///
    /// # Errors
    /// If a certificate cannot be used, or the settings contradict each other.
    pub fn open(receiver: &OtlpReceiver, signal: OtlpSignal) -> Result<Self, TransportError> {
        let OtlpReceiver { endpoint, headers, .. } = receiver.clone();
        let timeout = receiver.timeout.unwrap_or(TIMEOUT);
        let certificates = Certificates::of(&receiver.tls);
        let way = match receiver.protocol {
            OtlpProtocol::Grpc => Way::Grpc(Box::new(Grpc::new(signal, &endpoint, headers, certificates, timeout)?)),
            OtlpProtocol::HttpProtobuf => Way::Http(Http::new(signal, endpoint, headers, certificates, timeout)?),
        };
        let values = receiver.headers.values().filter_map(|value| value.to_str().ok());
        Ok(Self {
            way,
            timeout,
            // The specification's default is no compression; but a batch of spans shrinks to a tenth.
            compresses: AtomicBool::new(receiver.gzip.unwrap_or(true)),
            is_told_to: receiver.gzip.is_some(),
            secrets: values.flat_map(secrets).collect(),
        })
    }

    /// Sends one request.
    pub async fn send<R: Message + Clone + Default + 'static>(&self, request: R) -> Verdict {
        let encoding = if self.compresses.load(Ordering::Relaxed) { Encoding::Gzip } else { Encoding::Identity };
        if encoding == Encoding::Identity || self.is_told_to {
            return self.send_once(request, encoding).await;
        }
        let verdict = self.send_once(request.clone(), Encoding::Gzip).await;
        if !verdict.is_of_compression() {
            return verdict;
        }
        let plain = self.send_once(request, Encoding::Identity).await;
        if matches!(plain, Verdict::Accepted { .. }) {
            self.compresses.store(false, Ordering::Relaxed);
            info!("OTLP receiver cannot decompress requests; sending them uncompressed");
        }
        plain
    }

    async fn send_once<R: Message + Default + 'static>(&self, request: R, encoding: Encoding) -> Verdict {
        let sent = async {
            match &self.way {
                Way::Grpc(grpc) => grpc.send(request, encoding).await,
                Way::Http(http) => http.send(&request, encoding).await,
            }
        };
        let verdict = match tokio::time::timeout(self.timeout, sent).await {
            Ok(verdict) => verdict,
            Err(_elapsed) => Verdict::Unreachable(format!("no answer within {} ms", self.timeout.as_millis())),
        };
        verdict.without_secrets(|text| self.secrets.iter().any(|secret| text.contains(secret)))
    }
}

/// The secret parts of a header's value: all of it, and its last word, as in `Bearer …`.
fn secrets(value: &str) -> impl Iterator<Item = String> {
    let last = value.split_whitespace().next_back().unwrap_or_default();
    [value.trim(), last].into_iter().filter(|secret| !secret.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_header_its_value_and_its_last_word_are_secret() {
        let of = |value| secrets(value).collect::<Vec<_>>();
        assert_eq!(of("Bearer abc"), ["Bearer abc", "abc"]);
        assert_eq!(of("abc"), ["abc", "abc"]);
        assert_eq!(of(" "), Vec::<String>::new());
    }
}
