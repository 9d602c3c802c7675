//! The daemon's command.

use super::{ConfigArgs, Failure};
use crate::config::{Config, Environment};

pub(super) fn run(_config: Config, _args: &ConfigArgs, _environment: &Environment) -> Result<(), Failure> {
    Ok(())
}
