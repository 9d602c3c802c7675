//! The simulator's command.

use super::{Failure, SimulateArgs};

pub(super) fn run(_args: &SimulateArgs) -> Result<(), Failure> {
    Ok(())
}
