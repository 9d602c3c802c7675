//! The table of faults: what each looks like from outside, as the tests prove it and as `docs/faults.md` shows it.

use std::fmt::Write as _;
use std::time::Duration;

use talkover_simulator::Fault;

/// A fault, and what the exporter makes of it.
pub(crate) struct Row {
    /// What people call it.
    pub(crate) name: &'static str,
    /// How it comes about.
    pub(crate) cause: Cause,
    /// What the exporter does, besides what it does after every failure.
    pub(crate) does: &'static str,
    /// The label `result` of its polls.
    pub(crate) result: &'static str,
    /// The label `code` of its requests.
    pub(crate) code: &'static str,
    /// Whose polls fail.
    pub(crate) concerned: Concerned,
    /// What the log says of it.
    pub(crate) logged: &'static str,
}

/// How a fault comes about, and with that how it ends.
pub(crate) enum Cause {
    /// The API answers like this, and then rightly again.
    Api(Fault),
    /// The API redirects to a host of the test's, and then answers rightly again.
    RedirectElsewhere,
    /// The API knows another token, and then so does the token file.
    Token,
    /// The server shows a certificate that nobody trusts, and then its proper one.
    Certificate,
    /// This is the base URL, until the configuration is mended.
    BaseUrl(&'static str),
}

/// Whose polls fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concerned {
    /// Those of one webhook; the environment's others succeed.
    Webhook,
    /// Those of all its webhooks; other environments' succeed.
    Environment,
}

impl Row {
    /// How long the API asks to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match &self.cause {
            Cause::Api(Fault::RateLimited(wait)) => *wait,
            Cause::Api(
                Fault::RateLimitedUntil(wait) | Fault::RateLimitedInFractions(wait) | Fault::RateLimitedByReset(wait),
            ) => Some(*wait),
            _ => None,
        }
    }
}

/// Longer than any first back-off, so that a pause of this length is obedience.
const RETRY_AFTER: Duration = Duration::from_secs(3);
/// Longer than any test waits.
const FOR_EVER: Duration = Duration::from_secs(3600);

use Concerned::{Environment, Webhook};

