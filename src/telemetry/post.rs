//! Our HTTP client as `opentelemetry-otlp` wants it.

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};

/// The limit of an answer that is read: it contains a number and a message at most.
const MAX_ANSWER: usize = 64 * 1024;

/// Sends requests with our client and our headers. `opentelemetry-otlp` would add those of `OTEL_…_HEADERS` by rules of
/// its own; they are dropped here, because the configuration has applied them already.
#[derive(Debug)]
pub(super) struct PostClient {
    pub(super) client: reqwest::Client,
    /// Values are marked sensitive, and so are not in its debug output.
    pub(super) headers: HeaderMap,
}

#[tonic::async_trait]
impl HttpClient for PostClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let mut headers = self.headers.clone();
        for name in [CONTENT_TYPE, CONTENT_ENCODING] {
            if let Some(value) = parts.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        let sent = self.client.post(parts.uri.to_string()).headers(headers).body(body).send();
        let mut answer = sent.await.map_err(reqwest::Error::without_url)?;
        let (status, fields) = (answer.status(), std::mem::take(answer.headers_mut()));
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err("the answer is too long".into());
            }
        }
        let mut response = Response::new(Bytes::from(body));
        (*response.status_mut(), *response.headers_mut()) = (status, fields);
        Ok(response)
    }
}
