//! Reads a stretch of a webhook's log again, page by page. It never guesses: what could not be read to its end is an error.

use std::collections::HashMap;
use std::time::Duration;

use thiserror::Error;

use super::compare::LogStretch;
use crate::asking::{AskError, BudgetedClient};
use talkover_core::clock::ServerTime;
use talkover_core::delivery::{EntryId, Target, Timestamp};
use talkover_core::reading::error::ApiError;
use talkover_core::reading::walk::{CutShort, Known, PageRequest, Progress, Walk, WalkError};
use talkover_core::reading::wire::LogPage;

/// A page that cannot be read is looked into with so many failures in a row at most: as many as finding the cause takes.
const MAX_FAILURES: u32 = 14;

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

impl ReadError {
    /// Whether other webhooks of the environment cannot be read either.
    pub fn concerns_environment(&self) -> bool {
        match self {
            Self::Ask(error) => error.concerns_environment(),
            Self::Walk(_) | Self::CutShort(_) => false,
        }
    }
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
            let (page, date) = match self.ask(target, walk.request()).await {
                Ok(answer) => answer,
                Err(error) => {
                    failures += 1;
                    let Some(date) = of_page(&error).filter(|_| !is_first && failures <= MAX_FAILURES) else {
                        return Err(error);
                    };
                    let _ = walk.fail(date)?;
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
                    walk.absorb(page, Known { entry: &|id| known.contains_key(id), invalid: &|_| false })?
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

    async fn ask(&mut self, target: &Target, request: PageRequest) -> Result<(Page, ServerTime), ReadError> {
        let PageRequest { page, per_page } = request;
        let asked = self.asker.ask(&target.to_string(), async |client| client.logs(target, page, per_page).await).await;
        match asked {
            Ok((page, date)) => Ok((Page::Read(page), date)),
            Err(AskError::Api { error: ApiError::TooLarge { key, .. }, date, .. }) => Ok((Page::TooLarge(key), date)),
            Err(error) => Err(error.into()),
        }
    }
}

/// When a page failed, if the error may be one of that page alone.
fn of_page(error: &ReadError) -> Option<Timestamp> {
    match error {
        ReadError::Ask(AskError::Api { error, date, .. }) => {
            let is_of_all = matches!(error, ApiError::Unauthorized { .. } | ApiError::RateLimited { .. });
            (!is_of_all).then_some(date.timestamp())
        }
        _ => None,
    }
}

enum Page {
    Read(LogPage),
    TooLarge(Box<str>),
}
