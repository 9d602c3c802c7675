//! One request to the API: sends it, waits for the whole answer, and returns what came of it.
//!
//! Never retries a request and never follows a redirect: the budget knows of every request, and the token goes only to
//! the configured host. The pipeline calls it, once for every permit of the budget.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use flate2::write::GzDecoder;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, ClientBuilder, Method, Proxy, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::config::LoadedFile;
use crate::http_client;
use crate::local_clock;
use crate::telemetry::request;
use crate::tls_mismatch::{self, Acquaintance};
use talkover_core::delivery::{OwnerType, Target, Timestamp};
use talkover_core::discovery::{ApiOwner, ApiWebhook, OwnerKey};
use talkover_core::reading::error::ApiError;
use talkover_core::reading::wire::lists::{ListPage, parse_owners, parse_webhooks};
use talkover_core::reading::wire::{LogPage, digest, error_message, parse_logs};
use talkover_core::schedule::limits::{self, http_date};
use talkover_core::server_time::DateHeader;

/// Larger answers, after decompression, are not read completely: 32 MiB.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;
/// How much of an answer that is too large is digested to recognise it: its first MiB.
const DIGESTED_BYTES: usize = 1024 * 1024;
/// How much of a body is decompressed at once.
const PIECE_BYTES: usize = 4 * 1024;
/// A connection that takes longer than this will not be established, whatever the timeout of the whole request is.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The limit of requests a minute.
const RATE_LIMIT_LIMIT: &str = "x-ratelimit-limit";
/// What is left of it.
const RATE_LIMIT_REMAINING: &str = "x-ratelimit-remaining";
/// When it is available in full again.
const RATE_LIMIT_RESET: &str = "x-ratelimit-reset";
/// Enough of an error's body to contain its message.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How the API of one environment is reached.
#[derive(Debug)]
pub struct ClientOptions {
    /// The base URL, without `/api/v1`.
    pub base_url: Url,
    /// The time for a request, from its start to the last byte of the answer.
    pub request_timeout: Duration,
    /// A PEM file with further certificate authorities.
    pub ca_file: Option<LoadedFile>,
    /// The proxy; if `None`, the usual environment variables decide.
    pub proxy: Option<Url>,
}

/// Why no client could be created.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The HTTP library rejects the settings.
    #[error("failed to set up the HTTP client: {0}")]
    Setup(#[from] reqwest::Error),
}

/// What is known of a request and its answer, whether the answer could be used or not.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The status, if there was an answer.
    pub code: Option<u16>,
    /// From the start of the request to the last byte.
    pub duration: Duration,
    /// The header `Date`, in whole seconds: only [`crate::server_clock`] decides whether it is believed.
    pub date: Option<DateHeader>,
    /// `X-RateLimit-Limit`: requests a minute.
    pub rate_limit: Option<u64>,
    /// `X-RateLimit-Remaining`.
    pub rate_limit_remaining: Option<u64>,
}

/// The outcome of a request.
#[derive(Debug)]
pub struct Answer<T> {
    /// What is known of it in any case.
    pub exchange: Exchange,
    /// The data, or why there is none.
    pub result: Result<T, ApiError>,
}

impl<T> Answer<T> {
    /// The same outcome, with `change` applied to the data.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { exchange: self.exchange, result: self.result.map(change) }
    }
}

/// What is needed to connect to the API: certificate authorities, proxy and timeouts.
#[derive(Debug)]
pub struct Connector(reqwest::Client);

impl Connector {
    /// A connector for `options`, which connects to nothing yet.
    ///
    /// # Errors
    /// If the settings contradict each other.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        let own = match &options.ca_file {
            Some(file) => Certificate::from_pem_bundle(&file.content)?,
            None => Vec::new(),
        };
        Ok(Self(http_client::build(|| settings(options), &own)?))
    }
}

/// A client for the API of one environment.
#[derive(Debug)]
pub struct Client {
    http: RwLock<reqwest::Client>,
    base_url: Url,
    token: RwLock<HeaderValue>,
    /// Whether the peer has ever answered in HTTP.
    has_answered: AtomicBool,
}

impl Client {
    /// A client for `options` that authenticates with `token`.
    ///
    /// # Errors
    /// If the settings contradict each other.
    pub fn new(options: &ClientOptions, token: &SecretString) -> Result<Self, ClientError> {
        let Connector(http) = Connector::new(options)?;
        Ok(Self {
            http: RwLock::new(http),
            base_url: options.base_url.clone(),
            token: RwLock::new(bearer(token)),
            has_answered: AtomicBool::new(false),
        })
    }

