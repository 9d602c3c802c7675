//! SIGKILL at any moment, over a log that moves, an API that fails and a receiver of spans that fails too: the totals
//! are those of never having stopped, no scrape is below the one before, and every attempt has its span.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use talkover_simulator::{Clock, EntryTruth, FaultPlan, Scenario, Simulator};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::harness::{Exporter, Scrape, Workspace, all_true_attempts, simulator, spawn, verify};
use crate::traces::receiver::{Answer, Receiver};
use crate::traces::truth::{attempt_id, hex, root_id};

/// Kills, where `TALKOVER_TEST_KILLS` does not say how many.
const KILLS: u64 = 20;
/// What the moments of the kills are drawn from, where `TALKOVER_TEST_SEED` does not say.
const SEED: u64 = 1;
/// The longest life: long enough for several polls, and for one after a failed request.
const LONGEST_LIFE: Duration = Duration::from_millis(1_400);
/// One life in so many ends before so long: while the daemon starts.
const START: (u32, Duration) = (5, Duration::from_millis(60));
/// Between two scrapes.
const PAUSE: Duration = Duration::from_millis(10);
/// The simulated API is sometimes silent for longer than a request may take.
const SETTINGS: &str = "poll: {min_interval: 50ms, max_interval: 100ms, per_page: 50, lookback: 20s, sweep_interval: 2s}\n\
                        metrics: {birth_hold: 100ms}\n";

/// What the receiver does, in turn from life to life.
const ANSWERS: [Answer; 5] = [Answer::Accept, Answer::BreakOff, Answer::Unavailable, Answer::Hang, Answer::Accept];

/// What the scrapes of all lives have shown.
#[derive(Default)]
struct Seen {
    last: Scrape,
    scrapes: u32,
    failed_polls: f64,
}

impl Seen {
    /// Checks a scrape against the one before, in whichever life that was. That its books balance is asserted of every
    /// scrape.
    fn check(&mut self, scrape: Scrape) {
        scrape.assert_not_below(&self.last);
        self.last = scrape;
        self.scrapes += 1;
    }

    /// Notes how the polls of a life have fared; their counters end with it.
    fn end_life(&mut self) {
        let polls = |labels: &[&str]| self.last.sum("talkover_exporter_polls_total", labels);
        self.failed_polls += polls(&[]) - polls(&["result=\"success\""]);
    }
}

/// One life, scraped all the time, which ends so long after its start, whatever it is doing then.
async fn live(config: &Path, length: Duration, seen: &mut Seen) {
    let exporter = Exporter::start(config).await;
    let end = Instant::now() + length;
    while let Ok(scrape) = timeout_at(end, exporter.scrape()).await {
        seen.check(scrape);
        sleep_until(end.min(Instant::now() + PAUSE)).await;
    }
    exporter.kill().await;
    seen.end_life();
}

/// The first life, which lasts until all there was before it has been read: of a first walk that is killed nothing is
/// left.
async fn meet(config: &Path, scenario: &Scenario) {
    let exporter = Exporter::start(config).await;
    let webhooks = scenario.webhooks.len() as f64;
    exporter.wait_for("the first contact", |scrape| scrape.sum("talkover_up", &[]) == webhooks).await;
    exporter.kill().await;
}

/// One life that ends at `end`, before anybody has heard of it.
async fn begin_to_live(config: &Path, end: Instant) {
    let mut child = spawn(config, &[]);
    sleep_until(end).await;
    child.kill().await.unwrap();
}

