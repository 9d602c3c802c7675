//! What a receiver's answer means for the items (spans, and so on) that were sent: accepted, rejected, too many at once, or to be sent
//! again.
//!
//! The rules come from the OpenTelemetry Protocol Specification 1.9, "OTLP/gRPC Response" and "OTLP/HTTP Response":
//! over HTTP only 429, 502, 503 and 504 are retried; over gRPC only the codes listed there, and RESOURCE_EXHAUSTED only
//! if the answer says when; a partial success is never retried. In addition, what may have been rejected for its size
//! alone is sent in smaller parts before anything is given up. Pure; called by the transports.

use std::time::Duration;

use prost::Message;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use tonic::Code;

use talkover_core::delivery::Timestamp;
use talkover_core::schedule::limits::{self, http_date};

/// How much of a receiver's message is logged.
const MAX_WORDS: usize = 200;

/// What happens to the items of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has them.
    Accepted {
        /// How many of them it has rejected nevertheless.
        rejected: u64,
        /// Its message about that, or a warning.
        words: String,
    },
    /// It will never accept them.
    Refused(String),
    /// It does not accept as many at once.
    TooLarge {
        /// Its message.
        reason: String,
        /// Whether it will never accept a single item that is too large.
        is_final: bool,
    },
    /// It may accept them later.
    Later {
        /// Its message.
        reason: String,
        /// How long to wait, if it says so.
        after: Option<Duration>,
    },
    /// It was not reached, or did not answer.
    Unreachable(String),
}

/// A successful answer: `Export{Trace,Metrics,Logs}ServiceResponse`, which differ in the names of their fields alone.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExportResponse {
    /// What the receiver has rejected nevertheless.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// `Export{Trace,Metrics,Logs}PartialSuccess`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PartialSuccess {
    /// How many items were rejected: spans, data points or log records.
    #[prost(int64, tag = "1")]
    pub rejected_items: i64,
    /// Why, or a warning.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// The part of `google.rpc.Status` that is needed.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RetryDelay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryDelay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl Verdict {
    /// The meaning of a successful gRPC answer.
    pub fn of_success(response: ExportResponse) -> Self {
        let partial = response.partial_success.unwrap_or_default();
        Self::Accepted {
            rejected: u64::try_from(partial.rejected_items).unwrap_or(0),
            words: first_words(&partial.error_message),
        }
    }

    /// The meaning of an HTTP answer. `now` replaces a missing `Date`.
    pub fn of_http(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Self {
        if status.is_success() {
            // Some receivers answer without a body, or with JSON: the status alone shows that they have accepted what
            // was sent.
            return Self::of_success(ExportResponse::decode(body).unwrap_or_default());
        }
        let reason = with_words(format!("status {}", status.as_u16()), &error_words(headers, body));
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Self::Later { reason, after: retry_after(headers, now) },
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge { reason, is_final: true },
            _ => Self::Refused(reason),
        }
    }

    /// The meaning of a gRPC error that the receiver has sent.
    pub fn of_status(code: Code, message: &str, details: &[u8]) -> Self {
        let reason = with_words(name(code).to_owned(), &first_words(message));
        let after = retry_delay(details);
        match code {
            Code::Cancelled | Code::DeadlineExceeded | Code::Aborted | Code::Unavailable | Code::DataLoss => {
                Self::Later { reason, after }
            }
            Code::ResourceExhausted if after.is_some() => Self::Later { reason, after },
            // Without a time to come back it is final. But most servers use it for a message that is too large, too.
            Code::ResourceExhausted => Self::TooLarge { reason, is_final: true },
            // This should be retried; but some servers use it for a message that is too large.
            Code::OutOfRange => Self::TooLarge { reason, is_final: false },
            _ => Self::Refused(reason),
        }
    }

    /// Whether the receiver has rejected the request because it cannot decompress it, judging by its message.
    pub fn is_of_compression(&self) -> bool {
        const WORDS: [&str; 5] = ["status 415", "gzip", "compress", "encoding", "decod"];
        match self {
            Self::Refused(reason) => {
                let reason = reason.to_lowercase();
                WORDS.iter().any(|word| reason.contains(word))
            }
            _ => false,
        }
    }

    /// The same without the receiver's message, if that contains a secret.
    pub fn without_secrets(self, is_secret: impl Fn(&str) -> bool) -> Self {
        let clean = |text: String| {
            if is_secret(&text) { "what it says is left out: it repeats a header".to_owned() } else { text }
        };
        match self {
            Self::Accepted { rejected, words } => Self::Accepted { rejected, words: clean(words) },
            Self::Refused(reason) => Self::Refused(clean(reason)),
            Self::TooLarge { reason, is_final } => Self::TooLarge { reason: clean(reason), is_final },
            Self::Later { reason, after } => Self::Later { reason: clean(reason), after },
            Self::Unreachable(reason) => Self::Unreachable(clean(reason)),
        }
    }
}

fn with_words(what: String, words: &str) -> String {
    if words.is_empty() { what } else { format!("{what} ({words})") }
}

/// The first line, without control characters, and of limited length.
fn first_words(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    line.chars().filter(|letter| !letter.is_control()).take(MAX_WORDS).collect()
}

/// The message of an HTTP error: that of a `google.rpc.Status`, otherwise the text.
fn error_words(headers: &HeaderMap, body: &[u8]) -> String {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/x-protobuf") {
        return RpcStatus::decode(body).map(|status| first_words(&status.message)).unwrap_or_default();
    }
    let is_text = kind.is_empty() || kind.starts_with("text/plain") || kind.starts_with("application/json");
    if is_text { first_words(&String::from_utf8_lossy(body)) } else { String::new() }
}

/// `Retry-After`; a date is compared with the receiver's own clock.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let lines: Vec<&str> = headers.get_all(RETRY_AFTER).iter().filter_map(|line| line.to_str().ok()).collect();
    let date = headers.get(DATE).and_then(|date| http_date(date.to_str().ok()?));
    limits::wait(&lines, &[], date.unwrap_or(now))
}

/// The delay of a RetryInfo in the details of a status.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|any| any.type_url.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay.unwrap_or_default();
    let (seconds, nanos) = (u64::try_from(delay.seconds).unwrap_or(0), u32::try_from(delay.nanos).unwrap_or(0));
    Some(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into())))
}

/// A code as the specification spells it.
const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests;
