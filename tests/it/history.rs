//! `history`: the retained past as samples with times, and a state that begins with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use talkover_simulator::scenario::{EventWeight, FailureStatus, Failures, Span};
use talkover_simulator::{
    Clock, EntrySpec, Fault, ManualClock, Moment, Scenario, Simulator, Status, Webhook, largest_per_minute,
};
use tokio::process::Command;

use crate::harness::{
    self, BINARY, Exporter, Verdict, Workspace, all_true_attempts, quiet_scenario, simulator, wait_for,
};

const ATTEMPTS: &str = "talkover_webhook_delivery_attempts_total";
const DAY: Duration = Duration::from_secs(86_400);

/// Two webhooks with three days behind them, of which a fifth of the attempts failed and some are still open.
fn eventful() -> Scenario {
    let mut webhooks = vec![Webhook::of_agent("a-1", "w-1"), Webhook::of_campaign("c-1", "w-2")];
    for webhook in &mut webhooks {
        webhook.rate = 0.01;
        webhook.events =
            ["call.ended", "call.failed"].map(|name| EventWeight { name: name.to_owned(), weight: 1.0 }).into();
        let statuses = [500, 503].map(|status| FailureStatus { status, weight: 1.0 }).into();
        webhook.failures = Failures { probability: 0.2, connection: 0.1, statuses };
        webhook.pending = Span { min: Duration::ZERO, max: Duration::from_secs(20) };
    }
    Scenario { history: 3 * DAY, webhooks, rate_limit_per_minute: 100_000, invalid: 0.001, ..Scenario::default() }
}

/// That world, at a standstill.
struct Past {
    simulator: Simulator,
    workspace: Workspace,
    config: PathBuf,
}

impl Past {
    async fn new(settings: &str) -> Self {
        Self::of(eventful(), Clock::Real, settings).await
    }

    async fn of(scenario: Scenario, clock: impl Into<Clock>, settings: &str) -> Self {
        let webhooks = scenario.webhooks.clone();
        let simulator = simulator(scenario, clock).await;
        let workspace = Workspace::new();
        let config = workspace.configure(&simulator.base_url(), &webhooks, settings);
        Self { simulator, workspace, config }
    }

    fn output(&self) -> PathBuf {
        self.workspace.path("past.txt")
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(["history", "--config"]).arg(&self.config).arg("--output").arg(self.output()).args(more);
        command.env("NO_PROXY", "*").kill_on_drop(true);
        command
    }

    async fn run(&self, more: &[&str]) -> Verdict {
        let output = self.command(more).output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Verdict { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    async fn written(&self, more: &[&str]) -> Samples {
        let verdict = self.run(more).await;
        assert_eq!(verdict.code, Some(0), "{verdict:#?}");
        Samples::read(&self.output())
    }

    /// What the directory holds beside what the test has put there.
    fn left(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.workspace.path("")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !["token", "config.yml"].contains(&name.as_str())).collect();
        names.sort();
        names
    }
}

/// The samples of a file: of each series its times and values.
struct Samples(BTreeMap<String, Vec<(f64, f64)>>);

impl Samples {
    /// Reads a file, which must be as promtool wants it: families whole and in one piece, series whole and in one piece
    /// within them, times ascending.
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.ends_with("# EOF\n"), "{}", &text[text.len().saturating_sub(200)..]);
        let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        let mut families = Vec::new();
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# TYPE ") {
                let family = head.split(' ').next().unwrap().to_owned();
                assert!(!families.contains(&family), "{family} is there twice");
                families.push(family);
                continue;
            }
            if line.starts_with('#') {
                continue;
            }
            let (rest, time) = line.rsplit_once(' ').unwrap();
            let (name, value) = rest.rsplit_once(' ').unwrap();
            assert!(name.starts_with(families.last().unwrap()), "{name} in {families:?}");
            let points = series.entry(name.to_owned()).or_default();
            let point = (time.parse().unwrap(), value.parse().unwrap());
            assert!(points.last().is_none_or(|(before, _): &(f64, f64)| *before < point.0), "{line}");
            points.push(point);
        }
        Self(series)
    }

    fn last(&self, series: &str) -> Option<f64> {
        self.0.get(series)?.last().map(|(_, value)| *value)
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a String, &'a Vec<(f64, f64)>)> {
        self.0.iter().filter(move |(series, _)| series.split('{').next() == Some(name))
    }

    /// The value that a series has at a time; 0 before it begins.
    fn at(points: &[(f64, f64)], time: f64) -> f64 {
        points.iter().take_while(|(at, _)| *at <= time).last().map_or(0.0, |(_, value)| *value)
    }
}

