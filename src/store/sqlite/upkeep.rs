//! What keeps the file from being taken for what it is not: whether it went back in time, whether its path still leads to
//! it, and how much of it is in its write-ahead log alone.

use tracing::{info, warn};

use super::behind::{self, Gap};
use super::commits::{self, Commit};
use super::served::Served;
use super::{SqliteStore, checksums, format, targets};
use crate::local_clock;
use crate::store::Detached;
use crate::store::error::StoreError;
use crate::store::place::{self, Identity};

/// The database file as it was when this store last wrote to it.
#[derive(Debug)]
pub(super) struct FilePlace {
    pub(super) database: Option<Identity>,
    /// Its write-ahead log.
    pub(super) log: Option<Identity>,
    pub(super) version: Option<(u64, i64, i64)>,
    /// The number of the last commit that was carried over into it.
    pub(super) carried_over: u64,
}

impl SqliteStore {
    /// Compares the state with the one that was last shown, and begins to go on from there.
    pub(super) fn compare_with(&mut self, shown: Served) -> Result<(), StoreError> {
        let Some(commits) = shown.is_ahead_of(&self.last, self.created_at) else {
            self.note_commit();
            return Ok(());
        };
        let (from, to) = (self.last.at, shown.at);
        // Whatever was shown under these numbers is never taken for this.
        self.last.number = self.last.number.max(shown.number);
        let gap = Gap { commits, from, to, noticed_at: local_clock::now().timestamp() };
        self.transact(|transaction| {
            targets::fall_behind(transaction)?;
            behind::write(transaction, &gap)
        })?;
        warn!(
            path = %self.path.display(),
            "the state is {gap}: its write-ahead log was lost, or an older copy was put in its place. The series of each \
             webhook are absent until its log has been read again",
        );
        Ok(())
    }

    /// Notes that the last commit may be shown from now on, and how the file looks after it.
    pub(super) fn note_commit(&mut self) {
        let Commit { number, at, .. } = self.last;
        self.served.write(Served { number, at, created_at: self.created_at });
        self.note_version();
    }

    pub(super) fn note_version(&mut self) {
        self.place.version = self.lock.version().ok();
        if self.place.log.is_none() {
            self.place.log = Identity::at(&place::write_ahead_log(&self.path));
        }
    }

    /// What is wrong with the place of the file.
    fn inspect_place(&self) -> Option<String> {
        let path = self.path.display();
        match Identity::at(&self.path) {
            None => return Some(format!("{path} was deleted")),
            found if found != self.place.database => return Some(format!("{path} is another file now")),
            Some(_) => {}
        }
        if self.place.log.is_some() && Identity::at(&place::write_ahead_log(&self.path)) != self.place.log {
            return Some(format!("{path}-wal was deleted or replaced"));
        }
        if self.lock.version().ok() == self.place.version {
            return None;
        }
        // Something else has written to it: SQLite on behalf of another program, or a copy that was put over it.
        let is_whole = || -> rusqlite::Result<bool> {
            let connection = format::open_beside(&self.path)?;
            let is_last = commits::read(&connection)?.is_ok_and(|found| found.number == self.last.number);
            let is_sound = is_last
                && format::find_broken_page(&connection)?.is_none()
                && checksums::find_fault(&connection)?.is_none();
            Ok(is_sound)
        };
        let is_whole = self.lock.has_header() && is_whole().unwrap_or(false);
        (!is_whole).then(|| format!("{path} was overwritten or cut by another program"))
    }

    /// Says if the path no longer leads to the open file, or something else has written to it.
    pub(super) fn look_for_detachment(&mut self) -> Option<Detached> {
        let what = self.inspect_place();
        let Some(what) = what else {
            let was = self.problems.set_attached();
            self.note_version();
            if was {
                info!(path = %self.path.display(), "the state file is in its place again");
            }
            return None;
        };
        self.problems.set_detached();
        let (process, descriptor) = (std::process::id(), self.lock.descriptor());
        let remedy = format!(
            "this process still has everything: put the file back, or copy it with `cp /proc/{process}/fd/{descriptor} \
             FILE` and put FILE in its place when this process has been stopped"
        );
        Some(Detached { what, remedy })
    }

    /// The same as [`Self::carry_over`], but for a file that cannot grow now, as on a full disk: what was committed is
    /// safe in the write-ahead log, and is carried over later.
    pub(super) fn carry_over_if_possible(&mut self) -> Result<(), StoreError> {
        match self.carry_over() {
            Err(failure @ (StoreError::Sqlite { .. } | StoreError::Io { .. })) => {
                warn!("failed to carry the write-ahead log over into the state file: {failure}");
                Ok(())
            }
            done => done,
        }
    }

    /// Carries what was committed over from the write-ahead log into the file, as far as readers allow.
    pub(super) fn carry_over(&mut self) -> Result<(), StoreError> {
        if self.place.carried_over == self.last.number {
            return Ok(());
        }
        let path = &self.path;
        self.lock.touch().map_err(|error| StoreError::Io { path: path.clone(), action: "write state file", error })?;
        let carried_over = self
            .connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?));
        if carried_over.map_err(|error| StoreError::sqlite(path, "write", error))? {
            self.place.carried_over = self.last.number;
        }
        self.note_version();
        Ok(())
    }
}
