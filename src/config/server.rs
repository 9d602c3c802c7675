//! The section `server`: our own HTTP listener.

use super::fields::Fields;
use super::files::readable_file;
use super::values::{address, count, flag, metrics_path, positive_duration};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where and how the daemon listens.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// The path of the metrics, such as `/metrics`: it begins with a slash, and nothing else is served there.
    pub metrics_path: String,
    /// TLS and basic auth in exporter-toolkit's format; it was readable when the configuration was loaded.
    pub web_config_file: Option<PathBuf>,
    /// Whether `POST /-/reload` is served.
    pub enable_lifecycle: bool,
    /// Requests at work at the same time. At least 1.
    pub max_requests: u32,
    /// How long a client may take nothing of its answers. Above zero.
    pub write_timeout: Duration,
}

pub(super) fn read(mut fields: Fields<'_>) -> Option<ServerConfig> {
    let listen = fields.scalar("listen", address);
    let metrics_path = fields.scalar("metrics_path", metrics_path);
    let web_config_file = fields.optional("web_config_file", readable_file);
    let enable_lifecycle = fields.scalar("enable_lifecycle", flag);
    let max_requests = fields.scalar("max_requests", count(1, u32::MAX));
    let write_timeout = fields.scalar("write_timeout", positive_duration);
    fields.finish();
    Some(ServerConfig {
        listen: listen?,
        metrics_path: metrics_path?,
        web_config_file,
        enable_lifecycle: enable_lifecycle?,
        max_requests: max_requests?,
        write_timeout: write_timeout?,
    })
}
