//! Applies a list of an owner's webhooks to what is remembered of that owner.

use super::filter::Filter;
use super::listing::{Bounds, CompleteList, GONE};
use super::record::{OwnerRecord, WebhookRecord};
use super::room::{WebhookRoom, WebhookWish};
use crate::delivery::owners::{ApiWebhook, OwnerKey};

impl OwnerRecord {
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
