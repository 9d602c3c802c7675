//! The thread that renders scrapes. All scrapes that wait share one rendering, and all scrapes of one version of the
//! board share its encoded pieces.
//!
//! *Invariants:* a response shows the board as of the request or later. Besides the newest pieces, older ones that slow
//! clients still read use at most [`MAX_BYTES`]: beyond that the oldest are dropped, which closes those connections.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread;

use tokio::sync::oneshot;

use super::answer::{AnswerEncoding, BoardPieces, ScrapeAnswer};
use crate::exposition::Format;
use crate::sinks::metrics::scrape::{Scrape, Scraper};
use crate::watchdog::{LONGEST_WAIT, Watchdog};

/// How many bytes of older versions are kept for clients that read slowly. A client on any real network has finished
/// long before so many versions are rendered.
const MAX_BYTES: usize = 24 * 1024 * 1024;

/// A scrape that waits: the variant, and where to send the response.
type WaitingScrape = (ScrapeVariant, oneshot::Sender<ScrapeAnswer>);

/// The format and encoding of a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScrapeVariant {
    pub(super) format: Format,
    pub(super) encoding: AnswerEncoding,
}

/// Renders on its own thread, one scrape after the other: many series take milliseconds, which would block the threads
/// that serve, and this way the memory is needed only once. Clones share the thread.
#[derive(Clone, Debug)]
pub struct Renderer(mpsc::Sender<WaitingScrape>);

impl Renderer {
    /// Starts the thread, which answers scrapes from `scraper` until the last clone is dropped.
    pub fn start(scraper: Scraper, watchdog: &Watchdog) -> Self {
        let (scrapes, waiting) = mpsc::channel::<WaitingScrape>();
        let turns = watchdog.watch("the thread that renders the metrics", LONGEST_WAIT);
        let serve = move || {
            let mut kept = KeptPieces::default();
            loop {
                turns.rest();
                let Ok(first) = waiting.recv() else { return };
                turns.turn();
                kept.answer(&scraper, std::iter::once(first).chain(waiting.try_iter()).collect());
            }
        };
        if let Err(error) = thread::Builder::new().name("metrics".to_owned()).spawn(serve) {
            tracing::error!(%error, "failed to start the thread that renders the metrics");
        }
        Self(scrapes)
    }

    /// Returns the metrics as of the time of rendering; `None` if rendering has failed, which is a bug.
    pub(super) async fn answer(&self, variant: ScrapeVariant) -> Option<ScrapeAnswer> {
        let (sender, answer) = oneshot::channel();
        self.0.send((variant, sender)).ok()?;
        answer.await.ok()
    }
}

/// The pieces that are kept.
#[derive(Default)]
struct KeptPieces {
    /// The newest pieces of each variant that was requested.
    newest: Vec<(ScrapeVariant, Arc<BoardPieces>)>,
    /// Older pieces that are still being sent, oldest first.
    older: VecDeque<Arc<BoardPieces>>,
}

impl KeptPieces {
    /// Answers all of `waiting` with one scrape.
    fn answer(&mut self, scraper: &Scraper, mut waiting: Vec<WaitingScrape>) {
        // Clients that have disconnected need no response.
        waiting.retain(|(_, answer)| !answer.is_closed());
        if waiting.is_empty() {
            return;
        }
        let scrape = scraper.scrape();
        self.retire(scrape.version());
        while let Some(&(variant, _)) = waiting.first() {
            let (same, others) = waiting.into_iter().partition(|(other, _)| *other == variant);
            waiting = others;
            // On an error the senders are dropped, which the handlers report as a failure.
            if let Ok(answer) = self.render(&scrape, variant) {
                same.into_iter().for_each(|(_, sender): WaitingScrape| drop(sender.send(answer.clone())));
            }
        }
    }

    fn render(&mut self, scrape: &Scrape, variant: ScrapeVariant) -> Result<ScrapeAnswer, fmt::Error> {
        let ScrapeVariant { format, encoding } = variant;
        let known = self.newest.iter().find(|(known, _)| *known == variant).map(|(_, pieces)| Arc::clone(pieces));
        let pieces = match known {
            Some(pieces) => pieces,
            None => {
                let pieces = Arc::new(BoardPieces::of(scrape, format, encoding)?);
                self.newest.push((variant, Arc::clone(&pieces)));
                pieces
            }
        };
        ScrapeAnswer::new(scrape, format, encoding, &pieces)
    }

    /// Drops pieces that are older than `version` and no longer being sent, and the oldest beyond [`MAX_BYTES`].
    fn retire(&mut self, version: u64) {
        let is_current = |(_, pieces): &mut (ScrapeVariant, Arc<BoardPieces>)| pieces.version() != version;
        let outdated = self.newest.extract_if(.., is_current);
        self.older.extend(outdated.map(|(_, pieces)| pieces));
        self.older.retain(|pieces| Arc::weak_count(pieces) > 0);
        let mut bytes: usize = self.older.iter().map(|pieces| pieces.bytes()).sum();
        // The newest of the older ones stays, whatever its size: its readers have not been slow.
        while bytes > MAX_BYTES
            && self.older.len() > 1
            && let Some(oldest) = self.older.pop_front()
        {
            bytes -= oldest.bytes();
        }
    }
}

#[cfg(test)]
mod tests;
