//! The files that the configuration names: whether they can be read, and hold what they should.
//!
//! Certificates and keys become part of the configuration with their content, so that two configurations are equal only
//! if those are: a reload notices what has changed behind the same path. Contents are in no debug output. Token files
//! are read by [`super::token`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::values::path;
use ::config::Value;
use talkover_settings::bounded::{self, MAX_PEM_BYTES};

/// A file, and what it held when the configuration was loaded.
#[derive(Clone, PartialEq, Eq)]
pub struct LoadedFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it held.
    pub content: Arc<[u8]>,
}

impl fmt::Debug for LoadedFile {
    /// The content may be a private key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LoadedFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A file that can be read now, with its content.
pub(super) fn loaded_file(value: &Value) -> Result<LoadedFile, String> {
    let path = path(value)?;
    let content = content(&path)?.into();
    Ok(LoadedFile { path, content })
}

/// The path of a file that can be read now.
pub(super) fn readable_file(value: &Value) -> Result<PathBuf, String> {
    loaded_file(value).map(|file| file.path)
}

/// A PEM file with at least one certificate of an authority.
pub(super) fn certificate_file(value: &Value) -> Result<LoadedFile, String> {
    let file = loaded_file(value)?;
    let place = file.path.display();
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&file.content)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{place} is no valid PEM file: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{place} holds no certificate in PEM form"));
    }
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate).map_err(|error| format!("{place} holds an unusable certificate: {error}"))?;
    }
    Ok(file)
}

fn content(path: &Path) -> Result<Vec<u8>, String> {
    bounded::read(path, MAX_PEM_BYTES).map_err(|error| format!("failed to read {}: {error}", path.display()))
}
