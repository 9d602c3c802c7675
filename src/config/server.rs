//! The section `server`: our own HTTP listener.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::config::Value;

use super::fields::Fields;
use super::files::readable_file;
use super::values::{address, count, flag, metrics_path, positive_duration, web_address};

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
    /// The address of a trace, with `{trace_id}` for its id.
    pub trace_url: Option<Arc<str>>,
    /// The address of the Grafana that has the bundled dashboards, without a slash at its end.
    pub grafana_url: Option<Arc<str>>,
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
    let trace_url = fields.optional("trace_url", trace_url).map(Into::into);
    let grafana_url = fields.optional("grafana_url", grafana_url).map(Into::into);
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
        trace_url,
        grafana_url,
    })
}

/// What stands for the id in the address of a trace.
const TRACE_ID: &str = "{trace_id}";

/// The address of a trace, with a place for its id.
fn trace_url(value: &Value) -> Result<String, String> {
    let url = web_address(value)?;
    if url.matches(TRACE_ID).count() != 1 {
        return Err(format!("must hold {TRACE_ID} once: it stands for the id of the trace"));
    }
    Ok(url)
}

/// The address of Grafana, without a slash at its end.
fn grafana_url(value: &Value) -> Result<String, String> {
    let url = web_address(value)?;
    if url.contains(['?', '#']) {
        return Err("must end with a path: what is added is /d/ and the dashboard".to_owned());
    }
    Ok(url.trim_end_matches('/').to_owned())
}
