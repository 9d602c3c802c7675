//! What is asked when, in simulated time against a model of the API, and what the answers come to.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::discovery::Method;
use crate::discovery::targets::{Targets, join};
use crate::reading::wire::Pagination;

const S: fn(u64) -> Duration = Duration::from_secs;
const M: fn(u64) -> Duration = |minutes| Duration::from_secs(60 * minutes);
const H: fn(u64) -> Duration = |hours| Duration::from_secs(3600 * hours);
/// The server's clock at the start.
const START: ServerTime = ServerTime::new(Timestamp::from_seconds(1_700_000_000));

const SETTINGS: DiscoverySettings = DiscoverySettings {
    agents: true,
    campaigns: true,
    refresh_interval: Duration::from_secs(300),
    max_webhooks: 10_000,
};

/// Says which requests fail, and how.
type Failing = dyn Fn(&Request) -> Option<ApiError>;

/// Owners with their webhooks, an API that lists them, and a discovery that asks it.
struct World {
    owners: BTreeMap<OwnerKey, (ApiOwner, Vec<String>)>,
    /// Requests that fail.
    fails: Box<Failing>,
    discovery: Discovery,
    /// The server's clock when the discovery started.
    epoch: ServerTime,
    now: Duration,
    /// All requests, with the time at which they were made.
    asked: Vec<(Duration, Request)>,
}

fn agent(id: impl ToString) -> OwnerKey {
    OwnerKey { owner_type: OwnerType::Agent, id: id.to_string().into() }
}

fn campaign(id: impl ToString) -> OwnerKey {
    OwnerKey { owner_type: OwnerType::Campaign, id: id.to_string().into() }
}

fn everything() -> Filter {
    Filter::new(&["*".to_owned()], &[])
}

fn not_found() -> ApiError {
    ApiError::Http { status: 404, message: None, retry_after: None }
}

fn webhook(id: &str) -> ApiWebhook {
    ApiWebhook {
        name: id.into(),
        endpoint: None,
        timeout_seconds: None,
        max_retries: None,
        method: Method::Post,
        is_enabled: true,
    }
}

fn paged<T>(all: Vec<(Arc<str>, T)>, page: u32, per_page: u32) -> ListPage<T> {
    let total = all.len() as u64;
    let last_page = Some(total.div_ceil(u64::from(per_page)).max(1));
    let skip = (page as usize - 1) * per_page as usize;
    let entries = all.into_iter().skip(skip).take(per_page as usize).collect();
    let pagination = Pagination { per_page: Some(per_page.into()), total: Some(total), last_page };
    ListPage { entries, invalid: Vec::new(), pagination }
}

impl World {
    fn new() -> Self {
        let discovery = Discovery::new(SETTINGS, everything(), DiscoveryRecord::default(), START);
        Self {
            owners: BTreeMap::new(),
            fails: Box::new(|_| None),
            discovery,
            epoch: START,
            now: S(0),
            asked: Vec::new(),
        }
    }

    /// An owner with one webhook of the same id.
    fn add(&mut self, key: OwnerKey, status: &str) {
        let owner = ApiOwner { name: key.id.clone(), status: Some(status.into()), updated_at: None };
        let webhooks = vec![format!("w-{}", key.id)];
        self.owners.insert(key, (owner, webhooks));
    }

    fn with(agents: u32, campaigns: u32, ended: u32) -> Self {
        let mut world = Self::new();
        (0..agents).for_each(|id| world.add(agent(id), "published"));
        (0..campaigns).for_each(|id| world.add(campaign(id), if id < ended { "completed" } else { "active" }));
        world
    }

    fn date(&self) -> ServerTime {
        self.epoch.plus(self.now)
    }

