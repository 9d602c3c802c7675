//! The demo's command.

use super::{DemoArgs, Failure};

pub(super) fn run(_args: &DemoArgs) -> Result<(), Failure> {
    Ok(())
}
