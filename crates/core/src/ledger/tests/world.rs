//! A log that moves: entries turn up in time or late, change, and go.

use std::collections::BTreeMap;

use crate::delivery::{Attempt, AttemptStatus, EntryId, HttpStatus};
use crate::testing::{at, attempt};

/// Entries older than this are dropped by the log, in seconds.
const RETENTION: i64 = 2_000;
const STATUSES: [AttemptStatus; 5] = [
    AttemptStatus::Pending,
    AttemptStatus::Retrying,
    AttemptStatus::Failed,
    AttemptStatus::Success,
    AttemptStatus::Unknown,
];

/// The log of one target, and everything that it ever held.
#[derive(Debug, Default)]
pub(super) struct World {
    /// The server's clock, in seconds of the tests' time.
    pub(super) now: i64,
    log: Vec<Attempt>,
    /// Every state in which an entry ever was.
    past: BTreeMap<EntryId, Vec<Attempt>>,
    pub(super) invalid: Vec<Box<str>>,
}

impl World {
    /// Lets time pass.
    pub(super) fn pass(&mut self, seconds: i64) {
        self.now += seconds;
        let oldest = at(self.now - RETENTION);
        self.log.retain(|entry| entry.created_at >= oldest);
    }

    /// Adds an attempt that is dated `ahead` seconds ahead of the clock, or behind it. `look` stands for all else.
    pub(super) fn add(&mut self, ahead: i64, look: u8) {
        let number = self.past.len();
        let group = if look & 1 == 0 { "g" } else { "h" };
        let mut entry =
            attempt(&format!("id-{number}"), group, 1 + (look >> 1) % 3, self.now + ahead, AttemptStatus::Pending);
        entry.event = if look & 1 == 0 { "called".into() } else { "booked".into() };
        entry.duration_ns = (look & 8 == 0).then_some(u64::from(look) * 10_000_000);
        entry.delivered_at = (look & 16 == 0).then(|| at(self.now + i64::from(look % 7)));
        set_status(&mut entry, look / 32);
        self.past.insert(entry.id.clone(), vec![entry.clone()]);
        self.log.push(entry);
    }

    /// Adds an entry that cannot be used.
    pub(super) fn add_invalid(&mut self) {
        self.invalid.push(format!("id:broken-{}", self.invalid.len()).into());
    }

    /// Changes an entry.
    pub(super) fn change(&mut self, pick: u8, look: u8) {
        if let Some(entry) = pick_of(&mut self.log, pick) {
            set_status(entry, look);
            self.past.entry(entry.id.clone()).or_default().push(entry.clone());
        }
    }

    /// Takes an entry out of the log.
    pub(super) fn delete(&mut self, pick: u8) {
        if !self.log.is_empty() {
            self.log.remove(usize::from(pick) % self.log.len());
        }
    }

    /// What the log shows now, newest first; `order` is how it sorts what was made in the same second.
    pub(super) fn list(&self, order: u8) -> Vec<Attempt> {
        let mut list = self.log.clone();
        let mixed = |entry: &Attempt| {
            let text = entry.id.to_string();
            text.bytes().fold(u64::from(order), |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
        };
        list.sort_by_key(|entry| (std::cmp::Reverse(entry.created_at), mixed(entry)));
        list
    }

    /// Every state in which an entry ever was.
    pub(super) fn past(&self, id: &EntryId) -> &[Attempt] {
        self.past.get(id).map_or(&[], Vec::as_slice)
    }
}

fn pick_of(log: &mut [Attempt], pick: u8) -> Option<&mut Attempt> {
    let count = log.len().max(1);
    log.get_mut(usize::from(pick) % count)
}

fn set_status(entry: &mut Attempt, look: u8) {
    entry.status = STATUSES[usize::from(look) % STATUSES.len()];
    entry.http_status = match entry.status {
        AttemptStatus::Success => HttpStatus::Code(200),
        AttemptStatus::Failed => HttpStatus::Code(500 + u16::from(look) / 64),
        AttemptStatus::Unknown => HttpStatus::Invalid,
        AttemptStatus::Pending | AttemptStatus::Retrying => HttpStatus::None,
    };
}
