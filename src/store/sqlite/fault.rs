//! The error type for damaged content of the state file: which table or row is not as this program wrote it.

use std::error::Error;
use std::fmt;

use rusqlite::types::Type;
use talkover_settings::one_line::on_one_line;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFault {
    /// The table.
    pub table: String,
    /// The row, by its primary key, if one row is at fault.
    pub row: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

impl StateFault {
    /// Returns a fault of the whole `table`.
    pub(super) fn of_table(table: &str, reason: impl Into<String>) -> Self {
        Self { table: table.to_owned(), row: None, reason: reason.into() }
    }

    /// Returns a fault of one row.
    pub(super) fn of_row(table: &str, row: String, reason: impl Into<String>) -> Self {
        Self { table: table.to_owned(), row: Some(row), reason: reason.into() }
    }
}

impl fmt::Display for StateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.row.as_ref().map(|row| format!(", row {row}")).unwrap_or_default();
        // A damaged value may hold a line break.
        f.write_str(&on_one_line(&format!("table {}{row}: {}", self.table, self.reason)))
    }
}

impl Error for StateFault {}

/// Wraps a fault as an SQLite error, to return it from code that reads rows.
impl From<StateFault> for rusqlite::Error {
    fn from(fault: StateFault) -> Self {
        Self::FromSqlConversionFailure(0, Type::Null, Box::new(fault))
    }
}

/// Adds `table` and `row` to an error that occurred while the row was read, if the error is about a value.
pub(super) fn in_row(table: &str, row: impl FnOnce() -> String, error: rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::FromSqlConversionFailure(_, _, reason) if !reason.is::<StateFault>() => {
            StateFault::of_row(table, row(), reason.to_string()).into()
        }
        rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::IntegralValueOutOfRange(..) => {
            StateFault::of_row(table, row(), error.to_string()).into()
        }
        other => other,
    }
}
