//! How a step ends: what the loop, the board and the traces each draw their conclusions from.

use crate::store::error::StoreError;
use talkover_core::ledger::decide::Tally;
use talkover_core::reading::error::ApiError;

/// How a step ended.
#[derive(Debug)]
pub enum StepResult {
    /// What was begun needs further requests.
    More(Tally),
    /// It is complete.
    Complete(Tally),
    /// The request failed.
    Failed(ApiError),
    /// The request failed, but others of the list are answered: the next one is for a part of the page.
    Narrowed(ApiError),
    /// The request failed as expected, because of an entry that is known to be unreadable: further requests are needed.
    Expected,
    /// The state file could not be written; what was read is kept, or will be read again.
    NotWritten(StoreError),
    /// The program is stopping.
    Stopped,
}
