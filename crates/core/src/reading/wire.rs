//! What the API's answers mean, field by field. Rejects rather than guesses: an unusable entry affects only itself.
//!
//! Payloads, response bodies and headers hold personal data: they are skipped (the payload is digested) and never leave
//! this file. The client calls it with the bytes of one answer.

mod entries;
mod error_text;
pub mod lists;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::payload::group_key;
use crate::delivery::{Attempt, AttemptStatus, EntryId, HttpStatus, Timestamp};

/// The event of an entry without one.
const NO_EVENT: &str = "none";
/// A duration or delay of more than a day is not a measurement: 24 h in milliseconds.
const MAX_DURATION_MS: f64 = 86_400_000.0;

/// One page of a delivery log.
#[derive(Debug, Default, PartialEq)]
pub struct LogPage {
    /// The usable entries, in the order of the page: newest first.
    pub attempts: Vec<Attempt>,
    /// The entries that cannot be used.
    pub invalid: Vec<InvalidEntry>,
    /// What the answer says about the pages.
    pub pagination: Pagination,
}

impl LogPage {
    /// The number of entries, usable or not.
    pub fn len(&self) -> usize {
        self.attempts.len() + self.invalid.len()
    }

    /// Whether the page holds no entry at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What an answer says about its list; each number may be missing or wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pagination {
    /// Entries on a full page, as the server counts pages.
    pub per_page: Option<u64>,
    /// Entries in the whole list.
    pub total: Option<u64>,
    /// The number of the last page.
    pub last_page: Option<u64>,
}

/// An entry that cannot be counted as an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidEntry {
    /// Its id if that can be read, otherwise a digest of its bytes: this key keeps it from being counted twice.
    pub key: Box<str>,
    /// What is wrong with it.
    pub reason: &'static str,
    /// How many usable entries precede it on its page.
    pub place: usize,
}

/// Parses an answer of one of the two log endpoints.
///
/// # Errors
/// A sentence that says why the answer as a whole is not a page of a log.
pub fn parse_logs(body: &[u8]) -> Result<LogPage, String> {
    let text = readable(body);
    let (data, pagination) = open(&text)?;
    let entries = entries::entries(data)?;
    let mut page = LogPage { pagination, ..LogPage::default() };
    page.attempts.reserve(entries.len());
    let mut reader = EntryReader::default();
    for entry in entries {
        match reader.read(entry.get()) {
            Ok(attempt) => page.attempts.push(attempt),
            Err((key, reason)) => page.invalid.push(InvalidEntry { key, reason, place: page.attempts.len() }),
        }
    }
    Ok(page)
}

/// The text of an answer; bytes that are not UTF-8 are replaced.
fn readable(body: &[u8]) -> Cow<'_, str> {
    let body = without_mark(body);
    // The usual case first: reading lossily is several times slower.
    std::str::from_utf8(body).map_or_else(|_| String::from_utf8_lossy(body), Cow::Borrowed)
}

/// The body without a byte order mark, which a parser may ignore (RFC 8259, section 8.1).
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)
}

/// Returns the data of a good answer, and what it says about its list.
fn open(text: &str) -> Result<(&RawValue, Pagination), String> {
    let envelope: AnswerEnvelope<'_> = serde_json::from_str(text).map_err(|error| no_object(&error))?;
    if envelope.success.map(RawValue::get) == Some("false") {
        return Err("the answer says success: false".to_owned());
    }
    let data = envelope.data.ok_or("the answer has no data")?;
    Ok((data, parse_pagination(envelope.pagination.or(envelope.meta))))
}

/// For JSON of another type serde's text is not used: it would quote the text in full.
fn no_object(error: &serde_json::Error) -> String {
    if error.is_data() {
        return "the answer is not a JSON object".to_owned();
    }
    format!("the answer is not a JSON object: {error}")
}

/// The text of an error answer: `message`, or `error.message`, on one line and at most 200 characters long.
pub fn error_message(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct ErrorBody {
        message: Option<String>,
        error: Option<ErrorDetail>,
    }
    #[derive(Deserialize)]
    struct ErrorDetail {
        message: Option<String>,
    }
    let parsed: ErrorBody = serde_json::from_slice(without_mark(body)).ok()?;
    let message = parsed.message.or_else(|| parsed.error.and_then(|detail| detail.message))?;
    Some(message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect())
}

