//! The thread that renders scrapes: once for all who wait, and what shows the board once for each version of it.
//!
//! *Invariants:* an answer shows the board as it was at or after the moment at which it was asked for. Beside the
//! newest pieces, those that slow clients have not taken yet need [`MAX_BYTES`] at most: beyond that the oldest are
//! dropped, which ends their connections.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread;

use tokio::sync::oneshot;

use super::answer::{AnswerEncoding, BoardPieces, ScrapeAnswer};
use crate::exposition::Format;
use crate::sinks::metrics::scrape::{Scrape, Scraper};
use crate::watchdog::{LONGEST_WAIT, Watchdog};

/// What clients that read slowly may keep of older versions of the board, in bytes. Whoever reads at the speed of any
/// network is done before that many versions were rendered.
const MAX_BYTES: usize = 24 * 1024 * 1024;

/// What is asked for, and who asks.
type WaitingScrape = (ScrapeVariant, oneshot::Sender<ScrapeAnswer>);

/// The ways in which a scrape is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScrapeVariant {
    pub(super) format: Format,
    pub(super) encoding: AnswerEncoding,
}

/// Renders off the threads that serve, one answer after the other: a long list of series takes milliseconds, and the
/// memory that it needs is needed once. Clones share the thread.
#[derive(Clone, Debug)]
pub struct Renderer(mpsc::Sender<WaitingScrape>);

impl Renderer {
    /// Answers scrapes with what `scraper` has, until the last clone is dropped.
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

    /// Returns the metrics as they are when it is their turn; `None` if writing them has failed, which is a defect of
    /// ours.
    pub(super) async fn answer(&self, variant: ScrapeVariant) -> Option<ScrapeAnswer> {
        let (sender, answer) = oneshot::channel();
        self.0.send((variant, sender)).ok()?;
        answer.await.ok()
    }
}

/// The pieces that are kept.
#[derive(Default)]
struct KeptPieces {
    /// Of each variant that was asked for, the newest.
    newest: Vec<(ScrapeVariant, Arc<BoardPieces>)>,
    /// Those before, which are still being sent; the oldest first.
    older: VecDeque<Arc<BoardPieces>>,
}

impl KeptPieces {
    /// Answers all of `waiting` with one scrape.
    fn answer(&mut self, scraper: &Scraper, mut waiting: Vec<WaitingScrape>) {
        // Whoever has gone away needs no answer.
        waiting.retain(|(_, answer)| !answer.is_closed());
        if waiting.is_empty() {
            return;
        }
        let scrape = scraper.scrape();
        self.retire(scrape.version());
        while let Some(&(variant, _)) = waiting.first() {
            let (same, others) = waiting.into_iter().partition(|(other, _)| *other == variant);
            waiting = others;
            // Without an answer they are told that it has failed.
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

    /// Drops what no answer of `version` needs, and what too many slow clients hold on to.
    fn retire(&mut self, version: u64) {
        let is_current = |(_, pieces): &mut (ScrapeVariant, Arc<BoardPieces>)| pieces.version() != version;
        let outdated = self.newest.extract_if(.., is_current);
        self.older.extend(outdated.map(|(_, pieces)| pieces));
        self.older.retain(|pieces| Arc::weak_count(pieces) > 0);
        let mut bytes: usize = self.older.iter().map(|pieces| pieces.bytes()).sum();
        // The youngest stays whatever its size: its reader has done nothing wrong.
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
