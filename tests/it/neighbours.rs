//! A good webhook beside broken ones of the same environment: it is polled at its interval, and the daemon becomes
//! ready.

use std::time::Duration;

use talkover_simulator::{Clock, EntrySpec, Fault, FaultPlan, RandomFault, Scenario, Webhook};

use crate::harness::{Exporter, Workspace, quiet_scenario, simulator, wait_for};

const MAX_INTERVAL: Duration = Duration::from_millis(500);
/// So many polls of the good webhook are waited for.
const POLLS: usize = 20;

#[tokio::test]
async fn a_good_webhook_is_polled_at_its_interval_beside_eight_broken_ones() {
    let hold = Fault::Hold(Duration::from_secs(3600));
    for fault in [Fault::Status(500), Fault::Html(503), Fault::Reset, hold, Fault::Status(404)] {
        let broken = (0..8).map(|number| Webhook::of_agent("a-1", &format!("broken-{number}")));
        // The good one is the last of all.
        let webhooks: Vec<Webhook> = broken.chain([Webhook::of_agent("a-1", "good")]).collect();
        let scenario = Scenario { webhooks: webhooks.clone(), rate_limit_per_minute: 6000, ..quiet_scenario() };
        let simulator = simulator(scenario, Clock::Real).await;
        let what = format!("{fault:?}");
        let random = vec![RandomFault { probability: 1.0, path: "/webhooks/broken-".to_owned(), fault }];
        simulator.set_faults(&FaultPlan { random, ..FaultPlan::default() });
        let created_at = simulator.truth().now;
        simulator.with_world(|world| world.insert("good", EntrySpec { created_at, ..EntrySpec::default() })).unwrap();

        let workspace = Workspace::new();
        let settings = "requests_per_minute: 6000\n    request_timeout: 2s";
        let polls = "poll: {min_interval: 100ms, max_interval: 500ms}\n";
        let config = workspace.configure_with(settings, &simulator.base_url(), &webhooks, polls);
        let exporter = Exporter::start(&config).await;
        let url = format!("{}/-/ready", exporter.url);
        wait_for(&format!("readiness beside {what}"), || async {
            (reqwest::get(&url).await.ok()?.status() == 200).then_some(())
        })
        .await;
        let times = wait_for(&format!("polls beside {what}"), || async {
            let requests = simulator.requests();
            let own = requests.iter().filter(|request| request.path.contains("/webhooks/good/"));
            let times: Vec<_> = own.map(|request| request.at).collect();
            (times.len() > POLLS).then_some(times)
        })
        .await;
        let mut gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1].since(pair[0])).collect();
        gaps.sort_unstable();
        // The median: a machine that stands still for a moment is no fault of the program.
        assert!(gaps[gaps.len() / 2] <= MAX_INTERVAL * 3 / 2, "{what}: {gaps:?}");
        let scrape = exporter.scrape().await;
        assert_eq!(scrape.get("talkover_up{environment=\"test\",webhook_id=\"good\"}"), Some(1.0), "{what}");
        let log = exporter.log();
        assert!(!log.iter().any(|line| line.contains("API unreachable")), "{what}: {log:#?}");
        assert_eq!(exporter.terminate().await, Some(0));
    }
}
