//! `state export` and `state import`: copies of the whole state, for backups and for moving to another machine.

use super::args::{ConfigFile, StateArgs, StateCommand};
use super::{Failure, print};
use crate::config::Config;
use crate::local_clock;
use crate::state_copy;

/// Returns the configuration file that the command names.
pub(super) fn config(args: &StateArgs) -> &ConfigFile {
    let (StateCommand::Export(copy) | StateCommand::Import(copy)) = &args.command;
    &copy.config
}

pub(super) fn run(config: &Config, args: &StateArgs) -> Result<(), Failure> {
    let state = &config.state.path;
    match &args.command {
        StateCommand::Export(copy) => {
            state_copy::export(state, &copy.file).map_err(Failure::running)?;
            print(&format!("{} was copied to {}\n", state.display(), copy.file.display()))
        }
        StateCommand::Import(copy) => {
            state_copy::import(&copy.file, state, local_clock::now()).map_err(Failure::running)?;
            print(&format!("{} was copied to {}\n", copy.file.display(), state.display()))
        }
    }
}
