//! `state export` and `state import`: copies of the whole state, for backups and for moving to another machine.

use super::args::{ConfigFile, StateArgs, StateCommand};
use super::{Failure, print};
use crate::config::Config;
use crate::local_clock;
use crate::state_copy::{self, ExportSource};

/// Returns the configuration file that the command names.
pub(super) fn config(args: &StateArgs) -> &ConfigFile {
    let (StateCommand::Export(copy) | StateCommand::Import(copy)) = &args.command;
    &copy.config
}

pub(super) fn run(config: &Config, args: &StateArgs) -> Result<(), Failure> {
    let state = &config.state.path;
    match &args.command {
        StateCommand::Export(copy) => {
            let source = state_copy::export(state, &copy.file).map_err(Failure::running)?;
            let (state, file) = (state.display(), copy.file.display());
            print(&match source {
                ExportSource::File => format!("{state} was copied to {file}\n"),
                ExportSource::Process(process) => format!(
                    "{state} was deleted or replaced while process {process} works with it: what that has open was \
                     copied to {file}\n"
                ),
            })
        }
        StateCommand::Import(copy) => {
            state_copy::import(&copy.file, state, local_clock::now()).map_err(Failure::running)?;
            print(&format!("{} was copied to {}\n", copy.file.display(), state.display()))
        }
    }
}