    fn answer(&self, request: &Request) -> Result<DiscoveredPage, ApiError> {
        if let Some(error) = (self.fails)(request) {
            return Err(error);
        }
        match request {
            Request::Owners { owner_type, page, per_page } => {
                let of_type = self.owners.iter().filter(|(key, _)| key.owner_type == *owner_type);
                let all = of_type.map(|(key, (owner, _))| (key.id.clone(), owner.clone())).collect();
                Ok(DiscoveredPage::Owners(paged(all, *page, *per_page)))
            }
            Request::Webhooks { owner, page } => {
                let (_, webhooks) = self.owners.get(owner).ok_or_else(not_found)?;
                let all = webhooks.iter().map(|id| (id.as_str().into(), webhook(id))).collect();
                Ok(DiscoveredPage::Webhooks(paged(all, *page, 100)))
            }
        }
    }

    /// Makes the requests that are due, one in two seconds, until `until`.
    fn run(&mut self, until: Duration) {
        while let Some(due) = self.discovery.due().map(|due| due.max(self.now)).filter(|due| *due < until) {
            self.now = due;
            let request = self.discovery.next(due).expect("it was said to be due");
            self.discovery.start();
            assert_eq!((self.discovery.due(), self.discovery.next(due)), (None, None), "one at a time");
            let answer = self.answer(&request);
            self.asked.push((self.now, request.clone()));
            self.now += S(2);
            self.discovery.finish(request, answer.as_ref().cloned(), self.date(), self.now);
        }
        self.now = until;
    }

    /// Goes on after a restart, with what was written, `away` later.
    fn restart(&mut self, away: Duration) {
        let filter = everything();
        self.epoch = self.date().plus(away);
        let before = std::mem::replace(
            &mut self.discovery,
            Discovery::new(SETTINGS, filter.clone(), DiscoveryRecord::default(), START),
        );
        self.discovery = Discovery::new(SETTINGS, filter, before.into_record(), self.epoch);
        self.now = S(0);
    }

    fn targets(&self) -> Targets {
        join(&"test".into(), &[], self.discovery.targets())
    }

    fn ids(&self) -> Vec<String> {
        self.targets().keys().map(ToString::to_string).collect()
    }

    /// Requests from `from` on: those for lists, and those for webhooks by owner.
    fn counts(&self, from: Duration) -> (usize, HashMap<OwnerKey, usize>) {
        let (mut lists, mut owners) = (0, HashMap::new());
        for (_, request) in self.asked.iter().filter(|(at, _)| *at >= from) {
            match request {
                Request::Owners { .. } => lists += 1,
                Request::Webhooks { owner, .. } => *owners.entry(owner.clone()).or_default() += 1,
            }
        }
        (lists, owners)
    }

    fn reads_of(&self, owner: &OwnerKey) -> Vec<Duration> {
        let is_it = |request: &Request| matches!(request, Request::Webhooks { owner: of, .. } if of == owner);
        self.asked.iter().filter(|(_, request)| is_it(request)).map(|(at, _)| *at).collect()
    }
}

#[test]
fn a_large_environment_costs_few_requests_an_hour() {
    for (ended, expected) in [(0, 330..=352), (80, 245..=272)] {
        let mut world = World::with(200, 100, ended);
        world.run(H(4));
        let (lists, owners) = world.counts(H(3));
        // Two pages of agents and one of campaigns, and in twelve refreshes an hour a few seconds are lost.
        assert!((33..=36).contains(&lists), "{lists}");
        let requests = lists + owners.values().sum::<usize>();
        assert!(expected.contains(&requests), "{requests} requests an hour with {ended} ended campaigns");
    }
}

#[test]
fn everybody_is_read_within_the_period_and_evenly() {
    let mut world = World::with(30, 10, 5);
    world.run(H(50));
    for key in world.owners.keys() {
        let reads = world.reads_of(key);
        let has_ended = world.owners[key].0.status.as_deref() == Some("completed");
        // What is due at the same time waits for its turn.
        let period = if has_ended { H(24) } else { H(1) } + M(1);
        let gaps = reads.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.max().unwrap() <= period, "{key:?}: {reads:?}");
        assert!(reads.len() <= if has_ended { 4 } else { 56 }, "{key:?}: {reads:?}");
    }
    // Although the first readings were one burst, a later minute never has more than its share and a refresh.
    for minute in 120..3000 {
        let asked = world.asked.iter().filter(|(at, _)| (M(minute)..M(minute + 1)).contains(at)).count();
        assert!(asked <= 4, "{asked} requests in minute {minute}");
    }
}

