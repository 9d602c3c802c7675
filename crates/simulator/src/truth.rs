//! What really happened: the world as it is, to be compared with a reader's results.
//!
//! A copy, taken at one moment; never changes the world. Served as `GET /_simulator/truth`, and used by tests and
//! benchmarks in-process.

use std::collections::BTreeMap;

use serde::Serialize;

use super::clock::Moment;
use super::scenario::OwnerKind;
use super::world::{Anomaly, EntryPlace, WebhookLog, World};

/// The whole world at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Truth {
    /// The moment until which everything has happened.
    pub now: Moment,
    /// Whether the world is frozen.
    pub frozen: bool,
    /// Every webhook, also removed ones.
    pub webhooks: Vec<WebhookTruth>,
}

/// One webhook.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WebhookTruth {
    /// Its id.
    pub webhook_id: String,
    /// Whether an agent or a campaign owns it.
    pub owner_type: OwnerKind,
    /// The owner's id.
    pub owner_id: String,
    /// Entries that the list shows now.
    pub total: usize,
    /// Every entry that the list has ever shown, in the order of creation.
    pub entries: Vec<EntryTruth>,
    /// The entries by what they show; without invalid and raw ones.
    pub sums: Vec<Sum>,
}

/// One entry, as a reader who makes the best of its fields should understand it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntryTruth {
    /// Its id; if the entry shows none, the one that it would have.
    pub id: String,
    /// When it was created.
    pub created_at: Moment,
    /// The event's name; `none` if the entry shows nothing usable.
    pub event: String,
    /// The attempt's number; 1 if the entry shows nothing usable.
    pub attempt: u8,
    /// The status; `unknown` if it shows an undocumented word.
    pub status: String,
    /// The status code as text, `none` without an answer, `invalid` if the entry shows nothing usable.
    pub http_status: String,
    /// How long the attempt took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// When it was delivered.
    pub delivered_at: Option<Moment>,
    /// The number of its delivery among the webhook's.
    pub delivery: u32,
    /// Whether it lacks a usable id or time.
    pub invalid: bool,
    /// How it deviates from the documentation.
    pub anomaly: Option<Anomaly>,
    /// Whether it was `retrying` before it became `failed`.
    pub superseded: bool,
    /// Whether the list showed it only some time after its creation: a reader may have met the next attempt before it.
    pub late: bool,
    /// Whether it was deleted from the list before its retention was over.
    pub deleted: bool,
    /// Whether its retention is over.
    pub expired: bool,
}

/// How many entries of a webhook show the same values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// The event's name.
    pub event: String,
    /// The status.
    pub status: String,
    /// The status code as text, `none` or `invalid`.
    pub http_status: String,
    /// Entries that the list has ever shown.
    pub ever: u64,
    /// Those of them that it shows now.
    pub listed: u64,
}

impl World {
    /// What really happened, until now.
    pub fn truth(&self) -> Truth {
        let webhooks = self.logs().iter().map(webhook_truth).collect();
        Truth { now: self.now(), frozen: self.is_frozen(), webhooks }
    }
}

impl Truth {
    /// The webhook with that id.
    pub fn webhook(&self, webhook_id: &str) -> Option<&WebhookTruth> {
        self.webhooks.iter().find(|webhook| webhook.webhook_id == webhook_id)
    }
}

fn webhook_truth(log: &WebhookLog) -> WebhookTruth {
    let entries: Vec<EntryTruth> = (0..log.entries.len()).filter_map(|entry| entry_truth(log, entry)).collect();
    WebhookTruth {
        webhook_id: log.webhook.id.clone(),
        owner_type: log.webhook.owner.kind,
        owner_id: log.webhook.owner.id.clone(),
        total: log.total(),
        sums: sums(&entries),
        entries,
    }
}

fn entry_truth(log: &WebhookLog, entry: usize) -> Option<EntryTruth> {
    let entry = log.entries.get(entry)?;
    if entry.place == EntryPlace::Hidden {
        return None;
    }
    let spec = &entry.spec;
    let garbage = entry.anomaly == Some(Anomaly::GarbageFields);
    let unknown = entry.anomaly == Some(Anomaly::UnknownStatus);
    let code = spec.http_status.map_or_else(|| "none".to_owned(), |status| status.to_string());
    Some(EntryTruth {
        id: entry.id.to_string(),
        created_at: spec.created_at,
        event: if garbage { "none".to_owned() } else { spec.event.to_string() },
        attempt: if garbage { 1 } else { spec.attempt },
        status: if unknown { "unknown" } else { spec.status.as_str() }.to_owned(),
        http_status: if garbage { "invalid".to_owned() } else { code },
        duration_ms: spec.duration_ms.filter(|_| !garbage),
        delivered_at: spec.delivered_at,
        delivery: entry.delivery,
        invalid: entry.anomaly.is_some_and(Anomaly::is_invalid),
        anomaly: entry.anomaly,
        superseded: entry.superseded,
        late: entry.late,
        deleted: entry.place == EntryPlace::Deleted,
        expired: entry.place == EntryPlace::Expired,
    })
}

fn sums(entries: &[EntryTruth]) -> Vec<Sum> {
    let mut sums: BTreeMap<(&str, &str, &str), (u64, u64)> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !entry.invalid && entry.anomaly != Some(Anomaly::Raw)) {
        let sum = sums.entry((&entry.event, &entry.status, &entry.http_status)).or_default();
        sum.0 += 1;
        sum.1 += u64::from(!entry.deleted && !entry.expired);
    }
    let sum = |((event, status, http_status), (ever, listed)): ((&str, &str, &str), (u64, u64))| Sum {
        event: event.to_owned(),
        status: status.to_owned(),
        http_status: http_status.to_owned(),
        ever,
        listed,
    };
    sums.into_iter().map(sum).collect()
}