#[derive(Default)]
struct AnswerEnvelope<'a> {
    success: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    pagination: Option<&'a RawValue>,
    /// The same, under the name that the list of agents uses.
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum EnvelopeField {
    Success,
    Data,
    Pagination,
    Meta,
    #[serde(other)]
    Other,
}

/// Written by hand because a derived one fails on a repeated key; here the last one counts, as in JavaScript.
impl<'de> Deserialize<'de> for AnswerEnvelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvelopeVisitor;
        impl<'de> Visitor<'de> for EnvelopeVisitor {
            type Value = AnswerEnvelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut envelope = AnswerEnvelope::default();
                while let Some(field) = map.next_key()? {
                    match field {
                        EnvelopeField::Success => envelope.success = map.next_value()?,
                        EnvelopeField::Data => envelope.data = map.next_value()?,
                        EnvelopeField::Pagination => envelope.pagination = map.next_value()?,
                        EnvelopeField::Meta => envelope.meta = map.next_value()?,
                        EnvelopeField::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(envelope)
            }
        }
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

fn parse_pagination(raw: Option<&RawValue>) -> Pagination {
    #[derive(Deserialize)]
    struct PaginationFields<'a> {
        #[serde(borrow)]
        per_page: Option<&'a RawValue>,
        #[serde(borrow)]
        total: Option<&'a RawValue>,
        #[serde(borrow)]
        last_page: Option<&'a RawValue>,
    }
    let Some(fields) = raw.and_then(|raw| serde_json::from_str::<PaginationFields<'_>>(raw.get()).ok()) else {
        return Pagination::default();
    };
    let count = |raw: Option<&RawValue>| raw.and_then(number).filter(|n| *n >= 0.0 && *n < 1e15).map(|n| n as u64);
    // A page size of zero and a last page of zero make no sense.
    let positive = |raw| count(raw).filter(|count| *count > 0);
    Pagination {
        per_page: positive(fields.per_page),
        total: count(fields.total),
        last_page: positive(fields.last_page),
    }
}

/// The fields of an entry, not yet parsed.
#[derive(Default)]
struct RawEntry<'a> {
    id: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    attempt: Option<&'a RawValue>,
    status: Option<&'a RawValue>,
    http_status: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    request_payload: Option<&'a RawValue>,
    duration_ms: Option<&'a RawValue>,
    delivered_at: Option<&'a RawValue>,
    created_at: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum EntryField {
    Id,
    Event,
    Attempt,
    Status,
    HttpStatus,
    Error,
    RequestPayload,
    DurationMs,
    DeliveredAt,
    CreatedAt,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for RawEntry<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;
        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = RawEntry<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut entry = RawEntry::default();
                while let Some(field) = map.next_key()? {
                    let slot = match field {
                        EntryField::Id => &mut entry.id,
                        EntryField::Event => &mut entry.event,
                        EntryField::Attempt => &mut entry.attempt,
                        EntryField::Status => &mut entry.status,
                        EntryField::HttpStatus => &mut entry.http_status,
                        EntryField::Error => &mut entry.error,
                        EntryField::RequestPayload => &mut entry.request_payload,
                        EntryField::DurationMs => &mut entry.duration_ms,
                        EntryField::DeliveredAt => &mut entry.delivered_at,
                        EntryField::CreatedAt => &mut entry.created_at,
                        EntryField::Other => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *slot = Some(map.next_value()?);
                }
                Ok(entry)
            }
        }
        deserializer.deserialize_map(EntryVisitor)
    }
}

/// Parses entries one by one; keeps what they share.
#[derive(Default)]
struct EntryReader {
    /// The names on this page: an event occurs many times.
    events: HashSet<Arc<str>>,
    scratch: Vec<u8>,
}

