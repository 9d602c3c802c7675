//! `verify`: audits the state file against the log, webhook by webhook, beside a daemon that may be running.

use std::collections::HashSet;

use super::asker::asker;
use super::run::run_until_stopped;
use super::{Failure, VerifyArgs, print};
use crate::app;
use crate::audit::compare::{self, Rules};
use crate::audit::reading::{Depth, StretchError, read_stretch};
use crate::audit::report::{self, AuditResult};
use crate::audit::state::{Age, KnownTarget, StateError, StateFile, StateTarget};
use crate::audit::{self, Audit, Extent, sums};
use crate::budgeted_client::AskError;
use crate::config::{Config, EnvironmentConfig};
use crate::local_clock;
use crate::log_reader::{LogReader, ReadError};
use crate::progress::{Estimate, WorkProgress};
use crate::shutdown::Shutdown;
use crate::telemetry::running::{OwnTraces, PreparedTraces};
use crate::telemetry::work;
use crate::watchdog::Watchdog;
use talkover_core::delivery::{Target, Timestamp};

pub(super) fn run(config: &Config, args: &VerifyArgs) -> Result<(), Failure> {
    let state = StateFile::open(&config.state.path).map_err(Failure::running)?;
    let known = state.targets().map_err(Failure::running)?;
    let age = state.age().map_err(Failure::running)?;
    run_until_stopped(async |shutdown| {
        let mut own_traces = OwnTraces::default();
        let prepared = PreparedTraces::new(&config.telemetry, None).map_err(Failure::running)?;
        own_traces.start(prepared, &Watchdog::default()).map_err(Failure::running)?;
        let audited = audit_all(config, args, &state, &known, age, shutdown).await;
        own_traces.stop().await.map_err(Failure::running)?;
        audited
    })
}

/// The results of all targets.
#[derive(Default)]
struct VerifySummary {
    results: Vec<(Target, AuditResult)>,
    is_interrupted: bool,
    age: Age,
}

impl VerifySummary {
    fn add(&mut self, target: &Target, result: AuditResult) {
        self.results.push((target.clone(), result));
    }

    fn conclude(self, args: &VerifyArgs) -> Result<(), Failure> {
        if args.json {
            print(&format!("{:#}\n", report::json(&self.results, &self.age)))?;
        } else {
            print(&report::text(&self.results))?;
            print(&report::age(&self.age))?;
        }
        let failed = self.results.iter().filter_map(|(target, result)| match result {
            AuditResult::Failed(reason) => Some(format!("{target} could not be audited: {reason}")),
            AuditResult::Audited(_) | AuditResult::Unknown { .. } => None,
        });
        let mut messages: Vec<String> = failed.collect();
        let faults: usize = self.results.iter().map(|(_, result)| result.faults()).sum();
        if faults > 0 {
            messages.push(format!("the state does not agree with the log: {faults} fault(s), see above"));
        }
        if self.is_interrupted {
            messages.push("interrupted".to_owned());
        }
        if let Age::Behind(gap) = self.age {
            messages.push(format!("the state is {gap}"));
        }
        if messages.is_empty() { Ok(()) } else { Err(Failure::running_all(messages)) }
    }
}

async fn audit_all(
    config: &Config,
    args: &VerifyArgs,
    state: &StateFile,
    known: &[KnownTarget],
    age: Age,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let mut outcome = VerifySummary { age, ..VerifySummary::default() };
    let mut read: HashSet<Target> = HashSet::new();
    for environment in &config.environments {
        let targets = targets_of(environment, known);
        let mut reader = LogReader { asker: asker(config, environment, shutdown.clone())? };
        let span = work::verify(&environment.name);
        let mut progress = begin(config, args, state, environment, &targets)?;
        let mut unreadable: Option<String> = None;
        for target in &targets {
            if let Some(reason) = &unreadable {
                outcome.add(target, AuditResult::Failed(reason.clone()));
                continue;
            }
            reader.asker.span = work::audit(&span, target);
            match audit_one(config, args, state, &mut reader, &mut progress, target).await {
                Ok(result) => outcome.add(target, result),
                Err(Trouble::Read(StretchError::Read(ReadError::Ask(AskError::Interrupted)))) => {
                    // What was found so far is still reported.
                    outcome.is_interrupted = true;
                    return outcome.conclude(args);
                }
                Err(Trouble::Read(error)) => {
                    outcome.add(target, AuditResult::Failed(error.to_string()));
                    let ends_all = match &error {
                        StretchError::Read(ReadError::Ask(error)) => reader.asker.silence.ends_all(error),
                        StretchError::Read(_) | StretchError::CutShort(_) => false,
                    };
                    unreadable = ends_all.then(|| error.to_string());
                }
                Err(Trouble::State(error)) => return Err(Failure::running(error)),
            }
        }
        read.extend(targets);
    }
    let is_read = |known: &Target| read.iter().any(|target| is_same(target, known));
    for KnownTarget { target, .. } in known.iter().filter(|known| !is_read(&known.target)) {
        if let Some(held) = state.target(target).map_err(Failure::running)? {
            outcome.add(target, AuditResult::Audited(Box::new(audit::audit_state_alone(&held))));
        }
    }
    outcome.conclude(args)
}

