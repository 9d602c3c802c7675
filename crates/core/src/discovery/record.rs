//! What is remembered of owners and webhooks across restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::delivery::owners::{ApiOwner, ApiWebhook, OwnerKey};
use crate::delivery::{OwnerType, Timestamp};

/// Everything that is remembered of one environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiscoveryRecord {
    /// The two lists of owners.
    pub lists: BTreeMap<OwnerType, ListRecord>,
    /// The owners and their webhooks.
    pub owners: BTreeMap<OwnerKey, OwnerRecord>,
}

/// What is remembered of a list of owners. Times are the server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListRecord {
    /// When it was last read to its end.
    pub completed_at: Option<Timestamp>,
    /// When the last complete reading of it began: whatever appears later did not exist then.
    pub whole_at: Option<Timestamp>,
}

/// What is remembered of an owner. Times are the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerRecord {
    /// What the list says.
    pub owner: ApiOwner,
    /// A time at which it is known not to have existed yet.
    pub absent_at: Option<Timestamp>,
    /// When the last complete reading of its webhooks began.
    pub read_at: Option<Timestamp>,
    /// Whether the list has shown a change since then.
    pub is_changed: bool,
    /// The weight of the evidence that it is gone ([`super::listing::GONE`]).
    pub missed: u8,
    /// Its webhooks by id.
    pub webhooks: BTreeMap<Arc<str>, WebhookRecord>,
}

impl OwnerRecord {
    /// The record of an owner that was just found.
    pub fn new(owner: ApiOwner, absent_at: Option<Timestamp>) -> Self {
        Self { owner, absent_at, read_at: None, is_changed: false, missed: 0, webhooks: BTreeMap::new() }
    }
}

/// What is remembered of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRecord {
    /// What the list says.
    pub webhook: ApiWebhook,
    /// The last time that discovery looked for it without finding it, by the server's clock: what happened later is not
    /// history. `None` if there was no such time, or if the webhook was not wanted when it was found.
    pub known_at: Option<Timestamp>,
    /// The weight of the evidence that it is gone.
    pub missed: u8,
}

/// What has changed since the last write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsaved {
    /// Lists and owners that are new or have changed, each owner with all its webhooks.
    pub record: DiscoveryRecord,
    /// Owners to forget.
    pub gone: Vec<OwnerKey>,
}

impl Unsaved {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.record == DiscoveryRecord::default() && self.gone.is_empty()
    }
}
