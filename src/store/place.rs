//! The path of the state file and the files beside it: checks what exists there, sets permissions, and detects that the
//! path no longer leads to the open file.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::error::StoreError;

/// The files beside the state: the lock, the times of polls and of failures, the last commit that was shown, and the
/// request budget.
pub(super) const LOCK: &str = "lock";
pub(super) const SEEN: &str = "seen";
pub(super) const FAILING: &str = "failing";
pub(super) const SERVED: &str = "served";
const BUDGET: &str = "budget";

/// Only the daemon's user may read the files: the state names customers and their endpoints.
const MODE: u32 = 0o600;
/// The mode bits that let everybody on the machine read or write.
const EVERYBODY: u32 = 0o006;

/// The path of `state` with `.extension` added to its name.
pub fn beside(state: &Path, extension: &str) -> PathBuf {
    with_suffix(state, &format!(".{extension}"))
}

/// The write-ahead log of the state file.
pub fn write_ahead_log(state: &Path) -> PathBuf {
    with_suffix(state, "-wal")
}

fn with_suffix(state: &Path, suffix: &str) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens a file of the state for reading and writing; if there is none, makes it with mode 0600.
///
/// # Errors
/// Those of the system.
pub fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(MODE).open(path)
}

/// Opens one of the files beside the state.
pub(super) fn open_beside(state: &Path, extension: &str) -> Result<File, StoreError> {
    let path = beside(state, extension);
    open_private(&path).map_err(|error| StoreError::Io { path, action: "open", error })
}

/// Makes the directory that is to hold the state.
pub(super) fn make_directory(state: &Path) -> Result<(), StoreError> {
    let Some(directory) = state.parent().filter(|directory| !directory.as_os_str().is_empty()) else { return Ok(()) };
    let made = DirBuilder::new().recursive(true).mode(0o777).create(directory);
    made.map_err(|error| StoreError::Io { path: directory.to_owned(), action: "create", error })
}

/// Refuses what cannot be a state file. SQLite would only say "disk I/O error", or wait for ever.
///
/// # Errors
/// What is at the path instead.
pub fn inspect(path: &Path) -> Result<(), StoreError> {
    let refused = |reason: String| Err(StoreError::Unsuitable { path: path.to_owned(), reason });
    match std::fs::metadata(path) {
        Ok(found) => match kind(&found) {
            Some(kind) => refused(format!("is {kind}, not a regular file: name another path")),
            None => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => match std::fs::read_link(path) {
            Ok(target) => refused(format!(
                "is a symbolic link to {}, which does not exist: is a volume missing? To start over, remove the link",
                target.display()
            )),
            Err(_) => Ok(()),
        },
        Err(error) => refused(format!("cannot be opened: {error}")),
    }
}

/// Returns what kind of file it is, if it is not a regular file.
fn kind(found: &std::fs::Metadata) -> Option<&'static str> {
    let kind = found.file_type();
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_fifo() {
        Some("a FIFO")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

/// Returns the error for an existing file that the daemon's user cannot open.
pub(super) fn unopened(path: &Path, error: io::Error) -> StoreError {
    if error.kind() == ErrorKind::PermissionDenied
        && let Ok(found) = std::fs::metadata(path)
    {
        let (mode, owner) = (found.mode() & 0o7777, found.uid());
        let user = rustix::process::geteuid().as_raw();
        let reason = format!(
            "cannot be read and written by the daemon's user {user}: its mode is {mode:04o}, its owner {owner}"
        );
        return StoreError::Unsuitable { path: path.to_owned(), reason };
    }
    StoreError::Io { path: path.to_owned(), action: "open state file", error }
}

/// Warns about files of the state that everybody may read or write.
pub(super) fn warn_if_open_to_all(state: &Path) {
    let beside = [LOCK, SEEN, FAILING, SERVED, BUDGET].map(|extension| beside(state, extension));
    let of_sqlite = [write_ahead_log(state), with_suffix(state, "-shm")];
    let files = std::iter::once(state.to_owned()).chain(of_sqlite).chain(beside);
    let open: Vec<String> =
        files.filter_map(|file| Some(format!("{} ({:04o})", file.display(), loose_mode(&file)?))).collect();
    if !open.is_empty() {
        warn!("state files are open to every user of this machine: {}; use `chmod 600`", open.join(", "));
    }
    if std::fs::metadata(state).is_ok_and(|found| found.nlink() > 1) {
        let path = state.display();
        warn!(
            "{path} has a second name (a hard link): a program that opens it by that name misses its write-ahead log"
        );
    }
}

/// Returns the mode of a file that every user of the machine may read or write; `None` if they may not.
pub fn loose_mode(path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & EVERYBODY != 0).then_some(mode)
}

/// The identity of a file, independent of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(super) fn of(found: &std::fs::Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }

    /// Returns the identity of the file at `path`; `None` if there is none.
    pub(super) fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|found| Self::of(&found))
    }
}

/// A daemon that works with a state of which a file was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub process: u32,
    /// Its descriptor of the database file.
    pub database: u32,
    /// Its descriptor of the write-ahead log; `None` if it has none open.
    pub log: Option<u32>,
    /// Whether another state is at the path now, which no daemon uses: which of the two is wanted cannot be told.
    pub is_replaced: bool,
}

/// The name of an open file of this process, wherever it was moved; `None` if it was deleted, or if that cannot be told.
pub(super) fn name_of_open(descriptor: i32) -> Option<PathBuf> {
    let name = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).ok()?;
    name.exists().then_some(name)
}

