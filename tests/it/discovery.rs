//! Discovery over real sockets: what the simulated API lists is found, and what changes there changes here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use talkover_core::delivery::{OwnerType, Timestamp};
use talkover_core::discovery::filter::Filter;
use talkover_core::discovery::listing::Shortfall;
use talkover_core::discovery::plan::{Discovery, DiscoverySettings};
use talkover_core::discovery::record::DiscoveryRecord;
use talkover_core::discovery::request::{DiscoveredPage, Request};
use talkover_core::discovery::targets::{ListedTarget, Targets, compare, join};
use talkover_core::server_time::{DateHeader, LocalTime, ServerTime};
use talkover_exporter::client::{Client, ClientOptions};
use talkover_exporter::store::Store as _;
use talkover_exporter::store::sqlite::SqliteStore;
use talkover_simulator::scenario::{DEFAULT_TOKEN, ListedOwner, OwnerKind};
use talkover_simulator::{Fault, ManualClock, Moment, PageFaults, Scenario, Simulator, Webhook};

use super::harness::simulator;

const START: i64 = 1_705_316_400;
const REFRESH: Duration = Duration::from_secs(300);

/// A discovery with its API, in time that is moved by hand, and the state file in which it is kept.
struct Desk {
    simulator: Simulator,
    clock: ManualClock,
    client: Client,
    discovery: Discovery,
    now: Duration,
    store: SqliteStore,
    _directory: tempfile::TempDir,
}

fn settings() -> DiscoverySettings {
    DiscoverySettings { agents: true, campaigns: true, refresh_interval: REFRESH, max_webhooks: 10_000 }
}

fn filter() -> Filter {
    Filter::new(&["*".to_owned()], &["*/ignored".to_owned()])
}

fn server(second: i64) -> ServerTime {
    ServerTime::new(Timestamp::from_seconds(second))
}

