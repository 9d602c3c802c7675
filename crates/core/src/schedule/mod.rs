//! Which target makes a request next, and whether the budget allows it. Time is passed in; nothing here waits or makes
//! requests.
//!
//! [`gcra`] is the arithmetic of the budget, [`limits`] reads the API's headers, and [`allowance`] derives from them
//! what may be spent. [`backoff`] says how long to leave alone what failed; [`pause`] is for when the API rejects a
//! whole environment, and [`outage`] for when nothing in it is answered; [`patience`] combines these. [`scheduler`] is
//! the order in which targets make requests: it learns from what polls bring ([`rate`]) and spends requests where they
//! shorten waiting most. [`allocation`] is the resulting intervals in closed form; [`page_size`] says how many entries
//! to request.

pub mod allocation;
pub mod allowance;
pub mod backoff;
pub mod gcra;
pub mod limits;
mod line;
mod meter;
pub mod outage;
pub mod page_size;
pub mod patience;
pub mod pause;
pub mod rate;
pub mod scheduler;
mod shares;
pub mod streak;

use std::time::Duration;

/// Bounds of the time between two polls of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// For busy targets.
    pub min: Duration,
    /// For idle ones.
    pub max: Duration,
}

/// A target, for as long as it is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u64);

/// What a request is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestClass {
    /// To read what is new.
    Heads,
    /// To read the window in which late entries may turn up.
    Sweeps,
    /// To see what became of open entries.
    Rechecks,
    /// To learn which targets there are.
    Discovery,
}

/// A turn to make a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// To a target, for this class of work.
    Ask(TargetId, RequestClass),
    /// To discovery, for the lists of owners and webhooks.
    Discover,
}

impl Turn {
    /// The class whose share pays for it.
    pub fn class(self) -> RequestClass {
        match self {
            Self::Ask(_, class) => class,
            Self::Discover => RequestClass::Discovery,
        }
    }
}
