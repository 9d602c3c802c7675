//! Whether the state file can be where the configuration wants it.
//!
//! Creates nothing that has a name and takes no lock, so that it can look beside a running daemon. It cannot foresee
//! everything: another user may have other rights. Called for `check` alone.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use rustix::fs::{Access, access};

/// How every SQLite file begins (<https://www.sqlite.org/fileformat.html>, section 1.3).
const SQLITE_HEADER: &[u8; 16] = b"SQLite format 3\0";

/// Looks at the file, and at the directory that is to hold it and the files beside it.
///
/// # Errors
/// Why the state cannot be there.
pub(super) fn examine(path: &Path) -> Result<(), String> {
    let place = path.display();
    match std::fs::metadata(path) {
        Ok(found) => examine_file(path, &found)?,
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(format!("failed to look at {place}: {error}")),
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (directory, found) = nearest(parent)?;
    let shown = directory.display();
    if !found.is_dir() {
        return Err(format!("{place} cannot be created: {shown} is not a directory"));
    }
    can_create_in(directory).map_err(|error| format!("{place} cannot be created: {shown} takes no files: {error}"))
}

fn examine_file(path: &Path, found: &Metadata) -> Result<(), String> {
    let place = path.display();
    if found.is_dir() {
        return Err(format!("{place} is a directory: name a file in it"));
    }
    if !found.is_file() {
        return Err(format!("{place} is not a regular file"));
    }
    access(path, Access::READ_OK | Access::WRITE_OK)
        .map_err(|error| format!("{place} cannot be read and written: {}", io::Error::from(error)))?;
    let mut header = Vec::new();
    let read = File::open(path).and_then(|file| file.take(SQLITE_HEADER.len() as u64).read_to_end(&mut header));
    read.map_err(|error| format!("failed to read {place}: {error}"))?;
    if header.is_empty() || header == SQLITE_HEADER {
        return Ok(());
    }
    Err(format!("{place} is not a state file: it is no SQLite database"))
}

/// The directory itself, or the nearest of those around it that is there, in which the others would be created.
fn nearest(directory: &Path) -> Result<(&Path, Metadata), String> {
    for directory in directory.ancestors() {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        match std::fs::metadata(directory) {
            Ok(found) => return Ok((directory, found)),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(format!("failed to look at {}: {error}", directory.display())),
        }
    }
    Err(format!("none of the directories of {} exists", directory.display()))
}

/// Whether the path does not exist, also because one of its directories is a file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Makes a file without a name where the file system can; else goes by the rights.
#[cfg(target_os = "linux")]
fn can_create_in(directory: &Path) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags, open};
    match open(directory, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR) {
        Ok(_nameless) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
            if is_of_the_kernel(directory)? {
                return Err(io::Error::new(ErrorKind::Unsupported, "its files are the kernel's own"));
            }
            has_rights(directory)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn can_create_in(directory: &Path) -> io::Result<()> {
    has_rights(directory)
}

fn has_rights(directory: &Path) -> io::Result<()> {
    Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Whether the directory shows what the kernel knows, such as `/proc`, where rights say nothing of files that could be
/// made.
#[cfg(target_os = "linux")]
fn is_of_the_kernel(directory: &Path) -> io::Result<bool> {
    /// `PROC_SUPER_MAGIC`, `SYSFS_MAGIC`, `CGROUP2_SUPER_MAGIC`, `CGROUP_SUPER_MAGIC`, `DEVPTS_SUPER_MAGIC`,
    /// `DEBUGFS_MAGIC` and `SECURITYFS_MAGIC` of Linux' `magic.h`.
    const KERNELS: [u64; 7] = [0x9fa0, 0x6265_6572, 0x6367_7270, 0x0027_e0eb, 0x1cd1, 0x6462_6720, 0x7363_6673];
    let kind = rustix::fs::statfs(directory)?.f_type;
    // The field's type differs between architectures.
    Ok(KERNELS.iter().any(|known| i128::from(kind) == i128::from(*known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(path: &Path) -> String {
        examine(path).expect_err("refused")
    }

    #[test]
    fn a_path_where_no_file_can_be_is_refused() {
        for (path, expected) in [
            ("/proc/nope/x.db", "/proc/nope/x.db cannot be created: /proc takes no files: "),
            ("/sys/x.db", "/sys/x.db cannot be created: /sys takes no files: "),
            ("/dev/null", "/dev/null is not a regular file"),
            ("/dev/null/x.db", "/dev/null/x.db cannot be created: /dev/null is not a directory"),
        ] {
            let reason = reason(Path::new(path));
            assert!(reason.starts_with(expected), "{reason}");
        }
    }

    #[test]
    fn files_that_are_none_of_ours_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(reason(directory.path()).ends_with("is a directory: name a file in it"));
        let file = directory.path().join("notes.txt");
        std::fs::write(&file, "buy milk, and a larger disk").unwrap();
        assert!(reason(&file).ends_with("is not a state file: it is no SQLite database"));
        assert!(reason(&file.join("x.db")).ends_with("notes.txt is not a directory"));
    }

    #[test]
    fn looking_creates_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(examine(&directory.path().join("a/b/state.db")), Ok(()));
        assert_eq!(examine(&directory.path().join("state.db")), Ok(()));
        assert_eq!(examine(Path::new("state.db")), Ok(()));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let file = directory.path().join("state.db");
        rusqlite::Connection::open(&file).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert_eq!(examine(&file), Ok(()));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