/// Every fault.
pub(crate) static TABLE: [Row; 28] = [
    Row {
        name: "Token not accepted (401)",
        cause: Cause::Token,
        does: "Reads the token again before every request: once the file has a valid one, polling continues without a restart",
        result: "unauthorized",
        code: "401",
        concerned: Environment,
        logged: "the API does not accept the token (401: \"The provided API key is invalid\")",
    },
    Row {
        name: "Access refused (403)",
        cause: Cause::Api(Fault::Status(403)),
        does: "Backs off from the webhook",
        result: "http_error",
        code: "403",
        concerned: Webhook,
        logged: "the API answered 403: \"Forbidden\"",
    },
    Row {
        name: "Webhook, agent or campaign not found (404)",
        cause: Cause::Api(Fault::Status(404)),
        does: "Backs off from the webhook; if it comes back, its counters continue",
        result: "http_error",
        code: "404",
        concerned: Webhook,
        logged: "the API answered 404: \"Agent not found in this environment.\"",
    },
    Row {
        name: "Request refused (422)",
        cause: Cause::Api(Fault::Status(422)),
        does: "Backs off from the webhook",
        result: "http_error",
        code: "422",
        concerned: Webhook,
        logged: "the API answered 422: \"The given data was invalid.\"",
    },
    Row {
        name: "Rate limit (429), `Retry-After` in seconds",
        cause: Cause::Api(Fault::RateLimited(Some(RETRY_AFTER))),
        does: "Sends no requests for the environment during that time, at most 1 h",
        result: "rate_limited",
        code: "429",
        concerned: Environment,
        logged: "the API's rate limit is reached (429)",
    },
    Row {
        name: "Rate limit (429), `Retry-After` as a date",
        cause: Cause::Api(Fault::RateLimitedUntil(RETRY_AFTER)),
        does: "The same; the date is compared with the response's own `Date`, not with the local clock",
        result: "rate_limited",
        code: "429",
        concerned: Environment,
        logged: "the API's rate limit is reached (429)",
    },
    Row {
        name: "Rate limit (429), `Retry-After` with a fraction",
        cause: Cause::Api(Fault::RateLimitedInFractions(Duration::from_millis(3_500))),
        does: "The same, rounded up. Of a list, or of two such headers, the longest wait counts; a number that is too large for \
               seconds is one of milliseconds, or a time since the Unix epoch",
        result: "rate_limited",
        code: "429",
        concerned: Environment,
        logged: "the API's rate limit is reached (429)",
    },
    Row {
        name: "Rate limit (429), an unusable `Retry-After`, and `X-RateLimit-Reset`",
        cause: Cause::Api(Fault::RateLimitedByReset(RETRY_AFTER)),
        does: "Waits until the reset, at most 1 h. It counts only after a 429, or if `X-RateLimit-Remaining` is 0",
        result: "rate_limited",
        code: "429",
        concerned: Environment,
        logged: "the API's rate limit is reached (429)",
    },
    Row {
        name: "Rate limit (429) without `Retry-After`",
        cause: Cause::Api(Fault::RateLimited(None)),
        does: "Backs off from the environment",
        result: "rate_limited",
        code: "429",
        concerned: Environment,
        logged: "the API's rate limit is reached (429)",
    },
    Row {
        name: "Server error (500)",
        cause: Cause::Api(Fault::Status(500)),
        does: "Backs off; the log has the API's message",
        result: "http_error",
        code: "500",
        concerned: Environment,
        logged: "the API answered 500: \"Server Error\"",
    },
    Row {
        name: "A gateway's HTML page (502, 503)",
        cause: Cause::Api(Fault::Html(503)),
        does: "Backs off; the page is not logged",
        result: "http_error",
        code: "503",
        concerned: Environment,
        logged: "the API answered 503",
    },
    Row {
        name: "Server error (500), for one webhook alone",
        cause: Cause::Api(Fault::Status(500)),
        does: "Backs off from the webhook; the others are polled as usual",
        result: "http_error",
        code: "500",
        concerned: Webhook,
        logged: "the API answered 500: \"Server Error\"",
    },
    Row {
        name: "Redirect to a log-in page",
        cause: Cause::Api(Fault::Redirect(None)),
        does: "Does not follow it",
        result: "http_error",
        code: "302",
        concerned: Webhook,
        logged: "the API answered 302",
    },
    Row {
        name: "Redirect to another host",
        cause: Cause::RedirectElsewhere,
        does: "Does not follow it: the other host gets no connection, and no token",
        result: "http_error",
        code: "302",
        concerned: Webhook,
        logged: "the API answered 302",
    },
    Row {
        name: "No answer in time",
        cause: Cause::Api(Fault::Hold(FOR_EVER)),
        does: "Gives up after `request_timeout`",
        result: "timeout",
        code: "none",
        concerned: Environment,
        logged: "the API gave no complete answer in time",
    },
    Row {
        name: "No answer in time, for one webhook alone",
        cause: Cause::Api(Fault::Hold(FOR_EVER)),
        does: "The same; failing webhooks use at most half of the concurrent requests",
        result: "timeout",
        code: "none",
        concerned: Webhook,
        logged: "the API gave no complete answer in time",
    },
    Row {
        name: "A response that arrives byte by byte",
        cause: Cause::Api(Fault::Drip(Duration::from_millis(100))),
        does: "Gives up after `request_timeout`, which limits the whole response",
        result: "timeout",
        code: "200",
        concerned: Environment,
        logged: "the API gave no complete answer in time",
    },
    Row {
        name: "`Content-Length` too long",
        cause: Cause::Api(Fault::LengthTooLong),
        does: "Waits for the rest until `request_timeout`, and discards the response",
        result: "timeout",
        code: "200",
        concerned: Environment,
        logged: "the API gave no complete answer in time",
    },
    Row {
        name: "`Content-Length` too short",
        cause: Cause::Api(Fault::LengthTooShort),
        does: "Discards the response, and closes the connection, which carries more bytes than announced",
        result: "invalid_response",
        code: "200",
        concerned: Webhook,
        logged: "the answer cannot be used: the answer is not a JSON object: EOF while parsing",
    },
    Row {
        name: "Connection reset before the answer",
        cause: Cause::Api(Fault::Reset),
        does: "Does not repeat the request: the next poll does, within the budget",
        result: "connection",
        code: "none",
        concerned: Environment,
        logged: "the connection failed: Connection reset by peer",
    },
    Row {
        name: "Connection reset before the answer, for one webhook alone",
        cause: Cause::Api(Fault::Reset),
        does: "The same; the others are polled as usual",
        result: "connection",
        code: "none",
        concerned: Webhook,
        logged: "the connection failed: Connection reset by peer",
    },
    Row {
        name: "Connection reset in mid-body",
        cause: Cause::Api(Fault::ResetInBody),
        does: "Discards the answer",
        result: "connection",
        code: "200",
        concerned: Environment,
        logged: "the connection failed: Connection reset by peer",
    },
    Row {
        name: "Truncated answer",
        cause: Cause::Api(Fault::Truncated),
        does: "Discards the answer",
        result: "connection",
        code: "200",
        concerned: Environment,
        logged: "the connection failed: end of file before message length reached",
    },
    Row {
        name: "200 with `success: false`",
        cause: Cause::Api(Fault::NotSuccess),
        does: "Does not take it for an empty log",
        result: "invalid_response",
        code: "200",
        concerned: Webhook,
        logged: "the answer cannot be used: the answer says success: false",
    },
    Row {
        name: "200 with a body that is not JSON",
        cause: Cause::Api(Fault::InvalidJson),
        does: "Discards the answer",
        result: "invalid_response",
        code: "200",
        concerned: Webhook,
        logged: "the answer cannot be used: the answer is not a JSON object: EOF while parsing",
    },
    Row {
        name: "Certificate not trusted (TLS)",
        cause: Cause::Certificate,
        does: "Sends nothing: the token is not sent before the certificate is checked",
        result: "connection",
        code: "none",
        concerned: Environment,
        logged: "the connection failed: invalid peer certificate",
    },
    Row {
        name: "Host name not found (DNS)",
        cause: Cause::BaseUrl("https://nonexistent.invalid"),
        does: "Starts, and keeps trying",
        result: "connection",
        code: "none",
        concerned: Environment,
        logged: "the connection failed: failed to lookup address information",
    },
    Row {
        name: "Connection refused",
        cause: Cause::BaseUrl("http://127.0.0.1:1"),
        does: "Starts, and keeps trying",
        result: "connection",
        code: "none",
        concerned: Environment,
        logged: "the connection failed: Connection refused",
    },
];

