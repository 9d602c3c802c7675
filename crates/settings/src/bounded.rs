//! Reads a whole file, up to a limit: a device, or the wrong file, must not fill the memory.
//!
//! Used for every file that is named in a setting or an argument.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// More than any bundle of certificates, key or web file: the bundle of a whole system has about 250 KiB.
pub const MAX_PEM_BYTES: usize = 1 << 20;

/// Returns the content of the file at `path`.
///
/// # Errors
/// The error of the system, or [`ErrorKind::FileTooLarge`] above `max_bytes`.
pub fn read(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(max_bytes as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max_bytes {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {} KiB", max_bytes >> 10)));
    }
    Ok(bytes)
}

/// Opens the file at `path` for reading.
///
/// # Errors
/// What the system says, and [`ErrorKind::InvalidInput`] for a FIFO, which would be waited at for ever. One that a
/// shell has opened already and passes on (`/dev/fd/63`, `/dev/stdin`) is read.
pub fn open(path: &Path) -> io::Result<File> {
    let is_passed_on = path.starts_with("/dev") || path.starts_with("/proc");
    if !is_passed_on && std::fs::metadata(path)?.file_type().is_fifo() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is a FIFO, not a regular file"));
    }
    File::open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_the_bound_and_refused_above_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![b'x'; 2048]).unwrap();
        assert_eq!(read(file.path(), 2048).unwrap().len(), 2048);
        let error = read(file.path(), 2047).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::FileTooLarge, "it has more than 1 KiB"));
    }

    #[test]
    fn a_fifo_is_refused_and_not_waited_at() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert_eq!(read(&fifo, 10).unwrap_err().to_string(), "it is a FIFO, not a regular file");
    }

    #[test]
    fn a_device_without_an_end_is_refused() {
        assert_eq!(read(Path::new("/dev/zero"), 1 << 20).unwrap_err().to_string(), "it has more than 1024 KiB");
    }
}
