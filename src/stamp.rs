//! Tells whether a file has changed, without reading it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What tells one version of a file from another. A file that cannot be read has a stamp too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    path: PathBuf,
    /// Modification time, size and inode: replaced files may keep the time.
    version: Option<(SystemTime, u64, u64)>,
}

impl Stamp {
    /// The stamp of the file at `path` as it is now, behind symbolic links.
    pub fn of(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        let version = std::fs::metadata(path)
            .and_then(|metadata| Ok((metadata.modified()?, metadata.len(), metadata.ino())))
            .ok();
        Self { path: path.to_owned(), version }
    }

    /// Whether the file is another one now.
    pub fn has_changed(&self) -> bool {
        *self != Self::of(&self.path)
    }
}
