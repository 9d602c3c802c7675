//! Detects a state file that cannot be relied on: one that went back in time, was replaced or deleted, or was written
//! to by another program. Also checkpoints the write-ahead log.

use tracing::{info, warn};

use super::behind::{self, Gap};
use super::commits::{self, Commit};
use super::served::Served;
use super::{SqliteStore, damage, format, targets};
use crate::local_clock;
use crate::store::FileCheck;
use crate::store::error::StoreError;
use crate::store::place::{self, Identity};
use crate::store::problems::Detached;

/// The database file, as it was when this store last wrote to it.
#[derive(Debug, Default)]
pub(super) struct FilePlace {
    pub(super) database: Option<Identity>,
    /// Its write-ahead log.
    pub(super) log: Option<Identity>,
    /// Its length and modification time, as `LockFile::version` returns them.
    pub(super) version: Option<(u64, i64, i64)>,
    /// SQLite's number for what other connections have committed (<https://www.sqlite.org/pragma.html#pragma_data_version>).
    pub(super) others: Option<i64>,
    /// The number of the last commit that was checkpointed into it.
    pub(super) carried_over: u64,
    /// Whether something else has written to it since it was last checked as a whole.
    pub(super) is_check_due: bool,
    /// What the last such check found wrong.
    pub(super) fault: Option<String>,
}

impl SqliteStore {
    /// Compares the state with the one that was last shown. If it is older, all targets are marked as behind.
    pub(super) fn compare_with(&mut self, shown: Served) -> Result<(), StoreError> {
        let Some(commits) = shown.is_ahead_of(&self.last, self.created_at) else {
            self.note_commit();
            return Ok(());
        };
        let (from, to) = (self.last.at, shown.at);
        // New commits get numbers that were never shown, so that they are not taken for the lost ones.
        self.last.number = self.last.number.max(shown.number);
        let gap = Gap { commits, from, to, noticed_at: local_clock::now().timestamp() };
        self.transact(|transaction| {
            targets::fall_behind(transaction)?;
            behind::write(transaction, &gap)
        })?;
        warn!(
            path = %self.path.display(),
            "the state is {gap}: its write-ahead log was lost, or an older copy was put in its place. The series of \
             each webhook are absent until its log has been read again",
        );
        Ok(())
    }

    /// Records that the last commit may be shown from now on, and the file's version after it.
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

    /// Tests whether the file system accepts writes. Called before any use of SQLite, even to read: it writes to mapped
    /// memory, and a write that the file system refuses there kills the process (SIGBUS).
    pub(super) fn touch(&self) -> Result<(), StoreError> {
        let failed = |error| StoreError::Io { path: self.path.clone(), action: "write state file", error };
        self.lock.touch().map_err(failed)
    }

    /// Makes a check due if another program has written to the file. Called before this store writes: afterwards the
    /// file's version no longer shows it.
    pub(super) fn notice_other_writer(&mut self) {
        let is_rewritten = self.place.version.is_some() && self.lock.version().ok() != self.place.version;
        if self.has_other_commits() || is_rewritten {
            self.place.is_check_due = true;
        }
    }

    /// Whether another connection has committed anything since this was last asked. Its commits are in the write-ahead
    /// log at first, so that the file looks as it did.
    fn has_other_commits(&mut self) -> bool {
        let found = self.connection.query_row("PRAGMA data_version", [], |row| row.get(0)).ok();
        let before = std::mem::replace(&mut self.place.others, found);
        before.is_some() && found != before
    }

    /// What is wrong with the place of the file.
    fn inspect_place(&mut self) -> Option<Detached> {
        let path = self.path.display().to_string();
        match Identity::at(&self.path) {
            None => return Some(self.gone("was moved to", "was deleted")),
            found if found != self.place.database => {
                return Some(self.gone("is another file now, as it was moved to", "is another file now"));
            }
            Some(_) => {}
        }
        if self.place.log.is_some() && Identity::at(&place::write_ahead_log(&self.path)) != self.place.log {
            return Some(held(format!("{path}-wal was deleted or replaced")));
        }
        self.look_at_content(&path)
    }

