//! Several environments in one daemon: each has its own token, authority, proxy and budget, and one that is down or not
//! let in disturbs no other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use talkover_simulator::{Clock, EntrySpec, Scenario, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::budget::assert_paced;
use crate::faults::front::{Front, fixture};
use crate::harness::{Exporter, Scrape, Workspace, quiet_scenario, simulator, wait_for};

const FAST: &str = "poll: {min_interval: 100ms, max_interval: 500ms}\nmetrics: {birth_hold: 0s}\n";

/// A proxy that passes plain requests on and opens tunnels for the others; it is gone with all its connections when it
/// is dropped.
struct Proxy {
    url: String,
    /// The first lines of what was asked of it.
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&asked);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass_on(client, Arc::clone(&lines)));
            }
        });
        Self { url, asked, _tasks: tasks }
    }

    fn was_asked(&self, beginning: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|line| line.starts_with(beginning))
    }
}

/// Serves one connection. Its further requests go the way of the first one: all are for one server.
async fn pass_on(mut client: TcpStream, lines: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    let text = String::from_utf8(head).unwrap();
    let line = text.lines().next().unwrap().to_owned();
    let target = line.split(' ').nth(1).unwrap();
    let host = target.strip_prefix("http://").map_or(target, |rest| rest.split('/').next().unwrap());
    let mut server = TcpStream::connect(host).await.unwrap();
    let is_tunnel = line.starts_with("CONNECT ");
    lines.lock().unwrap().push(line);
    if is_tunnel {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    } else {
        server.write_all(text.as_bytes()).await.unwrap();
    }
    // Ends when either side does; how is of no interest.
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

async fn api(token: &str) -> Simulator {
    let simulator = simulator(Scenario { tokens: vec![token.to_owned()], ..quiet_scenario() }, Clock::Real).await;
    let now = simulator.truth().now;
    simulator.with_world(|world| world.insert("w-1", EntrySpec { created_at: now, ..EntrySpec::default() })).unwrap();
    simulator
}

/// A configuration with these environments: name, token, further settings as YAML lines.
fn configure(workspace: &Workspace, environments: &[(&str, &str, String)], more: &str) -> std::path::PathBuf {
    let state = workspace.path("state.db");
    let mut text = format!("server: {{listen: 127.0.0.1:0}}\nstate: {{path: {state:?}}}\n{more}environments:\n");
    for (name, token, settings) in environments {
        let token = workspace.write(&format!("{name}.token"), token);
        writeln!(text, "  - name: {name}\n    token_file: {token:?}\n    requests_per_minute: 6000\n    {settings}")
            .unwrap();
        text.push_str("    webhooks: [{agent_id: a-1, webhook_id: w-1}]\n");
    }
    workspace.write("config.yml", &text)
}

fn up(scrape: &Scrape) -> BTreeMap<String, f64> {
    let name = |series: &str| series.split('"').nth(1).unwrap().to_owned();
    scrape.of("talkover_up").map(|(series, value)| (name(series), value)).collect()
}

#[tokio::test]
async fn each_has_its_own_way_to_the_api_and_none_disturbs_another() {
    let (plain, proxied, tunnelled, closed) =
        (api("talq_1").await, api("talq_2").await, api("talq_3").await, api("talq_4").await);
    let (proxy, front) = (Proxy::start().await, Front::start(tunnelled.base_url()));
    let workspace = Workspace::new();
    let authority = fixture("ca.crt");
    let config = configure(
        &workspace,
        &[
            ("plain", "talq_1", format!("base_url: {}", plain.base_url())),
            ("proxied", "talq_2", format!("base_url: {}\n    proxy: {}", proxied.base_url(), proxy.url)),
            (
                "tunnelled",
                "talq_3",
                format!("base_url: {}\n    proxy: {}\n    ca_file: {authority:?}", front.url, proxy.url),
            ),
            ("untrusting", "talq_3", format!("base_url: {}", front.url)),
            ("closed", "talq_1", format!("base_url: {}", closed.base_url())),
            ("down", "talq_1", "base_url: http://127.0.0.1:1".to_owned()),
        ],
        FAST,
    );
    let exporter = Exporter::start(&config).await;
    let state = |good: &[&str]| -> BTreeMap<String, f64> {
        let names = ["closed", "down", "plain", "proxied", "tunnelled", "untrusting"];
        names.iter().map(|name| ((*name).to_owned(), f64::from(u8::from(good.contains(name))))).collect()
    };
    let working = state(&["plain", "proxied", "tunnelled"]);
    let scrape = exporter.wait_for("three of six", |scrape| up(scrape) == working).await;
    assert_eq!(scrape.attempts().len(), 3, "{}", scrape.text);
    for (environment, result) in [("closed", "unauthorized"), ("down", "connection"), ("untrusting", "connection")] {
        let labels = [&*format!("environment=\"{environment}\""), &*format!("result=\"{result}\"")];
        assert!(scrape.sum("talkover_exporter_polls_total", &labels) > 0.0, "{environment}: {}", scrape.text);
    }
    let requested = proxied.base_url();
    assert!(proxy.was_asked(&format!("GET {requested}/api/v1/agents/a-1/webhooks/w-1/logs")), "{:?}", proxy.asked);
    assert!(proxy.was_asked(&front.url.replace("https://", "CONNECT ")), "{:?}", proxy.asked);
    assert!(!proxy.was_asked(&format!("GET {}", plain.base_url())), "{:?}", proxy.asked);

    // Nothing of the other two goes past their proxy.
    drop(proxy);
    let alone = state(&["plain"]);
    exporter.wait_for("one of six", |scrape| up(scrape) == alone).await;
    let before = plain.requests().len();
    wait_for("further polls", || async { (plain.requests().len() > before + 2).then_some(()) }).await;
    for environment in ["closed", "down", "untrusting"] {
        let about = format!(" environment={environment}");
        let told =
            |lines: &[String]| lines.iter().filter(|line| line.contains(" WARN ") && line.ends_with(&about)).count();
        exporter.wait_for_log("the outage", |lines| told(lines) > 0).await;
        assert_eq!(told(&exporter.log()), 1, "{environment}: {:#?}", exporter.log());
    }
    assert!(!exporter.log().iter().any(|line| line.contains("talq_")));
}

#[tokio::test]
async fn those_that_share_a_plan_share_a_budget_over_a_kill() {
    let apis = [api("talq_1").await, api("talq_2").await, api("talq_3").await];
    let workspace = Workspace::new();
    let settings = |index: usize| format!("base_url: {}", apis[index].base_url());
    let config = configure(
        &workspace,
        &[("a", "talq_1", settings(0)), ("b", "talq_2", settings(1)), ("c", "talq_3", settings(2))],
        &format!("{FAST}requests_per_minute: 6\n"),
    );
    let requests = || {
        let mut all: Vec<_> = apis.iter().flat_map(Simulator::requests).collect();
        all.sort_by_key(|request| request.at);
        all
    };
    let exporter = Exporter::start(&config).await;
    wait_for("a burst", || async { (requests().len() >= 3).then_some(()) }).await;
    exporter.kill().await;
    let exporter = Exporter::start(&config).await;
    wait_for("another request", || async { (requests().len() >= 4).then_some(()) }).await;
    exporter.kill().await;
    assert_paced(&requests(), 6, 3);
}
