//! The stored record that the state file went back in time and so was *behind* what was shown: how many commits it
//! lacked, and from when.

use std::fmt;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use talkover_core::delivery::Timestamp;

/// The key in the table `meta`.
const KEY: &str = "behind";

/// The commits that the state lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many there are; `None` if another state was shown.
    pub commits: Option<u64>,
    /// When the state's last commit was made, by the local clock, and
    pub from: Timestamp,
    /// when the last commit that was shown was made.
    pub to: Timestamp,
    /// When this was noticed.
    pub noticed_at: Timestamp,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = self.to.since(self.from);
        let (from, to) = (moment(self.from), moment(self.to));
        match self.commits {
            Some(1) => write!(f, "1 commit")?,
            Some(commits) => write!(f, "{commits} commits")?,
            None => write!(f, "another one, and {:.0?}", Duration::from_secs(age.as_secs()))?,
        }
        write!(f, " behind what was last shown (its last commit is of {from}, what was shown of {to})")
    }
}

fn moment(time: Timestamp) -> String {
    let whole_seconds = time.as_micros().div_euclid(1_000_000);
    jiff::Timestamp::from_second(whole_seconds).map_or_else(|_| format!("{whole_seconds} s"), |time| time.to_string())
}

#[derive(Serialize, Deserialize)]
struct StoredGap {
    commits: Option<u64>,
    /// Microseconds since the Unix epoch.
    times: [i64; 3],
}

/// Writes the record, in place of an earlier one.
pub(super) fn write(transaction: &Transaction<'_>, gap: &Gap) -> rusqlite::Result<()> {
    let times = [gap.from, gap.to, gap.noticed_at].map(Timestamp::as_micros);
    let kept = serde_json::to_string(&StoredGap { commits: gap.commits, times })
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    transaction.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", params![KEY, kept])?;
    Ok(())
}

/// Reads the record of the last time that the state went back; `None` if it never did.
///
/// # Errors
/// If the file cannot be read.
pub fn read(connection: &Connection) -> rusqlite::Result<Option<Gap>> {
    let kept: Option<String> =
        connection.query_row("SELECT value FROM meta WHERE key = ?1", [KEY], |row| row.get(0)).optional()?;
    Ok(kept.and_then(|kept| serde_json::from_str(&kept).ok()).map(|StoredGap { commits, times }| {
        let [from, to, noticed_at] = times.map(Timestamp::from_micros);
        Gap { commits, from, to, noticed_at }
    }))
}
