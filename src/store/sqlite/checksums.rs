//! Checksums of the rows, to detect damage that SQLite itself does not notice and that would otherwise be counted and
//! shown.
//!
//! Each table has four numbers: how many rows it has, and Σh, Σhk and Σhk² over them, modulo a prime, where h and k are
//! the halves of a row's digest. The rows get no larger, and unlike a checksum per row, the sums also reveal a missing
//! row. If one row differs, they show which: if r was written and x is found, the sums differ by r's contribution minus
//! x's, and x is the only found row for which a single r explains the difference.
//!
//! No table can be left out: `ChangeTally::attach` puts triggers on every table of the file, and [`super::commits`]
//! writes the sums with every commit. A change by any other program counts as damage.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A Mersenne prime: 2^61 − 1. Sums below it fit into SQLite's integers.
const PRIME: u64 = (1 << 61) - 1;

/// The table that holds the sums, written by [`super::commits`].
pub(super) const TABLE_OF_SUMS: &str = "last_commit";

/// The name of the schema among the tables.
pub(super) const SCHEMA: &str = "sqlite_schema";

/// The checksums of the rows of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; 4]", into = "[u64; 4]")]
pub(super) struct Sums {
    /// How many rows. A difference may be negative: then it wraps around.
    rows: u64,
    /// Σh, Σhk, Σhk².
    moments: [u64; 3],
}

impl From<[u64; 4]> for Sums {
    fn from([rows, first, second, third]: [u64; 4]) -> Self {
        Self { rows, moments: [first, second, third] }
    }
}

impl From<Sums> for [u64; 4] {
    fn from(Sums { rows, moments: [first, second, third] }: Sums) -> Self {
        [rows, first, second, third]
    }
}

impl Sums {
    /// Returns the sums of a table with one row.
    pub(super) fn of(row: RowDigest) -> Self {
        let RowDigest { h, k } = row;
        let hk = multiply(h, k);
        Self { rows: 1, moments: [h, hk, multiply(hk, k)] }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        let [a, b] = [self.moments, other.moments];
        Self { rows: self.rows.wrapping_add(other.rows), moments: [0, 1, 2].map(|i| (a[i] + b[i]) % PRIME) }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        let opposite = other.moments.map(|moment| (PRIME - moment) % PRIME);
        self.plus(Self { rows: other.rows.wrapping_neg(), moments: opposite })
    }

    /// Whether these can be the sums of a single row.
    pub(super) fn are_of_one_row(self) -> bool {
        let [first, second, third] = self.moments;
        self.rows == 1 && first != 0 && multiply(second, second) == multiply(first, third)
    }
}

fn multiply(a: u64, b: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(PRIME)) as u64
}

/// Two independent numbers below the prime, derived from the digest of a whole row.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowDigest {
    h: u64,
    k: u64,
}

impl RowDigest {
    fn of<'a>(table: &str, values: impl Iterator<Item = ValueRef<'a>>) -> Self {
        let mut digest = Sha256::new();
        digest.update(table.as_bytes());
        for value in values {
            let (kind, number, bytes): (u8, u64, &[u8]) = match value {
                ValueRef::Null => (0, 0, &[]),
                ValueRef::Integer(number) => (1, number.cast_unsigned(), &[]),
                ValueRef::Real(number) => (2, number.to_bits(), &[]),
                ValueRef::Text(text) => (3, text.len() as u64, text),
                ValueRef::Blob(bytes) => (4, bytes.len() as u64, bytes),
            };
            let mut head = [kind; 9];
            head[1..].copy_from_slice(&number.to_le_bytes());
            digest.update(head);
            digest.update(bytes);
        }
        let digest = digest.finalize();
        let halves = digest.as_chunks::<8>().0;
        let number = |half: usize| halves.get(half).map_or(0, |bytes| u64::from_le_bytes(*bytes) % PRIME);
        Self { h: number(0), k: number(1) }
    }
}

/// The sums of all tables, by name.
pub(super) type Checksums = BTreeMap<String, Sums>;

/// How a transaction has changed the sums so far. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct ChangeTally(Arc<Mutex<Checksums>>);

impl ChangeTally {
    /// Counts every change of a row that `connection` makes from now on.
    pub(super) fn attach(&self, connection: &Connection) -> rusqlite::Result<()> {
        for (name, is_added) in [("row_added", true), ("row_removed", false)] {
            let tally = self.clone();
            connection.create_scalar_function(name, -1, FunctionFlags::SQLITE_UTF8, move |context| {
                let table = context.get_raw(0).as_str()?;
                let values = (1..context.len()).map(|index| context.get_raw(index));
                tally.count(table, RowDigest::of(table, values), is_added);
                Ok(0)
            })?;
        }
        // Rows that are replaced are told as removed.
        connection.pragma_update(None, "recursive_triggers", true)?;
        for table in tables(connection)? {
            connection.execute_batch(&triggers(&table))?;
        }
        Ok(())
    }

