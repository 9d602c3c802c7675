//! What is polled: the webhooks named in the file and those that were discovered, and what has changed about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ApiWebhook, Endpoint, Method, OwnerKey};
use crate::delivery::{Target, Timestamp};

/// A webhook as discovery knows it.
#[derive(Clone, Copy, Debug)]
pub struct Discovered<'a> {
    /// Whose it is.
    pub owner: &'a OwnerKey,
    /// The owner's name.
    pub owner_name: &'a Arc<str>,
    /// Its id.
    pub webhook_id: &'a Arc<str>,
    /// What the list says of it.
    pub webhook: &'a ApiWebhook,
    /// Whether `include` and `exclude` admit it.
    pub is_wanted: bool,
    /// Entries created later are not history ([`super::record::WebhookRecord::known_at`]); `None` if that is not known.
    pub known_at: Option<Timestamp>,
}

/// What discovery knows of a target beyond its ids and its name: for labels, gauges and spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookInfo {
    /// The owner's name; empty if the file names the webhook under another owner.
    pub owner_name: Arc<str>,
    /// Where it delivers to.
    pub endpoint: Option<Endpoint>,
    /// Whether it delivers at all.
    pub is_enabled: bool,
    /// How often a failed delivery is retried.
    pub max_retries: Option<u32>,
    /// How long an attempt may take, in seconds.
    pub timeout_seconds: Option<u32>,
    /// The HTTP method of its requests.
    pub method: Method,
}

/// A target to poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTarget {
    /// The target.
    pub target: Target,
    /// What discovery knows of it.
    pub info: Option<WebhookInfo>,
    /// For its first contact: entries created later are live. `None` if the first contact itself decides.
    pub known_at: Option<Timestamp>,
}

impl ListedTarget {
    /// Whether the webhook is disabled in TalkOver.
    pub fn is_disabled(&self) -> bool {
        self.info.as_ref().is_some_and(|info| !info.is_enabled)
    }
}

/// The targets of an environment, by the webhook's id.
pub type Targets = BTreeMap<Arc<str>, ListedTarget>;

/// Joins the webhooks named in the file with those that were discovered. A webhook is one target, however often it is
/// found: under the owner and the name in the file, otherwise under the first owner that lists it.
pub fn join<'a>(environment: &Arc<str>, named: &[Target], discovered: impl Iterator<Item = Discovered<'a>>) -> Targets {
    let by_hand = |target: &Target| {
        (target.webhook_id.clone(), ListedTarget { target: target.clone(), info: None, known_at: None })
    };
    let mut targets: Targets = named.iter().map(by_hand).collect();
    let mut from_discovery = BTreeMap::new();
    for found in discovered {
        match targets.get_mut(found.webhook_id) {
            Some(target) => add_info(target, &found),
            None if found.is_wanted => {
                from_discovery
                    .entry(found.webhook_id.clone())
                    .or_insert_with(|| discovered_target(environment, &found));
            }
            None => {}
        }
    }
    targets.extend(from_discovery);
    targets
}

fn discovered_target(environment: &Arc<str>, found: &Discovered<'_>) -> ListedTarget {
    let target = Target {
        environment: environment.clone(),
        webhook_id: found.webhook_id.clone(),
        owner_type: found.owner.owner_type,
        owner_id: found.owner.id.clone(),
        webhook_name: found.webhook.name.clone(),
    };
    ListedTarget { target, info: Some(info(found, found.owner_name.clone())), known_at: found.known_at }
}

/// Adds to a target named in the file what discovery knows of it, preferably from under the same owner.
fn add_info(named: &mut ListedTarget, found: &Discovered<'_>) {
    let target = &mut named.target;
    let is_same_owner = (target.owner_type, &target.owner_id) == (found.owner.owner_type, &found.owner.id);
    if named.info.is_some() && !is_same_owner {
        return;
    }
    if target.webhook_name == target.webhook_id {
        target.webhook_name = found.webhook.name.clone();
    }
    let owner_name = if is_same_owner { found.owner_name.clone() } else { Arc::from("") };
    named.info = Some(info(found, owner_name));
}

fn info(found: &Discovered<'_>, owner_name: Arc<str>) -> WebhookInfo {
    let ApiWebhook { endpoint, timeout_seconds, max_retries, method, is_enabled, .. } = found.webhook.clone();
    WebhookInfo { owner_name, endpoint, is_enabled, max_retries, timeout_seconds, method }
}

/// How targets differ from those before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetChanges {
    /// New targets.
    pub appeared: Vec<ListedTarget>,
    /// Targets whose name, owner or info has changed; as they are now.
    pub changed: Vec<ListedTarget>,
    /// Targets that are gone.
    pub disappeared: Vec<Target>,
}

/// What has changed from `before` to `now`.
pub fn compare(before: &Targets, now: &Targets) -> TargetChanges {
    let mut changes = TargetChanges::default();
    for (id, listed) in now {
        match before.get(id) {
            None => changes.appeared.push(listed.clone()),
            Some(known) if (&known.target, &known.info) != (&listed.target, &listed.info) => {
                changes.changed.push(listed.clone());
            }
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|(id, _)| !now.contains_key(*id));
    changes.disappeared = gone.map(|(_, listed)| listed.target.clone()).collect();
    changes
}

#[cfg(test)]
mod tests;
