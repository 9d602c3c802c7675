//! The request budget over sockets, by the simulator's own count of requests.

use std::time::Duration;

use talkover_simulator::{
    Clock, EntrySpec, Fault, FaultPlan, RandomFault, ReceivedRequest, Scenario, Status, Webhook, largest_per_minute,
};

use crate::harness::{Exporter, Workspace, check_online, simulator, verify, wait_for};

const FAST: &str = "poll: {min_interval: 100ms, max_interval: 1s, lookback: 10m, sweep_interval: 1s}\n";

fn scenario(webhooks: usize, rate_limit_per_minute: u32) -> Scenario {
    let webhooks = (1..=webhooks).map(|number| Webhook::of_agent("a-1", &format!("w-{number}"))).collect();
    Scenario { history: Duration::ZERO, webhooks, rate_limit_per_minute, ..Scenario::default() }
}

fn configure(workspace: &Workspace, base_url: &str, webhooks: &[Webhook], requests_per_minute: u32) {
    let config = workspace.configure(base_url, webhooks, FAST);
    let text = std::fs::read_to_string(&config).unwrap();
    let budget = format!("requests_per_minute: {requests_per_minute}");
    std::fs::write(&config, text.replace("requests_per_minute: 6000", &budget)).unwrap();
}

/// Requests of the exporter, told from those that a test makes on page 9.
fn of_exporter(requests: Vec<ReceivedRequest>) -> Vec<ReceivedRequest> {
    requests.into_iter().filter(|request| !request.path.contains("page=9&")).collect()
}

/// Asserts that what came after a burst of `burst` came no faster than the rest of the budget gives it. The first may
/// have been two seconds on its way.
pub(crate) fn assert_paced(requests: &[ReceivedRequest], per_minute: u32, burst: u32) {
    let interval = Duration::from_secs(60) / (per_minute - burst);
    for (request, intervals) in requests.iter().skip(burst as usize).zip(1..) {
        let since = request.at.since(requests[0].at);
        assert!(since + Duration::from_secs(2) >= interval * intervals, "{since:?} for {intervals} after a burst");
    }
    assert!(largest_per_minute(requests) <= per_minute as usize, "{requests:?}");
}

#[tokio::test]
async fn no_minute_exceeds_the_budget_while_answers_are_429_and_everything_is_due() {
    let scenario = scenario(20, 1000);
    let simulator = simulator(scenario.clone(), Clock::Real).await;
    let workspace = Workspace::new();
    configure(&workspace, &simulator.base_url(), &scenario.webhooks, 24);
    // Entries that are open, so that rechecks are due beside polls and sweeps.
    for webhook in &scenario.webhooks {
        let created_at = simulator.truth().now;
        let spec = EntrySpec { created_at, status: Status::Pending, http_status: None, ..EntrySpec::default() };
        simulator.with_world(|world| world.insert(&webhook.id, spec)).unwrap();
    }
    for _ in 0..3 {
        simulator.push_fault(Fault::RateLimited(Some(Duration::from_secs(1))));
        simulator.push_fault(Fault::RateLimited(None));
    }
    let exporter = Exporter::start(&workspace.path("config.yml")).await;
    let requests = || of_exporter(simulator.requests());
    wait_for("eight requests", || async { (requests().len() >= 8).then_some(()) }).await;
    exporter.kill().await;
    let exporter = Exporter::start(&workspace.path("config.yml")).await;
    wait_for("three more", || async { (requests().len() >= 11).then_some(()) }).await;
    exporter.kill().await;
    assert_paced(&requests(), 24, 4);
}

#[tokio::test]
async fn commands_beside_a_daemon_that_is_killed_spend_nothing_more() {
    let scenario = scenario(8, 1000);
    let simulator = simulator(scenario.clone(), Clock::Real).await;
    let workspace = Workspace::new();
    // Half of six is the burst, then one request in 20 s.
    configure(&workspace, &simulator.base_url(), &scenario.webhooks, 6);
    let config = workspace.path("config.yml");
    let requests = || simulator.requests().len();
    simulator.push_fault(Fault::RateLimited(None));
    let exporter = Exporter::start(&config).await;
    wait_for("a burst", || async { (requests() >= 3).then_some(()) }).await;
    exporter.kill().await;
    let exporter = Exporter::start(&config).await;
    {
        let commands = async { tokio::join!(verify(&config, &[], &[]), check_online(&config)) };
        let further = wait_for("another request", || async { (requests() >= 4).then_some(()) });
        tokio::select! {
            ended = commands => panic!("eight logs cannot have been read with one request: {ended:#?}"),
            () = further => {}
        }
    }
    exporter.kill().await;
    assert_paced(&simulator.requests(), 6, 3);
}

#[tokio::test]
async fn the_budget_is_lowered_while_somebody_else_spends() {
    let scenario = scenario(5, 200);
    let simulator = simulator(scenario.clone(), Clock::Real).await;
    let workspace = Workspace::new();
    configure(&workspace, &simulator.base_url(), &scenario.webhooks, 120);
    let exporter = Exporter::start(&workspace.path("config.yml")).await;
    let budget = |scrape: &crate::harness::Scrape| scrape.sum("talkover_exporter_budget_requests_per_minute", &[]);
    exporter.wait_for("all of the budget", |scrape| budget(scrape) == 120.0).await;
    let client = reqwest::Client::new();
    for _ in 0..150 {
        let url = format!("{}/api/v1/agents/a-1/webhooks/w-1/logs?page=9&per_page=1", simulator.base_url());
        client.get(url).bearer_auth("talq_simulator").send().await.unwrap();
    }
    // What others have spent, and will spend again, is theirs: 50 of 200 are left.
    let scrape = exporter.wait_for("a lower budget", |scrape| budget(scrape) <= 50.0).await;
    assert!(budget(&scrape) >= 1.0);
    let before = of_exporter(simulator.requests()).len();
    let goes_on = || async { (of_exporter(simulator.requests()).len() > before).then_some(()) };
    wait_for("further requests, if slowly", goes_on).await;
    assert_eq!(exporter.scrape().await.sum("talkover_api_requests_total", &["code=\"429\""]), 0.0);
}

