//! The section `server`: our own HTTP listener.

use super::fields::Fields;
use super::files::readable_file;
use super::values::{address, flag, metrics_path};
use std::net::SocketAddr;
use std::path::PathBuf;

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
}

pub(super) fn read(mut fields: Fields<'_>) -> Option<ServerConfig> {
    let listen = fields.scalar("listen", address);
    let metrics_path = fields.scalar("metrics_path", metrics_path);
    let web_config_file = fields.optional("web_config_file", readable_file);
    let enable_lifecycle = fields.scalar("enable_lifecycle", flag);
    fields.finish();
    Some(ServerConfig {
        listen: listen?,
        metrics_path: metrics_path?,
        web_config_file,
        enable_lifecycle: enable_lifecycle?,
    })
}