/// Finds another daemon that has the state open which was at `path`, and of which the database file or the write-ahead
/// log was deleted. A daemon is known by its lock file; if that was deleted too, it counts only while no other daemon
/// uses a state at `path`. Only processes of the same user are seen; those of other containers have paths of their own.
pub fn holder_of_deleted(path: &Path) -> Option<Holder> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let path = directory.canonicalize().ok()?.join(path.file_name()?);
    let (lock, log) = (beside(&path, LOCK), write_ahead_log(&path));
    let mounts = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let own = mounts("self");
    let processes = numbers_in("/proc").filter(|process| *process != std::process::id());
    processes.filter(|process| mounts(&process.to_string()) == own).find_map(|process| {
        let links = open_files(process);
        let find = |wanted: &Path| links.iter().find(|(_, link)| link == wanted).map(|(descriptor, _)| *descriptor);
        let find_deleted = |path: &Path| find(&with_suffix(path, " (deleted)"));
        let is_owner = find(&lock).is_some();
        if !is_owner && (find_deleted(&lock).is_none() || is_locked(&lock)) {
            return None;
        }
        let deleted_log = find_deleted(&log);
        let database = find_deleted(&path).or_else(|| find(&path).filter(|_| deleted_log.is_some()))?;
        let log = deleted_log.or_else(|| find(&log));
        Some(Holder { process, database, log, is_replaced: !is_owner && path.exists() })
    })
}

/// Whether a process holds the lock of this file.
fn is_locked(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The files that a process has open, by descriptor. Empty for processes of other users.
fn open_files(process: u32) -> Vec<(u32, PathBuf)> {
    let directory = format!("/proc/{process}/fd");
    let link = |descriptor: u32| Some((descriptor, std::fs::read_link(format!("{directory}/{descriptor}")).ok()?));
    numbers_in(&directory).filter_map(link).collect()
}

/// The entries of a directory whose names are numbers.
fn numbers_in(directory: &str) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(path: &Path) -> String {
        inspect(path).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_regular_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        assert!(inspect(&path("state.db")).is_ok(), "nothing is there yet");
        std::fs::write(path("file"), "").unwrap();
        assert!(inspect(&path("file")).is_ok());
        assert!(reason(directory.path()).contains("is a directory"));
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(reason(&path("fifo")).contains("is a FIFO"));
        std::os::unix::fs::symlink("/gone/state.db", path("link")).unwrap();
        assert!(reason(&path("link")).contains("is a symbolic link to /gone/state.db, which does not exist"));
        assert!(reason(Path::new("/dev/null")).contains("is a device"));
    }

    #[test]
    fn files_are_made_for_one_user_and_looser_ones_are_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        drop(open_private(&path).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        assert_eq!(loose_mode(&path), None);
        for (mode, is_loose) in [(0o644, true), (0o602, true), (0o640, false), (0o660, false)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(loose_mode(&path).is_some(), is_loose, "{mode:o}");
        }
    }

    #[test]
    fn a_daemon_whose_write_ahead_log_alone_was_deleted_is_found_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        let (log, lock) = (write_ahead_log(&path), beside(&path, LOCK));
        let mut sleep = std::process::Command::new("sleep");
        sleep.arg("600").stdin(open_private(&path).unwrap()).stdout(open_private(&lock).unwrap());
        let mut daemon = sleep.stderr(open_private(&log).unwrap()).spawn().unwrap();
        assert_eq!(holder_of_deleted(&path), None, "all is there");
        std::fs::remove_file(&log).unwrap();
        let found = Holder { process: daemon.id(), database: 0, log: Some(2), is_replaced: false };
        assert_eq!(holder_of_deleted(&path), Some(found));
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    #[test]
    fn a_daemon_that_has_a_deleted_state_is_known_by_its_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        let hold = |with: &[&Path]| {
            let mut files = with.iter().map(|path| open_private(path).unwrap());
            let mut sleep = std::process::Command::new("sleep");
            sleep.arg("600").stdin(files.next().unwrap());
            files.next().into_iter().for_each(|file| _ = sleep.stdout(file));
            files.next().into_iter().for_each(|file| _ = sleep.stderr(file));
            sleep.spawn().unwrap()
        };
        let (log, lock) = (write_ahead_log(&path), beside(&path, LOCK));
        let mut reader = hold(&[&path]);
        let mut daemon = hold(&[&path, &lock, &log]);
        assert_eq!(holder_of_deleted(&path), None, "it is there");
        std::fs::remove_file(&path).unwrap();
        let holder = Holder { process: daemon.id(), database: 0, log: Some(2), is_replaced: false };
        let found = Some(holder);
        assert_eq!(holder_of_deleted(&path), found);
        std::fs::remove_file(&log).unwrap();
        assert_eq!(holder_of_deleted(&path), found);
        // With another state at the path, only the owner of its lock has a claim.
        drop(open_private(&path).unwrap());
        assert_eq!(holder_of_deleted(&path), found);
        std::fs::remove_file(&lock).unwrap();
        assert_eq!(holder_of_deleted(&path), Some(Holder { is_replaced: true, ..holder }));
        let other = open_private(&lock).unwrap();
        assert_eq!(holder_of_deleted(&path), Some(Holder { is_replaced: true, ..holder }), "nobody uses it");
        other.lock().unwrap();
        assert_eq!(holder_of_deleted(&path), None, "another daemon uses it");
        drop(other);
        std::fs::remove_file(&lock).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(holder_of_deleted(&path), found);
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        assert_eq!(holder_of_deleted(&path), None, "a reader is no daemon");
        reader.kill().unwrap();
        reader.wait().unwrap();
    }
}