/// Begins the progress of an environment, and estimates the number of pages from the entries in the state.
fn begin(
    config: &Config,
    args: &VerifyArgs,
    state: &StateFile,
    environment: &EnvironmentConfig,
    targets: &[Target],
) -> Result<WorkProgress, Failure> {
    let from = local_clock::now().timestamp().minus(args.since);
    let entries = state.entries_since(&environment.name, from).map_err(Failure::running)?;
    let per_page = u64::from(config.poll.per_page);
    let pages = targets.iter().map(|target| entries.get(&*target.webhook_id).map_or(1, |rows| rows / per_page + 1));
    let estimate = Estimate { pages: pages.sum(), per_minute: f64::from(environment.requests_per_minute) };
    Ok(WorkProgress::begin(&format!("reading the logs of `{}` again", environment.name), estimate))
}

/// Returns the webhooks that the configuration names, and, with discovery, those that the daemon has found.
fn targets_of(environment: &EnvironmentConfig, known: &[KnownTarget]) -> Vec<Target> {
    let mut targets: Vec<Target> =
        environment.webhooks.iter().map(|webhook| app::target(environment, webhook)).collect();
    if environment.discovery.is_some() {
        let is_of_environment = |known: &&KnownTarget| *known.target.environment == *environment.name;
        for found in known.iter().filter(is_of_environment).filter(|known| known.is_listed && known.has_owner) {
            if !targets.iter().any(|target| is_same(target, &found.target)) {
                targets.push(found.target.clone());
            }
        }
    }
    targets
}

fn is_same(a: &Target, b: &Target) -> bool {
    (&a.environment, &a.webhook_id) == (&b.environment, &b.webhook_id)
}

/// Why a target was not audited.
enum Trouble {
    Read(StretchError),
    State(StateError),
}

/// Audits a target.
async fn audit_one(
    config: &Config,
    args: &VerifyArgs,
    state: &StateFile,
    reader: &mut LogReader,
    progress: &mut WorkProgress,
    target: &Target,
) -> Result<AuditResult, Trouble> {
    let poll = &config.poll;
    let rules = Rules { lookback: poll.lookback, sweep_interval: poll.sweep_interval, settle_after: poll.settle_after };
    let before = state.target(target).map_err(Trouble::State)?;
    let depth = Depth { since: args.since, not_before: before.as_ref().and_then(reach) };
    let known = before
        .map(|held| held.rows.into_iter().map(|row| (row.id, row.counted.is_some())).collect())
        .unwrap_or_default();
    let requests = reader.asker.requests;
    let note = |_pages, reached| progress.advance(reached);
    let read = read_stretch(reader, target, poll.per_page, depth, known, note).await;
    let log = read.map_err(Trouble::Read)?;
    let entries = log.attempts.values().filter(|attempt| attempt.created_at >= log.from).count();
    // Loaded only now, so that it contains what a running daemon has counted in the meantime.
    let Some(held) = state.target(target).map_err(Trouble::State)? else {
        return Ok(AuditResult::Unknown { entries });
    };
    let extent = Extent {
        from: Some(log.from),
        entries,
        invalid: log.invalid.len(),
        requests: reader.asker.requests - requests,
        rows: held.rows.len(),
    };
    let audit = Audit { findings: compare::compare(&log, &held, &rules), sums: sums::compare(&held), extent };
    Ok(AuditResult::Audited(Box::new(audit)))
}

/// Returns how far back there is anything to compare: to the oldest entry of the state, or to where entries have been
/// pruned.
fn reach(state: &StateTarget) -> Option<Timestamp> {
    let oldest = state.rows.first().map(|row| row.created_at);
    let forgotten = state.marks.horizon.max(state.marks.history_cutoff).filter(|_| state.marks.contacted)?;
    Some(oldest.map_or(forgotten, |oldest| oldest.min(forgotten)))
}
