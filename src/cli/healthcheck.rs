//! `healthcheck`: asks a running daemon whether it is alive or ready, for containers that have no curl.
//!
//! It follows no redirect, uses no proxy and sends nothing secret. Like Kubernetes' probes it does not verify
//! certificates: inside a container the daemon's address is not in any certificate.

use super::{Failure, HealthcheckArgs, print};
use reqwest::{Client, StatusCode, Url};
use std::time::Duration;

/// How long the daemon may take. Docker and Kubernetes allow a probe a few seconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest reason that is shown. The daemon's reasons are one line; a longer one comes from another program.
const MAX_REASON: usize = 200;

pub(super) fn run(args: &HealthcheckArgs) -> Result<(), Failure> {
    let url = probe_url(&args.url, args.ready).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::running)?;
    runtime.block_on(ask(url)).map_err(Failure::running)?;
    print(if args.ready { "ready\n" } else { "alive\n" })
}

/// Returns the URL of the probe below a base URL, which may already end with `/-/healthy` or `/-/ready`.
fn probe_url(base: &str, ready: bool) -> Result<Url, String> {
    if !["http://", "https://"].iter().any(|scheme| base.starts_with(scheme)) {
        return Err("--url must start with http:// or https://".to_owned());
    }
    let mut url = Url::parse(base).map_err(|error| format!("--url is not a URL: {error}"))?;
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/-/healthy").or(path.strip_suffix("/-/ready")).unwrap_or(path);
    let path = format!("{path}/-/{}", if ready { "ready" } else { "healthy" });
    url.set_path(&path);
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

async fn ask(url: Url) -> Result<(), String> {
    let shown = without_password(&url);
    let client = Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .map_err(|error| format!("failed to set up the request: {}", causes(&error)))?;
    let answer = client.get(url).send().await;
    let answer = answer.map_err(|error| format!("failed to reach {shown}: {}", causes(&error.without_url())))?;
    if answer.status() == StatusCode::OK {
        return Ok(());
    }
    let status = answer.status();
    Err(format!("{shown} answered {status}{}", reason(answer).await))
}

/// Returns the first line of the response, in which the daemon says why it is not ready.
async fn reason(mut answer: reqwest::Response) -> String {
    let Ok(Some(chunk)) = answer.chunk().await else {
        return String::new();
    };
    let text = String::from_utf8_lossy(&chunk);
    let line: String = text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    let line: String = line.trim().chars().take(MAX_REASON).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

fn without_password(url: &Url) -> Url {
    let mut shown = url.clone();
    // Both fail only for URLs that cannot have a user.
    let _ = shown.set_password(None);
    let _ = shown.set_username("");
    shown
}

/// Returns the error with all its causes: the outer error alone says only that a request failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn the_address_is_found_below_any_base() {
        for (base, alive) in [
            ("http://127.0.0.1:9877", "http://127.0.0.1:9877/-/healthy"),
            ("http://127.0.0.1:9877/", "http://127.0.0.1:9877/-/healthy"),
            ("https://x/prefix/?q#f", "https://x/prefix/-/healthy"),
            ("http://x/-/ready", "http://x/-/healthy"),
            ("http://x/p/-/healthy/", "http://x/p/-/healthy"),
        ] {
            assert_eq!(probe_url(base, false).map(String::from), Ok(alive.to_owned()), "{base}");
            assert_eq!(probe_url(base, true).map(String::from), Ok(alive.replace("healthy", "ready")), "{base}");
        }
        for base in ["127.0.0.1:9877", "localhost:9877", "ftp://x"] {
            assert_eq!(probe_url(base, false), Err("--url must start with http:// or https://".to_owned()), "{base}");
        }
    }

    /// Answers one request, and gives its first line.
    fn answering(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://user:secret@{}", listener.local_addr().expect("an address"));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).expect("a request");
            stream.write_all(answer.as_bytes()).expect("sent");
            String::from_utf8_lossy(&request[..read]).lines().next().unwrap_or_default().to_owned()
        });
        (url, server)
    }

    fn check(url: String, ready: bool) -> Result<(), Failure> {
        run(&HealthcheckArgs { url, ready })
    }

    #[test]
    fn only_200_is_well() {
        let (url, server) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        check(url, true).expect("ready");
        assert_eq!(server.join().expect("served"), "GET /-/ready HTTP/1.1");
        for answer in [
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 27\r\n\r\nwalking 2 targets\nsecond line",
        ] {
            let (url, server) = answering(answer);
            let failure = check(url, false).expect_err("not well");
            assert_eq!(server.join().expect("served"), "GET /-/healthy HTTP/1.1");
            assert_eq!(failure.code(), 1);
            assert!(!failure.messages()[0].contains("secret"), "{failure:?}");
            assert_eq!(
                failure.messages()[0].contains(": walking 2 targets"),
                answer.contains("walking"),
                "{failure:?}"
            );
            assert!(!failure.messages()[0].contains("second"), "{failure:?}");
        }
    }

    #[test]
    fn nobody_there_is_a_failure_with_one_line() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        let failure = check(url, false).expect_err("nobody there");
        assert_eq!(failure.code(), 1);
        assert!(failure.messages()[0].contains("refused"), "{failure:?}");
    }
}
