//! Finds the webhooks of an environment: those that the file names, and, with discovery, those that the API lists.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::app;
use crate::budgeted_client::{AskError, BudgetedClient};
use crate::config::EnvironmentConfig;
use talkover_core::delivery::Target;
use talkover_core::discovery::plan::Discovery;
use talkover_core::discovery::record::{DiscoveryRecord, Unsaved};
use talkover_core::discovery::request::{DiscoveredPage, Request};
use talkover_core::discovery::targets::{ListedTarget, join};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct FoundWebhooks {
    /// The webhooks, by their ids.
    pub(super) listed: Vec<ListedTarget>,
    /// What discovery has learned, to be saved in a state; `None` if discovery is off.
    pub(super) discovered: Option<Unsaved>,
    /// What could not be read, and why.
    pub(super) failures: Vec<String>,
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
    let mut failures = Vec::new();
    let mut discovery = discover(environment, asker, &mut failures).await?;
    let listed = join(&name, &named, discovery.iter().flat_map(Discovery::targets)).into_values().collect();
    let discovered = discovery.as_mut().map(Discovery::take_unsaved);
    Ok(FoundWebhooks { listed, discovered, failures })
}

async fn discover(
    environment: &EnvironmentConfig,
    asker: &mut BudgetedClient,
    failures: &mut Vec<String>,
) -> Result<Option<Discovery>, AskError> {
    let Some(config) = &environment.discovery else { return Ok(None) };
    let mut discovery = app::discovery_of(config, DiscoveryRecord::default(), asker.clock.now());
    while let Some(request) = discovery.next(Duration::ZERO) {
        discovery.start();
        match ask(asker, &request).await {
            Ok((found, date)) => drop(discovery.finish(request, Ok(found), date, Duration::ZERO)),
            Err(error) if asker.silence.ends_all(&error) => return Err(error),
            Err(error) => {
                failures.push(format!(
                    "environment `{}`: {} cannot be read: {error}",
                    environment.name,
                    name(&request)
                ));
                let AskError::Api { error, date, .. } = error else { return Err(error) };
                discovery.finish(request, Err(&error), date, Duration::ZERO);
            }
        }
    }
    for list in discovery.take_news() {
        let name = &environment.name;
        warn!(environment = %name, "list read only in part: {}; using what was found", list.shortfall);
    }
    Ok(Some(discovery))
}

async fn ask(
    asker: &mut BudgetedClient,
    request: &Request,
) -> Result<(DiscoveredPage, talkover_core::server_time::ServerTime), AskError> {
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

fn name(request: &Request) -> String {
    match request {
        Request::Owners { owner_type, .. } => format!("the list of {}s", owner_type.as_str()),
        Request::Webhooks { owner, .. } => format!("the webhooks of {} {}", owner.owner_type.as_str(), owner.id),
    }
}
