//! Reads a stretch of a webhook's log again, page by page. It never guesses: what could not be read to its end is an
//! error.

use std::collections::HashMap;
use std::time::Duration;

use thiserror::Error;

use super::compare::LogStretch;
use crate::budgeted_client::{AskError, BudgetedClient};
use crate::client::Client;
use talkover_core::delivery::{EntryId, Target, Timestamp};
use talkover_core::reading::error::ApiError;
use talkover_core::reading::walk::{CutShort, KnownEntries, PageRequest, Progress, Walk, WalkError};
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
    /// Not all of the stretch is shown.
    #[error("the log cannot be read to its end: {0}")]
    CutShort(#[from] CutShort),
}

/// How far back a log is read.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// How far before the server's clock at the first answer.
    pub since: Duration,
    /// Not further than this: what is older cannot be compared.
    pub not_before: Option<Timestamp>,
}

/// Reads the logs of one environment.
#[derive(Debug)]
pub struct LogReader {
    /// Makes the requests.
    pub asker: BudgetedClient,
    /// Entries wanted on a page.
    pub per_page: u32,
}

impl LogReader {
    /// Reads the log of `target`; `known_before` are the ids that the state knows, and whether they were counted.
    ///
    /// # Errors
    /// Where it cannot be read to the end of the stretch.
    pub async fn read(
        &mut self,
        target: &Target,
        depth: Depth,
        known_before: HashMap<EntryId, bool>,
    ) -> Result<LogStretch, ReadError> {
        let mut walk = Walk::new(Timestamp::from_micros(i64::MIN), self.per_page);
        let mut stretch = LogStretch { known_before, ..LogStretch::default() };
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
                    if let Some(cause) = walk.cut_short() {
                        return Err(cause.into());
                    }
                    continue;
                }
            };
            failures = 0;
            let date = date.timestamp();
            stretch.now = stretch.now.max(date);
            if is_first {
                is_first = false;
                stretch.from =
                    depth.not_before.map_or(date.minus(depth.since), |limit| limit.max(date.minus(depth.since)));
                walk.set_until(stretch.from);
            }
            let progress = match page {
                Page::Read(page) => {
                    let known = &stretch.known_before;
                    walk.absorb(page, KnownEntries { entry: &|id| known.contains_key(id), invalid: &|_| false })?
                }
                Page::TooLarge(key) => {
                    walk.absorb_too_large(key)?;
                    Progress::More
                }
            };
            let (attempts, invalid) = walk.take();
            stretch.attempts.extend(attempts.into_iter().map(|attempt| (attempt.id.clone(), attempt)));
            stretch.invalid.extend(invalid);
            if let Some(cause) = walk.cut_short() {
                return Err(cause.into());
            }
            if progress == Progress::Done {
                return Ok(stretch);
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

enum Page {
    Read(LogPage),
    TooLarge(Box<str>),
}
