//! The auditor: compares the state file with the log that it was made from, for the command `verify`.
//!
//! [`reading`] walks the log again within the request budget, [`state`] reads the file without ever writing to it,
//! [`compare`] and [`sums`] find what does not agree, and [`report`] prints it.
//!
//! *Invariant:* how pages are read is shared with the daemon; how entries are counted is not. What is right is written
//! here a second time, from the contract, so that a mistake of the ledger shows.
//!
//! A daemon may continue to count meanwhile. So the state of a target is read after its log: what is then missing was
//! in the log before, and only what a later poll still reads is excused.

pub mod compare;
pub mod reading;
pub mod report;
pub mod state;
pub mod sums;

use self::compare::Findings;
use self::state::StateTarget;
use talkover_core::delivery::Timestamp;

/// What the audit of one target found.
#[derive(Debug, Default)]
pub struct Audit {
    /// What was found entry by entry.
    pub findings: Findings,
    /// The sums that do not agree, a sentence each.
    pub sums: Vec<String>,
    /// What the reading and the state held.
    pub extent: Extent,
}

impl Audit {
    /// The number of faults.
    pub fn faults(&self) -> usize {
        let Findings { missing, doubled, different, .. } = &self.findings;
        missing.len() + doubled.len() + different.len() + self.sums.len()
    }
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The beginning of the stretch, where the log was read.
    pub from: Option<Timestamp>,
    /// Entries of the log in it.
    pub entries: usize,
    /// Unusable entries that were read.
    pub invalid: usize,
    /// Requests made.
    pub requests: u64,
    /// Entries that the state remembers, of any time.
    pub rows: usize,
}

/// Audits the state alone, of a target that the configuration no longer names: its log is not read.
pub fn audit_state_alone(state: &StateTarget) -> Audit {
    let extent = Extent { rows: state.rows.len(), ..Extent::default() };
    Audit { findings: compare::compare_rows(state), sums: sums::compare(state), extent }
}

/// A moment as the log writes it.
fn rfc3339(moment: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(moment.as_micros()) {
        Ok(moment) => moment.to_string(),
        // Beyond the year 9999, which no clock shows.
        Err(_) => format!("{} µs", moment.as_micros()),
    }
}
