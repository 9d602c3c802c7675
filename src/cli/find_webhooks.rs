//! Finds the webhooks of an environment: those that the file names, and, with discovery, those that the API lists.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::app;
use crate::budgeted_client::{AskError, BudgetedClient};
use crate::config::{DiscoveryConfig, EnvironmentConfig};
use crate::progress::{Estimate, WorkProgress};
use talkover_core::delivery::{OwnerType, Target};
use talkover_core::discovery::OwnerKey;
use talkover_core::discovery::listing::Shortfall;
use talkover_core::discovery::plan::{Discovery, ShortList};
use talkover_core::discovery::record::{DiscoveryRecord, Unsaved};
use talkover_core::discovery::request::{DiscoveredPage, Request};
use talkover_core::discovery::targets::{ListedTarget, join};
use talkover_core::server_time::ServerTime;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct FoundWebhooks {
    /// The webhooks, by their ids.
    pub(super) listed: Vec<ListedTarget>,
    /// How many include and exclude keep out.
    pub(super) left_out: usize,
    /// Owners whose webhooks were asked for.
    pub(super) owners: usize,
    /// Requests that the lists of owners took.
    pub(super) list_requests: usize,
    /// What discovery has learned, to be saved in a state; `None` if discovery is off.
    pub(super) discovered: Option<Unsaved>,
    /// Lists that could not be read, and why.
    pub(super) unreadable: Vec<(WebhookList, AskError)>,
    /// Lists that were read only in part, and why. What was found in them is used.
    pub(super) cut: Vec<(WebhookList, Shortfall)>,
}

/// A list that discovery reads. Displayed without an article: `list of agents`, `webhooks of agent ID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WebhookList {
    /// All owners of a type.
    Owners(OwnerType),
    /// The webhooks of an owner.
    Webhooks(OwnerKey),
}

impl fmt::Display for WebhookList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owners(owner_type) => write!(formatter, "list of {}s", owner_type.as_str()),
            Self::Webhooks(owner) => write!(formatter, "webhooks of {} {}", owner.owner_type.as_str(), owner.id),
        }
    }
}

impl From<&Request> for WebhookList {
    fn from(request: &Request) -> Self {
        match request {
            Request::Owners { owner_type, .. } => Self::Owners(*owner_type),
            Request::Webhooks { owner, .. } => Self::Webhooks(owner.clone()),
        }
    }
}

/// How many of the lists are read. Nobody knows before the first answer how many owners there are.
struct ListProgress {
    work: WorkProgress,
    expected: u64,
}

impl ListProgress {
    fn begin(environment: &str, config: &DiscoveryConfig, asker: &BudgetedClient) -> Self {
        let expected = u64::from(config.agents) + u64::from(config.campaigns);
        let estimate = Estimate { pages: expected, per_minute: asker.budget.per_second() * 60.0 };
        Self { work: WorkProgress::begin(&format!("finding the webhooks of `{environment}`"), estimate), expected }
    }

    /// Records that `request` was made; `answer` is `None` if it failed. The first page of a list of owners says how
    /// many there are: each has a list of webhooks.
    fn advance(&mut self, request: &Request, answer: Option<&DiscoveredPage>) {
        if let (Request::Owners { page: 1, per_page, .. }, Some(DiscoveredPage::Owners(list))) = (request, answer) {
            let owners = list.pagination.total.unwrap_or(list.entries.len() as u64);
            self.expected += owners + owners.div_ceil(u64::from(*per_page).max(1)).saturating_sub(1);
            self.work.expect(self.expected);
        }
        self.work.advance(None);
    }
}

/// Reads all lists that discovery uses.
///
/// # Errors
/// If the API answers no request, or the program is being stopped.
pub(super) async fn find(
    environment: &EnvironmentConfig,
    asker: &mut BudgetedClient,
) -> Result<FoundWebhooks, AskError> {
    let name: Arc<str> = environment.name.as_str().into();
    let named: Vec<Target> = environment.webhooks.iter().map(|webhook| app::target(environment, webhook)).collect();
    let mut found = FoundWebhooks::default();
    let mut discovery = discover(environment, asker, &mut found).await?;
    found.listed = join(&name, &named, discovery.iter().flat_map(Discovery::targets)).into_values().collect();
    found.left_out = discovery.iter().flat_map(Discovery::targets).filter(|target| !target.is_wanted).count();
    found.discovered = discovery.as_mut().map(Discovery::take_unsaved);
    Ok(found)
}

async fn discover(
    environment: &EnvironmentConfig,
    asker: &mut BudgetedClient,
    found: &mut FoundWebhooks,
) -> Result<Option<Discovery>, AskError> {
    let Some(config) = &environment.discovery else { return Ok(None) };
    let mut discovery = app::discovery_of(config, DiscoveryRecord::default(), asker.clock.now());
    let mut progress = ListProgress::begin(&environment.name, config, asker);
    let mut owners = BTreeSet::new();
    while let Some(request) = discovery.next(Duration::ZERO) {
        discovery.start();
        match &request {
            Request::Owners { .. } => found.list_requests += 1,
            Request::Webhooks { owner, .. } => _ = owners.insert(owner.clone()),
        }
        let asked = ask(asker, &request).await;
        progress.advance(&request, asked.as_ref().ok().map(|(page, _)| page));
        match asked {
            Ok((page, date)) => drop(discovery.finish(request, Ok(page), date, Duration::ZERO)),
            Err(error) if asker.silence.ends_all(&error) => return Err(error),
            Err(error) => {
                let list = WebhookList::from(&request);
                let AskError::Api { error: cause, date, .. } = &error else { return Err(error) };
                discovery.finish(request, Err(cause), *date, Duration::ZERO);
                found.unreadable.push((list, error));
            }
        }
    }
    found.owners = owners.len();
    for ShortList { owner, owner_type, shortfall } in discovery.take_news() {
        found.cut.push((owner.map_or(WebhookList::Owners(owner_type), WebhookList::Webhooks), shortfall));
    }
    Ok(Some(discovery))
}

async fn ask(asker: &mut BudgetedClient, request: &Request) -> Result<(DiscoveredPage, ServerTime), AskError> {
    match request {
        Request::Owners { owner_type, page, per_page } => {
            let asked =
                asker.ask("a list of owners", async |client| client.owners(*owner_type, *page, *per_page).await);
            asked.await.map(|(page, date)| (DiscoveredPage::Owners(page), date))
        }
        Request::Webhooks { owner, page } => {
            let asked = asker.ask("an owner's webhooks", async |client| client.webhooks(owner, *page).await);
            asked.await.map(|(page, date)| (DiscoveredPage::Webhooks(page), date))
        }
    }
}
