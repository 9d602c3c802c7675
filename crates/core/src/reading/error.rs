//! Why a request failed: each variant says whether to retry, when, and who else is affected.

use std::time::Duration;

use thiserror::Error;

use crate::schedule::patience::RequestFailure;

/// How a poll ended: the label `result` of `talkover_exporter_polls_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PollResult {
    /// Everything due was read and is durable.
    Success,
    /// The API answered with an error of its own.
    HttpError,
    /// No answer came in time.
    Timeout,
    /// No connection, or a broken one.
    Connection,
    /// The API asked to slow down.
    RateLimited,
    /// The token was not accepted.
    Unauthorized,
    /// The answer could not be used.
    InvalidResponse,
}

impl PollResult {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Success,
        Self::HttpError,
        Self::Timeout,
        Self::Connection,
        Self::RateLimited,
        Self::Unauthorized,
        Self::InvalidResponse,
    ];

    /// The value of the label `result`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::HttpError => "http_error",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::InvalidResponse => "invalid_response",
        }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ApiError {
    /// 401. Every request with this token will fail.
    #[error("the API does not accept the token (401{})", quoted(.message))]
    Unauthorized {
        /// What the API said.
        message: Option<String>,
    },
    /// 429. The whole environment has to pause.
    #[error("the API's rate limit is reached (429)")]
    RateLimited {
        /// How long to wait, if the API says so.
        retry_after: Option<Duration>,
    },
    /// Any other answer than 200.
    #[error("the API answered {status}{}", quoted(.message))]
    Http {
        /// The status.
        status: u16,
        /// What the API said.
        message: Option<String>,
        /// How long to wait, if the API says so.
        retry_after: Option<Duration>,
    },
    /// No complete answer within `request_timeout`.
    #[error("the API gave no complete answer in time")]
    Timeout,
    /// No connection, or a broken one.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// An answer that is too large to be read: smaller pages are requested.
    #[error("the answer is larger than {limit_mib} MiB")]
    TooLarge {
        /// The limit.
        limit_mib: usize,
        /// A digest of the answer's beginning, which identifies an entry that is too large by itself.
        key: Box<str>,
    },
    /// An answer that contradicts the API's reference.
    #[error("the answer cannot be used: {0}")]
    InvalidResponse(String),
}

impl ApiError {
    /// The result of a poll that failed like this.
    pub fn poll_result(&self) -> PollResult {
        match self {
            Self::Unauthorized { .. } => PollResult::Unauthorized,
            Self::RateLimited { .. } => PollResult::RateLimited,
            Self::Http { .. } => PollResult::HttpError,
            Self::Timeout => PollResult::Timeout,
            Self::Connection(_) => PollResult::Connection,
            Self::InvalidResponse(_) | Self::TooLarge { .. } => PollResult::InvalidResponse,
        }
    }

    /// What this means for the requests that follow.
    pub fn failure(&self) -> RequestFailure {
        match self {
            Self::Unauthorized { .. } => RequestFailure::Rejected(None),
            Self::RateLimited { retry_after } => RequestFailure::Rejected(*retry_after),
            Self::Http { status: 500.., retry_after, .. } => RequestFailure::Unanswered(*retry_after),
            Self::Http { retry_after, .. } => RequestFailure::Answered(*retry_after),
            Self::Timeout | Self::Connection(_) => RequestFailure::Unanswered(None),
            Self::InvalidResponse(_) | Self::TooLarge { .. } => RequestFailure::Answered(None),
        }
    }

    /// How long the API asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::Http { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn quoted(message: &Option<String>) -> String {
    message.as_ref().map_or_else(String::new, |message| format!(": {message:?}"))
}
