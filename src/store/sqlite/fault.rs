//! Where the content of the file is not what this program wrote.

use std::error::Error;
use std::fmt;

use rusqlite::types::Type;
use talkover_settings::one_line::on_one_line;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFault {
    /// The table.
    pub table: String,
    /// The row, by its primary key, where one row is at fault.
    pub row: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

impl StateFault {
    /// One of the whole of `table`.
    pub(super) fn of_table(table: &str, reason: impl Into<String>) -> Self {
        Self { table: table.to_owned(), row: None, reason: reason.into() }
    }

    /// One of a row.
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

/// As an error of reading, which tells what was read.
impl From<StateFault> for rusqlite::Error {
    fn from(fault: StateFault) -> Self {
        Self::FromSqlConversionFailure(0, Type::Null, Box::new(fault))
    }
}

/// An error that came up while `row` of `table` was read: if it is about the value, it tells where that is.
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