#[test]
fn a_new_owner_is_read_at_once_and_its_first_deliveries_are_live() {
    let mut world = World::with(3, 0, 0);
    world.run(M(21));
    assert_eq!(world.ids(), ["w-0", "w-1", "w-2"]);
    assert!(world.targets().values().all(|target| target.known_at.is_none()), "what was there at first is history");
    world.add(agent(7), "published");
    world.run(M(26));
    let last_without = world.asked.iter().rfind(|(at, request)| *at < M(21) && is_agents(request)).unwrap().0 + S(2);
    assert_eq!(world.targets()["w-7"].known_at, Some(START.plus(last_without).timestamp()));
}

fn is_agents(request: &Request) -> bool {
    matches!(request, Request::Owners { owner_type: OwnerType::Agent, .. })
}

#[test]
fn a_new_webhook_is_known_since_the_last_reading_without_it() {
    let mut world = World::with(2, 0, 0);
    world.run(M(90));
    world.owners.get_mut(&agent(1)).unwrap().1.push("new".into());
    let before = *world.reads_of(&agent(1)).last().unwrap() + S(2);
    world.restart(S(10));
    assert_eq!(world.ids(), ["w-0", "w-1"], "there at once");
    let asked = world.asked.len();
    world.run(H(2));
    assert_eq!(world.targets()["new"].known_at, Some(START.plus(before).timestamp()), "before the restart");
    assert!(!world.discovery.take_unsaved().is_empty() && world.asked.len() > asked);
}

#[test]
fn a_restart_repeats_nothing() {
    let mut world = World::with(50, 10, 0);
    world.run(H(2));
    world.asked.clear();
    world.restart(S(30));
    world.run(M(5));
    let (lists, owners) = world.counts(S(0));
    assert_eq!(lists, 2);
    assert!(owners.values().sum::<usize>() <= 6, "{owners:?}");
    world.asked.clear();
    world.restart(H(30));
    world.run(M(10));
    let (lists, owners) = world.counts(S(0));
    assert!(
        lists <= 4 && owners.len() == 60,
        "after a long time away everything is read again: {lists} {}",
        owners.len()
    );
}

#[test]
fn a_changed_owner_is_read_soon_but_not_at_every_touch() {
    let mut world = World::with(2, 1, 1);
    world.run(H(3));
    world.asked.clear();
    world.owners.get_mut(&campaign(0)).unwrap().0.status = Some("active".into());
    world.run(H(3) + M(6));
    assert_eq!(world.reads_of(&campaign(0)).len(), 1);
    world.asked.clear();
    for minutes in (6..246).step_by(5) {
        world.owners.get_mut(&agent(0)).unwrap().0.updated_at = Some(world.date().timestamp());
        world.run(H(3) + M(minutes + 5));
    }
    let reads = world.reads_of(&agent(0)).len();
    assert!((8..=16).contains(&reads), "{reads} in four hours");
}

#[test]
fn a_change_of_an_owners_webhooks_is_found_by_the_next_refresh() {
    let mut world = World::with(3, 0, 0);
    world.run(M(7));
    for change in ["first", "second", "third"] {
        let (owner, webhooks) = world.owners.get_mut(&agent(1)).unwrap();
        owner.updated_at = Some(world.epoch.plus(world.now).timestamp());
        webhooks.push(change.into());
        world.run(world.now + M(6));
        assert!(world.ids().contains(&change.to_owned()), "{change}");
    }
    assert!(world.reads_of(&agent(1)).len() <= 4);
}