    /// What is wrong with the content of the file, as far as can be told while nothing is written.
    fn look_at_content(&mut self, path: &str) -> Option<Detached> {
        let known = |fault: &String| spoiled(format!("{path} was overwritten or cut by another program ({fault})"));
        if self.touch().is_err() {
            return self.place.fault.as_ref().map(known);
        }
        self.notice_other_writer();
        // Another program has written to it, through SQLite or by copying another file over it. Only the last commit is
        // checked here: checking the whole file would keep commits waiting. The header is always checked: what happened
        // just before this store wrote to the file is not seen in the file's version.
        if !self.lock.has_header() || self.place.is_check_due && !self.has_last_commit() {
            return Some(spoiled(format!("{path} was overwritten or cut by another program")));
        }
        if self.place.is_check_due {
            self.note_version();
        }
        self.place.fault.as_ref().map(known)
    }

    /// What has become of the open file, which is not at its path: the words for one that has another name now, and for
    /// one that has none.
    fn gone(&self, moved: &str, deleted: &str) -> Detached {
        let path = self.path.display();
        match place::name_of_open(self.lock.descriptor()) {
            Some(name) => Detached {
                what: format!("{path} {moved} {}", name.display()),
                remedy: "this process still has everything: move it back".to_owned(),
            },
            None => held(format!("{path} {deleted}")),
        }
    }

    /// Whether a second connection finds this store's last commit in the file.
    fn has_last_commit(&self) -> bool {
        let found = || commits::read(&format::open_beside(&self.path)?);
        found().is_ok_and(|found| found.is_ok_and(|found| found.number == self.last.number))
    }

    /// Returns the check of the whole file, if it is due. It uses its own connection and reads one snapshot.
    pub(super) fn begin_due_check(&mut self) -> Option<FileCheck> {
        if !self.place.is_check_due || self.touch().is_err() {
            return None;
        }
        // If the file cannot be opened, the check stays due.
        let connection = format::open_beside(&self.path).ok()?;
        self.place.is_check_due = false;
        let handle = connection.get_interrupt_handle();
        let find_fault = move || -> rusqlite::Result<Option<String>> {
            let transaction = connection.unchecked_transaction()?;
            let broken = format::find_broken_page(&transaction)?;
            let fault = || Ok(damage::find_fault(&transaction)?.map(|fault| fault.to_string()));
            broken.map_or_else(fault, |reason| Ok(Some(reason)))
        };
        Some(FileCheck {
            run: Box::new(move || find_fault().unwrap_or_else(|error| Some(error.to_string()))),
            interrupt: Box::new(move || handle.interrupt()),
        })
    }

    /// Returns what is wrong if the path no longer leads to the open file, or another program has written to the file.
    pub(super) fn look_for_detachment(&mut self) -> Option<Detached> {
        let detached = self.inspect_place();
        match &detached {
            Some(detached) => self.problems.set_detached(detached),
            None => {
                let was = self.problems.set_attached();
                self.note_version();
                if was {
                    info!(path = %self.path.display(), "the state file is in its place again");
                }
            }
        }
        detached
    }

    /// Like [`Self::carry_over`], but tolerates a file that cannot grow, as on a full disk: what was committed is safe
    /// in the write-ahead log, and is checkpointed later.
    pub(super) fn carry_over_if_possible(&mut self) -> Result<(), StoreError> {
        match self.carry_over() {
            Err(failure @ (StoreError::Sqlite { .. } | StoreError::Io { .. })) => {
                warn!("failed to checkpoint the write-ahead log into the state file: {failure}");
                Ok(())
            }
            done => done,
        }
    }

    /// Checkpoints: copies what was committed from the write-ahead log into the database file, as far as readers allow.
    pub(super) fn carry_over(&mut self) -> Result<(), StoreError> {
        if self.place.carried_over == self.last.number {
            return Ok(());
        }
        self.touch()?;
        self.notice_other_writer();
        let path = &self.path;
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

/// The open file is whole, and has no name any more.
fn held(what: String) -> Detached {
    let remedy = "this process still has everything: `talkover-exporter state export --config CONFIG FILE` copies it from \
                  this process. Then stop it, move what is left of the state's files away but for the one that ends in \
                  .served, and `state import` FILE";
    Detached { what, remedy: remedy.to_owned() }
}

/// The open file is not what this process has written.
fn spoiled(what: String) -> Detached {
    let remedy = "what the file holds cannot be relied on: stop this process, put a copy (`state export`) in its place, and \
                  start again; what the copy does not have is read from the logs";
    Detached { what, remedy: remedy.to_owned() }
}
