//! What the tests share: the binary as a child process, a reader of its metrics, and patience with a deadline.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use talkover_simulator::{Clock, Scenario, Simulator, Webhook};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The binary of this build.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_talkover-exporter");
/// A deadline that only a defect, or a machine at a standstill, can miss.
const PATIENCE: Duration = Duration::from_secs(180);

/// A simulated API on a port of its own.
pub(crate) async fn simulator(scenario: Scenario, clock: impl Into<Clock>) -> Simulator {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    Simulator::start(scenario, 1, clock, listener).unwrap()
}

/// A world in which nothing happens but what the test does, with one agent's webhook `w-1` and a campaign's `w-2`.
pub(crate) fn quiet_scenario() -> Scenario {
    let webhooks = vec![Webhook::of_agent("a-1", "w-1"), Webhook::of_campaign("c-1", "w-2")];
    Scenario { history: Duration::ZERO, webhooks, ..Scenario::default() }
}

/// A directory with a configuration that names every webhook of a scenario, and room for the state.
pub(crate) struct Workspace {
    directory: TempDir,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        if name.contains("token") {
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        path
    }

    /// Writes `config.yml` for `simulator`, with further sections as YAML text.
    pub(crate) fn configure(&self, base_url: &str, webhooks: &[Webhook], more: &str) -> PathBuf {
        self.configure_with("requests_per_minute: 6000", base_url, webhooks, more)
    }

    /// The same, with these settings of the environment.
    pub(crate) fn configure_with(&self, settings: &str, base_url: &str, webhooks: &[Webhook], more: &str) -> PathBuf {
        self.write("token", "talq_simulator\n");
        let mut text = format!(
            "server: {{listen: 127.0.0.1:0}}\nstate: {{path: {:?}}}\nenvironments:\n  - name: test\n    \
             base_url: {base_url}\n    token_file: {:?}\n    {settings}\n    webhooks:\n",
            self.path("state.db"),
            self.path("token"),
        );
        for webhook in webhooks {
            let (kind, owner) = (webhook.owner.kind.as_str(), &webhook.owner.id);
            writeln!(text, "      - {{{kind}_id: {owner}, webhook_id: {}, name: {:?}}}", webhook.id, webhook.name)
                .unwrap();
        }
        text.push_str(more);
        if !more.contains("birth_hold") {
            text.push_str("metrics: {birth_hold: 0s}\n");
        }
        self.write("config.yml", &text)
    }
}

/// What the log of a webhook holds, as the series that count its attempts.
pub(crate) fn true_attempts(simulator: &Simulator, environment: &str, webhook: &str) -> BTreeMap<String, f64> {
    let truth = simulator.truth();
    let mut sums = BTreeMap::new();
    for entry in &truth.webhook(webhook).unwrap().entries {
        if entry.status == "pending" || entry.invalid {
            continue;
        }
        let series = format!(
            "talkover_webhook_delivery_attempts_total{{environment=\"{environment}\",webhook_id=\"{webhook}\",\
             event=\"{}\",status=\"{}\",http_status=\"{}\"}}",
            entry.event, entry.status, entry.http_status,
        );
        *sums.entry(series).or_insert(0.0) += 1.0;
    }
    sums
}

