//! What is remembered of owners and webhooks across restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::filter::Filter;
use super::listing::{Bounds, CompleteList, GONE};
use super::room::{WebhookRoom, WebhookWish};
use super::{ApiOwner, ApiWebhook, OwnerKey};
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

    /// Takes in the list of its webhooks, as far as there is `room` beside those of other owners; whether that changes
    /// anything of them, and how many that are wanted were left out.
    pub(super) fn take_over(
        &mut self,
        key: &OwnerKey,
        complete: CompleteList<ApiWebhook>,
        filter: &Filter,
        room: WebhookRoom,
    ) -> (bool, usize) {
        let (weight, is_whole, begun_at) = (complete.certainty.weight(), complete.is_whole(), complete.begun_at);
        let before = self.webhooks.clone();
        let absent_at = self.read_at.or(self.absent_at);
        for (id, known) in &mut self.webhooks {
            known.missed = if complete.entries.contains_key(id) { 0 } else { known.missed + weight };
        }
        self.webhooks.retain(|_, known| known.missed < GONE);
        let mut room = room.without(WebhookRoom::taken_by(key, self, filter));
        let mut skipped = 0;
        for (id, webhook) in complete.entries {
            if let Some(known) = self.webhooks.get_mut(&id) {
                // What is shown of it shares its texts.
                if known.webhook != webhook {
                    known.webhook = webhook;
                }
                continue;
            }
            let wish = WebhookWish::of(filter, key, &self.owner.name, &id, &webhook);
            if self.webhooks.len() >= Bounds::WEBHOOKS.entries || !room.take(wish) {
                skipped += usize::from(wish == WebhookWish::Wanted);
                continue;
            }
            let known_at = absent_at.filter(|_| wish == WebhookWish::Wanted);
            self.webhooks.insert(id, WebhookRecord { webhook, known_at, missed: 0 });
        }
        // What is missing and not known to be gone is read again soon.
        self.is_changed = self.webhooks.values().any(|known| known.missed > 0);
        if is_whole {
            self.read_at = Some(begun_at);
        }
        (before != self.webhooks, skipped)
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