impl Desk {
    async fn new(scenario: Scenario) -> Self {
        let clock = ManualClock::new(Moment::from_seconds(START));
        let simulator = simulator(scenario, clock.clone()).await;
        let options = ClientOptions {
            base_url: simulator.base_url().parse().unwrap(),
            request_timeout: Duration::from_secs(20),
            ca_file: None,
            proxy: None,
        };
        let client = Client::new(&options, &SecretString::from(DEFAULT_TOKEN)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let store =
            SqliteStore::open(&directory.path().join("state.db"), LocalTime::new(Timestamp::from_seconds(START)))
                .unwrap();
        let discovery = Discovery::new(settings(), filter(), DiscoveryRecord::default(), server(START));
        Self { simulator, clock, client, discovery, now: Duration::ZERO, store, _directory: directory }
    }

    /// Makes all requests that are due within `time`, and writes what they bring; how many there were.
    async fn run(&mut self, time: Duration) -> usize {
        let (end, mut count) = (self.now + time, 0);
        while let Some(due) = self.discovery.due().filter(|due| *due < end) {
            self.wait_until(due);
            let request = self.discovery.next(self.now).unwrap();
            self.discovery.start();
            self.ask(request).await;
            let unsaved = self.discovery.take_unsaved();
            self.store.save_discovered("test", &unsaved, &[], &[], LocalTime::default()).unwrap();
            count += 1;
        }
        self.wait_until(end);
        count
    }

    /// Goes on as after a restart or a reload: with what was written.
    fn restart(&mut self) {
        let record = self.store.load_discovered("test").unwrap();
        let date = server(START).plus(self.now);
        (self.discovery, self.now) = (Discovery::new(settings(), filter(), record, date), Duration::ZERO);
    }

    fn wait_until(&mut self, moment: Duration) {
        self.clock.advance(moment.saturating_sub(self.now));
        self.now = self.now.max(moment);
    }

    async fn ask(&mut self, request: Request) {
        let (exchange, found) = match &request {
            Request::Owners { owner_type, page, per_page } => {
                let answer = self.client.owners(*owner_type, *page, *per_page).await;
                (answer.exchange, answer.result.map(DiscoveredPage::Owners))
            }
            Request::Webhooks { owner, page } => {
                let answer = self.client.webhooks(owner, *page).await;
                (answer.exchange, answer.result.map(DiscoveredPage::Webhooks))
            }
        };
        let DateHeader(date) = exchange.date.unwrap();
        self.discovery.finish(request, found.as_ref().cloned(), ServerTime::new(date), self.now);
    }

    fn targets(&self) -> Targets {
        join(&Arc::from("test"), &[], self.discovery.targets())
    }

    fn names(&self) -> BTreeMap<String, String> {
        let name = |(id, listed): (Arc<str>, ListedTarget)| {
            let owner_name = listed.info.map(|info| info.owner_name.to_string()).unwrap_or_default();
            (id.to_string(), format!("{owner_name}/{}", listed.target.webhook_name))
        };
        self.targets().into_iter().map(name).collect()
    }
}

/// 120 agents and 3 campaigns, one of them ended.
fn scenario() -> Scenario {
    let mut webhooks: Vec<_> =
        (0..120).map(|id| Webhook::of_agent(&format!("a-{id:03}"), &format!("w-{id:03}"))).collect();
    webhooks.extend((0..3).map(|id| Webhook::of_campaign(&format!("c-{id}"), &format!("v-{id}"))));
    webhooks[7].name = "ignored".to_owned();
    webhooks[8].url = "https://user:secret@crm.example.net:8443/x?key=secret".to_owned();
    webhooks[8].http_method = Some("PUT".to_owned());
    webhooks[8].enabled = false;
    let ended = ListedOwner {
        kind: OwnerKind::Campaign,
        id: "c-0".to_owned(),
        name: "Last autumn".to_owned(),
        status: Some("completed".to_owned()),
    };
    // Pages of 50, whatever is asked for.
    Scenario { webhooks, owners: vec![ended], max_per_page: Some(50), ..Scenario::default() }
}

#[tokio::test]
async fn everything_is_found_and_kept_over_a_restart() {
    let mut desk = Desk::new(scenario()).await;
    assert_eq!(desk.run(Duration::from_secs(10)).await, 3 + 1 + 123);
    let targets = desk.targets();
    assert_eq!(targets.len(), 122, "one is left out");
    assert!(!format!("{targets:?}").contains("secret"));
    let info = targets["w-008"].info.clone().unwrap();
    let endpoint = info.endpoint.unwrap();
    assert_eq!((&*endpoint.host, endpoint.port), ("crm.example.net", Some(8443)));
    assert_eq!((info.is_enabled, info.method.as_str(), info.max_retries), (false, "PUT", Some(3)));
    assert_eq!(desk.names()["v-0"], "Last autumn/webhook v-0");
    assert_eq!(desk.discovery.last_success(), Some(Timestamp::from_seconds(START)));

    let record = desk.store.load_discovered("test").unwrap();
    let restored = Discovery::new(settings(), filter(), record, server(START + 10));
    assert_eq!(join(&Arc::from("test"), &[], restored.targets()), targets, "at once");
    // The first of the rotation: 122 owners share the hour, and ten seconds of it are over.
    let due = restored.due().unwrap().as_secs();
    assert!((17..=20).contains(&due), "{due}");
}

#[tokio::test]
async fn an_owner_that_makes_pages_fail_hides_no_other() {
    let mut desk = Desk::new(scenario()).await;
    let unreadable = ["a-000", "a-060", "a-119", "c-1"].map(str::to_owned).to_vec();
    desk.simulator.set_page_faults(PageFaults { unreadable_owners: unreadable, ..PageFaults::default() });
    desk.run(REFRESH * 6).await;
    let found = desk.targets();
    assert_eq!(found.len(), 118, "one is left out");
    let told: Vec<_> = desk.discovery.take_news().into_iter().map(|list| (list.owner_type, list.shortfall)).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.contains(&(OwnerType::Agent, Shortfall::Unreadable)), "{told:?}");
    assert!(told.contains(&(OwnerType::Campaign, Shortfall::Unreadable)), "{told:?}");

