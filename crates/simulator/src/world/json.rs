//! Writes entries as the API shows them, directly into the answer's bytes.
//!
//! The shape is that of the documented samples: `http_status`, `error`, `duration_ms` and `delivered_at` are absent if
//! they have no value, and a campaign's entries have no `webhook_id`. Used by the server.

use serde::Serializer;
use serde::ser::SerializeMap;
use serde_json::json;

use super::entry::{Anomaly, Entry};
use super::log::WebhookLog;
use super::payload::Payload;
use crate::scenario::OwnerKind;

type ObjectWriter<'a> = serde_json::ser::Compound<'a, &'a mut Vec<u8>, serde_json::ser::CompactFormatter>;

/// The order of a payload's keys.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyOrder {
    /// The same in all attempts of a delivery.
    Same,
    /// A different one in each attempt.
    ByAttempt,
}

impl WebhookLog {
    /// Appends `entry` to `bytes`.
    pub(crate) fn write_entry(&self, bytes: &mut Vec<u8>, entry: &Entry, order: KeyOrder) -> serde_json::Result<()> {
        if let Some(raw) = &entry.raw {
            bytes.extend_from_slice(raw.as_bytes());
            return Ok(());
        }
        let mut serializer = serde_json::Serializer::new(bytes);
        let mut map = serializer.serialize_map(None)?;
        self.write_identity(&mut map, entry)?;
        write_outcome(&mut map, entry)?;
        self.write_exchange(&mut map, entry, order)?;
        write_times(&mut map, entry)?;
        map.end()
    }

    fn write_identity(&self, map: &mut ObjectWriter<'_>, entry: &Entry) -> serde_json::Result<()> {
        match entry.anomaly {
            Some(Anomaly::MissingId) => {}
            Some(Anomaly::GarbageId) => map.serialize_entry("id", &json!({"uuid": null}))?,
            _ => map.serialize_entry("id", &*entry.id)?,
        }
        if self.webhook.owner.kind == OwnerKind::Agent {
            map.serialize_entry("webhook_id", &self.webhook.id)?;
        }
        Ok(())
    }

    fn write_exchange(&self, map: &mut ObjectWriter<'_>, entry: &Entry, order: KeyOrder) -> serde_json::Result<()> {
        let seed = self.payload_seed(entry);
        let turn = match order {
            KeyOrder::Same => 0,
            KeyOrder::ByAttempt => usize::from(entry.spec.attempt) * 3,
        };
        match &entry.spec.payload {
            Some(payload) => map.serialize_entry("request_payload", payload)?,
            None => map.serialize_entry("request_payload", &Payload { seed, event: &entry.spec.event, turn })?,
        }
        if let Some(status) = entry.spec.http_status {
            let (body, kind) = if (200..300).contains(&status) {
                (format!("{{\"received\":true,\"reference\":\"{seed:016x}\"}}"), "application/json")
            } else {
                let title = entry.spec.error.as_deref().unwrap_or_default();
                (format!("<html><head><title>{status} {title}</title></head></html>"), "text/html; charset=utf-8")
            };
            let headers = json!({"content-type": kind, "content-length": body.len().to_string(), "server": "nginx"});
            map.serialize_entry("response_body", &body)?;
            map.serialize_entry("response_headers", &headers)?;
        }
        Ok(())
    }
}

fn write_outcome(map: &mut ObjectWriter<'_>, entry: &Entry) -> serde_json::Result<()> {
    let spec = &entry.spec;
    if entry.anomaly == Some(Anomaly::GarbageFields) {
        map.serialize_entry("event", &json!(["call", 7]))?;
        map.serialize_entry("attempt", "many")?;
        map.serialize_entry("status", spec.status.as_str())?;
        return map.serialize_entry("http_status", "OK");
    }
    map.serialize_entry("event", &*spec.event)?;
    map.serialize_entry("attempt", &spec.attempt)?;
    if entry.anomaly == Some(Anomaly::UnknownStatus) {
        map.serialize_entry("status", "dead_lettered")?;
    } else {
        map.serialize_entry("status", spec.status.as_str())?;
    }
    if let Some(status) = spec.http_status {
        map.serialize_entry("http_status", &status)?;
    }
    if let Some(error) = &spec.error {
        map.serialize_entry("error", error)?;
    }
    Ok(())
}

fn write_times(map: &mut ObjectWriter<'_>, entry: &Entry) -> serde_json::Result<()> {
    let spec = &entry.spec;
    if entry.anomaly == Some(Anomaly::GarbageFields) {
        map.serialize_entry("duration_ms", &-1)?;
    } else if let Some(duration) = spec.duration_ms {
        map.serialize_entry("duration_ms", &duration)?;
    }
    if let Some(delivered_at) = spec.delivered_at {
        map.serialize_entry("delivered_at", &delivered_at)?;
    }
    match entry.anomaly {
        Some(Anomaly::MissingCreatedAt) => Ok(()),
        Some(Anomaly::GarbageCreatedAt) => map.serialize_entry("created_at", "half past ten"),
        _ => map.serialize_entry("created_at", &spec.created_at),
    }
}