/// How long a webhook takes to be found that is added `after` the last restart, if there is one, to an agent that was
/// read a minute before that.
fn time_to_find(restart: Option<Duration>, after: Duration) -> Duration {
    let mut world = World::with(3, 0, 0);
    world.run(M(1));
    if let Some(away) = restart {
        world.restart(away);
    }
    world.run(world.now + after);
    let added = world.now;
    let (owner, webhooks) = world.owners.get_mut(&agent(1)).unwrap();
    owner.updated_at = Some(world.epoch.plus(added).timestamp());
    webhooks.push("new".into());
    while !world.ids().contains(&"new".to_owned()) {
        world.run(world.now + S(1));
        assert!(world.now < added + H(1), "never found");
    }
    world.now - added
}

#[test]
fn a_new_webhook_is_found_as_fast_after_a_restart_as_without_one() {
    for after in [S(1), M(1), M(3)] {
        // Two lists and the agent are read, at two seconds each.
        let next_refresh = SETTINGS.refresh_interval + S(7);
        let undisturbed = time_to_find(None, after);
        assert!(undisturbed <= next_refresh, "{undisturbed:?}");
        for away in [S(0), S(20)] {
            let restarted = time_to_find(Some(away), after);
            assert!(restarted <= undisturbed + S(1), "{restarted:?} instead of {undisturbed:?}, {away:?} away");
        }
        // The lists were due while nobody looked: now they are at other times.
        let restarted = time_to_find(Some(M(6)), after);
        assert!(restarted <= next_refresh, "{restarted:?}");
    }
}

#[test]
fn a_restart_costs_one_reading_of_an_owner_that_is_touched_at_every_call() {
    let mut world = World::with(2, 0, 0);
    world.run(M(20));
    let touch_until = |world: &mut World, until: Duration| {
        while world.now < until {
            world.owners.get_mut(&agent(0)).unwrap().0.updated_at = Some(world.date().timestamp());
            world.run(world.now + M(5));
        }
    };
    touch_until(&mut world, M(60));
    world.restart(S(1));
    world.asked.clear();
    touch_until(&mut world, M(14));
    assert_eq!(world.reads_of(&agent(0)).len(), 1, "{:?}", world.asked);
}

#[test]
fn what_is_gone_goes_and_what_was_only_missed_stays() {
    let mut world = World::with(250, 1, 0);
    world.run(H(1));
    assert_eq!(world.ids().len(), 250, "w-0 is an agent's and a campaign's");
    // An owner is deleted between two pages: another one is pulled ahead and missed.
    let page = |number| Request::Owners { owner_type: OwnerType::Agent, page: number, per_page: 100 };
    let mut answers: Vec<(Request, DiscoveredPage)> = vec![(page(1), world.answer(&page(1)).unwrap())];
    world.owners.remove(&agent(0));
    answers.extend([2, 3].map(|number| (page(number), world.answer(&page(number)).unwrap())));
    for (request, found) in answers {
        world.discovery.finish(request, Ok(found), world.date(), world.now);
    }
    assert_eq!(world.ids().len(), 250);
    // That it is really gone is certain after two more lists, since they have several pages.
    world.run(world.now + M(6));
    assert_eq!(world.discovery.owners.len(), 251);
    world.run(world.now + M(6));
    assert_eq!(world.discovery.owners.len(), 250);
    assert!(!world.discovery.owners.contains_key(&agent(0)));
    assert_eq!(world.discovery.take_unsaved().gone, [agent(0)]);

    world.owners.remove(&campaign(0));
    world.run(world.now + M(6));
    assert_eq!(world.discovery.owners.len(), 250, "an empty list has to come twice");
    world.run(world.now + M(6));
    assert_eq!(world.discovery.owners.len(), 249);

    world.owners.get_mut(&agent(5)).unwrap().1.clear();
    world.run(world.now + H(1) + M(1));
    assert!(!world.ids().contains(&"w-5".to_owned()), "one answer is one moment");
}

