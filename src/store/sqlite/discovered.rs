//! What discovery knows of lists, owners and webhooks, so that a restart polls at once and knows what is new.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, Transaction, params};

use super::entries::unreadable;
use talkover_core::delivery::{OwnerType, Timestamp};
use talkover_core::discovery::record::{DiscoveryRecord, ListRecord, OwnerRecord, Unsaved, WebhookRecord};
use talkover_core::discovery::targets::WebhookInfo;
use talkover_core::discovery::{ApiOwner, ApiWebhook, Endpoint, Method, OwnerKey};

/// Reads everything that is known of an environment.
pub(super) fn load(connection: &Connection, environment: &str) -> rusqlite::Result<DiscoveryRecord> {
    let mut record = DiscoveryRecord { lists: load_lists(connection, environment)?, owners: BTreeMap::new() };
    load_owners(connection, environment, &mut record.owners)?;
    load_webhooks(connection, environment, &mut record.owners)?;
    Ok(record)
}

fn load_lists(connection: &Connection, environment: &str) -> rusqlite::Result<BTreeMap<OwnerType, ListRecord>> {
    let mut statement = connection
        .prepare_cached("SELECT owner_type, completed_at, whole_at FROM discovered_lists WHERE environment = ?1")?;
    let rows = statement.query_map([environment], |row| {
        Ok((owner_type(row)?, ListRecord { completed_at: time(row, 1)?, whole_at: time(row, 2)? }))
    })?;
    rows.collect()
}

fn load_owners(
    connection: &Connection,
    environment: &str,
    owners: &mut BTreeMap<OwnerKey, OwnerRecord>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT owner_type, owner_id, name, status, updated_at, absent_at, read_at, is_changed, missed
         FROM discovered_owners WHERE environment = ?1",
    )?;
    let mut rows = statement.query([environment])?;
    while let Some(row) = rows.next()? {
        let status = row.get::<_, Option<String>>(3)?.map(Arc::from);
        let owner = ApiOwner { name: text(row, 2)?, status, updated_at: time(row, 4)? };
        let record = OwnerRecord {
            absent_at: time(row, 5)?,
            read_at: time(row, 6)?,
            is_changed: row.get(7)?,
            missed: row.get(8)?,
            ..OwnerRecord::new(owner, None)
        };
        owners.insert(key(row)?, record);
    }
    Ok(())
}

fn load_webhooks(
    connection: &Connection,
    environment: &str,
    owners: &mut BTreeMap<OwnerKey, OwnerRecord>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT owner_type, owner_id, webhook_id, name, host, port, timeout_seconds, max_retries, method, is_enabled,
                known_at, missed
         FROM discovered_webhooks WHERE environment = ?1",
    )?;
    let mut rows = statement.query([environment])?;
    while let Some(row) = rows.next()? {
        if let Some(owner) = owners.get_mut(&key(row)?) {
            owner.webhooks.insert(text(row, 2)?, read_webhook(row)?);
        }
    }
    Ok(())
}

fn read_webhook(row: &rusqlite::Row<'_>) -> rusqlite::Result<WebhookRecord> {
    let host: Option<String> = row.get(4)?;
    let port = row.get(5)?;
    let method = row.get_ref(8)?.as_str()?;
    let webhook = ApiWebhook {
        name: text(row, 3)?,
        endpoint: host.map(|host| Endpoint { host: host.into(), port }),
        timeout_seconds: row.get(6)?,
        max_retries: row.get(7)?,
        method: Method::from_name(method).ok_or_else(|| unreadable(8, method))?,
        is_enabled: row.get(9)?,
    };
    Ok(WebhookRecord { webhook, known_at: time(row, 10)?, missed: row.get(11)? })
}

