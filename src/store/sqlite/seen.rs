//! When something last happened to each target, by the server's clock: when it was last read successfully
//! (`<state>.seen`), and when its polls began to fail (`<state>.failing`). In files beside the state file, in eight
//! bytes for each, without syncing.
//!
//! A poll without news commits nothing, but the next start must know whether there was an outage. The times survive any
//! end of the process. After a crash of the machine they may be too old; then an outage seems longer than it was, which
//! only makes the exporter careful for a minute.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{debug, warn};

use super::TargetNumber;
use crate::store::error::StoreError;
use crate::store::place::{self, beside};
use talkover_core::delivery::Timestamp;

const SLOT_BYTES: u64 = 8;
/// How far the server's clock may be ahead of ours, 5 min: as much as two readings of it may differ. A later date is
/// corrupt.
const AHEAD: Duration = Duration::from_secs(300);

/// The open file: one slot of a little-endian number of microseconds since the Unix epoch for each target, by its
/// number.
#[derive(Debug)]
pub(super) struct SeenFile {
    file: File,
    path: PathBuf,
}

impl SeenFile {
    /// Opens the file named `suffix` that belongs to the state file at `state`, or makes it.
    pub(super) fn open(state: &Path, suffix: &str) -> Result<Self, StoreError> {
        Ok(Self { file: place::open_beside(state, suffix)?, path: beside(state, suffix) })
    }

    /// Forgets everything: the state is new, and its targets get the numbers of earlier ones.
    pub(super) fn forget_all(&self) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(|error| StoreError::Io { path: self.path.clone(), action: "truncate", error })
    }

    /// Returns when the target was last read; `None` if that is not known. The result is never later than `now` by the
    /// local clock: a damaged number would be shown as a success, and would hide an outage.
    pub(super) fn get(&self, target: TargetNumber, now: Timestamp) -> Option<Timestamp> {
        let mut bytes = [0; SLOT_BYTES as usize];
        self.file.read_exact_at(&mut bytes, slot(target)?).ok()?;
        let seen = Some(i64::from_le_bytes(bytes)).filter(|micros| *micros > 0).map(Timestamp::from_micros)?;
        let ahead = seen.since(now);
        if ahead > AHEAD {
            let path = self.path.display();
            warn!("{path}: a last success that is {:.0} s ahead of the local clock is ignored", ahead.as_secs_f64());
            return None;
        }
        Some(seen.min(now))
    }

    /// Records when the target was last read.
    pub(super) fn set(&self, target: TargetNumber, date: Timestamp) {
        let Some(slot) = slot(target) else { return };
        if let Err(error) = self.file.write_all_at(&date.as_micros().to_le_bytes(), slot) {
            debug!("failed to keep the time of a poll: {error}");
        }
    }

    /// Forgets a target, so that another one with its number does not inherit its time.
    pub(super) fn clear(&self, target: TargetNumber) {
        self.set(target, Timestamp::from_micros(0));
    }
}

fn slot(target: TargetNumber) -> Option<u64> {
    u64::try_from(target.0).ok()?.checked_mul(SLOT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_764_400_000);

    fn open(directory: &Path) -> SeenFile {
        SeenFile::open(&directory.join("state.db"), "seen").unwrap()
    }

    #[test]
    fn no_flipped_bit_makes_a_last_success_of_the_future() {
        let directory = tempfile::tempdir().unwrap();
        let file = open(directory.path());
        for ago in [Duration::ZERO, Duration::from_micros(1_234_567), Duration::from_secs(86_400)] {
            let date = NOW.minus(ago);
            for bit in 0..64 {
                file.set(TargetNumber(3), Timestamp::from_micros(date.as_micros() ^ 1 << bit));
                let found = file.get(TargetNumber(3), NOW);
                assert!(found.is_none_or(|seen| seen <= NOW), "bit {bit}: {found:?}");
            }
            file.set(TargetNumber(3), date);
            assert_eq!(file.get(TargetNumber(3), NOW), Some(date));
        }
    }

    #[test]
    fn a_server_whose_clock_is_a_little_ahead_is_believed() {
        let directory = tempfile::tempdir().unwrap();
        let file = open(directory.path());
        for (ahead, expected) in [(0, Some(NOW)), (300, Some(NOW)), (301, None), (86_400 * 365 * 75, None)] {
            file.set(TargetNumber(1), NOW.plus(Duration::from_secs(ahead)));
            assert_eq!(file.get(TargetNumber(1), NOW), expected, "{ahead} s");
        }
    }

    #[test]
    fn slots_that_are_not_there_or_cut_off_hold_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = open(directory.path());
        assert_eq!(file.get(TargetNumber(0), NOW), None);
        file.set(TargetNumber(1), NOW);
        file.file.set_len(13).unwrap();
        assert_eq!([0, 1, 2, -1].map(|id| file.get(TargetNumber(id), NOW)), [None; 4]);
    }
}
