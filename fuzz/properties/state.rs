//! What holds of every state file, whatever one of its values is replaced by: it is read or refused, and never panics.
//!
//! The checksums are made anew after the change. So this is about what the readers of the rows do where those say
//! nothing: a state that another program wrote, or a defect of ours. The fuzz target `state` and the tests of the
//! corpora call `check`.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rusqlite::Connection;
use rusqlite::types::Value;
use talkover_core::delivery::{OwnerType, Target, Timestamp};
use talkover_core::ledger::labels::{AttemptLabel, HttpStatusDetail, LabelPolicy};
use talkover_core::server_time::LocalTime;
use talkover_exporter::store::Store as _;
use talkover_exporter::store::error::StoreError;
use talkover_exporter::store::sqlite::{SqliteStore, commits};

/// A state with deliveries, losses, discovered webhooks and totals.
const TEMPLATE: &str = include_str!("../../tests/fixtures/state/v6.sql");
/// The second at which the states are opened.
const NOW: i64 = 1_000_200;

fn now() -> LocalTime {
    LocalTime::new(Timestamp::from_seconds(NOW))
}

/// The template in the present version, as the bytes of a file.
fn template() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        Connection::open(&path).unwrap().execute_batch(TEMPLATE).unwrap();
        drop(SqliteStore::open(&path, now()).unwrap());
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "DELETE").unwrap();
        drop(connection);
        std::fs::read(&path).unwrap()
    })
}

/// Opens and reads a state of which one value is another one: the bytes say which, and by what it is replaced.
///
/// # Panics
/// Where something does not hold.
pub fn check(bytes: &[u8]) {
    let [table, column, row, kind, value @ ..] = bytes else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    std::fs::write(&path, template()).unwrap();
    if change(&path, [table, column, row].map(|byte| usize::from(*byte)), replacement(*kind, value)).is_none() {
        return;
    }
    if let Err(error) = read(&path) {
        let message = error.to_string();
        assert!(!message.trim().is_empty() && !message.contains(['\n', '\r']), "{message:?}");
        // Refused is refused: asked again, it is the same.
        assert_eq!(read(&path).err().map(|error| error.to_string()), Some(message));
    }
}

/// What takes the place of a value.
fn replacement(kind: u8, bytes: &[u8]) -> Value {
    match kind % 5 {
        0 => Value::Null,
        1 | 2 => {
            let mut number = [0; 8];
            let length = bytes.len().min(number.len());
            number[..length].copy_from_slice(&bytes[..length]);
            Value::Integer(i64::from_le_bytes(number))
        }
        3 => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        _ => Value::Blob(bytes.to_owned()),
    }
}

/// Replaces one value. Returns `None` where the table refuses that.
fn change(path: &Path, [table, column, row]: [usize; 3], value: Value) -> Option<()> {
    let mut connection = Connection::open(path).unwrap();
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*' ORDER BY name";
    let tables: Vec<String> = column_of(&connection, names, []);
    let table = &tables[table % tables.len()];
    let columns: Vec<String> = column_of(&connection, "SELECT name FROM pragma_table_info(?1)", [table]);
    let column = &columns[column % columns.len()];
    let rows: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
    let row = i64::try_from(row).unwrap().checked_rem(rows)?;
    let key: Vec<String> = column_of(&connection, "SELECT name FROM pragma_table_info(?1) WHERE pk > 0", [table]);
    let key = key.join(", ");
    let update = format!(
        "UPDATE {table} SET {column} = ?1 WHERE ({key}) IN (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET ?2)"
    );
    connection.execute(&update, rusqlite::params![value, row]).ok()?;
    // Without a last commit that can be read there is nothing to make anew: the check at the start refuses the file.
    _ = commits::reseal(&mut connection);
    Some(())
}

fn column_of(connection: &Connection, query: &str, parameters: impl rusqlite::Params) -> Vec<String> {
    let mut statement = connection.prepare(query).unwrap();
    let rows = statement.query_map(parameters, |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

/// Reads all that a start reads.
fn read(path: &Path) -> Result<(), StoreError> {
    let store = SqliteStore::open(path, now())?;
    let target = Target {
        environment: "test".into(),
        webhook_id: "w-1".into(),
        owner_type: OwnerType::Agent,
        owner_id: "a".into(),
        webhook_name: "name".into(),
    };
    let policy = LabelPolicy {
        http_status: HttpStatusDetail::Exact,
        duration_labels: AttemptLabel::ALL.to_vec(),
        duration_buckets: Arc::from([0.1, 1.0]),
        max_events: 200,
        max_label_sets: 500,
    };
    let loaded = store.load(&target, &policy)?;
    let latest = Timestamp::from_seconds(NOW);
    assert!(loaded.last_success.is_none_or(|seen| seen <= latest), "a success in the future");
    _ = store.load_discovered("test")?;
    Ok(())
}
