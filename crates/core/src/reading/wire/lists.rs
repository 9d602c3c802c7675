//! What the lists of agents, of campaigns and of their webhooks mean: the answers that discovery uses.
//!
//! Of a webhook's URL only host and port are kept, and nothing of its headers and credentials. The client calls it with
//! the bytes of one answer. Both envelopes are accepted for each list, because the reference shows `meta` for one and
//! `pagination` for the other.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::value::RawValue;
use url::Url;

use super::entries::entries;
use super::{InvalidEntry, Pagination, digest, id_text, number, open, readable, string, timestamp};
use crate::delivery::owners::{ApiOwner, ApiWebhook, Endpoint, Method};

/// Longer names are cut: 256 characters, because they become labels.
const MAX_NAME_CHARS: usize = 256;
/// No id may be longer than 256 bytes: the API's are UUIDs of 36, and an id becomes a label and a segment of a path.
const MAX_ID_BYTES: usize = 256;
/// A number of seconds or of retries above this is not a setting of a webhook, whatever the next edition of the
/// reference allows.
const MAX_SETTING: f64 = 1e6;

/// One page of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListPage<T> {
    /// The usable entries by id, in the order of the page.
    pub entries: Vec<(Arc<str>, T)>,
    /// The entries that cannot be used.
    pub invalid: Vec<InvalidEntry>,
    /// What the answer says about the pages.
    pub pagination: Pagination,
}

/// An object's members; the last of duplicate keys counts.
type JsonObject<'a> = HashMap<String, &'a RawValue>;

/// Parses an answer of the list of agents or of campaigns.
///
/// # Errors
/// A sentence that says why the answer as a whole is not a page of a list.
pub fn parse_owners(body: &[u8]) -> Result<ListPage<ApiOwner>, String> {
    let text = readable(body);
    let (data, pagination) = open(&text)?;
    let entries = entries(data)?;
    Ok(page(&entries, pagination, owner))
}

/// Parses an answer of an owner's list of webhooks: `data` is the list, or contains it under `webhooks`.
///
/// # Errors
/// A sentence that says why the answer as a whole is not a list of webhooks.
pub fn parse_webhooks(body: &[u8]) -> Result<ListPage<ApiWebhook>, String> {
    let text = readable(body);
    let (data, pagination) = open(&text)?;
    let members = serde_json::from_str::<JsonObject<'_>>(data.get()).unwrap_or_default();
    let list = members.get("webhooks").copied().unwrap_or(data);
    let entries = entries(list)?;
    Ok(page(&entries, pagination, webhook))
}

fn page<T>(
    entries: &[&RawValue],
    pagination: Pagination,
    read: impl Fn(&JsonObject<'_>, &Arc<str>) -> T,
) -> ListPage<T> {
    let mut page = ListPage { entries: Vec::with_capacity(entries.len()), invalid: Vec::new(), pagination };
    for entry in entries {
        let place = page.entries.len();
        let refused = |reason| InvalidEntry { key: digest(entry.get().as_bytes()), reason, place };
        let Ok(members) = serde_json::from_str::<JsonObject<'_>>(entry.get()) else {
            page.invalid.push(refused("it is no object"));
            continue;
        };
        match field(&members, "id").and_then(id_text).filter(|id| is_id(id)) {
            Some(id) => {
                let id = Arc::from(id.as_ref());
                let read = read(&members, &id);
                page.entries.push((id, read));
            }
            None => page.invalid.push(refused("it has no usable id")),
        }
    }
    page
}

/// Whether a text can be a single segment of a path, as it is required of ids in the configuration.
fn is_id(text: &str) -> bool {
    let is_foreign = |c: char| c.is_control() || c.is_whitespace() || "/\\?#%".contains(c);
    text.len() <= MAX_ID_BYTES && text != "." && text != ".." && !text.contains(is_foreign)
}

fn owner(members: &JsonObject<'_>, id: &Arc<str>) -> ApiOwner {
    // Agents have `current_status`, campaigns `status`.
    let status = text(members, "current_status").or_else(|| text(members, "status"));
    ApiOwner {
        name: name(members, id),
        status: status.map(|status| shortened(&status)),
        updated_at: field(members, "updated_at").and_then(timestamp),
    }
}

fn webhook(members: &JsonObject<'_>, id: &Arc<str>) -> ApiWebhook {
    let setting = |name| field(members, name).and_then(number).filter(|n| (0.0..=MAX_SETTING).contains(n));
    let is_off =
        field(members, "enabled").is_some_and(|raw| matches!(raw.get(), "false" | "0" | "\"false\"" | "\"0\""));
    ApiWebhook {
        name: name(members, id),
        endpoint: text(members, "webhook_url").and_then(|url| endpoint(&url)),
        timeout_seconds: setting("timeout").map(|seconds| seconds as u32),
        max_retries: setting("max_retries").map(|retries| retries as u32),
        method: text(members, "http_method").and_then(|name| Method::from_name(&name)).unwrap_or_default(),
        is_enabled: !is_off && text(members, "status").as_deref() != Some("disabled"),
    }
}

/// A member that is present and not null.
fn field<'a>(members: &JsonObject<'a>, name: &str) -> Option<&'a RawValue> {
    members.get(name).copied().filter(|raw| raw.get() != "null")
}

/// A member that is text and not empty.
fn text<'a>(members: &JsonObject<'a>, name: &str) -> Option<Cow<'a, str>> {
    field(members, name).and_then(string).filter(|text| !text.trim().is_empty())
}

fn name(members: &JsonObject<'_>, id: &Arc<str>) -> Arc<str> {
    text(members, "name").map_or_else(|| Arc::clone(id), |name| shortened(name.trim()))
}

/// The text as a label: on one line, and not too long.
fn shortened(text: &str) -> Arc<str> {
    let characters = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    characters.take(MAX_NAME_CHARS).collect::<String>().into()
}

/// Host and port of a URL; the scheme's port if the URL has none.
fn endpoint(url: &str) -> Option<Endpoint> {
    let url = Url::parse(url.trim()).ok()?;
    let host = url.host_str().filter(|host| !host.is_empty())?;
    Some(Endpoint { host: host.into(), port: url.port_or_known_default() })
}

#[cfg(test)]
mod tests;
