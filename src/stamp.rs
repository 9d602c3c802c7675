//! A fingerprint of a file's metadata, which detects that the file has changed without reading it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Identifies a version of a file. A file that cannot be read has a stamp too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    path: PathBuf,
    version: Option<Version>,
}

/// A replaced file may keep its modification time, and one that is written in place its inode; the change time cannot
/// be set.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    modified: SystemTime,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
    size: u64,
    device: u64,
    inode: u64,
}

impl Stamp {
    /// The stamp of the file at `path` as it is now, following symbolic links.
    pub fn of(path: &Path) -> Self {
        let version = std::fs::metadata(path).and_then(|metadata| {
            Ok(Version {
                modified: metadata.modified()?,
                changed: (metadata.ctime(), metadata.ctime_nsec()),
                size: metadata.len(),
                device: metadata.dev(),
                inode: metadata.ino(),
            })
        });
        Self { path: path.to_owned(), version: version.ok() }
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file has changed since.
    pub fn has_changed(&self) -> bool {
        *self != Self::of(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File, FileTimes};

    #[test]
    fn a_file_that_is_written_in_place_with_its_old_time_and_size_has_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(&path, "one").expect("written");
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("a time");
        let stamp = Stamp::of(&path);
        assert!(!stamp.has_changed());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        // The change time moves with the clock's ticks, of some milliseconds.
        while !stamp.has_changed() {
            assert!(std::time::Instant::now() < deadline, "the change is not seen");
            fs::write(&path, "two").expect("written");
            let file = File::options().write(true).open(&path).expect("open");
            file.set_times(FileTimes::new().set_modified(modified)).expect("set back");
        }
        assert_eq!(fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("a time"), modified);
    }

    #[test]
    fn a_file_that_is_gone_has_changed_and_changes_no_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(&path, "one").expect("written");
        let stamp = Stamp::of(&path);
        fs::remove_file(&path).expect("removed");
        assert!(stamp.has_changed());
        assert!(!Stamp::of(&path).has_changed());
    }
}
