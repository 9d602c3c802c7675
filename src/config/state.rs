//! The section `state`: the daemon's durable memory.

use super::CheckExtent;
use super::fields::Fields;
use super::state_path;
use super::values::path;
use std::path::PathBuf;

/// Where the daemon remembers what it has counted.
#[derive(Clone, Debug, PartialEq)]
pub struct StateConfig {
    /// The state file, as it is written; it need not exist yet.
    pub path: PathBuf,
}

pub(super) fn read(mut fields: Fields<'_>, extent: CheckExtent) -> Option<StateConfig> {
    let path = fields.scalar("path", |value| {
        let path = path(value)?;
        match extent {
            CheckExtent::Inputs => Ok(path),
            CheckExtent::State => state_path::examine(&path).map(|()| path),
        }
    });
    fields.finish();
    Some(StateConfig { path: path? })
}
