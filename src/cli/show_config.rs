//! `config`: prints the settings in force, or all settings with explanations and defaults.

use super::{Failure, ShowConfigArgs, file, print};
use crate::config::{self, ConfigSource, EnvVars};

pub(super) fn run(args: &ShowConfigArgs, environment: &EnvVars) -> Result<(), Failure> {
    match file(&args.config, environment) {
        Some(path) if !args.defaults => print(&ConfigSource::new(&path, environment).show()?),
        _ => print(config::DEFAULTS),
    }
}
