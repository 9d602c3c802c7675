//! The HTTP side over real sockets: every path, the web file, and stopping.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus::{IntCounter, Registry};
use reqwest::{Certificate, Client, Identity, Response, StatusCode, header};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::web_config::WebConfig;
use super::{
    MetricsPath, Readiness, Renderer, ServeError, Sources, StatusOrigin, StatusSource, health, listen, router, serve,
};
use crate::reload::{self, Reloader};
use crate::server_clock::ServerClocks;
use crate::shutdown::{Trigger, channel};
use crate::sinks::metrics::board::{Board, TargetView};
use crate::sinks::metrics::exposure::Exposure;
use crate::sinks::metrics::pushes::PushStatus;
use crate::sinks::metrics::scrape::{LastScrape, Scraper};
use crate::store::durable::DurableLedger;
use crate::store::handle::StoreHandle;
use crate::store::problems::StateProblems;
use crate::store::sqlite::SqliteStore;
use crate::watchdog::Watchdog;
use talkover_core::delivery::{OwnerType, Target, Timestamp};
use talkover_core::server_time::LocalTime;

/// Longer than any answer here takes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A server on a port of its own, stopped when dropped.
struct Served {
    address: SocketAddr,
    readiness: Readiness,
    trigger: Trigger,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Served {
    fn start(web: Option<WebConfig>) -> Self {
        Self::start_with(web, 40, None)
    }

    fn start_with(web: Option<WebConfig>, max_requests: u32, reloader: Option<Reloader>) -> Self {
        let watchdog = Watchdog::default();
        let metrics = Renderer::start(scraper(), &watchdog);
        let readiness = Readiness::default();
        let listener = listen::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (trigger, shutdown) = channel();
        let metrics_path = MetricsPath::from("/metrics");
        let origin = StatusOrigin {
            board: board(),
            readiness: readiness.clone(),
            clocks: ServerClocks::default(),
            state: StateProblems::default(),
            metrics_path: metrics_path.clone(),
        };
        let sources = Sources {
            metrics,
            metrics_path,
            status: StatusSource::start(origin),
            readiness: readiness.clone(),
            watchdog: watchdog.clone(),
            reloader,
        };
        let serving = tokio::spawn(serve(listener, router(sources, max_requests), web, WRITE_TIMEOUT, shutdown));
        Self { address, readiness, trigger, serving }
    }

    async fn get(&self, path: &str) -> Response {
        plain().get(format!("http://{}{path}", self.address)).send().await.unwrap()
    }

    async fn log_in(&self, user: &str, password: &str) -> StatusCode {
        let url = format!("http://{}/metrics", self.address);
        plain().get(url).basic_auth(user, Some(password)).send().await.unwrap().status()
    }

    /// The status of `/-/healthy` over TLS, or `None` where no connection comes about.
    async fn healthy_over(&self, client: &Client) -> Option<Response> {
        client.get(format!("https://{}/-/healthy", self.address)).send().await.ok()
    }
}

/// What scrapes are made of: a board, and one counter.
fn scraper() -> Scraper {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = StoreHandle::new(SqliteStore::open(&path, LocalTime::new(Timestamp::default())).unwrap());
    let (registry, counter) = (Registry::new(), IntCounter::new("test_total", "A counter with a help text.").unwrap());
    counter.inc_by(7);
    registry.register(Box::new(counter)).unwrap();
    Scraper {
        board: board(),
        store: store.info().clone(),
        registry,
        pushes: PushStatus::default(),
        last_scrape: LastScrape::default(),
    }
}

/// A board with a webhook that fails, and one with an odd name that is not read yet.
fn board() -> Board {
    let board = Board::default();
    board.add_environment("production".into(), 30);
    for (webhook_id, webhook_name) in [("w-1", "orders"), ("w-2", "<b>odd</b>")] {
        let target = Target {
            environment: "production".into(),
            webhook_id: webhook_id.into(),
            owner_type: OwnerType::Agent,
            owner_id: "a-1".into(),
            webhook_name: webhook_name.into(),
        };
        let last_success = Some(Timestamp::from_seconds(1_700_000_000));
        board.add_target(TargetView::new(
            target,
            &DurableLedger::default(),
            Exposure::default(),
            last_success,
            Duration::from_secs(15),
        ));
    }
    let failing = board.read(|views| views.listed().next().unwrap().target.clone());
    let since = Timestamp::from_seconds(1_700_000_015);
    board.update(&failing, |view, _| view.fail("the API answered 502: \"<b>Bad\"", since));
    board
}

fn plain() -> Client {
    Client::builder().no_proxy().no_gzip().build().unwrap()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// A client that trusts `root` alone, with a certificate of its own where `is_known`.
fn secure(root: &str, is_known: bool) -> Client {
    let root = Certificate::from_pem(&fs::read(fixture(root)).unwrap()).unwrap();
    let builder = Client::builder().no_proxy().tls_certs_only([root]);
    if !is_known {
        return builder.build().unwrap();
    }
    let mut pem = fs::read(fixture("client.key")).unwrap();
    pem.extend(fs::read(fixture("client.crt")).unwrap());
    builder.identity(Identity::from_pem(&pem).unwrap()).build().unwrap()
}

/// A directory with a web file, and the certificates as `server.crt` and `server.key`.
pub(super) struct Files(TempDir);

impl Files {
    pub(super) fn new(web: &str) -> Self {
        let files = Self(TempDir::new().unwrap());
        files.certificate("server");
        fs::copy(fixture("ca.crt"), files.0.path().join("ca.crt")).unwrap();
        files.write(web);
        files
    }

    pub(super) fn web(&self) -> PathBuf {
        self.0.path().join("web.yml")
    }

    fn write(&self, web: &str) {
        fs::write(self.web(), web).unwrap();
    }

    fn certificate(&self, name: &str) {
        for kind in ["crt", "key"] {
            let target = self.0.path().join(format!("server.{kind}"));
            // A new inode, as with most tools: same size and same second must not hide the change.
            let _absent = fs::remove_file(&target);
            fs::copy(fixture(&format!("{name}.{kind}")), target).unwrap();
        }
    }

    /// Read, and looked at again with each request.
    pub(super) fn load(&self) -> WebConfig {
        let web = WebConfig::load(&self.web()).unwrap();
        WebConfig { check_every: Duration::ZERO, ..web }
    }

    pub(super) fn refusals(web: &str) -> Vec<String> {
        let files = Self::new(web);
        let file = files.web().display().to_string();
        let reasons = WebConfig::load(&files.web()).unwrap_err();
        let without_place = |reason: &String| {
            let rest = reason.strip_prefix(&file).expect("the file's name");
            // The line, where there is one.
            rest.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit()).trim_start().to_owned()
        };
        reasons.iter().map(without_place).collect()
    }
}

fn users(users: &[(&str, &str)]) -> String {
    let lines = users.iter().map(|(user, password)| format!("  {user}: {}\n", bcrypt::hash(password, 4).unwrap()));
    format!("basic_auth_users:\n{}", lines.collect::<String>())
}

pub(super) const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

#[tokio::test]
async fn metrics_are_served_in_the_format_that_is_asked_for() {
    let served = Served::start(None);
    let url = format!("http://{}/metrics", served.address);
    for (accept, content_type, part, end) in [
        (
            "*/*",
            "text/plain; version=0.0.4; charset=utf-8",
            "\n# HELP test_total A counter with a help text.\n# TYPE test_total counter\ntest_total 7\n",
            "\ntest_total 7\n",
        ),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "\n# HELP test A counter with a help text.\n# TYPE test counter\ntest_total 7\n",
            "\ntest_total 7\n# EOF\n",
        ),
    ] {
        let response = plain().get(&url).header(header::ACCEPT, accept).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], content_type);
        assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
        assert!(response.headers().get_all(header::VARY).iter().any(|vary| vary == "accept, accept-encoding"));
        let length: usize = response.headers()[header::CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
        let text = response.text().await.unwrap();
        assert!(text.contains(part) && text.ends_with(end), "{text}");
        assert_eq!(text.len(), length);
    }
}

