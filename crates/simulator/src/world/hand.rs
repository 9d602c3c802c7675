//! Changes of the simulated world from outside: those that tests make by hand, and manual retries of the API's users.
//!
//! None of it shifts a random number of the world's own course; a manual retry draws from its delivery's stream.

use std::sync::Arc;

use super::entry::{Anomaly, Entry, EntryPlace, EntrySpec, Status};
use super::log::{WebhookLog, ordered_uuid};
use super::{What, World};
use crate::clock::Moment;

/// Why the world cannot be changed by hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandError {
    /// There is no such webhook.
    #[error("the simulated world has no webhook {0}")]
    UnknownWebhook(String),
    /// The webhook has no delivery with that number.
    #[error("the webhook has no delivery {0}")]
    UnknownDelivery(u32),
}

/// The result of a manual retry.
pub(crate) enum ManualRetry {
    /// A new entry with this id was created.
    Queued(String),
    /// The entry succeeded or is still pending.
    NotRetriable,
    /// There is no such entry.
    Unknown,
}

impl World {
    /// Inserts an entry into the list of `webhook_id`, and returns its id. A pending entry stays pending until it is
    /// changed.
    pub fn insert(&mut self, webhook_id: &str, spec: EntrySpec) -> Result<String, HandError> {
        let log = self.log_of(webhook_id)?;
        if let Some(delivery) = spec.delivery.filter(|delivery| *delivery >= log.deliveries()) {
            return Err(HandError::UnknownDelivery(delivery));
        }
        Ok(put(log, spec, None))
    }

    /// Inserts `raw` into the list of `webhook_id` as it is, JSON or not, at the place of an entry created at
    /// `created_at`. Returns the id for [`Self::delete`]; the text itself may contain another one.
    pub fn insert_raw(&mut self, webhook_id: &str, created_at: Moment, raw: &str) -> Result<String, HandError> {
        let log = self.log_of(webhook_id)?;
        Ok(put(log, EntrySpec { created_at, ..EntrySpec::default() }, Some(raw.into())))
    }

    /// Changes what the entry `id` shows, and drops an outcome that was still to come. Returns whether there is such an
    /// entry.
    pub fn change(&mut self, id: &str, change: impl FnOnce(&mut EntrySpec)) -> bool {
        let found = self.logs.iter_mut().find_map(|log| log.find(id).map(|entry| (log, entry)));
        let Some((log, entry)) = found else { return false };
        log.change(entry, change);
        true
    }

    /// Deletes the entry `id` from its list. Returns whether there was one.
    pub fn delete(&mut self, id: &str) -> bool {
        let found = self.logs.iter_mut().find_map(|log| log.find(id).map(|entry| (log, entry)));
        let Some((log, entry)) = found else { return false };
        log.delete(entry);
        true
    }

    /// The number of the delivery to which the entry `id` belongs, for [`EntrySpec::delivery`].
    pub fn delivery_of(&self, id: &str) -> Option<u32> {
        self.logs.iter().find_map(|log| log.find(id).map(|entry| log.delivery_of(entry).0))
    }

    /// Queues another attempt of the delivery to which the entry `id` of `webhook_id` belongs. In a frozen world the
    /// new entry stays as it was created.
    pub(crate) fn retry(&mut self, webhook_id: &str, id: &str) -> ManualRetry {
        let found = self.logs.iter().position(|log| log.is(webhook_id));
        let found = found.and_then(|place| self.logs[place].find(id).map(|entry| (place, entry)));
        let Some((place, entry)) = found else { return ManualRetry::Unknown };
        if !matches!(self.logs[place].status(entry), Status::Failed | Status::Retrying) {
            return ManualRetry::NotRetriable;
        }
        let (delivery, _) = self.logs[place].delivery_of(entry);
        let begun = self.logs[place].begin_attempt(delivery, self.now, 0.0, &self.scenario);
        let new = begun.entry;
        // The user sees it at once.
        self.logs[place].show(new);
        match begun.settled_at {
            Some(at) => self.queue.plan(at, place, What::Settle(new)),
            None => self.follow(place, new, self.now),
        }
        ManualRetry::Queued(self.logs[place].entries[new as usize].id.to_string())
    }

    fn log_of(&mut self, webhook_id: &str) -> Result<&mut WebhookLog, HandError> {
        let found = self.logs.iter_mut().find(|log| log.is(webhook_id));
        found.ok_or_else(|| HandError::UnknownWebhook(webhook_id.to_owned()))
    }
}

fn put(log: &mut WebhookLog, spec: EntrySpec, raw: Option<Box<str>>) -> String {
    let id = spec.id.clone().unwrap_or_else(|| ordered_uuid(spec.created_at, &mut log.hand));
    let delivery = spec.delivery.unwrap_or_else(|| log.open_by_hand(Arc::clone(&spec.event)));
    let anomaly = raw.as_ref().map(|_| Anomaly::Raw);
    let place = EntryPlace::Hidden;
    let entry = log.add(Entry {
        id: id.as_str().into(),
        delivery,
        spec,
        place,
        anomaly,
        superseded: false,
        late: false,
        coming: None,
        raw,
    });
    log.show(entry);
    id
}
