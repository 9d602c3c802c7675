//! The web file: TLS, credentials and headers of the daemon's own listener, in the format of Prometheus'
//! exporter-toolkit (<https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>).
//!
//! Every setting is applied or refused, never ignored: the daemon does not start with a file that would leave the
//! listener more open than the file says. Error messages never contain a hash or a key. Loaded at the daemon's start,
//! and again whenever the file changes.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::config::{Value, ValueKind};
use axum::http::{HeaderName, HeaderValue};
use bcrypt::HashParts;
use serde::Deserialize;

use super::problems::Problems;
use super::rate_limit::{RateLimitSection, RequestRateLimit};
use super::tls::{self, HttpProtocols, TlsSection};
use crate::stamp::Stamp;
use talkover_settings::yaml;

/// How often the files are checked, at most.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// A verification at cost 16 takes seconds; each higher cost doubles that.
const MAX_BCRYPT_COST: u32 = 16;
/// The headers that exporter-toolkit allows, and their allowed values; an empty list allows any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// A web file without faults.
#[derive(Debug)]
pub struct WebConfig {
    pub(super) path: PathBuf,
    pub(super) settings: WebSettings,
    /// Stamps of the files that it was read from, taken just before reading.
    pub(super) stamps: Vec<Stamp>,
    pub(super) check_every: Duration,
}

/// The settings of the web file.
#[derive(Debug)]
pub(super) struct WebSettings {
    /// The bcrypt hash of each user. If empty, no credentials are needed.
    pub(super) users: BTreeMap<String, String>,
    /// Headers that are set on each response.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// The rate limit over all clients.
    pub(super) rate_limit: Option<RequestRateLimit>,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
}

/// The faults of a web file, and the files to watch for a change.
#[derive(Debug)]
pub(super) struct WebFileError {
    pub(super) reasons: Vec<String>,
    pub(super) stamps: Vec<Stamp>,
}

impl WebConfig {
    /// Reads the file and the certificates that it names; relative paths are relative to its directory.
    ///
    /// # Errors
    /// All faults, each as `FILE:LINE: key.path: reason`.
    pub fn load(path: &Path) -> Result<Self, Vec<String>> {
        Self::read(path).map_err(|refusal| refusal.reasons)
    }

    /// Returns the file and those that it names, even if it has faults.
    pub fn files(path: &Path) -> Vec<PathBuf> {
        let stamps = Self::read(path).map_or_else(|refusal| refusal.stamps, |web| web.stamps);
        stamps.iter().map(|stamp| stamp.path().to_owned()).collect()
    }

    /// Whether the listener speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.settings.tls.is_some()
    }

    pub(super) fn read(path: &Path) -> Result<Self, WebFileError> {
        let mut problems = Problems::new(path);
        // Stamped before reading: a change in between is detected at the next check.
        let mut stamps = vec![Stamp::of(path)];
        let Some(document) = read_document(path, &mut problems) else {
            return Err(WebFileError { reasons: problems.reasons, stamps });
        };
        let directory = path.parent().unwrap_or(Path::new(""));
        let http = document.http_server_config.unwrap_or_default();
        let tls = document.tls_server_config.and_then(|section| {
            stamps.extend(section.files(directory).iter().map(|file| Stamp::of(file)));
            let protocols = match http.http2 {
                Some(false) => HttpProtocols::Http1,
                Some(true) | None => HttpProtocols::Http2AndHttp1,
            };
            tls::server_config(&section, directory, protocols, &mut problems)
        });
        let headers = headers(http.headers.unwrap_or_default(), &mut problems);
        let users = users(document.basic_auth_users.unwrap_or_default(), &mut problems);
        let rate_limit = document.rate_limit.and_then(|section| section.limit(&mut problems));
        if !problems.reasons.is_empty() {
            return Err(WebFileError { reasons: problems.reasons, stamps });
        }
        let settings = WebSettings { users, headers, rate_limit, tls };
        Ok(Self { path: path.to_owned(), settings, stamps, check_every: CHECK_EVERY })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebFile {
    tls_server_config: Option<TlsSection>,
    http_server_config: Option<HttpSection>,
    basic_auth_users: Option<BTreeMap<String, String>>,
    rate_limit: Option<RateLimitSection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpSection {
    http2: Option<bool>,
    headers: Option<BTreeMap<String, String>>,
}

/// Parses the document; `None` if it has faults, which are added to `problems`.
fn read_document(path: &Path, problems: &mut Problems) -> Option<WebFile> {
    let yaml::Document { root, outline } = match yaml::load(path) {
        Ok(document) => document,
        Err(flaw) => {
            problems.add_flaw(&flaw);
            return None;
        }
    };
    problems.outline = outline;
    // Not with the builder of the crate `config`, which takes dots in keys for paths.
    let read = serde_path_to_error::deserialize(Value::new(None, ValueKind::Table(root)));
    let refused = |error: serde_path_to_error::Error<::config::ConfigError>| {
        let key = error.path().to_string();
        // The parser's own message would repeat the value, which could be a password.
        let reason = if key.starts_with("basic_auth_users") {
            "must be a map from user names to bcrypt hashes".to_owned()
        } else {
            error.into_inner().to_string()
        };
        problems.add(&key, reason);
    };
    read.map_err(refused).ok()
}

fn headers(section: BTreeMap<String, String>, problems: &mut Problems) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    // As in exporter-toolkit, an empty value omits the header.
    for (name, value) in section.into_iter().filter(|(_, value)| !value.is_empty()) {
        let key = format!("http_server_config.headers.{name}");
        match header(&name, &value) {
            Ok(header) => headers.push(header),
            Err(reason) => problems.add(&key, reason),
        }
    }
    headers
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let Some((_, allowed)) = HEADERS.iter().find(|(known, _)| *known == name) else {
        return Err(format!("cannot be set; these can: {}", HEADERS.map(|(known, _)| known).join(", ")));
    };
    if !allowed.is_empty() && !allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(value)) {
        return Err(format!("must be {}", allowed.join(" or ")));
    }
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
    let value = HeaderValue::from_str(value).map_err(|_error| "is not a valid header value".to_owned())?;
    Ok((name, value))
}

fn users(section: BTreeMap<String, String>, problems: &mut Problems) -> BTreeMap<String, String> {
    for (name, hash) in &section {
        let key = format!("basic_auth_users.{name}");
        if name.is_empty() || name.contains(':') {
            problems.add(&key, "a user name must not be empty or contain a colon");
        }
        if let Err(reason) = check_hash(hash) {
            problems.add(&key, reason);
        }
    }
    section
}

fn check_hash(hash: &str) -> Result<(), String> {
    if !["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix)) {
        return Err("must be a bcrypt hash that starts with $2a$, $2b$ or $2y$".to_owned());
    }
    let parts: HashParts = hash.parse().map_err(|_error| "is not a complete bcrypt hash".to_owned())?;
    match parts.get_cost() {
        4..=MAX_BCRYPT_COST => Ok(()),
        cost => Err(format!("has the cost {cost}; 4 to {MAX_BCRYPT_COST} are supported")),
    }
}
