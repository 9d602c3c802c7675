//! `dashboards`: writes the bundled dashboards, rules and provisioning files, for Grafana and Prometheus to load.
//!
//! It changes no other file. Each file is replaced in one step, because Grafana may be reading the directory.

use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::{DashboardsArgs, Failure, print};
use crate::bundle::{self, File};

pub(super) fn run(args: &DashboardsArgs) -> Result<(), Failure> {
    let mut written = String::new();
    for file in bundle::files() {
        let path = args.output.join(&*file.path);
        let directory = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory).map_err(|error| {
            Failure::running(format!("failed to create the directory {}: {error}", directory.display()))
        })?;
        write(&path, directory, &file)
            .map_err(|error| Failure::running(format!("failed to write {}: {error}", path.display())))?;
        written = format!("{written}{}\n", path.display());
    }
    print(&written)
}

fn write(path: &Path, directory: &Path, file: &File) -> io::Result<()> {
    let mut whole = NamedTempFile::new_in(directory)?;
    whole.write_all(&file.content)?;
    readable(&whole)?;
    whole.persist(path)?;
    Ok(())
}

/// Makes a file readable for Grafana and Prometheus: temporary files are readable by their owner only.
#[cfg(unix)]
fn readable(file: &NamedTempFile) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_file: &NamedTempFile) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(directory: &Path) -> DashboardsArgs {
        DashboardsArgs { output: directory.to_owned() }
    }

    #[test]
    fn every_file_is_written_as_it_is_and_others_are_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("to/be/made");
        run(&output(&target)).expect("written");
        std::fs::write(target.join("overview.json"), "changed").expect("writable");
        std::fs::write(target.join("mine.json"), "mine").expect("writable");
        run(&output(&target)).expect("written again");
        let files = bundle::files();
        assert!(files.len() > 4, "{files:?}");
        for file in files {
            let path = target.join(&*file.path);
            assert_eq!(std::fs::read(&path).expect("written"), &*file.content, "{}", path.display());
        }
        assert_eq!(std::fs::read_to_string(target.join("mine.json")).expect("left"), "mine");
        let left = std::fs::read_dir(&target).expect("listed").count();
        let dashboards = bundle::files().iter().filter(|file| !file.path.contains('/')).count();
        assert_eq!(left, dashboards + 3, "the dashboards, rules/, provisioning/ and mine.json");
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let failure = run(&output(file.path())).expect_err("no directory");
        assert_eq!(failure.code(), 1);
        let beginning = format!("failed to create the directory {}: ", file.path().display());
        assert!(failure.messages()[0].starts_with(&beginning), "{failure:?}");
    }
}
