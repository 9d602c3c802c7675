//! `check --json`: the result as one document on stdout, for right and for wrong configurations.

use serde_json::{Value, json};

use super::{EstimatedNeed, notes};
use crate::cli::Failure;
use crate::config::{Config, ConfigFaults, EnvironmentConfig, FaultPlace, PollConfig};

/// Describes a configuration with faults.
pub(super) fn faults(file: &str, faults: &ConfigFaults) -> Value {
    let faults: Vec<Value> = faults
        .iter()
        .map(|fault| {
            let mut value = json!({"file": file, "line": fault.line, "reason": fault.reason});
            let (kind, name) = match &fault.place {
                FaultPlace::File => return value,
                FaultPlace::Key(path) => ("key", path),
                FaultPlace::Variable(name) => ("variable", name),
                FaultPlace::Option(name) => ("option", name),
            };
            value[kind] = json!(name);
            value
        })
        .collect();
    json!({"file": file, "ok": false, "faults": faults})
}

/// Describes a web file with faults; each message names the file.
pub(super) fn messages(file: &str, failure: &Failure) -> Value {
    let faults: Vec<Value> = failure.messages().iter().map(|message| json!({"reason": message})).collect();
    json!({"file": file, "ok": false, "faults": faults})
}

/// Describes a configuration without faults.
pub(super) fn config(file: &str, config: &Config) -> Value {
    let environments: Vec<Value> = config.environments.iter().map(|one| environment(one, &config.poll)).collect();
    json!({
        "file": file,
        "ok": true,
        "faults": [],
        "warnings": config.warnings,
        "notes": notes(config),
        "environments": environments,
    })
}

fn environment(environment: &EnvironmentConfig, poll: &PollConfig) -> Value {
    let need = EstimatedNeed::of(environment, poll);
    json!({
        "name": environment.name,
        "base_url": environment.base_url.as_str(),
        "webhooks_named": environment.webhooks.len(),
        "discovery": environment.discovery.is_some(),
        "requests_per_minute": {"budget": environment.requests_per_minute, "named_idle": need.idle, "named_busy": need.busy},
    })
}