    // What is hidden later stays, what is gone stays while that cannot be known, and what is new is found.
    desk.simulator.set_page_faults(PageFaults::default());
    desk.run(REFRESH * 2).await;
    assert_eq!(desk.targets().len(), 122);
    let unreadable = vec!["a-005".to_owned()];
    desk.simulator.set_page_faults(PageFaults { unreadable_owners: unreadable, ..PageFaults::default() });
    desk.simulator.with_world(|world| {
        world.remove_owner(OwnerKind::Agent, "a-050");
        world.add_webhook(Webhook::of_agent("z", "new"));
    });
    desk.run(REFRESH * 6).await;
    let found = desk.targets();
    assert!(found.contains_key("new") && found.contains_key("w-005") && found.contains_key("w-050"));
    desk.simulator.set_page_faults(PageFaults::default());
    desk.run(REFRESH * 5).await;
    let found = desk.targets();
    assert!(found.contains_key("w-005") && !found.contains_key("w-050"), "now it is known");
}

#[tokio::test]
async fn what_an_operator_does_is_noticed() {
    let mut desk = Desk::new(scenario()).await;
    desk.run(Duration::from_secs(10)).await;
    let before = desk.targets();
    desk.simulator.with_world(|world| {
        world.remove_owner(OwnerKind::Campaign, "c-1");
        world.rename_owner(OwnerKind::Campaign, "c-2", "Renamed");
        world.add_webhook(Webhook::of_agent("b", "new"));
        world.change_webhook("w-001", |webhook| webhook.enabled = false);
        world.remove_webhook("w-002");
    });
    desk.run(REFRESH + Duration::from_secs(10)).await;
    let changes = compare(&before, &desk.targets());
    let appeared: Vec<_> =
        changes.appeared.iter().map(|listed| (&*listed.target.webhook_id, listed.known_at)).collect();
    assert_eq!(
        appeared,
        [("new", Some(Timestamp::from_seconds(START)))],
        "it is known since the list without its agent"
    );
    assert!(changes.changed.iter().any(|listed| &*listed.target.webhook_id == "v-2"), "the owner's new name");
    assert!(changes.disappeared.iter().any(|target| &*target.webhook_id == "v-1"), "the list came in one answer");
    desk.run(Duration::from_secs(3600)).await;
    let now = desk.targets();
    assert!(!now.contains_key("w-002") && !now["w-001"].info.as_ref().unwrap().is_enabled);
}

#[tokio::test]
async fn a_new_webhook_at_a_known_agent_is_found_by_the_next_refresh_after_a_restart() {
    let mut desk = Desk::new(scenario()).await;
    desk.run(Duration::from_secs(60)).await;
    desk.restart();
    desk.simulator.with_world(|world| {
        world.add_webhook(Webhook::of_agent("a-005", "new"));
        // Touches the agent, as the API does.
        world.rename_owner(OwnerKind::Agent, "a-005", "Agent with one more webhook");
    });
    desk.run(REFRESH).await;
    assert!(desk.targets().contains_key("new"));
}

#[tokio::test]
async fn an_api_that_goes_wrong_takes_nothing_away() {
    let mut desk = Desk::new(scenario()).await;
    desk.run(Duration::from_secs(10)).await;
    let targets = desk.targets();
    let faults = [
        Fault::Status(500),
        Fault::Status(404),
        Fault::Html(502),
        Fault::InvalidJson,
        Fault::NotSuccess,
        Fault::Truncated,
        Fault::Redirect(None),
    ];
    for _ in 0..20 {
        faults.iter().for_each(|fault| desk.simulator.push_fault(fault.clone()));
    }
    let asked = desk.run(Duration::from_secs(3 * 3600)).await;
    assert!(asked > 3 * 123, "{asked}");
    assert_eq!(desk.targets(), targets);
    let agents = desk.simulator.requests().iter().filter(|request| request.path.starts_with("/api/v1/agents?")).count();
    assert!(agents > 36 * 3, "{agents} pages of agents in three hours");
    assert!(desk.discovery.last_success() > Some(Timestamp::from_seconds(START + 10_000)));
    assert!(desk.targets().values().any(|listed| listed.target.owner_type == OwnerType::Campaign));
}
