//! Renders the status and its pages, on its own thread.
//!
//! A document is rendered at most once per second and committed state, however often it is requested. If states change
//! faster than they can be rendered, a document may be slightly old: so pages that are open on many screens use at most
//! a quarter of one processor, and never slow down polls or scrapes. Called by the routes of the status.

use std::collections::HashMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use talkover_core::delivery::Timestamp;
use tokio::sync::oneshot;

use super::MetricsPath;
use super::health::Readiness;
use super::page::{self, Query};
use super::status::{Facts, StatusReport};
use crate::local_clock;
use crate::server_clock::ServerClocks;
use crate::sinks::metrics::board::Board;
use crate::store::problems::StateProblems;

/// A rendered state is reused for this many times as long as rendering it took, whatever has changed since.
const WILL_DO: u32 = 4;
/// How many documents of one state are kept: queries that nobody repeats must not fill the memory.
const MAX_KEPT: usize = 64;

/// What the status is made from.
#[derive(Clone, Debug)]
pub struct StatusOrigin {
    /// The board.
    pub board: Board,
    /// Whether the metrics are worth scraping.
    pub readiness: Readiness,
    /// The servers' clocks, one per environment.
    pub clocks: ServerClocks,
    /// What is wrong with the state file.
    pub state: StateProblems,
    /// The path of the metrics, for a link.
    pub metrics_path: MetricsPath,
}

/// What can be requested.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum StatusDocument {
    /// The whole status as JSON.
    Json,
    /// The status page, for a query.
    Overview(Query),
    /// The page of one webhook.
    Webhook {
        /// Its environment.
        environment: String,
        /// Its id.
        webhook_id: String,
    },
}

/// How a document is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) enum StatusEncoding {
    #[default]
    Plain,
    Gzip,
}

impl StatusEncoding {
    /// Chooses by what the client accepts. Anything but a plain `gzip` in `Accept-Encoding` gets plain text.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let accepts = values.flat_map(|text| text.split(',')).any(|one| one.trim().eq_ignore_ascii_case("gzip"));
        if accepts { Self::Gzip } else { Self::Plain }
    }
}

/// A request: the document, its encoding, when it was sent, and where to send the result (`None` if there is no such
/// document).
type StatusRequest = (StatusDocument, StatusEncoding, Instant, oneshot::Sender<Option<Bytes>>);

/// Sends requests to the thread that renders. Clones share it; the thread ends with the last one.
#[derive(Clone, Debug)]
pub struct StatusSource(mpsc::Sender<StatusRequest>);

