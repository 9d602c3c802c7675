//! Compares the rows of the file with the sums of its last commit, and names what differs.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};

use super::checksums::{ChecksumTable, SCHEMA, Sums, add_up_schema, add_up_table, for_each_row, tables};
use super::commits;
use super::fault::StateFault;

/// Compares all rows of the file with the sums of its last commit. Returns the first difference.
///
/// # Errors
/// If SQLite cannot read the file.
pub fn find_fault(connection: &Connection) -> rusqlite::Result<Option<StateFault>> {
    let written = match commits::read(connection)? {
        Ok(commit) => commit.checksums,
        Err(fault) => return Ok(Some(fault)),
    };
    let fault = |table: &str, row, reason: &str| Some(StateFault { row, ..StateFault::of_table(table, reason) });
    // First: with another schema nothing else means anything.
    if written.get(SCHEMA) != Some(&add_up_schema(connection, |table| written.contains_key(table))?) {
        return Ok(fault(SCHEMA, None, "the tables are not those that this program made"));
    }
    for table in tables(connection)? {
        // A table that another program has added is its own affair.
        let Some(written) = written.get(&table.name).copied() else { continue };
        let found = match add_up_table(connection, &table) {
            Ok(found) => found,
            Err(error) => return Ok(fault(&table.name, None, &error.to_string())),
        };
        if found != written {
            let (row, reason) = locate(connection, &table, written, found)?;
            return Ok(fault(&table.name, row, reason));
        }
    }
    Ok(None)
}

/// Finds the row that alone explains the difference.
fn locate(
    connection: &Connection,
    table: &ChecksumTable,
    written: Sums,
    found: Sums,
) -> rusqlite::Result<(Option<String>, &'static str)> {
    let missing = written.minus(found);
    if missing.are_of_one_row() {
        return Ok((None, "a row that was written is missing"));
    }
    let mut culprit = None;
    for_each_row(connection, table, |row, digest| {
        let written_instead = missing.plus(Sums::of(digest));
        let is_surplus = written_instead == Sums::default();
        if culprit.is_none() && (is_surplus || written_instead.are_of_one_row()) {
            culprit = Some((name_of_row(connection, table, row), is_surplus));
        }
    })?;
    Ok(match culprit {
        Some((row, true)) => (Some(row), "it was never written"),
        Some((row, false)) => (Some(row), "it is not what was written (its checksum differs)"),
        None => (None, "several rows are not what was written (their checksums differ)"),
    })
}

/// Returns the primary key, and the webhook that the row belongs to.
fn name_of_row(connection: &Connection, table: &ChecksumTable, row: &rusqlite::Row<'_>) -> String {
    let value = |column: &usize| match row.get_ref(*column) {
        Ok(ValueRef::Integer(number)) => number.to_string(),
        Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        Ok(ValueRef::Blob(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Ok(ValueRef::Real(number)) => number.to_string(),
        Ok(ValueRef::Null) | Err(_) => "NULL".to_owned(),
    };
    let key: Vec<String> = table.key.iter().map(value).collect();
    let webhook = table.columns.iter().position(|column| column == "target").and_then(|column| {
        let name = "SELECT environment || '/' || webhook_id FROM targets WHERE id = ?1";
        let id: i64 = row.get(column).ok()?;
        connection.query_row(name, [id], |row| row.get::<_, String>(0)).optional().ok()?
    });
    let webhook = webhook.map(|webhook| format!(" of webhook {webhook}")).unwrap_or_default();
    format!("({}){webhook}", key.join(", "))
}

#[cfg(test)]
mod tests;
