//! Which target to ask next, and whether the budget allows it. Time is passed in; nothing here waits or asks.
//!
//! [`gcra`] is the arithmetic of the budget, [`limits`] reads the API's headers and [`allowance`] is what they make of
//! the budget. [`backoff`] says how long to leave alone what failed, [`pause`] when the API refuses a whole
//! environment, and [`outage`] when nobody in it is answered; [`patience`] puts these together. [`scheduler`] is the
//! order in which targets are asked: it learns from what polls bring ([`rate`]) and spends its requests where they
//! shorten waiting most. [`allocation`] is what that comes to, in closed form; [`page_size`] says how much to ask for.

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

/// Something to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Of a target, for the sake of this class of work.
    Ask(TargetId, RequestClass),
    /// Of the lists of owners and webhooks.
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