#[test]
fn an_owner_that_fails_disturbs_no_other() {
    let mut world = World::with(5, 5, 0);
    world.fails = Box::new(|request| match request {
        Request::Webhooks { owner, .. } if *owner == agent(2) || *owner == campaign(3) => Some(not_found()),
        _ => None,
    });
    world.run(H(6));
    for well in [agent(1), agent(3), campaign(0)] {
        let reads = world.reads_of(&well).len();
        assert!((6..=8).contains(&reads), "{well:?}: {reads} in six hours");
    }
    let failed = world.reads_of(&agent(2)).len();
    assert!((7..=14).contains(&failed), "{failed} in six hours");
    assert_eq!(world.ids(), ["w-0", "w-1", "w-2", "w-3", "w-4"], "w-2 and w-3 are found under the other type");

    // It works again, and later fails again: its webhooks stay.
    world.fails = Box::new(|_| None);
    world.run(H(8));
    world.fails = Box::new(|_| Some(ApiError::Timeout));
    let targets = world.targets();
    world.run(H(20));
    assert_eq!(world.targets(), targets);
}

#[test]
fn campaigns_that_are_forbidden_do_not_stop_agents() {
    let mut world = World::with(3, 3, 0);
    world.fails = Box::new(|request| match request {
        Request::Owners { owner_type: OwnerType::Campaign, .. } => {
            Some(ApiError::Http { status: 403, message: None, retry_after: None })
        }
        _ => None,
    });
    world.run(H(2));
    assert_eq!(world.ids().len(), 3);
    let agents = world.asked.iter().filter(|(_, request)| is_agents(request)).count();
    let (lists, _) = world.counts(S(0));
    assert!((23..=24).contains(&agents) && lists - agents <= 30, "{agents} of {lists}");
    assert_eq!(world.discovery.last_success(), None, "a refresh is not complete without campaigns");
}

#[test]
fn a_server_that_refuses_large_pages_is_asked_for_small_ones() {
    let mut world = World::with(50, 0, 0);
    world.fails = Box::new(|request| match request {
        Request::Owners { per_page: 21.., .. } => {
            Some(ApiError::Http { status: 422, message: None, retry_after: None })
        }
        _ => None,
    });
    world.run(M(4));
    assert_eq!(world.ids().len(), 50);
    assert!(world.discovery.last_success().is_some());
}

#[test]
fn only_what_is_configured_is_searched_and_the_rest_is_forgotten() {
    let mut world = World::with(2, 2, 0);
    world.run(M(10));
    let record = world.discovery.into_record();
    let settings = DiscoverySettings { campaigns: false, ..SETTINGS };
    world.discovery = Discovery::new(settings, everything(), record, START.plus(M(10)));
    world.asked.clear();
    world.run(H(3));
    let (_, owners) = world.counts(S(0));
    assert!(owners.keys().all(|key| key.owner_type == OwnerType::Agent));
    assert_eq!(world.discovery.take_unsaved().gone, [campaign(0), campaign(1)]);
}

#[test]
fn a_webhook_that_was_left_out_has_no_past_when_it_is_let_in() {
    let mut world = World::with(1, 0, 0);
    world.run(M(2));
    world.owners.get_mut(&agent(0)).unwrap().1.extend(["new".into(), "out".into()]);
    let without_out = Filter::new(&["*".to_owned()], &["out".to_owned()]);
    world.discovery.filter = without_out;
    world.run(H(2));
    let known_at = |world: &World, id: &str| world.discovery.owners[&agent(0)].record.webhooks[id].known_at;
    assert!(known_at(&world, "new").is_some());
    assert_eq!((known_at(&world, "out"), world.targets().contains_key("out")), (None, false));

    world.discovery.take_unsaved();
    let without_new = Filter::new(&["*".to_owned()], &["new".to_owned()]);
    world.discovery = Discovery::new(SETTINGS, without_new, world.discovery.into_record(), START.plus(H(2)));
    assert_eq!((known_at(&world, "new"), known_at(&world, "out")), (None, None));
    assert_eq!(world.discovery.take_unsaved().record.owners.len(), 1, "it is to be remembered");
}

