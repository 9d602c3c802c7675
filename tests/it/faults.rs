//! Every fault that the API and the way to it can have, all at the same time: one daemon polls an environment for each
//! row of the table, and one where nothing goes wrong.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use talkover_simulator::{Clock, EntrySpec, Fault, FaultPlan, Moment, RandomFault, Scenario, Simulator, Status};
use tokio::time::{Instant, interval};

use crate::harness::{Exporter, Scrape, Workspace, quiet_scenario, simulator, true_attempts};
use front::{Front, fixture};
use table::{Cause, Concerned, Row, TABLE, markdown};

pub(crate) mod front;
mod table;

const WEBHOOKS: [&str; 2] = ["w-1", "w-2"];
/// So many failed polls of one webhook are waited for, so that there is something to be silent about.
const FAILURES: f64 = 2.0;
/// So many polls of the others are waited for meanwhile.
const POLLS: f64 = 3.0;
/// No phase takes longer, unless the machine stands still.
const PATIENCE: Duration = Duration::from_secs(60);
/// Small pages make walks of several requests.
const SETTINGS: &str = "poll: {min_interval: 100ms, max_interval: 500ms, per_page: 2, lookback: 1h, sweep_interval: 2s}\n\
                        metrics: {birth_hold: 0s}\n";

/// One environment: a simulated API with two webhooks, and what the configuration says of it.
struct Api {
    environment: String,
    row: Option<&'static Row>,
    simulator: Simulator,
    front: Option<Front>,
    token_file: PathBuf,
}

impl Api {
    async fn start(environment: String, row: Option<&'static Row>, workspace: &Workspace) -> Self {
        let token = format!("talq_{environment}_old");
        let token_file = workspace.write(&format!("{environment}.token"), &token);
        let simulator = simulator(Scenario { tokens: vec![token], ..quiet_scenario() }, Clock::Real).await;
        let has_front = row.is_some_and(|row| matches!(row.cause, Cause::Certificate));
        let front = has_front.then(|| Front::start(simulator.base_url()));
        let api = Self { environment, row, simulator, front, token_file };
        api.deliver();
        api
    }

    /// Lets deliveries be attempted now, with every outcome.
    fn deliver(&self) {
        self.simulator.with_world(|world| {
            let created_at = world.now();
            for webhook in WEBHOOKS {
                for (status, http_status) in [
                    (Status::Success, Some(200)),
                    (Status::Success, Some(200)),
                    (Status::Success, Some(204)),
                    (Status::Retrying, Some(503)),
                    (Status::Failed, None),
                ] {
                    let spec = EntrySpec { created_at, status, http_status, ..EntrySpec::default() };
                    world.insert(webhook, spec).unwrap();
                }
            }
        });
    }

    /// What the configuration says of it; with a wrong base URL until it `is_mended`.
    fn configuration(&self, is_mended: bool) -> String {
        let base_url = match (&self.front, self.row.map(|row| &row.cause)) {
            (_, Some(Cause::BaseUrl(wrong))) if !is_mended => (*wrong).to_owned(),
            (Some(front), _) => front.url.clone(),
            (None, _) => self.simulator.base_url(),
        };
        // Only where a time-out is the point: a busy machine must not cause others.
        let is_short = self.row.is_some_and(|row| row.result == "timeout");
        format!(
            "  - name: {}\n    base_url: {base_url}\n    token_file: {:?}\n    ca_file: {:?}\n    \
             requests_per_minute: 6000\n    request_timeout: {}\n    webhooks:\n      \
             - {{agent_id: a-1, webhook_id: w-1}}\n      - {{campaign_id: c-1, webhook_id: w-2}}\n",
            self.environment,
            self.token_file,
            fixture("ca.crt"),
            if is_short { "3s" } else { "20s" },
        )
    }

    /// Whether polls fail from the start, as nothing can mend a wrong base URL but another configuration.
    fn fails_from_the_start(&self) -> bool {
        self.row.is_some_and(|row| matches!(row.cause, Cause::BaseUrl(_)))
    }