/// The attempts that the log holds of entries made up to `time`, in seconds, since `from`.
fn attempts_until(simulator: &Simulator, from: f64, time: f64) -> f64 {
    let truth = simulator.truth();
    let entries = truth.webhooks.iter().flat_map(|webhook| &webhook.entries);
    let counted = entries.filter(|entry| !entry.invalid && entry.status != "pending");
    let made = counted.map(|entry| seconds(entry.created_at));
    made.filter(|made| *made >= from && *made <= time).count() as f64
}

/// Whole seconds: what the log shows.
fn seconds(moment: Moment) -> f64 {
    moment.as_seconds() as f64
}

#[tokio::test]
async fn the_past_is_counted_when_it_happened() {
    let past = Past::new("").await;
    past.simulator.with_world(|world| world.freeze());
    let samples = past.written(&["--since", "4d"]).await;
    let truth = all_true_attempts(&past.simulator, &eventful().webhooks);
    assert!(truth.values().sum::<f64>() > 5_000.0 && truth.len() > 12, "{truth:?}");
    let last: BTreeMap<String, f64> =
        samples.of(ATTEMPTS).map(|(series, _)| (series.clone(), samples.last(series).unwrap())).collect();
    assert_eq!(last, truth);

    // Hour by hour, and in steps of five minutes.
    let all: Vec<_> = samples.of(ATTEMPTS).collect();
    let (first, end) = (all.iter().map(|(_, p)| p[0].0), all.iter().map(|(_, p)| p.last().unwrap().0));
    let (first, end) = (first.fold(f64::MAX, f64::min), end.fold(0.0, f64::max));
    for hour in 0..=((end - first) / 3600.0) as u32 {
        let time = first + f64::from(hour) * 3600.0;
        let sum: f64 = all.iter().map(|(_, points)| Samples::at(points, time)).sum();
        assert_eq!(sum, attempts_until(&past.simulator, 0.0, time), "at {time}");
    }
    for (series, points) in &samples.0 {
        let is_counter = !series.contains("timestamp") && !series.contains("info");
        assert!(!is_counter || points[0].1 == 0.0, "{series} begins with {}", points[0].1);
        let (times, last) = points.split_at(points.len() - 1);
        assert!(times.iter().all(|(time, _)| time % 300.0 == 0.0), "{series}");
        assert!(times.windows(2).all(|pair| pair[1].0 - pair[0].0 == 300.0), "{series} has a hole");
        assert!(last[0].0 - times.last().map_or(0.0, |(time, _)| *time) <= 300.0, "{series} ends early");
        assert!(points.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{series} goes down");
    }
    assert!(samples.of("talkover_webhook_info").count() == 2);
    assert_eq!(past.left(), ["past.txt", "state.db.budget"]);
}

#[tokio::test]
async fn a_state_begins_where_the_samples_end() {
    let past = Past::new("traces: {history: true, endpoint: 'http://127.0.0.1:9'}\n").await;
    past.simulator.with_world(|world| world.freeze());
    let samples = past.written(&["--since", "4d", "--seed-state"]).await;
    assert_eq!(past.left(), ["past.txt", "state.db", "state.db.budget", "state.db.lock", "state.db.seen"]);
    let again = past.run(&["--seed-state"]).await;
    assert_eq!(again.code, Some(1), "{again:#?}");
    assert!(again.stderr.contains("already exists") && again.stderr.contains("first start"), "{again:#?}");

    let exporter = Exporter::start(&past.config).await;
    let is_up = |scrape: &harness::Scrape| scrape.sum("talkover_up", &[]) == 2.0;
    let first = exporter.scrape().await;
    for scrape in [first, exporter.wait_for("a poll of both", is_up).await] {
        for (series, points) in
            samples.0.iter().filter(|(series, _)| series.contains("_total") || series.contains("_count"))
        {
            let (_, value) = points.last().unwrap();
            assert_eq!(scrape.get(series), Some(*value), "{series}");
        }
        for (series, value) in scrape.durable().filter(|(_, value)| *value > 0.0) {
            // A sum is a float with the same digits, or nothing happened.
            assert_eq!(samples.last(series), Some(value), "{series} is not in the file");
        }
    }
    let verdict = harness::verify(&past.config, &["--since", "4d"], &[]).await;
    verdict.assert_ok();

    let before = exporter.scrape().await.sum(ATTEMPTS, &[]);
    let spec = EntrySpec::default();
    for _ in 0..7 {
        let now = past.simulator.truth().now;
        past.simulator.with_world(|world| world.insert("w-1", EntrySpec { created_at: now, ..spec.clone() })).unwrap();
    }
    exporter.wait_for("what is new", |scrape| scrape.sum(ATTEMPTS, &[]) == before + 7.0).await;
    assert_eq!(exporter.terminate().await, Some(0));
    harness::verify(&past.config, &["--since", "4d"], &[]).await.assert_ok();
}

#[tokio::test]
async fn an_interrupted_run_goes_on_where_it_stopped() {
    let start = Moment::from_seconds(Clock::Real.now().as_seconds());
    let settings = "poll: {per_page: 20}\n";
    let of = async |clock| Past::of(eventful(), ManualClock::new(clock), settings).await;
    let (whole, interrupted) = (of(start).await, of(start).await);
    whole.written(&["--since", "4d"]).await;

    let requests = || interrupted.simulator.requests().len();
    let mut child =
        interrupted.command(&["--since", "4d"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_for("some pages", async || (requests() > 120).then_some(())).await;
    child.kill().await.unwrap();
    assert!(!interrupted.output().exists());
    assert!(interrupted.left().iter().any(|name| name == "past.txt.resume"), "{:?}", interrupted.left());
    let other = interrupted.run(&["--since", "2d"]).await;
    assert_eq!(other.code, Some(1), "{other:#?}");
    assert!(other.stderr.contains("was made with --since 4d"), "{other:#?}");

    let verdict = interrupted.run(&["--since", "4d"]).await;
    assert_eq!(verdict.code, Some(0), "{verdict:#?}");
    let read = |past: &Past| std::fs::read_to_string(past.output()).unwrap();
    assert!(read(&interrupted) == read(&whole), "the files differ");
    let once = whole.simulator.requests().len();
    assert!(requests() < once + 120, "{} requests instead of {once}", requests());
}

/// A clock that tests move, some hours ago: a run takes what was read then for old.
fn earlier() -> ManualClock {
    ManualClock::new(Moment::from_seconds(Clock::Real.now().as_seconds() - 6 * 3600))
}

const HOUR: Duration = Duration::from_secs(3600);

/// Runs to the end with `--seed-state`, and checks the samples and the state against the log.
async fn assert_complete(past: &Past, webhooks: &[Webhook]) {
    let samples = past.written(&["--since", "4d", "--seed-state"]).await;
    let truth = all_true_attempts(&past.simulator, webhooks);
    let last: BTreeMap<String, f64> =
        samples.of(ATTEMPTS).map(|(series, _)| (series.clone(), samples.last(series).unwrap())).collect();
    assert_eq!(last, truth);
    let exporter = Exporter::start(&past.config).await;
    exporter.wait_for("a poll of all", |scrape| scrape.sum("talkover_up", &[]) == webhooks.len() as f64).await;
    assert_eq!(exporter.terminate().await, Some(0));
    harness::verify(&past.config, &["--since", "4d"], &[]).await.assert_ok();
}

#[tokio::test]
async fn what_came_late_or_changed_after_a_reading_is_read_by_the_next_run() {
    let clock = earlier();
    let scenario = Scenario { rate_limit_per_minute: 100_000, ..quiet_scenario() };
    let webhooks = scenario.webhooks.clone();
    // A page holds one entry: nothing is read by chance.
    let settings = "poll: {lookback: 1h, settle_after: 2h, per_page: 1}\n";
    let past = Past::of(scenario, clock.clone(), settings).await;
    let begin = past.simulator.truth().now;
    let insert = |webhook, ago: Duration, status| {
        let spec = EntrySpec { created_at: begin.minus(ago), status, ..EntrySpec::default() };
        past.simulator.with_world(|world| world.insert(webhook, spec)).unwrap()
    };
    for ago in [2 * DAY, 2 * HOUR, HOUR * 7 / 6, HOUR / 3, Duration::from_secs(10)] {
        insert("w-1", ago, Status::Success);
        insert("w-2", ago, Status::Success);
    }
    let open = insert("w-1", HOUR * 3 / 2, Status::Pending);

    // A webhook that cannot be read keeps the run from its end.
    let more: Vec<Webhook> = webhooks.iter().cloned().chain([Webhook::of_agent("a-1", "w-9")]).collect();
    past.workspace.configure(&past.simulator.base_url(), &more, settings);
    let verdict = past.run(&["--since", "4d", "--seed-state"]).await;
    assert!(verdict.code == Some(1) && verdict.stderr.contains("w-9 cannot be read"), "{verdict:#?}");
    past.workspace.configure(&past.simulator.base_url(), &webhooks, settings);

    insert("w-2", HOUR / 2, Status::Success);
    assert!(past.simulator.with_world(|world| world.change(&open, |entry| entry.status = Status::Success)));
    clock.advance(3 * HOUR);
    assert_complete(&past, &webhooks).await;
}

#[tokio::test]
async fn what_came_late_while_a_run_was_interrupted_is_read() {
    let clock = earlier();
    let past = Past::of(eventful(), clock.clone(), "poll: {per_page: 20}\n").await;
    let arguments = ["--since", "4d", "--seed-state"];
    let mut child = past.command(&arguments).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let requests = || past.simulator.requests().len();
    wait_for("some pages", async || (requests() > 120).then_some(())).await;
    child.kill().await.unwrap();
    let created_at = past.simulator.truth().now.minus(Duration::from_secs(300));
    clock.advance(3 * HOUR);
    let spec = EntrySpec { created_at, ..EntrySpec::default() };
    past.simulator.with_world(|world| world.insert("w-1", spec)).unwrap();
    assert_complete(&past, &eventful().webhooks).await;
}

#[tokio::test]
async fn beside_a_daemon_the_samples_end_where_its_counters_begin() {
    let past = Past::new("").await;
    past.simulator.with_world(|world| world.freeze());
    let exporter = Exporter::start(&past.config).await;
    exporter.wait_for("a poll of both", |scrape| scrape.sum("talkover_up", &[]) == 2.0).await;
    let live = exporter.scrape().await.sum(ATTEMPTS, &[]);
    let samples = past.written(&["--since", "4d"]).await;
    assert_eq!(exporter.terminate().await, Some(0));
    harness::verify(&past.config, &[], &[]).await.assert_ok();

    let all: f64 = all_true_attempts(&past.simulator, &eventful().webhooks).values().sum();
    let before: f64 = samples.of(ATTEMPTS).map(|(_, points)| points[points.len() - 2].1).sum();
    assert!(live > 500.0 && before + live == all, "{before} + {live} is not {all}");
    for (series, points) in samples.of(ATTEMPTS) {
        assert_eq!(points.last().unwrap().1, 0.0, "{series} does not end in a reset");
        let increase: f64 = points.windows(2).map(|pair| (pair[1].1 - pair[0].1).max(0.0)).sum();
        assert_eq!(increase, points[points.len() - 2].1, "{series}");
    }
    assert!(samples.of("talkover_webhook_info").all(|(_, points)| points.last().unwrap().1 == 1.0));
}

#[tokio::test]
async fn what_cannot_be_read_is_said_and_the_rest_is_written() {
    let mut scenario = eventful();
    let webhooks = scenario.webhooks.clone();
    scenario.webhooks.truncate(1);
    let past = Past::of(scenario, Clock::Real, "").await;
    past.simulator.with_world(|world| world.freeze());
    let config = past.workspace.configure(&past.simulator.base_url(), &webhooks, "");
    assert_eq!(config, past.config);
    let seeded = past.run(&["--since", "4d", "--seed-state"]).await;
    assert_eq!(seeded.code, Some(1), "{seeded:#?}");
    assert!(
        seeded.stderr.contains("test/w-2 cannot be read") && seeded.stderr.contains("nothing was written"),
        "{seeded:#?}"
    );
    assert!(!past.output().exists() && !past.workspace.path("state.db").exists());
    let verdict = past.run(&["--since", "4d"]).await;
    assert_eq!(verdict.code, Some(1), "{verdict:#?}");
    let samples = Samples::read(&past.output());
    assert_eq!(samples.of("talkover_webhook_info").count(), 1);
}

#[tokio::test]
async fn the_budget_holds_and_faults_are_survived() {
    let past = Past::new("").await;
    past.simulator.with_world(|world| world.freeze());
    let config = past.workspace.configure_with(
        "requests_per_minute: 120",
        &past.simulator.base_url(),
        &eventful().webhooks,
        "poll: {per_page: 100}\n",
    );
    assert_eq!(config, past.config);
    for _ in 0..2 {
        past.simulator.push_fault(Fault::Status(503));
    }
    let samples = past.written(&["--since", "4d"]).await;
    let truth: f64 = all_true_attempts(&past.simulator, &eventful().webhooks).values().sum();
    let last: f64 = samples.of(ATTEMPTS).map(|(_, points)| points.last().unwrap().1).sum();
    assert_eq!(last, truth);
    assert!(largest_per_minute(&past.simulator.requests()) <= 120);
}
