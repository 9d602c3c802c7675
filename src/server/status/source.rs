//! Renders the status and its pages, on a thread of its own.
//!
//! An answer is rendered once for each committed state and second, however often it is asked for, so that a page left
//! open on many screens costs neither polls nor scrapes anything. Called by the routes of the status.

use std::collections::HashMap;
use std::io::Write;
use std::sync::mpsc;
use std::thread;

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use talkover_core::delivery::Timestamp;
use tokio::sync::oneshot;

use super::{Facts, StatusReport};
use crate::local_clock;
use crate::server::MetricsPath;
use crate::server::health::Readiness;
use crate::server::page::{self, Query};
use crate::server_clock::ServerClocks;
use crate::sinks::metrics::board::Board;

/// Answers kept of one state: those to queries that nobody repeats must not fill the memory.
const MAX_KEPT: usize = 64;

/// What the status is made of.
#[derive(Clone, Debug)]
pub struct StatusOrigin {
    /// What is shown.
    pub board: Board,
    /// Whether the metrics are worth scraping.
    pub readiness: Readiness,
    /// The time by the clocks of the environments.
    pub clocks: ServerClocks,
    /// Where the metrics are, for a link.
    pub metrics_path: MetricsPath,
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::server) enum StatusDocument {
    /// All of it as JSON.
    Json,
    /// The status page, or a part of it.
    Overview(Query),
    /// The page of one webhook.
    Webhook {
        /// Its environment.
        environment: String,
        /// Its id.
        webhook_id: String,
    },
}

/// How an answer is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(in crate::server) enum StatusEncoding {
    #[default]
    Plain,
    Gzip,
}

impl StatusEncoding {
    /// What the client accepts. Clients that accept gzip only in some odd way get the plain text.
    pub(in crate::server) fn accepted(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let accepts = values.flat_map(|text| text.split(',')).any(|one| one.trim().eq_ignore_ascii_case("gzip"));
        if accepts { Self::Gzip } else { Self::Plain }
    }
}

/// A request: what is wanted, and whom to answer; `None` if there is no such thing.
type StatusRequest = (StatusDocument, StatusEncoding, oneshot::Sender<Option<Bytes>>);

/// The way to the thread that renders. Clones share it; the thread ends with the last one.
#[derive(Clone, Debug)]
pub struct StatusSource(mpsc::Sender<StatusRequest>);

impl StatusSource {
    /// Starts the thread.
    pub fn start(origin: StatusOrigin) -> Self {
        let (requests, waiting) = mpsc::channel::<StatusRequest>();
        let serve = move || {
            let mut kept = RenderedAnswers::default();
            while let Ok(first) = waiting.recv() {
                // All who wait now are answered from one state: the board may change several times a second.
                let asked: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
                kept.renew(&origin);
                // Whoever has gone away needs no answer.
                for (document, encoding, answer) in asked.into_iter().filter(|(_, _, answer)| !answer.is_closed()) {
                    let _gone = answer.send(kept.answer(document, encoding));
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
    /// If rendering it has failed, which is a defect of ours.
    pub(in crate::server) async fn document(
        &self,
        document: StatusDocument,
        encoding: StatusEncoding,
    ) -> Result<Option<Bytes>, RenderingFailed> {
        let (answer, rendered) = oneshot::channel();
        self.0.send((document, encoding, answer)).map_err(|_| RenderingFailed)?;
        rendered.await.map_err(|_| {
            tracing::error!("failed to render the status");
            RenderingFailed
        })
    }
}

/// Rendering has failed.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct RenderingFailed;

/// What was rendered of the present state.
#[derive(Default)]
struct RenderedAnswers {
    of: Option<(Key, StatusReport)>,
    answers: HashMap<(StatusDocument, StatusEncoding), Option<Bytes>>,
}

/// What an answer depends on.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    /// The number of changes of the board.
    version: u64,
    /// The second, by the local clock.
    second: i64,
    readiness: Result<(), String>,
}

impl RenderedAnswers {
    /// Takes the present state if it is another one.
    fn renew(&mut self, origin: &StatusOrigin) {
        let now: Timestamp = local_clock::now().timestamp();
        let key = Key {
            version: origin.board.version(),
            second: now.as_micros().div_euclid(1_000_000),
            readiness: origin.readiness.check(),
        };
        if self.of.as_ref().is_none_or(|(of, _)| *of != key) {
            let views = origin.board.snapshot();
            let facts = Facts {
                views: &views,
                readiness: &origin.readiness,
                clocks: &origin.clocks,
                metrics_path: &origin.metrics_path,
            };
            self.of = Some((key, StatusReport::of(&facts)));
            self.answers.clear();
        }
    }

    fn answer(&mut self, document: StatusDocument, encoding: StatusEncoding) -> Option<Bytes> {
        let (_, status) = self.of.as_ref()?;
        if let Some(kept) = self.answers.get(&(document.clone(), encoding)) {
            return kept.clone();
        }
        if self.answers.len() >= MAX_KEPT {
            self.answers.clear();
        }
        let rendered = render(status, &document).map(|text| encode(text, encoding));
        self.answers.insert((document, encoding), rendered.clone());
        rendered
    }
}

fn render(status: &StatusReport, document: &StatusDocument) -> Option<String> {
    match document {
        // Plain numbers and texts always become JSON.
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