impl StatusSource {
    /// Starts the thread.
    pub fn start(origin: StatusOrigin) -> Self {
        let (requests, waiting) = mpsc::channel::<StatusRequest>();
        let serve = move || {
            let mut kept = RenderedAnswers::default();
            for (document, encoding, sent, answer) in waiting {
                // Clients that have disconnected need no response.
                if answer.is_closed() {
                    continue;
                }
                match catch_unwind(AssertUnwindSafe(|| kept.answer(&origin, sent, document, encoding))) {
                    Ok(rendered) => _ = answer.send(rendered),
                    Err(_) => kept = RenderedAnswers::default(),
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("status".to_owned()).spawn(serve) {
            tracing::error!(%error, "failed to start the thread that renders the status");
        }
        Self(requests)
    }

    /// Returns a document as of now.
    ///
    /// # Errors
    /// If rendering it has failed, which is a bug.
    pub(super) async fn document(
        &self,
        document: StatusDocument,
        encoding: StatusEncoding,
    ) -> Result<Option<Bytes>, RenderingFailed> {
        let (answer, rendered) = oneshot::channel();
        self.0.send((document, encoding, Instant::now(), answer)).map_err(|_| RenderingFailed)?;
        rendered.await.map_err(|_| {
            tracing::error!("failed to render the status");
            RenderingFailed
        })
    }
}

/// Rendering has failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct RenderingFailed;

/// The documents of the current state that were rendered.
#[derive(Default)]
struct RenderedAnswers {
    of: Option<Rendering>,
    answers: HashMap<(StatusDocument, StatusEncoding), Option<Bytes>>,
}

/// A state whose documents are being rendered.
struct Rendering {
    key: Key,
    status: StatusReport,
    /// When this was the state.
    at: Instant,
    /// How long rendering it has taken so far.
    took: Duration,
}

impl Rendering {
    /// Whether it can be reused for a request that was sent at `sent`, while the state is `key`.
    fn will_do(&self, key: &Key, sent: Instant) -> bool {
        self.key == *key || self.at >= sent || self.at.elapsed() < self.took * WILL_DO
    }
}

/// What a document depends on.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    /// The version of the board.
    version: u64,
    /// The second, by the local clock.
    second: i64,
    readiness: Result<(), String>,
}

impl RenderedAnswers {
    fn answer(
        &mut self,
        origin: &StatusOrigin,
        sent: Instant,
        document: StatusDocument,
        encoding: StatusEncoding,
    ) -> Option<Bytes> {
        let began = Instant::now();
        let now: Timestamp = local_clock::now().timestamp();
        let key = Key {
            version: origin.board.version(),
            second: now.as_micros().div_euclid(1_000_000),
            readiness: origin.readiness.check(),
        };
        if self.of.as_ref().is_none_or(|of| !of.will_do(&key, sent)) {
            let views = origin.board.snapshot();
            let StatusOrigin { readiness, clocks, state, metrics_path, .. } = origin;
            let facts = Facts { views: &views, readiness, clocks, state, metrics_path };
            self.of = Some(Rendering { key, status: StatusReport::of(&facts), at: began, took: Duration::ZERO });
            self.answers.clear();
        }
        let of = self.of.as_mut()?;
        let wanted = (document, encoding);
        if let Some(kept) = self.answers.get(&wanted) {
            return kept.clone();
        }
        if self.answers.len() >= MAX_KEPT {
            self.answers.clear();
        }
        let rendered = render(&of.status, &wanted.0).map(|text| encode(text, encoding));
        of.took += began.elapsed();
        self.answers.insert(wanted, rendered.clone());
        rendered
    }
}

fn render(status: &StatusReport, document: &StatusDocument) -> Option<String> {
    match document {
        // Serialising plain numbers and texts cannot fail.
        StatusDocument::Json => Some(serde_json::to_string(status).unwrap_or_default()),
        StatusDocument::Overview(query) => Some(page::overview(status, query)),
        StatusDocument::Webhook { environment, webhook_id } => page::webhook(status, environment, webhook_id),
    }
}

fn encode(text: String, encoding: StatusEncoding) -> Bytes {
    if encoding == StatusEncoding::Plain {
        return text.into();
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(text.as_bytes());
    encoder.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendering(at: Instant, took: Duration) -> Rendering {
        let board = Board::default();
        let (readiness, clocks) = (Readiness::default(), ServerClocks::default());
        let facts = Facts {
            views: &board.snapshot(),
            readiness: &readiness,
            clocks: &clocks,
            state: &StateProblems::default(),
            metrics_path: &MetricsPath::from("/metrics"),
        };
        Rendering { key: key(1), status: StatusReport::of(&facts), at, took }
    }

    fn key(version: u64) -> Key {
        Key { version, second: 7, readiness: Ok(()) }
    }

    #[test]
    fn a_state_will_do_while_it_is_the_present_one_or_newer_than_the_request() {
        let now = Instant::now();
        let minute_ago = now.checked_sub(Duration::from_secs(60)).unwrap();
        let old = rendering(minute_ago, Duration::from_millis(1));
        assert!(old.will_do(&key(1), now), "nothing has changed");
        assert!(!old.will_do(&key(2), now));
        assert!(old.will_do(&key(2), minute_ago), "it was asked for before");
        assert!(!old.will_do(&Key { second: 8, ..key(1) }, now), "ages have changed");
        assert!(!old.will_do(&Key { readiness: Err("starting".to_owned()), ..key(1) }, now));
        // What takes long to render is not rendered all the time.
        assert!(rendering(minute_ago, Duration::from_secs(20)).will_do(&key(2), now));
        assert!(!rendering(minute_ago, Duration::from_secs(14)).will_do(&key(2), now));
    }
}