    /// The webhooks whose polls fail, and those whose polls do not.
    fn webhooks(&self) -> (&'static [&'static str], &'static [&'static str]) {
        match self.row.map(|row| row.concerned) {
            None => (&[], &WEBHOOKS),
            Some(Concerned::Webhook) => WEBHOOKS.split_at(1),
            Some(Concerned::Environment) => (&WEBHOOKS, &[]),
        }
    }

    /// Lets the fault begin.
    fn strike(&self, elsewhere: &TcpListener) {
        let Some(row) = self.row else { return };
        match &row.cause {
            Cause::Api(fault) => self.answer_with(row, fault.clone()),
            Cause::RedirectElsewhere => {
                let location = format!("http://{}/collect", elsewhere.local_addr().unwrap());
                self.answer_with(row, Fault::Redirect(Some(location)));
            }
            Cause::Token => self.simulator.set_tokens(vec![format!("talq_{}_new", self.environment)]),
            Cause::Certificate => self.front.as_ref().unwrap().show("untrusted"),
            Cause::BaseUrl(_) => {}
        }
    }

    fn answer_with(&self, row: &Row, fault: Fault) {
        let path = match row.concerned {
            Concerned::Webhook => "/webhooks/w-1/".to_owned(),
            Concerned::Environment => String::new(),
        };
        let random = vec![RandomFault { probability: 1.0, path, fault }];
        self.simulator.set_faults(&FaultPlan { random, ..FaultPlan::default() });
    }

    /// Lets the fault end.
    fn heal(&self) {
        self.simulator.set_faults(&FaultPlan::default());
        if let Some(front) = &self.front {
            front.show("server");
        }
        if self.row.is_some_and(|row| matches!(row.cause, Cause::Token)) {
            std::fs::write(&self.token_file, format!("talq_{}_new\n", self.environment)).unwrap();
        }
    }

    fn true_attempts(&self) -> BTreeMap<String, f64> {
        let sums = WEBHOOKS.map(|webhook| true_attempts(&self.simulator, &self.environment, webhook));
        sums.into_iter().flatten().collect()
    }

    fn series(&self, name: &str, webhook: &str, more: &str) -> String {
        format!("{name}{{environment=\"{}\",webhook_id=\"{webhook}\"{more}}}", self.environment)
    }

    fn up(&self, scrape: &Scrape, webhook: &str) -> Option<f64> {
        scrape.get(&self.series("talkover_up", webhook, ""))
    }

    fn polls(&self, scrape: &Scrape, webhook: &str, result: &str) -> f64 {
        let result = format!(",result=\"{result}\"");
        scrape.get(&self.series("talkover_exporter_polls_total", webhook, &result)).unwrap()
    }

    fn failed_polls(&self, scrape: &Scrape, webhook: &str) -> f64 {
        let all = self.series("talkover_exporter_polls_total", webhook, "");
        let all =
            scrape.sum("talkover_exporter_polls_total", &[all.split('{').next_back().unwrap().trim_end_matches('}')]);
        all - self.polls(scrape, webhook, "success")
    }

    /// Whether everything is as if nothing had ever gone wrong.
    fn check_whole(&self, scrape: &Scrape) -> Result<(), String> {
        self.check_counts(scrape, &WEBHOOKS)?;
        for webhook in WEBHOOKS {
            if self.up(scrape, webhook) != Some(1.0) {
                return Err(format!("{webhook} is not up"));
            }
        }
        Ok(())
    }

    fn check_counts(&self, scrape: &Scrape, webhooks: &[&str]) -> Result<(), String> {
        let of_these = |series: &str| {
            let is_own = |webhook: &&str| series.contains(&self.series("", webhook, "")[1..].replace('}', ""));
            webhooks.iter().any(is_own)
        };
        let mut expected = self.true_attempts();
        expected.retain(|series, _| of_these(series));
        let found = scrape.of("talkover_webhook_delivery_attempts_total").filter(|(series, _)| of_these(series));
        let found: BTreeMap<String, f64> = found.map(|(series, value)| (series.to_owned(), value)).collect();
        if found == expected { Ok(()) } else { Err(format!("counted {found:?}, not {expected:?}")) }
    }

    /// Whether the fault has lasted long enough, and what is not concerned has gone on meanwhile.
    fn check_struck(&self, scrape: &Scrape, before: &Scrape) -> Result<(), String> {
        let (struck, others) = self.webhooks();
        let failed = struck.iter().map(|webhook| self.failed_polls(scrape, webhook));
        let most = failed.fold(f64::NAN, f64::max);
        let is_down = struck.iter().all(|webhook| self.up(scrape, webhook) == Some(0.0));
        if most < FAILURES || !is_down {
            return Err(format!("{most} polls of one of {struck:?} have failed"));
        }
        self.check_counts(scrape, others)?;
        for webhook in others {
            let polls = self.polls(scrape, webhook, "success") - self.polls(before, webhook, "success");
            if polls < POLLS || self.up(scrape, webhook) != Some(1.0) {
                return Err(format!("{polls} polls of {webhook} have succeeded"));
            }
        }
        Ok(())
    }

    /// That polls and requests were counted as the table says, and nothing else went wrong. While the fault lasts, a
    /// scrape may show a request before the poll that failed with it.
    fn assert_results(&self, scrape: &Scrape, is_over: bool) {
        let (struck, others) = self.webhooks();
        for webhook in others {
            assert_eq!(self.failed_polls(scrape, webhook), 0.0, "{self}: polls of {webhook} have failed");
        }
        let Some(row) = self.row else { return };
        let mut failed = 0.0;
        for webhook in struck {
            let all = self.failed_polls(scrape, webhook);
            assert_eq!(self.polls(scrape, webhook, row.result), all, "{self}: polls of {webhook} by result");
            failed += all;
        }
        let own = format!("environment=\"{}\"", self.environment);
        let requests = |code: &str| scrape.sum("talkover_api_requests_total", &[&own, &format!("code=\"{code}\"")]);
        let all = scrape.sum("talkover_api_requests_total", &[&own]);
        let (expected, good) = (requests(row.code), if row.code == "200" { 0.0 } else { requests("200") });
        assert_eq!(expected + good, all, "{self}: there are codes besides 200 and {}", row.code);
        // Requests that brought something have the code 200 too.
        let is_exact = is_over && row.code != "200";
        assert!(
            if is_exact { expected == failed } else { expected >= 1.0 },
            "{self}: {expected} for {failed} failures"
        );
    }

    /// That the log tells each change once, with its cause.
    fn check_log(&self, log: &[String], is_over: bool) -> Result<(), String> {
        let own = format!(" environment={}", self.environment);
        let said = |text: &str| {
            let is_own = |line: &&String| line.ends_with(&own) || line.contains(&format!("{own} webhook_id="));
            log.iter().filter(is_own).filter(|line| line.contains(text)).cloned().collect::<Vec<_>>()
        };
        let Some(row) = self.row else {
            return if said(" WARN ").is_empty() { Ok(()) } else { Err(format!("{:?}", said(" WARN "))) };
        };
        // What concerns all is told of the environment, once; else of the webhook.
        let (about, end) = match row.concerned {
            Concerned::Environment => (own.clone(), "API reachable again after "),
            Concerned::Webhook => (format!("{own} webhook_id=w-1"), "log readable again after "),
        };
        let (failed, again) = (said(" WARN "), said(end));
        let is_told = matches!(failed.as_slice(), [line] if line.ends_with(&about) && line.contains(row.logged));
        if is_told && again.len() == usize::from(is_over) && again.iter().all(|line| line.ends_with(&about)) {
            return Ok(());
        }
        Err(format!("{failed:?} {again:?} instead of one {:?}", row.logged))
    }

    /// When requests for a webhook came from `since` to `until`.
    fn requests(&self, webhook: &str, since: Moment, until: Moment) -> Vec<Moment> {
        let path = format!("/webhooks/{webhook}/");
        let requests = self.simulator.requests();
        let own =
            requests.iter().filter(|request| request.path.contains(&path) && (since..until).contains(&request.at));
        own.map(|request| request.at).collect()
    }

    /// The pauses between them.
    fn pauses(&self, webhook: &str, since: Moment, until: Moment) -> Vec<Duration> {
        let times = self.requests(webhook, since, until);
        times.windows(2).map(|pair| pair[1].since(pair[0])).collect()
    }
}