#[tokio::test]
async fn answers_are_compressed_where_gzip_is_accepted() {
    let served = Served::start(None);
    let url = format!("http://{}/metrics", served.address);
    let response = plain().get(&url).header(header::ACCEPT_ENCODING, "gzip").send().await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
    assert!(response.bytes().await.unwrap().starts_with(&[0x1f, 0x8b]));
    let decoded = Client::builder().no_proxy().build().unwrap().get(&url).send().await.unwrap();
    assert!(decoded.text().await.unwrap().ends_with("test_total 7\n"));
}

#[tokio::test]
async fn every_answer_says_that_its_type_is_not_to_be_guessed() {
    let served = Served::start(None);
    let url = |path: &str| format!("http://{}{path}", served.address);
    for path in ["/metrics", "/", "/-/healthy", "/-/ready", "/api/v1/status", "/dashboards", "/rules/slo.yml", "/none"]
    {
        let answer = served.get(path).await;
        assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
    }
    let answer = plain().delete(url("/metrics")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let answer = plain().post(url("/-/reload")).body("x".repeat(20_000)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");

    let served = Served::start(Some(Files::new(&users(&[("a", "b")])).load()));
    let answer = served.get("/metrics").await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
}

#[tokio::test]
async fn requests_beyond_max_requests_are_told_to_come_back_and_probes_are_answered() {
    let (reloader, mut reloads) = reload::channel();
    let served = Served::start_with(None, 1, Some(reloader));
    let url = format!("http://{}/-/reload", served.address);
    let at_work = tokio::spawn(async move { plain().post(url).send().await.unwrap() });
    let request = reloads.recv().await.unwrap();
    let refused = served.get("/metrics").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    assert_eq!(refused.text().await.unwrap(), "busy: server.max_requests requests are at work\n");
    assert_eq!(served.get("/-/healthy").await.status(), StatusCode::OK);
    request.answer(Ok(()));
    assert_eq!(at_work.await.unwrap().status(), StatusCode::OK);
    assert_eq!(served.get("/metrics").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_web_file_limits_the_rate_of_requests() {
    let served = Served::start(Some(Files::new("rate_limit: {interval: 1h, burst: 2}\n").load()));
    assert_eq!(served.get("/metrics").await.status(), StatusCode::OK);
    assert_eq!(served.get("/-/healthy").await.status(), StatusCode::OK);
    let refused = served.get("/metrics").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = refused.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((3000..=3600).contains(&wait), "{wait}");
    let served = Served::start(Some(Files::new("rate_limit: {interval: 0s, burst: 0}\n").load()));
    assert_eq!(served.get("/metrics").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn readiness_is_a_latch_and_health_does_not_depend_on_it() {
    let served = Served::start(None);
    let response = served.get("/-/ready").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.text().await.unwrap(), "not ready: starting\n");
    served.readiness.set_waiting("1 of 2 webhooks not read yet".to_owned());
    assert_eq!(served.get("/-/ready").await.text().await.unwrap(), "not ready: 1 of 2 webhooks not read yet\n");
    assert_eq!(served.get("/-/healthy").await.status(), StatusCode::OK);
    served.readiness.set_ready();
    let response = served.get("/-/ready").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/plain"));
    assert_eq!(health::Readiness::waiting("here").check(), Err("here".to_owned()));
}

#[tokio::test]
async fn other_paths_and_methods_are_refused_in_words() {
    let served = Served::start(None);
    let response = served.get("/nowhere").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.text().await.unwrap(), "nothing at /nowhere\n");
    let url = format!("http://{}/metrics", served.address);
    let response = plain().post(&url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
    let response = plain().post(&url).body(vec![b'x'; 17 * 1024]).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let response = plain().head(&url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.bytes().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = listen::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = taken.local_addr().unwrap();
    let error = listen::bind(address).unwrap_err();
    assert_eq!(error.to_string(), format!("failed to listen on {address}: address already in use"));
}

#[tokio::test]
async fn an_open_connection_does_not_hold_up_the_end() {
    let served = Served::start(None);
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    idle.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 512];
    assert!(idle.read(&mut answer).await.unwrap() > 0);
    // One that never finishes its request, and one that never says anything.
    let mut half = TcpStream::connect(served.address).await.unwrap();
    half.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await.unwrap();
    let _silent = TcpStream::connect(served.address).await.unwrap();
    served.trigger.shut_down();
    // It takes 2 s; the whole program has 5.
    timeout(Duration::from_secs(5), served.serving).await.expect("within 5 s").unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err(), "still listening");
}

#[tokio::test]
async fn only_known_users_with_their_password_pass() {
    let files = Files::new(&users(&[("Prometheus", "right"), ("other", "word")]));
    let served = Served::start(Some(files.load()));
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/nowhere"] {
        let response = served.get(path).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(response.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic"));
    }
    assert_eq!(served.log_in("Prometheus", "right").await, StatusCode::OK);
    assert_eq!(served.log_in("Prometheus", "right").await, StatusCode::OK, "remembered");
    assert_eq!(served.log_in("Prometheus", "wrong").await, StatusCode::UNAUTHORIZED);
    assert_eq!(served.log_in("Prometheus", "word").await, StatusCode::UNAUTHORIZED, "another user's");
    assert_eq!(served.log_in("prometheus", "right").await, StatusCode::UNAUTHORIZED, "names have a case");
    // The password of the user whose hash stands in for those who do not exist.
    for password in ["right", "word", ""] {
        assert_eq!(served.log_in("nobody", password).await, StatusCode::UNAUTHORIZED);
    }
    let url = format!("http://{}/metrics", served.address);
    for broken in ["Basic", "Basic !!!", "Basic bm9jb2xvbg==", "Bearer right"] {
        let response = plain().get(&url).header(header::AUTHORIZATION, broken).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{broken}");
    }
}

#[tokio::test]
async fn a_changed_file_applies_and_a_bad_one_does_not() {
    let files = Files::new(&users(&[("a", "old")]));
    let served = Served::start(Some(files.load()));
    assert_eq!(served.log_in("a", "old").await, StatusCode::OK);
    files.write(&users(&[("a", "new"), ("b", "b")]));
    assert_eq!(served.log_in("a", "old").await, StatusCode::UNAUTHORIZED, "remembered beyond its hash");
    assert_eq!(served.log_in("a", "new").await, StatusCode::OK);
    for bad in ["basic_auth_users: {a: plain-text}", "surprise: 1", "{", TLS] {
        files.write(bad);
        assert_eq!(served.get("/metrics").await.status(), StatusCode::UNAUTHORIZED, "{bad}");
        assert_eq!(served.log_in("b", "b").await, StatusCode::OK, "{bad}");
    }
    fs::remove_file(files.web()).unwrap();
    assert_eq!(served.log_in("b", "b").await, StatusCode::OK);
    files.write("http_server_config: {headers: {X-Frame-Options: deny}}");
    let response = served.get("/nowhere").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()[header::X_FRAME_OPTIONS], "deny");
}

#[tokio::test]
async fn files_are_not_looked_at_more_than_once_a_second() {
    let files = Files::new(&users(&[("a", "old")]));
    let web = WebConfig { check_every: Duration::from_secs(3600), ..files.load() };
    assert_eq!(WebConfig::load(&files.web()).unwrap().check_every, Duration::from_secs(1));
    let served = Served::start(Some(web));
    files.write(&users(&[("a", "new and longer")]));
    assert_eq!(served.log_in("a", "old").await, StatusCode::OK);
}

#[tokio::test]
async fn tls_serves_the_certificate_and_its_successor() {
    let files = Files::new(TLS);
    let served = Served::start(Some(files.load()));
    assert!(files.load().is_tls());
    let response = served.healthy_over(&secure("ca.crt", false)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    assert!(served.healthy_over(&secure("client.crt", false)).await.is_none(), "not what it trusts");
    assert!(plain().get(format!("http://{}/", served.address)).send().await.is_err(), "without TLS");

    let first = peer_certificate(served.address).await;
    files.certificate("renewed");
    let second = peer_certificate(served.address).await;
    assert_ne!(first, second);
    fs::write(files.0.path().join("server.key"), "no key").unwrap();
    assert_eq!(peer_certificate(served.address).await, second, "the last good one stays");
}

/// The certificate that a client which only records it is given.
async fn peer_certificate(address: SocketAddr) -> Vec<u8> {
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only([Certificate::from_pem(&fs::read(fixture("ca.crt")).unwrap()).unwrap()])
        .tls_info(true)
        .build()
        .unwrap();
    let response = client.get(format!("https://{address}/-/healthy")).send().await.unwrap();
    response.extensions().get::<reqwest::tls::TlsInfo>().unwrap().peer_certificate().unwrap().to_vec()
}

#[tokio::test]
async fn without_http2_tls_speaks_http_1() {
    let files = Files::new(&format!("{TLS}  min_version: TLS13\nhttp_server_config: {{http2: false}}\n"));
    let served = Served::start(Some(files.load()));
    let response = served.healthy_over(&secure("ca.crt", false)).await.unwrap();
    assert_eq!(response.version(), reqwest::Version::HTTP_11);
}

#[tokio::test]
async fn clients_need_a_certificate_where_the_file_says_so() {
    let required = format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n");
    let served = Served::start(Some(Files::new(&required).load()));
    assert!(served.healthy_over(&secure("ca.crt", false)).await.is_none());
    assert_eq!(served.healthy_over(&secure("ca.crt", true)).await.unwrap().status(), StatusCode::OK);
    let optional = format!("{TLS}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n");
    let served = Served::start(Some(Files::new(&optional).load()));
    for is_known in [false, true] {
        assert!(served.healthy_over(&secure("ca.crt", is_known)).await.is_some(), "{is_known}");
    }
}

#[tokio::test]
async fn clients_need_one_of_the_names_that_the_file_allows() {
    let named = |certificate: &str| {
        let root = Certificate::from_pem(&fs::read(fixture("ca.crt")).unwrap()).unwrap();
        let mut pem = fs::read(fixture(&format!("{certificate}.key"))).unwrap();
        pem.extend(fs::read(fixture(&format!("{certificate}.crt"))).unwrap());
        let builder = Client::builder().no_proxy().tls_certs_only([root]);
        builder.identity(Identity::from_pem(&pem).unwrap()).build().unwrap()
    };
    let allow = |authority: &str, names: &str| {
        let ca = fixture(authority).display().to_string();
        let section = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ";
        Served::start(Some(Files::new(&format!("{TLS}{section}{ca}\n  client_allowed_sans: {names}\n")).load()))
    };
    for (names, is_allowed) in [
        ("[scraper.example]", true),
        ("[ops@example.com]", true),
        ("['spiffe://example/scraper']", true),
        ("[192.0.2.7]", true),
        ("['2001:db8::7']", true),
        ("[other.example, scraper.example]", true),
        ("[]", true),
        ("[other.example]", false),
        ("[example]", false),
        ("[named client]", false),
    ] {
        let answer = allow("named-ca.crt", names).healthy_over(&named("named")).await;
        assert_eq!(answer.is_some(), is_allowed, "{names}");
    }
    // Its certificate is good, and has no such name.
    assert!(allow("ca.crt", "[scraper.example]").healthy_over(&named("client")).await.is_none());
}

#[tokio::test]
async fn the_bundled_files_are_served_as_they_are() {
    let served = Served::start(None);
    for (directory, ending, content_type) in
        [("dashboards", ".json", "application/json"), ("rules", ".yml", "application/yaml")]
    {
        let without_slash = served.get(&format!("/{directory}")).await;
        assert_eq!(without_slash.url().path(), format!("/{directory}/"));
        let list = served.get(&format!("/{directory}/")).await;
        assert!(list.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        let list = list.text().await.unwrap();
        let inside = if directory == "rules" { "rules/" } else { "" };
        for file in crate::bundle::files() {
            let name = file.path.strip_prefix(inside).filter(|name| name.ends_with(ending) && !name.contains('/'));
            let Some(name) = name else { continue };
            assert!(list.contains(&format!("<a href=\"{name}\">")), "{name} in {list}");
            let response = served.get(&format!("/{directory}/{name}")).await;
            assert_eq!(response.headers()[header::CONTENT_TYPE], content_type, "{name}");
            assert_eq!(response.bytes().await.unwrap(), &*file.content, "{name}");
        }
    }
    for path in ["/dashboards/overview", "/dashboards/rules%2Fslo.yml", "/rules/..%2Foverview.json", "/rules/none.yml"]
    {
        assert_eq!(served.get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(served.get("/dashboards/overview.json").await.status(), StatusCode::OK);
}