/// Sums over all webhooks that must be the truth's, each with its name.
fn sums(scrape: &Scrape) -> [(&'static str, f64); 6] {
    let read = |outcome| scrape.sum("talkover_exporter_log_entries_total", &[outcome]);
    let ended = |result| scrape.sum("talkover_webhook_deliveries_total", &[result]);
    [
        ("read", read("outcome=\"new\"") + read("outcome=\"late\"")),
        ("unusable", read("outcome=\"invalid\"")),
        ("succeeded", ended("result=\"success\"")),
        ("failed", ended("result=\"failed\"")),
        ("durations", scrape.sum("talkover_webhook_delivery_duration_seconds_count", &[])),
        ("delays", scrape.sum("talkover_webhook_delivery_delay_seconds_count", &[])),
    ]
}

fn held(scrape: &Scrape) -> f64 {
    scrape.sum("talkover_exporter_attempts_held", &[])
}

/// Asserts that the receiver has a span of every attempt that is counted, and none that nothing stands for.
fn assert_all_sent(receiver: &Receiver, simulator: &Simulator) {
    let truth = simulator.truth();
    let entries = truth.webhooks.iter().flat_map(|webhook| &webhook.entries).filter(|entry| !entry.invalid);
    let (mut attempts, mut roots) = (BTreeSet::new(), BTreeSet::new());
    for entry in entries {
        attempts.insert(attempt_id(&entry.id));
        roots.insert(root_id(&entry.id));
    }
    let spans = receiver.spans();
    let sent: BTreeSet<String> = spans.iter().map(|span| hex(&span.span_id)).collect();
    let missing: Vec<_> = attempts.difference(&sent).collect();
    assert!(missing.is_empty(), "{} of {} attempts have no span: {missing:?}", missing.len(), attempts.len());
    let further: BTreeSet<String> = sent.difference(&attempts).cloned().collect();
    assert!(further.is_subset(&roots), "spans of nothing: {:?}", further.difference(&roots));
    assert!(further.len() * 2 > attempts.len() / 2, "only {} deliveries have ended", further.len());
}

/// The same, of what really happened. Nothing is pending any more, and no `retrying` entry of this world becomes
/// `failed`.
fn true_sums(simulator: &Simulator) -> [(&'static str, f64); 6] {
    let truth = simulator.truth();
    let entries: Vec<&EntryTruth> = truth.webhooks.iter().flat_map(|webhook| &webhook.entries).collect();
    let count = |is_counted: &dyn Fn(&EntryTruth) -> bool| {
        entries.iter().filter(|entry| !entry.invalid && is_counted(entry)).count() as f64
    };
    [
        ("read", count(&|_| true)),
        ("unusable", entries.iter().filter(|entry| entry.invalid).count() as f64),
        ("succeeded", count(&|entry| entry.status == "success")),
        ("failed", count(&|entry| entry.status == "failed")),
        ("durations", count(&|entry| entry.duration_ms.is_some())),
        ("delays", count(&|entry| entry.delivered_at.is_some_and(|at| at >= entry.created_at))),
    ]
}

fn number(variable: &str, default: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how long the test is to last is up to whoever runs it")]
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "whoever asked for a long run wants to know what it was made of")]
async fn kills_lose_nothing_and_repeat_nothing() {
    let (kills, seed) = (number("TALKOVER_TEST_KILLS", KILLS), number("TALKOVER_TEST_SEED", SEED));
    println!("TALKOVER_TEST_KILLS={kills} TALKOVER_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let scenario = Scenario::from_yaml(include_str!("crash.yml"), "crash.yml").unwrap();
    let simulator = simulator(scenario.clone(), Clock::Real).await;
    let workspace = Workspace::new();
    let receiver = Receiver::start([]).await;
    let settings = format!("{SETTINGS}traces: {{endpoint: '{}', history: true}}\n", receiver.url());
    let request_timeout = "requests_per_minute: 6000\n    request_timeout: 1s";
    let config = workspace.configure_with(request_timeout, &simulator.base_url(), &scenario.webhooks, &settings);

    let mut seen = Seen::default();
    meet(&config, &scenario).await;
    let mut kill = 0;
    // A slow machine makes few requests in a life: it takes more lives until one of them has failed.
    while kill < kills || seen.failed_polls == 0.0 {
        assert!(kill < kills + 100, "no request has failed");
        receiver.always(ANSWERS[kill as usize % ANSWERS.len()].clone());
        if random.random_ratio(1, START.0) {
            begin_to_live(&config, Instant::now() + START.1.mul_f64(random.random())).await;
        } else {
            live(&config, LONGEST_LIFE.mul_f64(random.random()), &mut seen).await;
        }
        kill += 1;
    }

    simulator.settle_and_freeze();
    let truth = all_true_attempts(&simulator, &scenario.webhooks);
    let attempts: f64 = truth.values().sum();
    let deleted =
        simulator.truth().webhooks.iter().flat_map(|webhook| &webhook.entries).filter(|entry| entry.deleted).count();
    let Seen { scrapes, failed_polls, .. } = seen;
    println!("{attempts} attempts, {deleted} deleted entries, {scrapes} scrapes, {failed_polls} failed polls");
    assert!(attempts > 150.0, "the test would prove little");
    let exporter = Exporter::start(&config).await;
    let sum = |scrape: &Scrape| scrape.attempts().values().sum::<f64>();
    exporter.wait_for("all attempts", |scrape| sum(scrape) >= attempts).await;
    let scrape = exporter.wait_for("the end of all holds", |scrape| held(scrape) == 0.0).await;
    assert_eq!(scrape.attempts(), truth);
    assert_eq!(sums(&scrape), true_sums(&simulator));
    seen.check(scrape);
    receiver.always(Answer::Accept);
    let is_empty = |scrape: &Scrape| scrape.get("talkover_exporter_span_queue_length") == Some(0.0);
    exporter.wait_for("an empty outbox", is_empty).await;
    assert_all_sent(&receiver, &simulator);
    simulator.set_faults(&FaultPlan::default());
    verify(&config, &[], &[]).await.assert_ok();
}
