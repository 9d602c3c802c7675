//! Files that a configuration names: whether they can be read, and hold what they should.
//!
//! Keeps nothing of their content; the stages read them again when they use them.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::{Path, PathBuf};

use super::values::path;
use crate::bounded::{self, MAX_PEM_BYTES};
use ::config::Value;

/// A path to a file that can be read now.
pub(super) fn readable_file(value: &Value) -> Result<PathBuf, String> {
    let path = path(value)?;
    content(&path)?;
    Ok(path)
}

/// A path to a PEM file with at least one certificate of an authority.
pub(super) fn certificate_file(value: &Value) -> Result<PathBuf, String> {
    let path = path(value)?;
    let pem = content(&path)?;
    let place = path.display();
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{place} is no valid PEM file: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{place} holds no certificate in PEM form"));
    }
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate).map_err(|error| format!("{place} holds an unusable certificate: {error}"))?;
    }
    Ok(path)
}

fn content(path: &Path) -> Result<Vec<u8>, String> {
    bounded::read(path, MAX_PEM_BYTES).map_err(|error| format!("failed to read {}: {error}", path.display()))
}
