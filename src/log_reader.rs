//! Reads the log of a webhook for commands that are no daemon, page by page, from the newest entry back to some time.
//!
//! It never guesses: what cannot be read to its end is an error, or told. What becomes of what was read is up to a
//! [`LogSink`]: `verify` compares it, `history` keeps it on disk.

use thiserror::Error;

use crate::budgeted_client::{AskError, BudgetedClient};
use crate::client::Client;
use talkover_core::delivery::{EntryId, Target, Timestamp};
use talkover_core::reading::error::ApiError;
use talkover_core::reading::walk::{KnownEntries, PageRequest, Progress, Walk, WalkError};
use talkover_core::reading::wire::LogPage;
use talkover_core::schedule::patience::RequestFailure;
use talkover_core::server_time::ServerTime;

/// A page that cannot be read is looked into with so many failures in a row at most: as many as finding the cause
/// takes.
const MAX_FAILURES: u32 = 14;
/// The same while no page of the log was answered: the first page fails, the second one, the first one three times
/// again, and the third one. Then it is not an entry that fails but the webhook.
const MAX_FIRST_FAILURES: u32 = 5;

/// Why a log could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The API gave nothing, or may not be asked.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The pages do not lead on.
    #[error("the log cannot be read to its end: {0}")]
    Walk(#[from] WalkError),
    /// The sink has failed.
    #[error("failed to keep what was read: {0}")]
    NotKept(String),
}

/// Takes what is read of one log.
pub trait LogSink {
    /// Returns where the reading ends, given the server's clock at the first answer.
    ///
    /// # Errors
    /// Ends the reading.
    fn begin(&mut self, date: Timestamp) -> Result<Timestamp, ReadError>;

    /// Whether an entry was known before the reading began.
    fn knows(&self, id: &EntryId) -> bool;

    /// Called after each page, at `date` by the server's clock: may take out of the walk what it has read.
    ///
    /// # Errors
    /// Ends the reading.
    fn absorb(&mut self, walk: &mut Walk, date: Timestamp) -> Result<(), ReadError>;
}

/// Reads the logs of one environment.
#[derive(Debug)]
pub struct LogReader {
    /// Makes the requests.
    pub asker: BudgetedClient,
}

impl LogReader {
    /// Takes `walk` through the log of `target` to its end. Returns it: it may have been cut short.
    ///
    /// # Errors
    /// If the log cannot be read, or the sink fails.
    pub async fn read(&mut self, target: &Target, mut walk: Walk, sink: &mut impl LogSink) -> Result<Walk, ReadError> {
        let mut is_first = true;
        let mut failures = 0;
        loop {
            let (page, date) = match self.ask(target, walk.request(), failures).await {
                Ok(answer) => answer,
                Err(error) => {
                    failures += 1;
                    let max_failures = if is_first { MAX_FIRST_FAILURES } else { MAX_FAILURES };
                    let failed = self.of_page(&error, is_first).filter(|_| failures <= max_failures);
                    let Some((times, date)) = failed else { return Err(error) };
                    fail(&mut walk, times, date)?;
                    if walk.cut_short().is_some() {
                        return Ok(walk);
                    }
                    continue;
                }
            };
            failures = 0;
            let date = date.timestamp();
            if std::mem::replace(&mut is_first, false) {
                walk.set_until(sink.begin(date)?);
            }
            let progress = absorb(&mut walk, page, sink)?;
            sink.absorb(&mut walk, date)?;
            if progress == Progress::Done || walk.cut_short().is_some() {
                return Ok(walk);
            }
        }
    }

    /// Requests a page, after so many `failures` in a row.
    async fn ask(
        &mut self,
        target: &Target,
        PageRequest { page, per_page }: PageRequest,
        failures: u32,
    ) -> Result<(Page, ServerTime), ReadError> {
        let subject = target.to_string();
        let request = async |client: &Client| client.logs(target, page, per_page).await;
        let asked = match failures {
            0 => self.asker.ask(&subject, request).await,
            _ => self.asker.ask_once(&subject, request).await,
        };
        match asked {
            Ok((page, date)) => Ok((Page::Read(page), date)),
            Err(AskError::Api { error: ApiError::TooLarge { key, .. }, date, .. }) => Ok((Page::TooLarge(key), date)),
            Err(error) => Err(error.into()),
        }
    }

    /// How often and when a page failed, if the error may be one of that page alone.
    fn of_page(&self, error: &ReadError, is_first: bool) -> Option<(u32, Timestamp)> {
        let ReadError::Ask(AskError::Api { error, times, date }) = error else { return None };
        let is_possible = match (error.failure(), error) {
            (RequestFailure::Rejected(_), _) => false,
            // Before anything of the log was read: nothing else of it is answered either.
            (RequestFailure::Answered(_), ApiError::Http { .. }) => !is_first,
            (_, ApiError::Timeout | ApiError::Connection(_)) => !is_first || self.asker.silence.is_broken(),
            _ => true,
        };
        is_possible.then_some((*times, date.timestamp()))
    }
}

/// Lets the walk know that its page has failed so many `times`, until that makes it request another one.
fn fail(walk: &mut Walk, times: u32, date: Timestamp) -> Result<(), WalkError> {
    let request = walk.request();
    for _ in 0..times.max(1) {
        let _ = walk.fail(date)?;
        if walk.cut_short().is_some() || walk.request() != request {
            break;
        }
    }
    Ok(())
}

fn absorb(walk: &mut Walk, page: Page, sink: &impl LogSink) -> Result<Progress, WalkError> {
    match page {
        Page::Read(page) => walk.absorb(page, KnownEntries { entry: &|id| sink.knows(id), invalid: &|_| false }),
        Page::TooLarge(key) => walk.absorb_too_large(key).map(|()| Progress::More),
    }
}

enum Page {
    Read(LogPage),
    TooLarge(Box<str>),
}
