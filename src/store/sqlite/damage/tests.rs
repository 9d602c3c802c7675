//! Every change of a row that nobody committed is found, and the row is named; what is committed is not.

use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::store::sqlite::SqliteStore;
use crate::store::{SpanBatch, Store as _};
use talkover_core::delivery::{AttemptStatus, OwnerType, Target};
use talkover_core::ledger::decide::{Coverage, decide};
use talkover_core::ledger::state::Ledger;
use talkover_core::testing::{Book, entry, local, policy};

/// A state file with two targets, closed again.
fn written(path: &Path) {
    let mut store = SqliteStore::open(path, local(0)).unwrap();
    for name in ["w-1", "w-2"] {
        let target = Target {
            environment: "test".into(),
            webhook_id: name.into(),
            owner_type: OwnerType::Agent,
            owner_id: "a".into(),
            webhook_name: "name".into(),
        };
        let mut ledger = Ledger::default();
        for (coverage, now) in [(Coverage::FirstResponse, 0), (Coverage::FirstContact, 20), (Coverage::Head, 40)] {
            let entries = if coverage == Coverage::FirstResponse { 0..0 } else { 0..now - 10 };
            let entries: Vec<_> = entries.map(|n| entry(&format!("entry-{n}"), n, AttemptStatus::Success)).collect();
            let changes = decide(&ledger, &Book::batch(coverage, now, &entries), &policy()).changes;
            _ = store.commit(&target, changes.clone(), &SpanBatch::default()).unwrap();
            ledger.apply(changes);
        }
    }
}

#[test]
fn what_is_committed_adds_up_whatever_statement_has_written_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    written(&path);
    let mut store = SqliteStore::open(&path, local(0)).unwrap();
    let check = |store: &SqliteStore| assert_eq!(find_fault(&store.connection).unwrap(), None);
    check(&store);
    let statements = [
        "INSERT OR REPLACE INTO meta VALUES ('created_at', 5)",
        "INSERT OR REPLACE INTO meta VALUES ('created_at', 5)",
        "INSERT OR IGNORE INTO meta VALUES ('created_at', 6)",
        "INSERT INTO meta VALUES ('created_at', 7) ON CONFLICT DO UPDATE SET value = excluded.value",
        "UPDATE targets SET watermark = watermark + 1",
        "UPDATE targets SET watermark = watermark",
        "DELETE FROM entries WHERE created_at = (SELECT min(created_at) FROM entries)",
        "INSERT INTO outbox (queued_at, span) SELECT created_at, grp FROM entries",
        "DELETE FROM outbox",
        "DELETE FROM entries",
    ];
    for statement in statements {
        let before = store.last.number;
        store.transact(|transaction| transaction.execute_batch(statement)).unwrap();
        check(&store);
        assert!(store.last.number - before <= 1, "{statement}");
    }
    let before = store.last.clone();
    store.transact(|transaction| transaction.execute_batch("UPDATE targets SET watermark = watermark")).unwrap();
    assert_eq!(store.last, before, "nothing is written if nothing changes");
    let failed = store.transact(|transaction| transaction.execute_batch("DELETE FROM targets; SELECT nothing"));
    assert!(failed.is_err());
    store.transact(|transaction| transaction.execute_batch("UPDATE targets SET watermark = 3")).unwrap();
    check(&store);
}

#[test]
fn one_row_that_differs_is_named() {
    let table = [
        (
            "UPDATE totals SET value = value + 4 WHERE family = 'attempts' AND target = 2",
            "totals",
            "of webhook test/w-2",
        ),
        (
            "UPDATE totals SET labels = replace(labels, 'e', 'a') WHERE family = 'attempts' AND target = 1",
            "totals",
            "(1, attempts, ",
        ),
        (
            "UPDATE entries SET event = 'other' WHERE target = 1 AND id = 'entry-7'",
            "entries",
            "entry-7) of webhook test/w-1",
        ),
        ("UPDATE targets SET watermark = watermark - 1 WHERE id = 2", "targets", "(2)"),
        ("UPDATE meta SET value = value + 1 WHERE key = 'created_at'", "meta", "(created_at)"),
        ("DELETE FROM entries WHERE target = 1 AND id = 'entry-7'", "entries", "is missing"),
        (
            "INSERT INTO pruned_totals VALUES (1, 'attempts', '[]', 1)",
            "pruned_totals",
            "(1, attempts, []) of webhook test/w-1: it was never",
        ),
        ("UPDATE entries SET event = 'other'", "entries", "several rows"),
        ("UPDATE last_commit SET number = number + 1", "last_commit", "(1)"),
        ("DELETE FROM last_commit", "last_commit", "is missing"),
        (
            "CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM totals; END",
            "sqlite_schema",
            "the tables are not",
        ),
        ("ALTER TABLE totals RENAME COLUMN held TO kept", "sqlite_schema", "the tables are not"),
    ];
    for (damage, table, named) in table {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        written(&path);
        Connection::open(&path).unwrap().execute_batch(damage).unwrap();
        let message = SqliteStore::open(&path, local(0)).unwrap_err().to_string();
        let expected = format!("state file {} is damaged (table {table}", path.display());
        assert!(message.starts_with(&expected) && message.contains(named), "{damage}: {message}");
    }
}

#[test]
fn tables_of_another_program_are_its_own_affair() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    written(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE _replication (x); INSERT INTO _replication VALUES (1)").unwrap();
    SqliteStore::open(&path, local(0)).unwrap();
    other.execute_batch("UPDATE _replication SET x = 2").unwrap();
    SqliteStore::open(&path, local(0)).unwrap();
}
