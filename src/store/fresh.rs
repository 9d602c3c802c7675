//! Detects at a start whether a newly created state file replaces a lost one: a volume that is not mounted looks like a
//! first start.
//!
//! A new state file is logged at INFO, and at WARN if there is evidence on this machine of an earlier one: a file that
//! only a daemon leaves beside its state (`.seen`, `.served`, a write-ahead log), or a line of `/etc/fstab` for a
//! directory above the state where nothing is mounted. The file of the budget (`.budget`) is no evidence, because
//! `check --online` makes it before the first start. Old entries in the log are none either: every account that was
//! used before its exporter has them.
//!
//! Limit: if a container is started without its volume, there is no evidence inside. Then only the INFO line and
//! `talkover_exporter_state_created_timestamp_seconds` show it. Called by
//! [`SqliteStore::open`](super::sqlite::SqliteStore::open) alone.

use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::place::{SEEN, SERVED, beside, write_ahead_log};
use super::problems::StateProblems;

/// Evidence that there was a state file before this one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Evidence(Option<String>);

impl Evidence {
    /// Looks for evidence around the path of a state file that is about to be opened.
    pub(super) fn gather(path: &Path) -> Self {
        let beside = [beside(path, SEEN), beside(path, SERVED), write_ahead_log(path)];
        let left = beside.into_iter().find(|left| length(left) > 0);
        let left = left.map(|left| format!("{} was left by another one", left.display()));
        Self(left.or_else(|| {
            let directory = path.parent()?.canonicalize().ok()?;
            let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
            let mount_point = unmounted(&directory, &read("/etc/fstab"), &read("/proc/self/mountinfo"))?;
            Some(format!("{} is in /etc/fstab and nothing is mounted there", mount_point.display()))
        }))
    }

    /// Logs that the file at `path` was made, and records it in the problems if there is evidence of an earlier one.
    pub(super) fn tell(&self, path: &Path, problems: &StateProblems) {
        let path = path.display();
        match &self.0 {
            None => info!(%path, "made a new state file: nothing was counted before"),
            Some(evidence) => {
                problems.set_new(evidence);
                warn!(
                    %path,
                    "made a new state file, but {evidence}: counters start again from 0. If the state was not \
                     removed on purpose, stop the daemon and put the state back"
                );
            }
        }
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Returns the innermost mount point above `directory` in `fstab` (fstab(5)), if nothing is mounted there according to
/// `mountinfo` (proc_pid_mountinfo(5)).
fn unmounted(directory: &Path, fstab: &str, mountinfo: &str) -> Option<PathBuf> {
    let field = |line: &str, number: usize| line.split_whitespace().nth(number).map(unescape);
    let mounted: Vec<PathBuf> = mountinfo.lines().filter_map(|line| field(line, 4)).collect();
    let entries = fstab.lines().filter(|line| !line.trim_start().starts_with('#'));
    let above =
        entries.filter_map(|line| field(line, 1)).filter(|point| point.is_absolute() && directory.starts_with(point));
    above.max_by_key(|point| point.components().count()).filter(|point| !mounted.contains(point))
}

/// Decodes white space and backslashes, which both files write as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(text.to_owned(), |text, (escape, character)| text.replace(escape, character)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FSTAB: &str = "# <file system> <mount point>\nUUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\n\
                         /dev/sdb1  /srv/my\\040data ext4 nofail 0 2\n#/dev/sdc /mnt ext4 defaults 0 2\n";
    const ROOT: &str = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n";
    const DATA: &str = "40 22 8:17 / /srv/my\\040data rw shared:2 - ext4 /dev/sdb1 rw\n";

    #[test]
    fn a_mount_point_without_a_mount_is_noticed() {
        let find = |directory: &str, mounts: &str| unmounted(Path::new(directory), FSTAB, mounts);
        let missing = Some(PathBuf::from("/srv/my data"));
        assert_eq!(find("/srv/my data", ROOT), missing);
        assert_eq!(find("/srv/my data/talkover", ROOT), missing);
        assert_eq!(find("/srv/my data/talkover", &format!("{ROOT}{DATA}")), None);
        for elsewhere in ["/srv/my database", "/srv", "/mnt/talkover", "/var/lib/talkover"] {
            assert_eq!(find(elsewhere, ROOT), None, "{elsewhere}");
        }
        assert_eq!(unmounted(Path::new("/data"), "", ""), None, "as in most containers");
    }

    #[test]
    fn what_a_daemon_leaves_behind_speaks_for_another_state_and_what_a_check_leaves_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        let write = |name: &str| std::fs::write(directory.path().join(name), "x").unwrap();
        write("state.db.budget");
        write("state.db.lock");
        std::fs::write(directory.path().join("state.db.seen"), "").unwrap();
        assert_eq!(Evidence::gather(&path), Evidence(None));
        for left in ["state.db-wal", "state.db.served", "state.db.seen"] {
            write(left);
            let evidence = Evidence::gather(&path).0.unwrap();
            assert!(evidence.contains(left), "{evidence}");
        }
    }
}