/// What is kept of a target that is no longer listed; its owner's name comes first.
pub(super) fn webhook_info(row: &rusqlite::Row<'_>) -> rusqlite::Result<WebhookInfo> {
    let host: Option<String> = row.get(1)?;
    let port = row.get(2)?;
    let method = row.get_ref(5)?.as_str()?;
    Ok(WebhookInfo {
        owner_name: text(row, 0)?,
        endpoint: host.map(|host| Endpoint { host: host.into(), port }),
        timeout_seconds: row.get(3)?,
        max_retries: row.get(4)?,
        method: Method::from_name(method).ok_or_else(|| unreadable(5, method))?,
        is_enabled: row.get(6)?,
    })
}

fn owner_type(row: &rusqlite::Row<'_>) -> rusqlite::Result<OwnerType> {
    let name = row.get_ref(0)?.as_str()?;
    OwnerType::from_name(name).ok_or_else(|| unreadable(0, name))
}

fn key(row: &rusqlite::Row<'_>) -> rusqlite::Result<OwnerKey> {
    Ok(OwnerKey { owner_type: owner_type(row)?, id: text(row, 1)? })
}

fn text(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Arc<str>> {
    Ok(row.get_ref(column)?.as_str()?.into())
}

fn time(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}

fn micros(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_micros)
}

/// Writes what has changed of an environment.
pub(super) fn write(transaction: &Transaction<'_>, environment: &str, unsaved: &Unsaved) -> rusqlite::Result<()> {
    for owner in &unsaved.gone {
        remove(transaction, environment, owner)?;
    }
    for (owner_type, list) in &unsaved.record.lists {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO discovered_lists VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![environment, owner_type.as_str(), micros(list.completed_at), micros(list.whole_at)])?;
    }
    for (key, owner) in &unsaved.record.owners {
        // Its webhooks are few, and replacing them needs no comparison.
        remove(transaction, environment, key)?;
        write_owner(transaction, environment, key, owner)?;
        for (id, webhook) in &owner.webhooks {
            write_webhook(transaction, environment, key, id, webhook)?;
        }
    }
    Ok(())
}

fn remove(transaction: &Transaction<'_>, environment: &str, owner: &OwnerKey) -> rusqlite::Result<()> {
    for table in ["discovered_owners", "discovered_webhooks"] {
        let sql = format!("DELETE FROM {table} WHERE environment = ?1 AND owner_type = ?2 AND owner_id = ?3");
        transaction.prepare_cached(&sql)?.execute(params![environment, owner.owner_type.as_str(), &*owner.id])?;
    }
    Ok(())
}

fn write_owner(
    transaction: &Transaction<'_>,
    environment: &str,
    key: &OwnerKey,
    record: &OwnerRecord,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO discovered_owners (environment, owner_type, owner_id, name, status, updated_at, absent_at,
                                            read_at, is_changed, missed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            environment,
            key.owner_type.as_str(),
            &*key.id,
            &*record.owner.name,
            record.owner.status.as_deref(),
            micros(record.owner.updated_at),
            micros(record.absent_at),
            micros(record.read_at),
            record.is_changed,
            record.missed,
        ])?;
    Ok(())
}

fn write_webhook(
    transaction: &Transaction<'_>,
    environment: &str,
    owner: &OwnerKey,
    id: &str,
    record: &WebhookRecord,
) -> rusqlite::Result<()> {
    let webhook = &record.webhook;
    transaction
        .prepare_cached(
            "INSERT INTO discovered_webhooks (environment, owner_type, owner_id, webhook_id, name, host, port,
                                              timeout_seconds, max_retries, method, is_enabled, known_at, missed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            environment,
            owner.owner_type.as_str(),
            &*owner.id,
            id,
            &*webhook.name,
            webhook.endpoint.as_ref().map(|endpoint| &*endpoint.host),
            webhook.endpoint.as_ref().and_then(|endpoint| endpoint.port),
            webhook.timeout_seconds,
            webhook.max_retries,
            webhook.method.as_str(),
            webhook.is_enabled,
            micros(record.known_at),
            record.missed,
        ])?;
    Ok(())
}
