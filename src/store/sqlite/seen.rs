//! When each target was last read with success: beside the state file, in eight bytes for each, without waiting for the disk.
//!
//! A poll that brings nothing new commits nothing, and still the next start must know whether there was an outage. What is
//! written here survives the end of the process, however it ends. After a crash of the whole machine it may be older than it
//! should be; then an outage seems longer than it was, which only makes the exporter careful for a minute.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use tracing::debug;

use super::TargetId;
use crate::store::error::StoreError;
use crate::store::lock::beside;
use talkover_core::delivery::Timestamp;

const SLOT_BYTES: u64 = 8;

/// The open file: one slot of a little-endian number of microseconds since the Unix epoch for each target, by its number.
#[derive(Debug)]
pub(super) struct SeenFile(File);

impl SeenFile {
    /// Opens the file that belongs to the state file at `state`, or makes it.
    pub(super) fn open(state: &Path) -> Result<Self, StoreError> {
        let path = beside(state, "seen");
        let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        opened.map(Self).map_err(|error| StoreError::Io { path, action: "open", error })
    }

    /// When the target was last read, where that is known.
    pub(super) fn get(&self, target: TargetId) -> Option<Timestamp> {
        let mut bytes = [0; SLOT_BYTES as usize];
        self.0.read_exact_at(&mut bytes, slot(target)?).ok()?;
        Some(i64::from_le_bytes(bytes)).filter(|micros| *micros > 0).map(Timestamp::from_micros)
    }

    /// Keeps when the target was last read.
    pub(super) fn set(&self, target: TargetId, date: Timestamp) {
        let Some(slot) = slot(target) else { return };
        if let Err(error) = self.0.write_all_at(&date.as_micros().to_le_bytes(), slot) {
            debug!("failed to keep the time of a poll: {error}");
        }
    }

    /// Forgets a target, so that another one with its number does not inherit its time.
    pub(super) fn clear(&self, target: TargetId) {
        self.set(target, Timestamp::from_micros(0));
    }
}

fn slot(target: TargetId) -> Option<u64> {
    u64::try_from(target.0).ok()?.checked_mul(SLOT_BYTES)
}
