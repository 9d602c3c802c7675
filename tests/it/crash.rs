//! SIGKILL at any moment: the totals are those of never having stopped, and no scrape is below the one before.

use std::collections::BTreeMap;
use std::time::Duration;

use talkover_exporter::simulator::{Clock, Scenario};

use crate::harness::{Exporter, Scrape, Workspace, simulator, true_attempts};

const KILLS: u32 = 20;

/// Entries flow fast, in all states, with ties, late ones, and retries.
fn busy_scenario() -> Scenario {
    let text = include_str!("busy.yml");
    Scenario::from_yaml(text, "busy.yml").unwrap()
}

/// Waits a moment that is another one each time.
async fn pause(milliseconds: u64) {
    let _elapsed = tokio::time::timeout(Duration::from_millis(milliseconds), std::future::pending::<()>()).await;
}

fn assert_not_below(before: &Scrape, after: &Scrape) {
    for (series, value) in before.durable() {
        let now = after.get(series).unwrap_or_else(|| panic!("{series} is gone"));
        assert!(now >= value, "{series} went from {value} down to {now}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_lose_nothing_and_repeat_nothing() {
    let scenario = busy_scenario();
    let simulator = simulator(scenario.clone(), Clock::Real).await;
    let workspace = Workspace::new();
    let more = "poll: {min_interval: 50ms, max_interval: 100ms, lookback: 1m, sweep_interval: 2s}\nmetrics: {birth_hold: 100ms}\n";
    let config = workspace.configure(&simulator.base_url(), &scenario.webhooks, more);

    let mut last = Scrape::default();
    for kill in 0..KILLS {
        let exporter = Exporter::start(&config).await;
        let first = exporter.scrape().await;
        assert_not_below(&last, &first);
        // From the middle of the first walk to several polls later; scraping all the time.
        let until = tokio::time::Instant::now() + Duration::from_millis(u64::from(kill * 37 % 20) * 25);
        last = first;
        while tokio::time::Instant::now() < until {
            let next = exporter.scrape().await;
            assert_not_below(&last, &next);
            last = next;
            pause(10).await;
        }
        exporter.kill().await;
    }

    simulator.freeze(true);
    let exporter = Exporter::start(&config).await;
    let expected: BTreeMap<String, f64> =
        scenario.webhooks.iter().flat_map(|webhook| true_attempts(&simulator, "test", &webhook.id)).collect();
    let total: f64 = expected.values().sum();
    assert!(total > 300.0, "only {total} attempts: the test would prove little");
    let counted = |scrape: &Scrape| scrape.sum("talkover_webhook_delivery_attempts_total", &[]);
    let scrape = exporter.wait_for("all attempts", |scrape| counted(scrape) >= total).await;
    assert_not_below(&last, &scrape);
    let found: BTreeMap<String, f64> = scrape
        .of("talkover_webhook_delivery_attempts_total")
        .map(|(series, value)| (series.to_owned(), value))
        .collect();
    assert_eq!(found, expected);
}