impl EntryReader {
    /// Returns the entry, or the key and the reason for an [`InvalidEntry`].
    fn read(&mut self, text: &str) -> Result<Attempt, (Box<str>, &'static str)> {
        let Ok(raw) = serde_json::from_str::<RawEntry<'_>>(text) else {
            return Err((digest(text.as_bytes()), "it is no object"));
        };
        let Some(id) = raw.id.and_then(id_text) else {
            return Err((digest(text.as_bytes()), "it has no usable id"));
        };
        let Some(created_at) = raw.created_at.and_then(timestamp) else {
            return Err((format!("id:{id}").into(), "it has no usable created_at"));
        };
        let event = raw.event.and_then(string).filter(|name| !name.is_empty()).unwrap_or(Cow::Borrowed(NO_EVENT));
        let group = group_key(&event, raw.request_payload.map(RawValue::get), &mut self.scratch);
        let status = status(raw.status);
        Ok(Attempt {
            id: EntryId::new(&id),
            event: self.intern(&event),
            attempt: raw.attempt.and_then(attempt_number).unwrap_or(1),
            status,
            http_status: http_status(raw.http_status),
            error: raw.error.filter(|_| status.is_failure()).and_then(string).map(|text| error_text::cleaned(&text)),
            duration_ns: raw.duration_ms.and_then(duration_ns),
            delivered_at: raw.delivered_at.and_then(timestamp),
            created_at,
            group,
        })
    }

    fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.events.get(name) {
            return known.clone();
        }
        let new: Arc<str> = name.into();
        self.events.insert(new.clone());
        new
    }
}

/// The key of something without an id: a digest of its bytes.
pub fn digest(bytes: &[u8]) -> Box<str> {
    let digest = Sha256::digest(bytes);
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").into()
}

/// The string, if the value is one that can be decoded.
fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(raw.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// A number, or a text that contains one.
fn number(raw: &RawValue) -> Option<f64> {
    let text = string(raw).unwrap_or(Cow::Borrowed(raw.get()));
    let text = text.trim();
    let parsed = if is_number(text) { text.parse::<f64>().ok() } else { None };
    parsed.filter(|n| n.is_finite())
}

fn id_text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = if is_number(raw.get()) { Cow::Borrowed(raw.get()) } else { string(raw)? };
    (!text.is_empty()).then_some(text)
}

/// RFC 3339 with any offset, or Laravel's `2024-05-01 12:34:56`, which is UTC. A date alone is not a moment, and a time
/// in a zone that is only named would be mistaken for UTC.
fn timestamp(raw: &RawValue) -> Option<Timestamp> {
    let text = string(raw)?;
    let text = with_short_fraction(&text);
    let parsed = text.parse::<jiff::Timestamp>().or_else(|error| {
        if !text.contains(':') || text.contains('[') {
            return Err(error);
        }
        jiff::tz::Offset::UTC.to_timestamp(text.parse()?)
    });
    parsed.ok().map(|moment| Timestamp::from_micros(moment.as_microsecond()))
}

/// The text with at most nine digits in the fraction of a second, which is as many as can be parsed: RFC 3339 allows
/// any number.
fn with_short_fraction(text: &str) -> Cow<'_, str> {
    const DIGITS: usize = 9;
    let Some((whole, fraction)) = text.split_once(['.', ',']) else { return Cow::Borrowed(text) };
    let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
    if end <= DIGITS {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{whole}.{}{}", &fraction[..DIGITS], &fraction[end..]))
}

fn status(raw: Option<&RawValue>) -> AttemptStatus {
    match raw.and_then(string).as_deref() {
        Some("pending") => AttemptStatus::Pending,
        Some("success") => AttemptStatus::Success,
        Some("failed") => AttemptStatus::Failed,
        Some("retrying") => AttemptStatus::Retrying,
        _ => AttemptStatus::Unknown,
    }
}

fn http_status(raw: Option<&RawValue>) -> HttpStatus {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return HttpStatus::None;
    };
    match number(raw) {
        Some(0.0) => HttpStatus::None,
        Some(code) if (100.0..=999.0).contains(&code) && code.fract() == 0.0 => HttpStatus::Code(code as u16),
        _ => HttpStatus::Invalid,
    }
}

fn attempt_number(raw: &RawValue) -> Option<u8> {
    number(raw).filter(|n| (1.0..=255.0).contains(n) && n.fract() == 0.0).map(|n| n as u8)
}

fn duration_ns(raw: &RawValue) -> Option<u64> {
    number(raw).filter(|ms| (0.0..=MAX_DURATION_MS).contains(ms)).map(|ms| (ms * 1e6).round() as u64)
}

#[cfg(test)]
mod tests;
