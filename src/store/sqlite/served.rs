//! The number of the last commit that may have been shown: beside the state file, without waiting for the disk.
//!
//! It is written after each commit, before the changes are shown. So if the state's own number is lower, the state went
//! back in time: its write-ahead log was lost or truncated, or an older copy was put in its place. After a crash of the
//! machine the number here may be too low; then some lost commits go unnoticed. A state with a higher number is normal.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use tracing::debug;

use super::commits::Commit;
use crate::store::error::StoreError;
use crate::store::place;
use talkover_core::delivery::Timestamp;
use talkover_core::server_time::LocalTime;

/// Number, time of the commit, time at which the state file was made, digest of the three: little-endian, 8 bytes each.
const RECORD_BYTES: usize = 32;

/// The open file.
#[derive(Debug)]
pub(super) struct ServedFile(File);

/// A commit that may have been shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Its number.
    pub number: u64,
    /// When it was made, by the local clock.
    pub at: Timestamp,
    /// Which state file it belongs to: when that was made.
    pub created_at: LocalTime,
}

impl ServedFile {
    /// Opens the file that belongs to the state file at `state`; makes it if there is none.
    pub(super) fn open(state: &Path) -> Result<Self, StoreError> {
        place::open_beside(state, place::SERVED).map(Self)
    }

    /// Returns what it holds; `None` if its digest does not match.
    pub(super) fn read(&self) -> Option<Served> {
        let mut bytes = [0; RECORD_BYTES];
        self.0.read_exact_at(&mut bytes, 0).ok()?;
        Served::from_bytes(&bytes)
    }

    /// Records what may be shown from now on.
    pub(super) fn write(&self, served: Served) {
        if let Err(error) = self.0.write_all_at(&served.to_bytes(), 0) {
            debug!("failed to keep the number of the last commit: {error}");
        }
    }
}

impl Served {
    /// Reads the record beside the state file at `state`, without making a file.
    pub fn beside(state: &Path) -> Option<Self> {
        let bytes = std::fs::read(place::beside(state, place::SERVED)).ok()?;
        Self::from_bytes(bytes.first_chunk()?)
    }

    /// Returns by how many commits a state file is behind this record; the file was made at `created_at`, and `last` is
    /// its last commit. `Some(None)` if it is behind but is another state; `None` if it is not behind.
    pub fn is_ahead_of(&self, last: &Commit, created_at: LocalTime) -> Option<Option<u64>> {
        if self.created_at == created_at {
            return (self.number > last.number).then(|| Some(self.number - last.number));
        }
        // Another state was put in its place. Only the times of the two can be compared.
        (self.at > last.at).then_some(None)
    }

    fn numbers(self) -> [[u8; 8]; 3] {
        let Self { number, at, created_at } = self;
        let times = [at, created_at.timestamp()].map(|time| time.as_micros().to_le_bytes());
        [number.to_le_bytes(), times[0], times[1]]
    }

    fn to_bytes(self) -> Vec<u8> {
        let numbers = self.numbers().concat();
        let digest = Sha256::digest(&numbers);
        [numbers, digest[..8].to_vec()].concat()
    }

    fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let [number, at, created_at, _digest] = *bytes.as_chunks::<8>().0 else { return None };
        let time = |bytes| Timestamp::from_micros(i64::from_le_bytes(bytes));
        let served =
            Self { number: u64::from_le_bytes(number), at: time(at), created_at: LocalTime::new(time(created_at)) };
        (served.to_bytes() == bytes).then_some(served)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use talkover_core::testing::{at, local};

    fn served(number: u64) -> Served {
        Served { number, at: at(100), created_at: local(1) }
    }

    #[test]
    fn no_damaged_number_is_believed() {
        let bytes = served(0x0102_0304).to_bytes();
        let whole: [u8; RECORD_BYTES] = bytes.try_into().unwrap();
        assert_eq!(Served::from_bytes(&whole), Some(served(0x0102_0304)));
        for bit in 0..RECORD_BYTES * 8 {
            let mut flipped = whole;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Served::from_bytes(&flipped), None, "bit {bit}");
        }
        assert_eq!(Served::from_bytes(&[0; RECORD_BYTES]), None, "as after a loss of power");
    }

    #[test]
    fn only_an_older_state_is_behind() {
        let last = |number, second| Commit { number, at: at(second), ..Commit::default() };
        for (number, expected) in [(8, Some(Some(2))), (9, Some(Some(1))), (10, None), (11, None)] {
            assert_eq!(served(10).is_ahead_of(&last(number, 0), local(1)), expected, "{number}");
        }
        // Of another history.
        assert_eq!(served(10).is_ahead_of(&last(99, 99), local(2)), Some(None));
        assert_eq!(served(10).is_ahead_of(&last(1, 100), local(2)), None);
    }
}