#[tokio::test]
async fn far_more_than_is_allowed_may_be_configured() {
    let scenario = scenario(5, 30);
    let simulator = simulator(scenario.clone(), Clock::Real).await;
    let workspace = Workspace::new();
    configure(&workspace, &simulator.base_url(), &scenario.webhooks, 1000);
    let exporter = Exporter::start(&workspace.path("config.yml")).await;
    let budget = |scrape: &crate::harness::Scrape| scrape.sum("talkover_exporter_budget_requests_per_minute", &[]);
    exporter.wait_for("what is allowed", |scrape| budget(scrape) == 30.0).await;
    let client = reqwest::Client::new();
    for _ in 0..10 {
        let url = format!("{}/api/v1/agents/a-1/webhooks/w-1/logs?page=9&per_page=1", simulator.base_url());
        client.get(url).bearer_auth("talq_simulator").send().await.unwrap();
    }
    let scrape = exporter.wait_for("a lower budget", |scrape| budget(scrape) < 30.0).await;
    assert!((5.0..=20.0).contains(&budget(&scrape)), "{}", budget(&scrape));
    exporter.kill().await;
}

/// Changes the number at `place` of each record of `size` bytes in the file.
fn change_numbers(path: &std::path::Path, size: usize, place: usize, change: impl Fn(u64) -> u64) {
    let mut bytes = std::fs::read(path).unwrap();
    for record in bytes.chunks_exact_mut(size) {
        let number = &mut record[place..place + 8];
        let changed = change(u64::from_le_bytes(number.try_into().unwrap()));
        number.copy_from_slice(&changed.to_le_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn files_beside_the_state_that_speak_of_the_future_silence_nobody_and_are_not_believed() {
    const LAST_SUCCESS: &str = "talkover_exporter_last_success_timestamp_seconds";
    let scenario = scenario(2, 1000);
    let simulator = simulator(scenario.clone(), Clock::Real).await;
    let workspace = Workspace::new();
    configure(&workspace, &simulator.base_url(), &scenario.webhooks, 120);
    let exporter = Exporter::start(&workspace.path("config.yml")).await;
    exporter.wait_for("successes", |scrape| scrape.of(LAST_SUCCESS).count() == 2).await;
    exporter.kill().await;
    // The theoretical arrival time is the third number of a record; the times of polls that there are move by 75 years.
    change_numbers(&workspace.path("state.db.budget"), 40, 16, |_| u64::MAX / 2);
    change_numbers(&workspace.path("state.db.seen"), 8, 0, |micros| if micros > 0 { micros + (75 << 45) } else { 0 });

    let failing = RandomFault { probability: 1.0, path: String::new(), fault: Fault::Status(404) };
    simulator.set_faults(&FaultPlan { random: vec![failing], ..FaultPlan::default() });
    let before = simulator.requests().len();
    let exporter = Exporter::start(&workspace.path("config.yml")).await;
    wait_for("requests", || async { (simulator.requests().len() > before).then_some(()) }).await;
    assert_eq!(exporter.scrape().await.of(LAST_SUCCESS).count(), 0, "none is known");
    for line in ["state.db.budget: holds times in the future", "ahead of the local clock is ignored"] {
        assert!(exporter.log().iter().any(|logged| logged.contains(line)), "{line}: {:#?}", exporter.log());
    }
    simulator.set_faults(&FaultPlan::default());
    let now = || simulator.truth().now.as_seconds() as f64;
    let scrape = exporter.wait_for("successes again", |scrape| scrape.of(LAST_SUCCESS).count() == 2).await;
    assert!(scrape.of(LAST_SUCCESS).all(|(_, time)| time <= now()), "{}", scrape.text);
    exporter.kill().await;
}

#[tokio::test]
async fn a_quiet_webhook_costs_one_small_request_a_poll() {
    let scenario = scenario(1, 1000);
    let simulator = simulator(scenario.clone(), Clock::Real).await;
    let workspace = Workspace::new();
    configure(&workspace, &simulator.base_url(), &scenario.webhooks, 1000);
    for ago in 0..150 {
        let created_at = simulator.truth().now.minus(Duration::from_secs(ago * 60));
        simulator.with_world(|world| world.insert("w-1", EntrySpec { created_at, ..EntrySpec::default() })).unwrap();
    }
    let exporter = Exporter::start(&workspace.path("config.yml")).await;
    let polls = |scrape: &crate::harness::Scrape| scrape.sum("talkover_exporter_polls_total", &["success"]);
    exporter.wait_for("twenty polls", |scrape| polls(scrape) >= 20.0).await;
    exporter.terminate().await;
    let paths: Vec<String> = simulator.requests().into_iter().map(|request| request.path).collect();
    // The first contact takes two full pages. The lookback of ten minutes holds ten entries: polls reach behind it, so
    // that no sweep comes by itself.
    let (first, polls) = paths.split_at(2);
    assert!(first.iter().all(|path| path.contains("per_page=100")), "{first:?}");
    assert!(polls.iter().all(|path| path.ends_with("per_page=25&page=1")), "{polls:?}");
}