#[test]
fn webhooks_beyond_the_limit_are_left_out_and_those_that_were_first_stay() {
    let mut world = World::with(4, 0, 0);
    world.discovery.settings.max_webhooks = 3;
    world.run(M(10));
    let first = world.ids();
    assert_eq!((first.len(), world.discovery.skipped()), (3, 1));
    world.owners.get_mut(&agent(0)).unwrap().1.extend(["w-more".into(), "w-and-more".into()]);
    world.run(H(3));
    assert_eq!((world.ids(), world.discovery.skipped()), (first.clone(), 3));

    // What include and exclude do not let in takes no place of what they do.
    world.discovery.filter = Filter::new(&["*".to_owned()], &["w-1".to_owned()]);
    world.run(H(6));
    assert_eq!((world.ids().len(), world.discovery.skipped()), (3, 2), "a place has become free");

    let settings = DiscoverySettings { max_webhooks: 2, ..SETTINGS };
    let now = START.plus(H(6));
    world.discovery = Discovery::new(settings, everything(), world.discovery.into_record(), now);
    assert_eq!((world.ids().len(), world.discovery.skipped()), (2, 2), "of the four that are remembered");
    (world.epoch, world.now) = (now, S(0));
    world.run(H(3));
    assert_eq!((world.ids().len(), world.discovery.skipped()), (2, 4));
}

#[test]
fn what_could_not_be_written_comes_again() {
    let mut world = World::with(1, 1, 0);
    world.run(M(1));
    let first = world.discovery.take_unsaved();
    assert_eq!((first.record.owners.len(), first.record.lists.len()), (2, 2));
    assert!(world.discovery.take_unsaved().is_empty());
    world.discovery.keep_unsaved(first.clone());
    assert_eq!(world.discovery.take_unsaved(), first);
}

/// Fails every page of the list of agents that holds the one at this place.
fn poisoned(place: u32) -> Box<Failing> {
    Box::new(move |request| match request {
        Request::Owners { owner_type: OwnerType::Agent, page, per_page } => {
            let is_held = ((page - 1) * per_page..page * per_page).contains(&place);
            is_held.then_some(ApiError::Http { status: 500, message: None, retry_after: None })
        }
        _ => None,
    })
}

#[test]
fn an_owner_that_makes_pages_fail_hides_no_other_and_takes_nothing_away() {
    for place in [0, 60, 120, 149] {
        let mut world = World::with(150, 0, 0);
        world.fails = poisoned(place);
        world.run(M(10));
        assert_eq!(world.ids().len(), 149, "{place}");
        let expected = [ShortList { owner: None, owner_type: OwnerType::Agent, shortfall: Shortfall::Unreadable }];
        assert_eq!(world.discovery.take_news(), expected);

        // What is known stays, what is new is found by a refresh, and the log is told nothing again.
        world.fails = Box::new(|_| None);
        world.run(M(60));
        assert_eq!((world.ids().len(), world.discovery.take_news().len()), (150, 0));
        world.fails = poisoned(place);
        world.run(M(80));
        world.add(agent("zz"), "published");
        world.run(M(90));
        assert_eq!(world.ids().len(), 151, "{place}");
        let lists = world.asked.len();
        world.run(H(7));
        assert_eq!(world.ids().len(), 151, "{place}");
        assert_eq!(world.discovery.take_news(), expected);
        let a_refresh = (world.asked[lists..].iter().filter(|(_, request)| is_agents(request)).count() as f64) / 64.0;
        assert!(a_refresh < 20.0, "{a_refresh} requests a refresh");
    }
}