const PREAMBLE: &str = "\
# Faults it survives

Every row is proven by `tests/it/faults.rs`, which also writes this page: the exporter polls a simulated TalkOver that
fails in this way, and afterwards every attempt is counted exactly once.

What holds for all of them:

- During a fault, `talkover_up` is 0 for the affected webhooks. It stays 1 for all others, which are polled as usual.
- The log names the cause once when polls of a webhook begin to fail, and says once that they succeed again.
- A webhook that fails is retried after 0.5 s to 1 s, then after twice as long, up to 1 min, with jitter. If others are
  answered and it keeps failing, it is retried every `max_interval`, like an idle webhook.
- After 401 and 429 all webhooks of the environment back off together.
- If no webhook of the environment gets an answer (timeouts, broken connections, 5xx), the exporter probes one webhook
  after the other, with the same pauses, starting with those that got an answer last. The first answer ends this, and
  polling resumes at once. The log has one line at the beginning and one at the end.
- `code` is the status of the response, even if its body was unusable, and `none` if there was no response.

";

/// Wrong clocks, and what the exporter does. No polls fail.
const CLOCKS: [(&str, &str); 7] = [
    (
        "The first response's `Date` is days ahead or behind",
        "Does not trust it, and sends another request before it decides anything",
    ),
    (
        "The `Date` of some responses is days ahead or behind",
        "Does not trust them. Time continues from the last trusted `Date`, by the monotonic clock",
    ),
    ("No response has a `Date`", "Uses the local clock as it was at the start; later changes of it have no effect"),
    (
        "The local clock is days off at the start",
        "Trusts the server once three responses in a row agree, and decides nothing until then",
    ),
    (
        "The server's clock really jumps by more than five minutes",
        "Follows it once three responses in a row agree, and logs one line",
    ),
    (
        "The first responses are errors (503 for an hour)",
        "Everything after the first of them is live, not history, even over restarts",
    ),
    (
        "The state was made by a version that trusted a wrong `Date`",
        "Says so at the start, sets the first contact back to when the state was made, and counts what was ignored since",
    ),
];

const CLOCKS_PREAMBLE: &str = "
## Wrong clocks

Irreversible decisions (how far back a first contact reads, what expires or is pruned) never depend on a single reading
of any clock. `tests/it/clocks.rs` proves it.

";

const PAGES: &str = r"
## Pages that cannot be read

Proven by `tests/it/unreadable.rs`. Each fault is logged once.

| fault | what the exporter does |
| --- | --- |
| One entry makes every page fail that contains it | If the page fails three times while other pages are answered, reads it in smaller parts (50, 25, 10, 5, 1). The entry counts as `invalid` once and is skipped; all others are counted |
| Pages beyond some depth are refused | Counts what can be read; `history_gaps_total` grows by one if this cuts off a first contact or the way back to known entries |
| The list repeats itself or has no usable entries | Stops after 20 pages with nothing new, or 20,000 unusable entries in a row; counts a gap as above |
| A page of the list of agents or campaigns keeps failing | Reads it in parts as above, in each refresh, and skips the entry that causes the failure. What the list shows is used; nothing counts as removed while part of the list is unreadable |
| The list of agents or campaigns, or of one owner's webhooks, never ends | Stops after 500 pages or 20,000 owners, and 200 pages or 10,000 webhooks. What was found is used; nothing counts as removed |

The last two are proven by `tests/it/discovery.rs` and the unit tests of discovery.

`verify` and `check --online` continue with the other webhooks if one is broken, and `verify` skips failing pages as the
daemon does. They give up the rest of an environment only after a 401 or 429, or if none of the first ten webhooks is
answered.
";

/// The page as it should be.
pub(crate) fn markdown() -> String {
    let mut text = PREAMBLE.to_owned();
    text.push_str(
        "| fault | what the exporter does | `polls_total{result}` | `api_requests_total{code}` | affects |\n",
    );
    text.push_str("| --- | --- | --- | --- | --- |\n");
    for row in &TABLE {
        let concerned = match row.concerned {
            Webhook => "the webhook",
            Environment => "the environment",
        };
        writeln!(text, "| {} | {} | `{}` | `{}` | {concerned} |", row.name, row.does, row.result, row.code).unwrap();
    }
    text.push_str(CLOCKS_PREAMBLE);
    text.push_str("| fault | what the exporter does |\n| --- | --- |\n");
    for (name, does) in CLOCKS {
        writeln!(text, "| {name} | {does} |").unwrap();
    }
    text.push_str(PAGES);
    text
}
