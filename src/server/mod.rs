//! What the daemon serves over HTTP: metrics, probes, a status page, and the bundled dashboards and rules.
//!
//! Every response is made from memory: nothing here sends requests to TalkOver or writes to the state. The caller owns
//! the listener and the shutdown signal, so that tests can bind port 0.
//!
//! The path of a request: [`serve`] limits its size and time, `auth` demands credentials if the web file lists users,
//! and the [`router`] answers. `progress` closes connections whose clients do not read their responses, and `limits`
//! limits what all clients together may use.

mod acceptor;
mod answer;
mod auth;
mod bundled;
mod client_names;
mod documents;
pub mod health;
mod lifecycle;
mod limits;
pub mod listen;
mod metrics;
mod page;
mod problems;
mod progress;
mod rate_limit;
mod reload;
mod renderer;
mod status;
mod status_routes;
mod tls;
mod verification;
pub mod web_config;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::FromRef;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::from_fn;
use axum::response::Redirect;
use axum::routing::{get, post};
use axum_server::Handle;
use axum_server::accept::DefaultAcceptor;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

pub use documents::{StatusOrigin, StatusSource};
pub use health::Readiness;
pub use renderer::Renderer;
use web_config::WebConfig;

use crate::reload::Reloader;
use crate::shutdown::Shutdown;
use crate::watchdog::Watchdog;

/// Largest request body. No request here needs one; the room is for what proxies add.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// Longer than any scraper waits: Prometheus gives up after 10 s by default.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the head of a request may take to arrive, so that slow or silent connections do not pile up. Also closes
/// idle connections; clients reconnect.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests that are being answered may still take when the daemon stops.
const GRACE: Duration = Duration::from_secs(2);
/// Largest buffer for the head of a request, and for a response while its socket is full.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// Concurrent streams of one HTTP/2 connection. A scraper needs one.
const MAX_STREAMS: u32 = 32;

/// What the responses are made from. Clones share it.
#[derive(Clone, Debug, FromRef)]
pub struct Sources {
    /// All metrics.
    pub metrics: Renderer,
    /// Where they are served.
    pub metrics_path: MetricsPath,
    /// The status and its pages.
    pub status: StatusSource,
    /// Told by the pipeline.
    pub readiness: Readiness,
    /// Knows whether all loops turn.
    pub watchdog: Watchdog,
    /// Whom to ask for a reload, where that is allowed.
    pub reloader: Option<Reloader>,
}

/// The path of the metrics, such as `/metrics`.
#[derive(Clone, Debug)]
pub struct MetricsPath(Arc<str>);

impl From<&str> for MetricsPath {
    fn from(path: &str) -> Self {
        Self(path.into())
    }
}

impl MetricsPath {
    /// Returns a link to it, relative to `/`, so that it also works behind a proxy that adds a prefix.
    fn relative(&self) -> &str {
        self.0.trim_start_matches('/')
    }
}

/// Serving ended although no shutdown was requested.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener cannot be used.
    #[error("failed to take over the listener: {0}")]
    Listener(#[source] io::Error),
    /// Accepting connections ended.
    #[error("failed to serve: {0}")]
    Serve(#[source] io::Error),
}

/// Routes all paths. Responses are compressed if the client accepts gzip; scrapes compress themselves.
pub fn router(sources: Sources, max_requests: u32) -> Router {
    let pages = Router::new()
        .route("/", get(status_routes::overview_page))
        .route("/webhooks/{environment}/{webhook_id}", get(status_routes::webhook_page))
        .route("/assets/{name}", get(page::asset))
        .route("/api/v1/status", get(status_routes::status_json))
        .route("/-/reload", post(lifecycle::reload))
        // Relative, so that they also work behind a proxy that adds a prefix.
        .route("/dashboards", get(|| async { Redirect::permanent("dashboards/") }))
        .route("/rules", get(|| async { Redirect::permanent("rules/") }))
        .route("/dashboards/", get(bundled::dashboards))
        .route("/dashboards/{name}", get(bundled::dashboard))
        .route("/rules/", get(bundled::rules))
        .route("/rules/{name}", get(bundled::rule));
    let pages = limits::limit_memory(pages)
        .layer(CompressionLayer::new().compress_when(SizeAbove::new(limits::SMALL_BYTES)))
        .route(&sources.metrics_path.0, get(metrics::metrics))
        .with_state(sources.clone());
    // Probes are outside the limit: a busy daemon must not be restarted.
    let probes = Router::new().route("/-/healthy", get(health::healthy)).route("/-/ready", get(health::ready));
    limits::limit_requests(pages, max_requests)
        .merge(probes.with_state(sources))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
}

async fn not_found(uri: Uri) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("nothing at {}\n", uri.path()))
}

async fn not_allowed(method: Method) -> (StatusCode, String) {
    (StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not for this path\n"))
}

/// Serves until `shutdown`, then waits up to 2 s for requests that are being answered. With `web`, credentials, headers
/// and TLS come from its file, which is read again when it changes. Closes connections whose client has read nothing
/// for `write_timeout`.
///
/// # Errors
/// If the listener cannot be used.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    web: Option<WebConfig>,
    write_timeout: Duration,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let handle = Handle::new();
    let server = server(listener)?.handle(handle.clone());
    let live = web.map(reload::Live::new);
    let tls = live.as_ref().and_then(|live| Some(acceptor::TlsAcceptor::new(live.clone(), live.tls()?)));
    let router = match live {
        Some(live) => bounded(auth::protect(router, live)),
        None => bounded(router),
    };
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    match tls {
        Some(inner) => {
            let acceptor = acceptor::GuardingAcceptor { inner, write_timeout };
            run(server.acceptor(acceptor).serve(service), handle, shutdown).await
        }
        // No browser or scraper speaks HTTP/2 without TLS.
        None => {
            let acceptor = acceptor::GuardingAcceptor { inner: DefaultAcceptor::new(), write_timeout };
            run(server.http1_only().acceptor(acceptor).serve(service), handle, shutdown).await
        }
    }
}

fn bounded(router: Router) -> Router {
    router
        .layer(RequestBodyLimitLayer::new(MAX_BODY_BYTES))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .layer(from_fn(progress::watch))
        .layer(SetResponseHeaderLayer::overriding(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
}

fn server(listener: TcpListener) -> Result<axum_server::Server<SocketAddr>, ServeError> {
    let mut server = axum_server::from_tcp(listener)
        .map_err(ServeError::Listener)?
        .first_request_timeout(HEADER_TIMEOUT)
        .accept_error_handler(|peer, error| tracing::debug!(?peer, %error, "failed to accept a connection"));
    server.http_builder().http1().header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_BUFFER_BYTES);
    server
        .http_builder()
        .http2()
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(MAX_BUFFER_BYTES)
        .keep_alive_interval(HEADER_TIMEOUT)
        .keep_alive_timeout(HEADER_TIMEOUT);
    Ok(server)
}

/// Runs `serving` until it ends, or until at most [`GRACE`] after the shutdown.
async fn run(
    serving: impl Future<Output = io::Result<()>>,
    handle: Handle<SocketAddr>,
    mut shutdown: Shutdown,
) -> Result<(), ServeError> {
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.map_err(ServeError::Serve),
        () = shutdown.recv() => {}
    }
    handle.graceful_shutdown(Some(GRACE));
    match tokio::time::timeout(GRACE, &mut serving).await {
        Ok(ended) => ended.map_err(ServeError::Serve),
        Err(_elapsed) => {
            handle.shutdown();
            Ok(())
        }
    }
}
