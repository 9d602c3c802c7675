//! The configuration as users write it: whole files in, configurations or lines of faults out.

mod defaults;
mod files;
mod receivers;
mod refused;
mod telemetry;
mod variables;

use super::{Config, ConfigFaults, EnvVars, parse};
use std::path::Path;

/// The smallest file that is valid with `TALKOVER_TOKEN` set.
const SMALLEST: &str = "environments: [{name: a, webhooks: [{agent_id: b, webhook_id: c}]}]\n";

fn variables(pairs: &[(&str, &str)]) -> EnvVars {
    let token = ("TALKOVER_TOKEN", "talq_valid");
    [token].iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(text: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigFaults> {
    parse(Path::new("c.yml"), text.as_bytes(), &variables(pairs))
}

fn valid(text: &str, pairs: &[(&str, &str)]) -> Config {
    load(text, pairs).unwrap_or_else(|faults| panic!("refused:\n{faults}"))
}

/// The lines of faults of the smallest file with `text` behind it.
fn faults(text: &str, pairs: &[(&str, &str)]) -> String {
    faults_of(&format!("{SMALLEST}{text}"), pairs)
}

fn faults_of(text: &str, pairs: &[(&str, &str)]) -> String {
    load(text, pairs).expect_err("must be refused").to_string()
}