    /// Connects with `connector` from the next request on. Requests under way are not affected.
    pub fn reconnect(&self, connector: Connector) {
        *self.http.write().unwrap_or_else(PoisonError::into_inner) = connector.0;
    }

    /// Authenticates with another token from the next request on.
    pub fn set_token(&self, token: &SecretString) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = bearer(token);
    }

    /// Requests one page of a webhook's delivery log; `page` counts from 1, `per_page` is at most 100.
    pub async fn logs(&self, target: &Target, page: u32, per_page: u32) -> Answer<LogPage> {
        let path = [collection(target.owner_type), &*target.owner_id, "webhooks", &*target.webhook_id, "logs"];
        self.get(&path, &[("per_page", per_page), ("page", page)], parse_logs).await
    }

    /// Requests one page of the list of agents or campaigns; `page` counts from 1, `per_page` is at most 100.
    pub async fn owners(&self, owner_type: OwnerType, page: u32, per_page: u32) -> Answer<ListPage<ApiOwner>> {
        self.get(&[collection(owner_type)], &[("per_page", per_page), ("page", page)], parse_owners).await
    }

    /// Requests the webhooks of an agent or a campaign. The API's reference knows no pages of this list: page 1 is
    /// requested without its number.
    pub async fn webhooks(&self, owner: &OwnerKey, page: u32) -> Answer<ListPage<ApiWebhook>> {
        let numbered = [("page", page)];
        let query = if page > 1 { &numbered[..] } else { &[] };
        self.get(&[collection(owner.owner_type), &*owner.id, "webhooks"], query, parse_webhooks).await
    }

    async fn get<T>(
        &self,
        path: &[&str],
        query: &[(&str, u32)],
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Answer<T> {
        let started = Instant::now();
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (url, span) = (self.url(path, query), request::current());
        request::describe(&span, &url, || template(path));
        let response = self.send(url, &token).await;
        let mut exchange =
            Exchange { code: None, duration: Duration::ZERO, date: None, rate_limit: None, rate_limit_remaining: None };
        let result = match response {
            Err(error) => Err(self.connection_error(&error)),
            Ok(response) => {
                self.has_answered.store(true, Ordering::Relaxed);
                let headers = response.headers();
                request::answered(&span, response.status().as_u16(), headers);
                exchange.code = Some(response.status().as_u16());
                exchange.date = header_text(headers, DATE.as_str()).and_then(http_date).map(DateHeader);
                exchange.rate_limit = limits::limit(&header_lines(headers, RATE_LIMIT_LIMIT));
                exchange.rate_limit_remaining = remaining(headers);
                read(response, exchange.date, &token, self.base_url.scheme())
                    .await
                    .inspect(|body| request::received(&span, body.len()))
                    .and_then(|body| parse(&body).map_err(ApiError::InvalidResponse))
            }
        };
        if let Err(error) = &result {
            request::failed(&span, error);
        }
        exchange.duration = started.elapsed();
        Answer { exchange, result }
    }

    /// An error before any answer: the URL may be wrong.
    fn connection_error(&self, error: &reqwest::Error) -> ApiError {
        let has_answered = self.has_answered.load(Ordering::Relaxed);
        let peer = if has_answered { Acquaintance::Known } else { Acquaintance::Stranger };
        match tls_mismatch::explain(error, self.base_url.scheme(), peer) {
            Some(reason) => ApiError::Connection(reason.to_owned()),
            None => connection_error(error),
        }
    }

    fn url(&self, path: &[&str], query: &[(&str, u32)]) -> Url {
        let mut url = self.base_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        for (name, value) in query {
            url.query_pairs_mut().append_pair(name, &value.to_string());
        }
        url
    }

    async fn send(&self, url: Url, token: &HeaderValue) -> Result<Response, reqwest::Error> {
        let http = self.http.read().unwrap_or_else(PoisonError::into_inner).clone();
        http.request(Method::GET, url)
            .header(AUTHORIZATION, token.clone())
            .header(reqwest::header::ACCEPT, "application/json")
            .send()
            .await
    }
}