    /// Starts over, at the beginning of a transaction.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Returns the changes since then, without tables whose sums are unchanged.
    pub(super) fn changes(&self) -> Checksums {
        let changed = self.lock().clone();
        changed.into_iter().filter(|(_, sums)| *sums != Sums::default()).collect()
    }

    fn count(&self, table: &str, row: RowDigest, is_added: bool) {
        let mut changes = self.lock();
        let before = changes.get(table).copied().unwrap_or_default();
        let after = if is_added { before.plus(Sums::of(row)) } else { before.minus(Sums::of(row)) };
        match changes.get_mut(table) {
            Some(sums) => *sums = after,
            None => drop(changes.insert(table.to_owned(), after)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Checksums> {
        // Nothing that holds it can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A table of the file.
pub(super) struct ChecksumTable {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    /// The indexes of the primary key's columns.
    pub(super) key: Vec<usize>,
}

/// Returns the tables whose rows are summed up: all except SQLite's own, the one that holds the sums, and those that
/// begin with an underscore, which programs such as litestream add.
pub(super) fn tables(connection: &Connection) -> rusqlite::Result<Vec<ChecksumTable>> {
    let mut names = connection.prepare(
        "SELECT name FROM main.sqlite_schema
         WHERE type = 'table' AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_*' AND name <> ?1 ORDER BY name",
    )?;
    let names: Vec<String> = names.query_map([TABLE_OF_SUMS], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut columns = connection.prepare("SELECT name, pk FROM pragma_table_info(?1, 'main') ORDER BY cid")?;
    names
        .into_iter()
        .map(|name| {
            let found = columns.query_map([&name], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
            let (columns, places): (Vec<String>, Vec<i64>) =
                found.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().unzip();
            let mut key: Vec<usize> = (0..columns.len()).filter(|column| places[*column] > 0).collect();
            key.sort_by_key(|column| places[*column]);
            Ok(ChecksumTable { name, columns, key })
        })
        .collect()
}

/// Returns the SQL of temporary triggers, which belong to the connection and not to the file.
fn triggers(table: &ChecksumTable) -> String {
    let name = &table.name;
    let call = |function: &str, row: &str| {
        let columns: String = table.columns.iter().map(|column| format!(", {row}.\"{column}\"")).collect();
        format!("SELECT {function}('{name}'{columns});")
    };
    let (added, removed) = (call("row_added", "NEW"), call("row_removed", "OLD"));
    let trigger = |event: &str, body: &str| {
        format!("CREATE TEMP TRIGGER \"{name} {event}\" AFTER {event} ON main.\"{name}\" BEGIN {body} END;\n")
    };
    trigger("INSERT", &added) + &trigger("DELETE", &removed) + &trigger("UPDATE", &format!("{removed} {added}"))
}

/// Sums up all rows of the file.
pub(super) fn add_up(connection: &Connection) -> rusqlite::Result<Checksums> {
    let mut sums = Checksums::new();
    for table in tables(connection)? {
        sums.insert(table.name.clone(), add_up_table(connection, &table)?);
    }
    let schema = add_up_schema(connection, |table| sums.contains_key(table))?;
    sums.insert(SCHEMA.to_owned(), schema);
    Ok(sums)
}

pub(super) fn add_up_table(connection: &Connection, table: &ChecksumTable) -> rusqlite::Result<Sums> {
    let mut sums = Sums::default();
    for_each_row(connection, table, |_, digest| sums = sums.plus(Sums::of(digest)))?;
    Ok(sums)
}

pub(super) fn for_each_row(
    connection: &Connection,
    table: &ChecksumTable,
    mut take: impl FnMut(&rusqlite::Row<'_>, RowDigest),
) -> rusqlite::Result<()> {
    let columns: Vec<String> = table.columns.iter().map(|column| format!("\"{column}\"")).collect();
    let mut statement = connection.prepare(&format!("SELECT {} FROM main.\"{}\"", columns.join(", "), table.name))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let values = (0..table.columns.len()).map(|column| row.get_ref(column).unwrap_or(ValueRef::Null));
        take(row, RowDigest::of(&table.name, values));
    }
    Ok(())
}

/// Sums up the definitions of these tables, their indexes and triggers. Their root pages are left out: SQLite may move
/// them.
pub(super) fn add_up_schema(connection: &Connection, is_ours: impl Fn(&str) -> bool) -> rusqlite::Result<Sums> {
    let mut statement = connection.prepare(
        "SELECT type, name, tbl_name, sql FROM main.sqlite_schema WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*'",
    )?;
    let mut rows = statement.query([])?;
    let mut sums = Sums::default();
    while let Some(row) = rows.next()? {
        if !is_ours(row.get_ref(2)?.as_str()?) {
            continue;
        }
        let values = (0..4).map(|column| row.get_ref(column).unwrap_or(ValueRef::Null));
        sums = sums.plus(Sums::of(RowDigest::of(SCHEMA, values)));
    }
    Ok(sums)
}