/// A variable of the environment, and its value.
pub(crate) type Variable = (&'static str, String);

fn command(name: &str, config: &Path, variables: &[Variable]) -> Command {
    let mut command = Command::new(BINARY);
    command.args([name, "--config"]).arg(config);
    // Whatever proxy this machine uses has no part in a test.
    command.env("NO_PROXY", "*").envs(variables.iter().cloned()).kill_on_drop(true);
    command
}

/// Starts `run` and waits for nothing.
pub(crate) fn spawn(config: &Path, variables: &[Variable]) -> Child {
    command("run", config, variables).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Verdict {
    /// Asserts that `verify` has found nothing wrong.
    pub(crate) fn assert_ok(&self) {
        assert_eq!(self.code, Some(0), "{self:#?}");
        assert!(self.stdout.starts_with("OK: "), "{self:#?}");
    }
}

/// Runs `verify`.
pub(crate) async fn verify(config: &Path, more: &[&str], variables: &[Variable]) -> Verdict {
    let mut command = command("verify", config, variables);
    end(command.args(more)).await
}

/// Runs `state export` or `state import`, to or from `file`.
pub(crate) async fn state(action: &str, config: &Path, file: &Path) -> Verdict {
    let mut command = Command::new(BINARY);
    command.args(["state", action, "--config"]).arg(config).arg(file).kill_on_drop(true);
    end(&mut command).await
}

/// Runs `check --online`.
pub(crate) async fn check_online(config: &Path) -> Verdict {
    end(command("check", config, &[]).arg("--online")).await
}

/// Runs `run` where it cannot start.
pub(crate) async fn refused(config: &Path, variables: &[Variable]) -> Verdict {
    end(&mut command("run", config, variables)).await
}

async fn end(command: &mut Command) -> Verdict {
    let output = tokio::time::timeout(PATIENCE * 2, command.output()).await.expect("no end").unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let verdict = Verdict { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) };
    assert!(!verdict.stderr.contains("panicked") && !verdict.stderr.contains("talq_"), "{verdict:#?}");
    verdict
}

/// The attempts that the logs of all these webhooks hold.
pub(crate) fn all_true_attempts(simulator: &Simulator, webhooks: &[Webhook]) -> BTreeMap<String, f64> {
    webhooks.iter().flat_map(|webhook| true_attempts(simulator, "test", &webhook.id)).collect()
}

/// Changes the state at rest by `change`, as if a daemon had written that; returns what `change` does.
pub(crate) fn change_state<T>(path: &Path, change: impl FnOnce(&rusqlite::Connection) -> T) -> T {
    let mut connection = rusqlite::Connection::open(path).unwrap();
    let changed = change(&connection);
    let has_checksums = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'last_commit'";
    if connection.query_row(has_checksums, [], |row| row.get(0)).unwrap() {
        talkover_exporter::store::sqlite::commits::reseal(&mut connection).unwrap();
    }
    changed
}

/// A running exporter; killed when it is dropped.
pub(crate) struct Exporter {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) url: String,
}

impl Exporter {
    /// Starts `run` and waits until it listens.
    pub(crate) async fn start(config: &Path) -> Self {
        Self::start_with(config, &[]).await
    }

    /// Starts `run` with these variables in its environment, and waits until it listens.
    pub(crate) async fn start_with(config: &Path, variables: &[Variable]) -> Self {
        Self::listening(spawn(config, variables)).await
    }

    /// Waits until `run`, started as `child`, listens.
    pub(crate) async fn listening(mut child: Child) -> Self {
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let address = loop {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("no start").unwrap();
            let line = line.unwrap_or_else(|| panic!("the exporter ended: {:?}", log.lock().unwrap()));
            log.lock().unwrap().push(line.clone());
            if let Some((_, rest)) = line.split_once("listen=") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        // The pipe must not fill up, nor close.
        let further = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                further.lock().unwrap().push(line);
            }
        });
        Self { child, log, url: format!("http://{address}") }
    }

    /// The lines that it has logged so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits until `is_there` in what it has logged so far, which comes by another way than scrapes, and gives that.
    pub(crate) async fn wait_for_log(&self, what: &str, is_there: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut ticks = tokio::time::interval(Duration::from_millis(25));
        loop {
            ticks.tick().await;
            let log = self.log();
            if is_there(&log) {
                return log;
            }
            assert!(tokio::time::Instant::now() < deadline, "in vain: {what}: {log:#?}");
        }
    }

    pub(crate) async fn scrape(&self) -> Scrape {
        Scrape::fetch(&self.url).await.unwrap()
    }

    /// Scrapes until `is_there`, and gives that scrape.
    pub(crate) async fn wait_for(&self, what: &str, is_there: impl Fn(&Scrape) -> bool) -> Scrape {
        wait_for(what, || async {
            let scrape = Scrape::fetch(&self.url).await?;
            is_there(&scrape).then_some(scrape)
        })
        .await
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        rustix::process::kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM, and the exit code.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        let status = tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await;
        status.expect("it takes more than 5 s to stop").unwrap().code()
    }
}

/// Tries until there is something, or the deadline has come.
pub(crate) async fn wait_for<T, F: Future<Output = Option<T>>>(what: &str, mut attempt: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut ticks = tokio::time::interval(Duration::from_millis(25));
    loop {
        ticks.tick().await;
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
    }
}