/// The settings of the HTTP client, without certificates.
fn settings(options: &ClientOptions) -> reqwest::Result<ClientBuilder> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("talkover-exporter/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .timeout(options.request_timeout)
        .connect_timeout(CONNECT_TIMEOUT.min(options.request_timeout));
    match &options.proxy {
        Some(url) => Ok(builder.proxy(Proxy::all(url.clone())?)),
        None => Ok(builder),
    }
}

/// A path of the API without its ids, as one name for all requests of a kind.
fn template(path: &[&str]) -> String {
    let segments = path.iter().enumerate().map(|(place, segment)| match place {
        1 => "{owner_id}",
        3 => "{webhook_id}",
        _ => segment,
    });
    segments.fold("/api/v1".to_owned(), |path, segment| path + "/" + segment)
}

/// The segment of the API's paths that is common to all owners of a type.
const fn collection(owner_type: OwnerType) -> &'static str {
    match owner_type {
        OwnerType::Agent => "agents",
        OwnerType::Campaign => "campaigns",
    }
}

/// The header for a token; the configuration has checked that it is a valid header value.
fn bearer(token: &SecretString) -> HeaderValue {
    let text = format!("Bearer {}", token.expose_secret());
    let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
    value.set_sensitive(true);
    value
}

/// Returns the body of a good answer, or what a bad one means.
async fn read(
    response: Response,
    date: Option<DateHeader>,
    token: &HeaderValue,
    scheme: &str,
) -> Result<Vec<u8>, ApiError> {
    let status = response.status();
    if status == StatusCode::OK {
        return body(response, MAX_BODY_BYTES).await;
    }
    let answered_at = date.map_or_else(|| local_clock::now().timestamp(), |DateHeader(date)| date);
    let retry_after = retry_after(status, response.headers(), answered_at);
    // The message only helps people: if it cannot be read, nothing changes. A message that repeats the token must not
    // be logged.
    let body = body(response, MAX_ERROR_BYTES).await.ok().filter(|body| !repeats(body, token));
    if status == StatusCode::BAD_REQUEST
        && let Some(reason) = body.as_deref().and_then(|body| tls_mismatch::explain_bad_request(body, scheme))
    {
        return Err(ApiError::Connection(reason.to_owned()));
    }
    let message = body.and_then(|body| error_message(&body));
    Err(match status {
        StatusCode::UNAUTHORIZED => ApiError::Unauthorized { message },
        StatusCode::TOO_MANY_REQUESTS => ApiError::RateLimited { retry_after },
        _ => ApiError::Http { status: status.as_u16(), message, retry_after },
    })
}

fn repeats(body: &[u8], token: &HeaderValue) -> bool {
    let secret = token.as_bytes().strip_prefix(b"Bearer ").filter(|secret| !secret.is_empty());
    secret.is_some_and(|secret| body.windows(secret.len()).any(|window| window == secret))
}

async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut body = Body::new(response.headers());
    while let Some(chunk) = response.chunk().await.map_err(|error| connection_error(&error))? {
        // In small pieces: compressed, each of them may expand to a thousand times its size.
        for piece in chunk.chunks(PIECE_BYTES) {
            body.write(piece)?;
            check_size(body.read(), limit)?;
        }
    }
    // The decoder may have held back the last part.
    let body = body.finish()?;
    check_size(&body, limit)?;
    Ok(body)
}

fn check_size(body: &[u8], limit: usize) -> Result<(), ApiError> {
    if body.len() <= limit {
        return Ok(());
    }
    let key = digest(&body[..limit.min(DIGESTED_BYTES)]);
    Err(ApiError::TooLarge { limit_mib: limit / 1024 / 1024, key })
}

/// A body while it is received.
enum Body {
    Plain(Vec<u8>),
    Gzip(Box<GzDecoder<Vec<u8>>>),
}

impl Body {
    /// The HTTP library decodes `gzip` and removes the header, but only if it is written in exactly that way. Codings
    /// are case-insensitive, and `x-gzip` is another name for the same (RFC 9110, sections 8.4.1 and 8.4.1.3).
    fn new(headers: &HeaderMap) -> Self {
        let coding = header_text(headers, CONTENT_ENCODING.as_str()).unwrap_or_default();
        let is_gzip = ["gzip", "x-gzip"].iter().any(|name| coding.eq_ignore_ascii_case(name));
        if is_gzip { Self::Gzip(Box::new(GzDecoder::new(Vec::new()))) } else { Self::Plain(Vec::new()) }
    }