impl std::fmt::Display for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.environment, self.row.map_or("nothing goes wrong", |row| row.name))
    }
}

fn configure(workspace: &Workspace, apis: &[Api], is_mended: bool) -> PathBuf {
    let head = format!("server: {{listen: 127.0.0.1:0}}\nstate: {{path: {:?}}}\n", workspace.path("state.db"));
    let environments: String = apis.iter().map(|api| api.configuration(is_mended)).collect();
    workspace.write("config.yml", &format!("{head}{SETTINGS}environments:\n{environments}"))
}

/// Scrapes until `check` has nothing to say of any API, and gives that scrape.
async fn wait_for(
    exporter: &Exporter,
    apis: impl Iterator<Item = &Api> + Clone,
    check: impl Fn(&Api, &Scrape) -> Result<(), String>,
) -> Scrape {
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        let scrape = exporter.scrape().await;
        let missing = apis.clone().find_map(|api| check(api, &scrape).err().map(|what| format!("{api}: {what}")));
        let Some(missing) = missing else { return scrape };
        assert!(Instant::now() < deadline, "{missing}\n{:#?}", exporter.log());
    }
}

/// That failures are followed by pauses that double, or that last as long as the API asks for.
fn assert_pauses(api: &Api, row: &Row, pauses: &[Duration]) {
    for (number, pause) in pauses.iter().enumerate() {
        // From half of it on; the dates that HTTP knows are up to a second off.
        let doubled = Duration::from_millis(500) * 2_u32.pow(number as u32);
        let shortest = row.retry_after().map_or(doubled, |wait| wait - Duration::from_secs(1));
        assert!(*pause >= shortest, "{api}: {pauses:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_survived_and_concerns_nobody_else() {
    let workspace = Workspace::new();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let mut apis = vec![Api::start("well".to_owned(), None, &workspace).await];
    for (number, row) in TABLE.iter().enumerate() {
        apis.push(Api::start(format!("fault-{number:02}"), Some(row), &workspace).await);
    }
    let mendable = || apis.iter().filter(|api| !api.fails_from_the_start());
    let now = || apis[0].simulator.truth().now;

    let exporter = Exporter::start(&configure(&workspace, &apis, false)).await;
    let before = wait_for(&exporter, mendable(), Api::check_whole).await;

    apis.iter().for_each(|api| api.strike(&elsewhere));
    let since = now();
    apis.iter().for_each(Api::deliver);
    let struck = wait_for(&exporter, apis.iter(), |api, scrape| {
        api.check_struck(scrape, &before).and_then(|()| api.check_log(&exporter.log(), false))
    })
    .await;
    apis.iter().for_each(|api| api.assert_results(&struck, false));

    let until = now();
    apis.iter().for_each(Api::heal);
    let healed = wait_for(&exporter, mendable(), |api, scrape| {
        api.check_whole(scrape).and_then(|()| api.check_log(&exporter.log(), true))
    })
    .await;
    mendable().for_each(|api| api.assert_results(&healed, true));
    let log = exporter.log();
    let complaints = log.iter().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).count();
    assert_eq!(complaints, apis.iter().filter(|api| api.row.is_some()).count(), "{log:#?}");
    let ended = log.iter().filter(|line| line.contains("API reachable again after ")).count();
    let concerns_all = |api: &&Api| api.row.is_some_and(|row| row.concerned == Concerned::Environment);
    assert_eq!(ended, mendable().filter(|api| concerns_all(api)).count(), "{log:#?}");
    for api in apis.iter().filter(|api| api.front.is_some()) {
        // One of each webhook may have been under way when the certificate changed; at least two have failed.
        let sent = WEBHOOKS.map(|webhook| api.requests(webhook, since, until).len());
        assert!(
            sent.iter().all(|count| *count <= 1),
            "{api}: {sent:?} requests were sent before the certificate was checked"
        );
    }
    for (api, row) in apis.iter().filter_map(|api| Some((api, api.row?))) {
        api.webhooks().0.iter().for_each(|webhook| assert_pauses(api, row, &api.pauses(webhook, since, until)));
    }
    assert_eq!(exporter.terminate().await, Some(0));

    // What only another configuration can mend goes on after a restart, and the rest is not counted anew.
    let exporter = Exporter::start(&configure(&workspace, &apis, true)).await;
    let mended = wait_for(&exporter, apis.iter(), Api::check_whole).await;

    for api in &apis {
        let requests = api.simulator.requests();
        let stray = requests.iter().find(|request| !request.path.contains("/logs?") || request.method != "GET");
        assert_eq!(stray, None, "{api}");
    }
    let connection = elsewhere.accept();
    assert!(connection.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "the redirect was followed");
    for text in log.iter().chain(&exporter.log()).chain([&struck.text, &healed.text, &mended.text]) {
        assert!(!text.contains("talq_"), "{text}");
    }
}

#[tokio::test]
async fn a_token_file_that_changes_in_time_costs_no_poll() {
    let workspace = Workspace::new();
    let api = Api::start("changed".to_owned(), None, &workspace).await;
    let (old, new) = ("talq_changed_old".to_owned(), "talq_changed_new".to_owned());
    api.simulator.set_tokens(vec![old, new.clone()]);
    let apis = [api];
    let exporter = Exporter::start(&configure(&workspace, &apis, true)).await;
    let mut scrape = wait_for(&exporter, apis.iter(), Api::check_whole).await;
    for change in [&|| std::fs::write(&apis[0].token_file, &new).unwrap() as (), &|| {
        apis[0].simulator.set_tokens(vec![new.clone()])
    }] as [&dyn Fn(); 2]
    {
        change();
        scrape = wait_for(&exporter, apis.iter(), |api, now| api.check_struck(now, &scrape)).await;
    }
    apis[0].assert_results(&scrape, true);
}

#[test]
fn the_table_in_the_docs_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md");
    let wanted = markdown();
    if std::env::vars_os().any(|(name, _)| name == "UPDATE_DOCS") {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/faults.md is not current: run `UPDATE_DOCS=1 cargo test docs`");
}
