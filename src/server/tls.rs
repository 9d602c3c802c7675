//! The web file's section `tls_server_config`, and the rustls configuration that it becomes.
//!
//! Cipher suites and curves are chosen by rustls and cannot be set. Private keys are read here and never shown.
//! Called by [`super::web_config`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::client_names::NamedClients;
use super::problems::Problems;
use talkover_settings::bounded::{self, MAX_PEM_BYTES};

/// `tls_server_config`, including the keys of exporter-toolkit that this daemon refuses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsSection {
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_auth_type: Option<String>,
    client_ca_file: Option<PathBuf>,
    min_version: Option<String>,
    max_version: Option<String>,
    cert: Option<IgnoredAny>,
    key: Option<IgnoredAny>,
    client_ca: Option<IgnoredAny>,
    cipher_suites: Option<IgnoredAny>,
    prefer_server_cipher_suites: Option<IgnoredAny>,
    curve_preferences: Option<IgnoredAny>,
    client_allowed_sans: Option<Vec<String>>,
}

impl TlsSection {
    /// Returns the files that it names.
    pub(super) fn files(&self, directory: &Path) -> Vec<PathBuf> {
        let named = [&self.cert_file, &self.key_file, &self.client_ca_file];
        named.into_iter().flatten().map(|file| directory.join(file)).collect()
    }

    fn refuse_unsupported(&self, problems: &mut Problems) {
        const INLINE: &str = "is not supported: name a file instead";
        const CHOSEN: &str = "is not supported: the TLS library's own choice is safe and cannot be changed";
        let settings = [
            ("cert", &self.cert, INLINE),
            ("key", &self.key, INLINE),
            ("client_ca", &self.client_ca, INLINE),
            ("cipher_suites", &self.cipher_suites, CHOSEN),
            ("prefer_server_cipher_suites", &self.prefer_server_cipher_suites, CHOSEN),
            ("curve_preferences", &self.curve_preferences, CHOSEN),
        ];
        for (name, value, reason) in settings {
            if value.is_some() {
                problems.add(&format!("tls_server_config.{name}"), reason);
            }
        }
    }
}

/// Collects the problems below `tls_server_config`.
struct Section<'a> {
    directory: &'a Path,
    problems: &'a mut Problems,
}

impl Section<'_> {
    /// Returns the value; on an error adds a problem of `name` and returns `None`.
    fn note<T>(&mut self, name: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|reason| self.problems.add(&format!("tls_server_config.{name}"), reason)).ok()
    }

    fn read(&self, file: &Option<PathBuf>) -> Result<Vec<u8>, String> {
        let file = file.as_ref().ok_or("is missing")?;
        let path = self.directory.join(file);
        bounded::read(&path, MAX_PEM_BYTES).map_err(|error| format!("failed to read {}: {error}", path.display()))
    }

    fn certificates(&self, file: &Option<PathBuf>) -> Result<Vec<CertificateDer<'static>>, String> {
        let pem = self.read(file)?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match certificates {
            Ok(certificates) if certificates.is_empty() => Err("holds no certificate in PEM format".to_owned()),
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(format!("is not valid PEM: {error}")),
        }
    }

    fn key(&self, file: &Option<PathBuf>) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_slice(&self.read(file)?)
            .map_err(|_error| "holds no unencrypted private key in PEM format".to_owned())
    }
}

/// Which HTTP versions the listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HttpProtocols {
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/1.1 and HTTP/2.
    Http2AndHttp1,
}