    /// Adds bytes as they were received.
    fn write(&mut self, piece: &[u8]) -> Result<(), ApiError> {
        match self {
            Self::Plain(body) => body.extend_from_slice(piece),
            Self::Gzip(decoder) => decoder.write_all(piece).map_err(undecodable)?,
        }
        Ok(())
    }

    /// What is decoded so far.
    fn read(&self) -> &[u8] {
        match self {
            Self::Plain(body) => body,
            Self::Gzip(decoder) => decoder.get_ref(),
        }
    }

    fn finish(self) -> Result<Vec<u8>, ApiError> {
        match self {
            Self::Plain(body) => Ok(body),
            Self::Gzip(decoder) => decoder.finish().map_err(undecodable),
        }
    }
}

fn undecodable(error: std::io::Error) -> ApiError {
    ApiError::InvalidResponse(format!("failed to decompress it: {error}"))
}

/// Returns the innermost cause, without the URL: that contains hosts and ids, and adds nothing to the target.
fn connection_error(error: &reqwest::Error) -> ApiError {
    if error.is_timeout() {
        return ApiError::Timeout;
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    ApiError::Connection(cause.to_string())
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// The lines of a header, as far as they are text.
fn header_lines<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect()
}

/// How long an answer asks clients to wait, by the server's own clock if it states the time. The end of a window only
/// matters if nothing of the limit is left.
fn retry_after(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let is_spent = status == StatusCode::TOO_MANY_REQUESTS || remaining(headers) == Some(0);
    let reset = if is_spent { header_lines(headers, RATE_LIMIT_RESET) } else { Vec::new() };
    limits::wait(&header_lines(headers, RETRY_AFTER.as_str()), &reset, now)
}

fn remaining(headers: &HeaderMap) -> Option<u64> {
    limits::remaining(&header_lines(headers, RATE_LIMIT_REMAINING))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_time_to_wait_comes_from_what_asks_for_it() {
        let (full, bad) = (StatusCode::TOO_MANY_REQUESTS, StatusCode::INTERNAL_SERVER_ERROR);
        let now = Timestamp::from_seconds(1_764_400_000);
        let reset = ("x-ratelimit-reset", "1764400010");
        for (status, pairs, expected) in [
            (full, &[("retry-after", "5.5")][..], Some(6)),
            (full, &[("retry-after", "3"), ("retry-after", "Sat, 29 Nov 2025 07:07:40 GMT")], Some(60)),
            (full, &[reset], Some(10)),
            (full, &[("retry-after", "3"), reset], Some(3)),
            (full, &[("retry-after", "soon"), reset], Some(10)),
            (full, &[reset, ("x-ratelimit-reset", "1764400020000")], Some(20)),
            (bad, &[("retry-after", "17"), reset], Some(17)),
            // It is in every answer of many servers.
            (bad, &[reset], None),
            (bad, &[reset, ("x-ratelimit-remaining", "1")], None),
            (bad, &[reset, ("x-ratelimit-remaining", "0")], Some(10)),
            (full, &[], None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(status, &headers(pairs), now), expected, "{status} {pairs:?}");
        }
    }

    #[test]
    fn an_answer_that_repeats_the_token_is_noticed() {
        let token = bearer(&SecretString::from("talq_secret"));
        assert!(repeats(br#"{"message": "The key talq_secret is unknown"}"#, &token));
        assert!(!repeats(br#"{"message": "The key talq_other is unknown"}"#, &token));
        assert!(!repeats(b"", &token) && !repeats(b"Bearer", &HeaderValue::from_static("Bearer")));
    }

    fn options(base_url: &str) -> ClientOptions {
        ClientOptions {
            base_url: base_url.parse().unwrap(),
            request_timeout: Duration::from_secs(60),
            ca_file: None,
            proxy: None,
        }
    }

    /// Waits for the head of a request.
    async fn receive(listener: &TcpListener) -> TcpStream {
        let (mut stream, _peer) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut head).await.unwrap() > 0, "the request was given up");
        }
        stream
    }

    #[tokio::test]
    async fn a_request_under_way_ends_as_it_was_begun_and_the_next_one_connects_anew() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = options(&format!("http://{}/", listener.local_addr().unwrap()));
        let client = Arc::new(Client::new(&options, &SecretString::from("talq_secret")).unwrap());
        let asker = Arc::clone(&client);
        let asked = tokio::spawn(async move { asker.owners(OwnerType::Agent, 1, 100).await.exchange.code });
        let mut first = receive(&listener).await;
        client.reconnect(Connector::new(&options).unwrap());
        let asked_again = tokio::spawn(async move { client.owners(OwnerType::Agent, 1, 100).await.exchange.code });
        let mut second = receive(&listener).await;
        for stream in [&mut first, &mut second] {
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
        assert_eq!((asked.await.unwrap(), asked_again.await.unwrap()), (Some(204), Some(204)));
    }

    /// What the client makes of an answer with this head and body.
    async fn asked(head: &str, body: &[u8]) -> Result<usize, ApiError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = options(&format!("http://{}/", listener.local_addr().unwrap()));
        let client = Client::new(&options, &SecretString::from("talq_secret")).unwrap();
        let asked = tokio::spawn(async move { client.owners(OwnerType::Agent, 1, 100).await.result });
        let mut stream = receive(&listener).await;
        let head = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        asked.await.unwrap().map(|page| page.entries.len())
    }

    fn gzipped(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn a_compressed_answer_is_read_whatever_the_coding_is_called() {
        let body = br#"{"data": [{"id": "a"}, {"id": "b"}]}"#;
        for name in ["gzip", "GZIP", "Gzip", "x-gzip", "X-GZip", " gzip "] {
            let head = format!("Content-Encoding: {name}\r\n");
            assert_eq!(asked(&head, &gzipped(body)).await, Ok(2), "{name:?}");
        }
        assert_eq!(asked("Content-Encoding: identity\r\n", body).await, Ok(2));
        let broken = asked("Content-Encoding: x-gzip\r\n", body).await.unwrap_err().to_string();
        assert!(broken.starts_with("the answer cannot be used: failed to decompress it"), "{broken}");
        let cut = gzipped(body);
        assert!(matches!(
            asked("Content-Encoding: x-gzip\r\n", &cut[..cut.len() - 9]).await,
            Err(ApiError::InvalidResponse(_))
        ));
    }

    #[tokio::test]
    async fn what_is_too_large_once_it_is_decompressed_is_not_read_to_its_end() {
        let bomb = gzipped(&vec![b' '; MAX_BODY_BYTES + 1]);
        for name in ["gzip", "x-gzip"] {
            let head = format!("Content-Encoding: {name}\r\n");
            assert!(matches!(asked(&head, &bomb).await, Err(ApiError::TooLarge { .. })), "{name}");
        }
    }

    #[test]
    fn the_token_is_not_in_the_debug_output() {
        let client = Client::new(&options("http://127.0.0.1:1/"), &SecretString::from("talq_secret")).unwrap();
        assert!(!format!("{client:?}").contains("talq_secret"));
    }

    /// What a request to a port of its own comes to, which answers each connection with `bytes`.
    async fn error_of(scheme: &str, bytes: &'static [u8]) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = ClientOptions {
            base_url: format!("{scheme}://{}/", listener.local_addr().unwrap()).parse().unwrap(),
            request_timeout: Duration::from_secs(30),
            ca_file: None,
            proxy: None,
        };
        let client = Client::new(&options, &SecretString::from("talq_secret")).unwrap();
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(bytes).await.unwrap();
        };
        let (answer, ()) = tokio::join!(client.owners(OwnerType::Agent, 1, 1), answering);
        answer.result.expect_err("no answer").to_string()
    }

    #[tokio::test]
    async fn a_scheme_that_does_not_fit_the_port_is_named() {
        let plain = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        let expected = "the URL begins with https://, but the port does not speak TLS (plain HTTP?)";
        assert_eq!(error_of("https", plain).await, format!("the connection failed: {expected}"));
        // The alert with which rustls and others answer what is no handshake.
        let expected = "the URL begins with http://, but the port seems to speak TLS";
        assert_eq!(error_of("http", &[21, 3, 3, 0, 2, 2, 50]).await, format!("the connection failed: {expected}"));
        let go = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
        assert!(error_of("http", go).await.ends_with("the URL begins with http://, but the port speaks TLS"));
        assert!(error_of("http", b"").await.ends_with("if the port speaks TLS, the URL must begin with https://"));
        assert!(!error_of("http", plain).await.contains("TLS"), "an answer of its own");
    }
}