#[test]
fn what_is_read_again_stays_in_memory_once() {
    let mut world = World::with(3, 0, 0);
    world.run(M(10));
    let texts = |world: &World| -> Vec<Arc<str>> {
        let of = |found: Discovered<'_>| [found.webhook_id, found.owner_name, &found.webhook.name].map(Arc::clone);
        world.discovery.targets().flat_map(of).collect()
    };
    let states = |world: &World| -> Vec<Arc<str>> {
        world.discovery.owners.values().filter_map(|known| known.record.owner.status.clone()).collect()
    };
    let first = texts(&world);
    assert!(
        states(&world).iter().all(|state| Arc::ptr_eq(state, &states(&world)[0])),
        "they have their state in common"
    );
    let asked = world.asked.len();
    world.run(H(3));
    let again = world.asked[asked..].iter().filter(|(_, request)| !is_agents(request)).count();
    assert!(again >= 3, "{again} lists of webhooks were read again");
    assert!(first.iter().zip(texts(&world)).all(|(before, now)| Arc::ptr_eq(before, &now)));
}

/// A page of so many entries, of a list that has no end.
fn endless<T>(numbers: std::ops::Range<usize>, entry: impl Fn(&str) -> T) -> ListPage<T> {
    let entries = numbers.map(|number| (Arc::from(number.to_string()), entry(&number.to_string()))).collect();
    let pagination = Pagination { per_page: Some(100), total: Some(u64::MAX), last_page: Some(u64::MAX) };
    ListPage { entries, invalid: Vec::new(), pagination }
}

#[test]
fn lists_that_never_end_are_ended_and_take_no_more_memory() {
    let settings = DiscoverySettings { campaigns: false, ..SETTINGS };
    let mut discovery = Discovery::new(settings, everything(), DiscoveryRecord::default(), START);
    let unnamed = |id: &str| ApiOwner { name: id.into(), status: None, updated_at: None };
    let (mut made, mut pages, mut known) = (0, 0, Vec::new());
    for refresh in 0..3 {
        let now = S(300 * refresh);
        while let Some(request @ Request::Owners { .. }) = discovery.next(now) {
            discovery.start();
            let page = endless(made..made + 5_000, unnamed);
            (made, pages) = (made + 5_000, pages + 1);
            discovery.finish(request, Ok(DiscoveredPage::Owners(page)), START, now);
        }
        known.push(discovery.owners.keys().cloned().collect::<Vec<_>>());
    }
    assert_eq!((pages, known[0].len()), (12, 20_000));
    assert!(known[0] == known[1] && known[1] == known[2], "nothing is taken away");
    assert_eq!(discovery.take_news().len(), 1);
    assert!(discovery.last_success().is_some());

    let mut discovery = Discovery::new(settings, everything(), DiscoveryRecord::default(), START);
    let (mut made, mut pages, mut known) = (0, 0, Vec::new());
    for hour in 0..3 {
        while let Some(request) = discovery.next(H(hour)) {
            discovery.start();
            let found = match &request {
                Request::Owners { .. } => DiscoveredPage::Owners(paged(vec![("a".into(), unnamed("a"))], 1, 100)),
                Request::Webhooks { .. } => {
                    (made, pages) = (made + 100, pages + 1);
                    DiscoveredPage::Webhooks(endless(made..made + 100, webhook))
                }
            };
            discovery.finish(request, Ok(found), START, H(hour));
        }
        known.push(discovery.targets().map(|found| found.webhook_id.clone()).collect::<Vec<_>>());
    }
    assert_eq!((pages, known[0].len()), (300, 10_000));
    assert!(known[0] == known[1] && known[1] == known[2], "nothing is taken away");
    let owner = Some(agent("a"));
    let expected = [ShortList { owner, owner_type: OwnerType::Agent, shortfall: Shortfall::Endless }];
    assert_eq!(discovery.take_news(), expected);
}
