//! The limit on remembered webhooks, and how much room it leaves: discovery remembers `max_webhooks` that pass the
//! filter, and as many that do not. So even endless lists cost a bounded amount of memory. Webhooks that were found
//! first stay.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::filter::Filter;
use super::record::{OwnerRecord, WebhookRecord};
use super::{ApiWebhook, OwnerKey};

/// Whether a webhook passes the filter: `include` and `exclude`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WebhookWish {
    Wanted,
    Unwanted,
}

impl WebhookWish {
    pub(super) fn of(filter: &Filter, key: &OwnerKey, owner_name: &str, id: &str, webhook: &ApiWebhook) -> Self {
        if filter.wants(owner_name, &webhook.name, &key.id, id) { Self::Wanted } else { Self::Unwanted }
    }
}

/// Numbers of webhooks, wanted and unwanted: those that are remembered, or those that there is still room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WebhookRoom {
    wanted: usize,
    unwanted: usize,
}

impl WebhookRoom {
    /// Returns room for `max_webhooks` of each kind.
    pub(super) fn new(max_webhooks: usize) -> Self {
        Self { wanted: max_webhooks, unwanted: max_webhooks }
    }

    /// Returns the room that the webhooks of an owner take.
    pub(super) fn taken_by(key: &OwnerKey, record: &OwnerRecord, filter: &Filter) -> Self {
        let wanted = record.webhooks.iter().filter(|(id, known)| {
            WebhookWish::of(filter, key, &record.owner.name, id, &known.webhook) == WebhookWish::Wanted
        });
        let wanted = wanted.count();
        Self { wanted, unwanted: record.webhooks.len() - wanted }
    }

    /// Returns the room that is left after `taken`.
    pub(super) fn without(self, taken: Self) -> Self {
        Self {
            wanted: self.wanted.saturating_sub(taken.wanted),
            unwanted: self.unwanted.saturating_sub(taken.unwanted),
        }
    }

    /// Takes one place; returns whether there was one.
    pub(super) fn take(&mut self, wish: WebhookWish) -> bool {
        let places = match wish {
            WebhookWish::Wanted => &mut self.wanted,
            WebhookWish::Unwanted => &mut self.unwanted,
        };
        let had_one = *places > 0;
        *places = places.saturating_sub(1);
        had_one
    }

    /// Removes the webhooks of an owner that there is no room for; returns how many of them were wanted.
    pub(super) fn trim(&mut self, key: &OwnerKey, record: &mut OwnerRecord, filter: &Filter) -> usize {
        let (mut skipped, name) = (0, record.owner.name.clone());
        let webhooks: &mut BTreeMap<Arc<str>, WebhookRecord> = &mut record.webhooks;
        webhooks.retain(|id, known| {
            let wish = WebhookWish::of(filter, key, &name, id, &known.webhook);
            let is_kept = self.take(wish);
            skipped += usize::from(!is_kept && wish == WebhookWish::Wanted);
            is_kept
        });
        skipped
    }
}