/// The samples of one scrape, by their text before the value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scrape {
    pub(crate) text: String,
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    async fn fetch(url: &str) -> Option<Self> {
        let response = reqwest::get(format!("{url}/metrics")).await.ok()?;
        assert_eq!(response.status(), 200);
        Some(Self::parse(response.text().await.ok()?))
    }

    /// Takes a scrape apart, whose books must balance whatever the test is about.
    pub(crate) fn parse(text: String) -> Self {
        let scrape = Self::unbalanced(text);
        scrape.assert_books_balance();
        scrape
    }

    /// The same of one that was made up.
    pub(crate) fn unbalanced(text: String) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').unwrap();
                (series.to_owned(), value.parse().unwrap())
            })
            .collect();
        Self { text, samples }
    }

    /// All samples, by their series.
    pub(crate) fn samples(&self) -> &BTreeMap<String, f64> {
        &self.samples
    }

    pub(crate) fn get(&self, series: &str) -> Option<f64> {
        self.samples.get(series).copied()
    }

    /// The samples of a metric, that is of one name before the labels.
    pub(crate) fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let samples = self.samples.iter().map(|(series, value)| (series.as_str(), *value));
        samples.filter(move |(series, _)| series.split('{').next() == Some(name))
    }

    /// The sum of the samples of a metric that hold all of these texts, such as `status="failed"`.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let matching = self.of(name).filter(|(series, _)| labels.iter().all(|label| series.contains(label)));
        matching.map(|(_, value)| value).sum()
    }

    /// Counters and the counts of histograms: whatever must never go down over a restart.
    pub(crate) fn durable(&self) -> impl Iterator<Item = (&str, f64)> {
        let is_durable = |series: &str| {
            let name = series.split('{').next().unwrap();
            let is_counter = ["_total", "_count", "_sum", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
            let is_read =
                ["talkover_exporter_log_entries_total", "talkover_exporter_history_gaps_total"].contains(&name);
            is_counter && (name.starts_with("talkover_webhook_") || is_read)
        };
        self.samples
            .iter()
            .map(|(series, value)| (series.as_str(), *value))
            .filter(move |(series, _)| is_durable(series))
    }

    /// The attempts, as the series that count them.
    pub(crate) fn attempts(&self) -> BTreeMap<String, f64> {
        self.of("talkover_webhook_delivery_attempts_total").map(|(series, value)| (series.to_owned(), value)).collect()
    }

    /// Asserts that what never goes down has not gone down since `before`.
    pub(crate) fn assert_not_below(&self, before: &Self) {
        for (series, value) in before.durable() {
            let now = self.get(series).unwrap_or_else(|| panic!("{series} is gone"));
            assert!(now >= value, "{series} went from {value} down to {now}");
        }
    }

    /// Asserts of every target that what was read is counted, open, given up, or held.
    fn assert_books_balance(&self) {
        const ENTRIES: &str = "talkover_exporter_log_entries_total";
        let new = self.of(ENTRIES).filter_map(|(series, _)| series.strip_suffix(",outcome=\"new\"}"));
        let targets: Vec<&str> = new.filter_map(|series| Some(series.split_once('{')?.1)).collect();
        // Where discovery is on there may be none yet.
        let is_behind = self.get("talkover_exporter_state_problem{problem=\"behind\"}") == Some(1.0);
        let has_none = is_behind || self.of("talkover_webhook_info").next().is_none();
        assert!(has_none || !targets.is_empty(), "there are no books in {}", self.text);
        for target in targets {
            let sum = |name, label| self.sum(name, &[target, label]);
            let read = sum(ENTRIES, "outcome=\"new\"") + sum(ENTRIES, "outcome=\"late\"");
            let attempts = sum("talkover_webhook_delivery_attempts_total", "");
            let pending = sum("talkover_webhook_deliveries_open", "status=\"pending\"");
            let expired = sum(ENTRIES, "outcome=\"expired\"");
            let held = sum("talkover_exporter_attempts_held", "");
            assert!(
                read == attempts + pending + expired + held,
                "the books of {target} do not balance: {read} read, but {attempts} counted + {pending} pending \
                 + {expired} expired + {held} held\n{}",
                self.text
            );
        }
    }
}
