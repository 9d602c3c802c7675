//! Keeps the web file current: it is checked when a request or a handshake comes, at most once a second.
//!
//! A file with faults changes nothing: the last good one stays in force. The daemon logs the faults when it reloads its
//! configuration, which it does when one of these files changes. TLS cannot be switched on or off while serving.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum_server::tls_rustls::RustlsConfig;

use super::web_config::{WebConfig, WebFileError, WebSettings};
use crate::stamp::Stamp;

/// The current settings of the web file. Clones share them.
#[derive(Clone)]
pub(super) struct Live(Arc<Inner>);

struct Inner {
    path: PathBuf,
    check_every: Duration,
    checked: Mutex<Instant>,
    /// Held while the file is read, so that changes are applied one after the other.
    stamps: Mutex<Vec<Stamp>>,
    settings: RwLock<Arc<WebSettings>>,
    tls: Option<RustlsConfig>,
}

impl fmt::Debug for Live {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Live").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Live {
    pub(super) fn new(web: WebConfig) -> Self {
        let WebConfig { path, settings, stamps, check_every } = web;
        Self(Arc::new(Inner {
            path,
            check_every,
            checked: Mutex::new(Instant::now()),
            stamps: Mutex::new(stamps),
            tls: settings.tls.clone().map(RustlsConfig::from_config),
            settings: RwLock::new(Arc::new(settings)),
        }))
    }

    /// Returns the TLS settings in force; `None` if the file has none.
    pub(super) fn tls(&self) -> Option<RustlsConfig> {
        self.0.tls.clone()
    }

    /// Returns the settings in force, after checking the files if that is due.
    pub(super) async fn current(&self) -> Arc<WebSettings> {
        if self.0.is_due() {
            let inner = Arc::clone(&self.0);
            // If that panics, the last settings stay in force.
            let _outcome = tokio::task::spawn_blocking(move || inner.refresh()).await;
        }
        Arc::clone(&self.0.settings.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn is_due(&self) -> bool {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = checked.elapsed() >= self.check_every;
        if is_due {
            *checked = Instant::now();
        }
        is_due
    }

    fn refresh(&self) {
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        if !stamps.iter().any(Stamp::has_changed) {
            return;
        }
        match WebConfig::read(&self.path) {
            Ok(web) => {
                *stamps = web.stamps;
                self.apply(web.settings);
            }
            Err(WebFileError { reasons, stamps: seen }) => {
                // The refused file is not read again until it changes. The reload that the change causes logs the
                // faults.
                *stamps = seen;
                tracing::debug!(reasons = reasons.join("; "), "failed to reload the web file: the last good one stays");
            }
        }
    }

    fn apply(&self, settings: WebSettings) {
        match (&self.tls, &settings.tls) {
            (Some(live), Some(new)) => live.reload_from_config(Arc::clone(new)),
            (None, None) => {}
            _ => {
                let file = self.path.display();
                let reason = "TLS cannot be switched on or off without a restart";
                tracing::error!(%file, "failed to reload the web file: {reason}");
                return;
            }
        }
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        tracing::info!(file = %self.path.display(), "reloaded the web file");
    }
}
