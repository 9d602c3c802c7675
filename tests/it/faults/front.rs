//! A server with TLS in front of a simulated API, whose certificate can be exchanged.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Response};
use axum::routing::any;
use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::task::JoinHandle;

/// The running server; it stops when this is dropped.
pub(crate) struct Front {
    pub(crate) url: String,
    config: RustlsConfig,
    task: JoinHandle<std::io::Result<()>>,
}

impl Front {
    /// A front for the API at `behind`, with a certificate that `ca.crt` has signed.
    pub(crate) fn start(behind: String) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let config = RustlsConfig::from_config(certificate("server"));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let service = any(forward).with_state((client, behind)).into_make_service();
        let server = axum_server::from_tcp_rustls(listener, config.clone()).unwrap();
        Self { url, config, task: tokio::spawn(server.serve(service)) }
    }

    /// Shows another certificate of `tests/fixtures/tls` from the next connection on.
    pub(crate) fn show(&self, name: &str) {
        self.config.reload_from_config(certificate(name));
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A file of `tests/fixtures/tls`.
pub(crate) fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name);
    path.to_str().unwrap().to_owned()
}

fn certificate(name: &str) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(fixture(&format!("{name}.crt"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture(&format!("{name}.key"))).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(vec![certificate], key).unwrap())
}

/// Passes a request on, and ends the connection with the answer, so that the next request meets the certificate again.
async fn forward(State((client, behind)): State<(reqwest::Client, String)>, request: Request) -> Response<Body> {
    let answer = client.get(format!("{behind}{}", request.uri())).headers(request.headers().clone()).send().await;
    let answer = answer.unwrap();
    let mut response = Response::builder().status(answer.status());
    *response.headers_mut().unwrap() = answer.headers().clone();
    let mut response = response.body(Body::from(answer.bytes().await.unwrap())).unwrap();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