/// Builds the listener's TLS configuration; `None` if something is wrong, which is added to `problems`.
pub(super) fn server_config(
    section: &TlsSection,
    directory: &Path,
    protocols: HttpProtocols,
    problems: &mut Problems,
) -> Option<Arc<ServerConfig>> {
    section.refuse_unsupported(problems);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut notes = Section { directory, problems };
    let certificates = notes.certificates(&section.cert_file);
    let certificates = notes.note("cert_file", certificates);
    let key = notes.key(&section.key_file);
    let key = notes.note("key_file", key);
    let verifier = client_verifier(section, &provider, &mut notes);
    let versions = versions(section, &mut notes);
    let (certificates, key, verifier, versions) = (certificates?, key?, verifier?, versions?);
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| error.to_string())
        .and_then(|builder| {
            let builder = match verifier {
                Some(verifier) => builder.with_client_cert_verifier(verifier),
                None => builder.with_no_client_auth(),
            };
            builder.with_single_cert(certificates, key).map_err(|error| error.to_string())
        });
    let mut config = notes.note("cert_file", config)?;
    config.alpn_protocols = match protocols {
        HttpProtocols::Http1 => Vec::new(),
        HttpProtocols::Http2AndHttp1 => vec![b"h2".to_vec()],
    };
    config.alpn_protocols.push(b"http/1.1".to_vec());
    Some(Arc::new(config))
}

/// Returns the verifier of client certificates; `Some(None)` if clients need none, `None` if something is wrong.
fn client_verifier(
    section: &TlsSection,
    provider: &Arc<CryptoProvider>,
    notes: &mut Section<'_>,
) -> Option<Option<Arc<dyn ClientCertVerifier>>> {
    let names = section.client_allowed_sans.clone().unwrap_or_default();
    if !names.is_empty() && section.client_auth_type.as_deref() != Some("RequireAndVerifyClientCert") {
        let reason =
            "needs client_auth_type: RequireAndVerifyClientCert, or clients without a certificate would get in";
        return notes.note("client_allowed_sans", Err(reason.to_owned()));
    }
    let is_required = match section.client_auth_type.as_deref().unwrap_or("NoClientCert") {
        "" | "NoClientCert" if section.client_ca_file.is_some() => {
            let reason = "would be ignored: set client_auth_type to RequireAndVerifyClientCert".to_owned();
            return notes.note("client_ca_file", Err(reason));
        }
        "" | "NoClientCert" => return Some(None),
        "VerifyClientCertIfGiven" => false,
        "RequireAndVerifyClientCert" => true,
        "RequestClientCert" | "RequireClientCert" | "RequireAnyClientCert" => {
            let reason = "is not supported, because it accepts certificates that nobody verified: use \
                          RequireAndVerifyClientCert";
            return notes.note("client_auth_type", Err(reason.to_owned()));
        }
        _ => {
            let reason = "must be NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert";
            return notes.note("client_auth_type", Err(reason.to_owned()));
        }
    };
    let verifier = notes.certificates(&section.client_ca_file).and_then(|authorities| {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(|error| error.to_string())?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = if is_required { builder } else { builder.allow_unauthenticated() };
        builder.build().map_err(|error| error.to_string())
    });
    let verifier = verifier.map(|verifier| match names.is_empty() {
        true => verifier,
        false => Arc::new(NamedClients { verifier, names }),
    });
    notes.note("client_ca_file", verifier).map(Some)
}

fn versions(section: &TlsSection, notes: &mut Section<'_>) -> Option<Vec<&'static SupportedProtocolVersion>> {
    let min = notes.note("min_version", version(section.min_version.as_deref(), 12));
    let max = notes.note("max_version", version(section.max_version.as_deref(), 13));
    let (min, max) = (min?, max?);
    if min > max {
        return notes.note("min_version", Err("must not be above max_version".to_owned()));
    }
    let all = [(12, &TLS12), (13, &TLS13)];
    Some(all.into_iter().filter(|(number, _)| (min..=max).contains(number)).map(|(_, version)| version).collect())
}

fn version(name: Option<&str>, default: u8) -> Result<u8, String> {
    match name {
        None | Some("") => Ok(default),
        Some("TLS12") => Ok(12),
        Some("TLS13") => Ok(13),
        Some("TLS10" | "TLS11") => Err("is not supported: TLS12 is the oldest version that is safe".to_owned()),
        Some(_) => Err("must be TLS12 or TLS13".to_owned()),
    }
}
