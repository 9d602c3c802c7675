//! The section `state`: the daemon's durable memory.

use super::fields::Fields;
use super::values::path;
use std::path::PathBuf;

/// Where the daemon remembers what it has counted.
#[derive(Clone, Debug, PartialEq)]
pub struct StateConfig {
    /// The state file, as it is written; it need not exist yet.
    pub path: PathBuf,
}

pub(super) fn read(mut fields: Fields<'_>) -> Option<StateConfig> {
    let path = fields.scalar("path", path);
    fields.finish();
    Some(StateConfig { path: path? })
}
