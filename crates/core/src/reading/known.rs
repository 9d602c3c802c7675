//! The interface through which a walk looks up entries that the ledger already knows.

use crate::delivery::EntryId;

/// What was known before a walk.
#[derive(Clone, Copy)]
pub struct KnownEntries<'a> {
    /// Whether an entry was.
    pub entry: &'a dyn Fn(&EntryId) -> bool,
    /// Whether an unusable entry was, by its key.
    pub invalid: &'a dyn Fn(&str) -> bool,
}
