//! One step of one target: makes one request. If that completes a reading, decides, commits, and only then updates the
//! memory and the metrics.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use tracing::Instrument;

use super::reader::{Reader, Step};
use super::step_result::StepResult;
use super::trace;
use crate::client::{Client, Exchange};
use crate::logging::about::about_webhook;
use crate::server_clock::ServerClock;
use crate::shutdown::Shutdown;
use crate::sinks::metrics::board::Board;
use crate::sinks::metrics::daemon::{ApiMetrics, LOGS};
use crate::sinks::metrics::exemplars::Exemplars;
use crate::store::durable::Committed;
use crate::store::error::StoreError;
use crate::store::handle::StoreHandle;
use crate::store::{SpanBatch, StagedPart};
use crate::telemetry::poll::PollKind;
use crate::telemetry::work;
use crate::{blocking, local_clock};
use talkover_core::ledger::decide::{Batch, Coverage, Policy, Tally, decide};
use talkover_core::ledger::memory::Memory;
use talkover_core::ledger::transition::Transition;
use talkover_core::reading::error::ApiError;
use talkover_core::reading::holes;
use talkover_core::reading::job::{AfterFailure, AfterPage, Job};
use talkover_core::reading::walk::WalkError;
use talkover_core::server_time::{Certainty, Observed, ServerTime};
use talkover_core::spans::span::{Made, SpanPolicy, spans};
use talkover_core::spans::subject::SpanWebhook;

/// What every step of an environment uses.
#[derive(Clone, Debug)]
pub struct StepContext {
    /// The API's client.
    pub client: Arc<Client>,
    /// The settings of decisions.
    pub policy: Arc<Policy>,
    /// The settings of spans; `None` if there is no receiver.
    pub spans: Option<SpanPolicy>,
    /// Where decisions become durable.
    pub store: StoreHandle,
    /// Where they are shown.
    pub board: Board,
    /// What time it is on the server.
    pub clock: Arc<ServerClock>,
    /// Where requests are counted.
    pub api: ApiMetrics,
    /// Writes to the state that have failed.
    pub write_errors: IntCounter,
}

/// A target after its step.
#[derive(Debug)]
pub struct Stepped {
    /// The target, ready for its next step.
    pub reader: Reader,
    /// What is known of the request, if one was made.
    pub exchange: Option<Exchange>,
    /// The server's clock at its end.
    pub date: ServerTime,
    /// How the step ended.
    pub result: StepResult,
}

/// Makes a step for `reader`, at `now` since the start. Ends early, before anything is decided, when `shutdown` is
/// requested.
pub async fn step(context: StepContext, mut reader: Reader, work: Step, now: Duration, shutdown: Shutdown) -> Stepped {
    match work {
        Step::Read(job) => read(context, reader, job, now, shutdown).await,
        Step::Settle(batch) => {
            let date = batch.now;
            reader.traces.resume(PollKind::Commit);
            let (mut reader, result) = settle(context, reader, batch, now).await;
            trace::follow(&mut reader, PollKind::Commit, &result);
            // The batch belongs to an earlier turn, perhaps of another class: the reading of this one is still to be
            // made.
            let result = if let StepResult::Complete(tally) = result { StepResult::More(tally) } else { result };
            Stepped { reader, exchange: None, date, result }
        }
    }
}

async fn read(context: StepContext, mut reader: Reader, job: Job, now: Duration, mut shutdown: Shutdown) -> Stepped {
    let (request, kind) = (job.request(), trace::kind_of_job(&job));
    let span = reader.traces.request(kind);
    let asked = context.client.logs(&reader.target, request.page, request.per_page).instrument(span);
    let answer = tokio::select! {
        answer = asked => answer,
        () = shutdown.recv() => {
            trace::follow(&mut reader, kind, &StepResult::Stopped);
            return Stepped { reader, exchange: None, date: context.clock.now(), result: StepResult::Stopped };
        }
    };
    context.api.record(&reader.target.environment, LOGS, &answer.exchange);
    let seen = context.clock.observe(&answer.exchange);
    let mut time = TimeOutcome::Settled;
    if answer.exchange.code.is_some() {
        (reader, time) = settle_time(context.clone(), reader, &seen, now).await;
    }
    let store = context.store.clone();
    let (mut reader, result) = match (answer.result, time) {
        (Ok(_) | Err(ApiError::TooLarge { .. }), TimeOutcome::Unsettled(result)) => {
            // The job is unchanged, and requests the same page again.
            reader.park(job);
            (reader, result)
        }
        // What was being read is abandoned.
        (Ok(_) | Err(ApiError::TooLarge { .. }), TimeOutcome::Mended(result)) => (reader, result),
        (Ok(page), TimeOutcome::Settled) => {
            for entry in &page.invalid {
                about_webhook!(debug, &reader.target, entry = %entry.key, reason = entry.reason, "unusable log entry");
            }
            let absorbed = job.absorb(page, seen.now, &reader.ledger);
            go_on(context, reader, absorbed, seen.now, now).await
        }
        (Err(ApiError::TooLarge { key, limit_mib }), TimeOutcome::Settled) => {
            about_webhook!(debug, &reader.target, "answer larger than {limit_mib} MiB; requesting smaller pages");
            let absorbed = job.absorb_too_large(key);
            go_on(context, reader, absorbed, seen.now, now).await
        }
        (Err(error), TimeOutcome::Mended(_)) => (reader, StepResult::Failed(error)),
        (Err(error), TimeOutcome::Settled | TimeOutcome::Unsettled(_)) => {
            fail(context, reader, job, error, seen.now, now).await
        }
    };
    trace::follow(&mut reader, kind, &result);
    if matches!(result, StepResult::Failed(_) | StepResult::Narrowed(_)) && reader.begins_to_fail(seen.now) {
        reader = note_failing(store, reader, seen.now).await;
    }
    Stepped { reader, exchange: Some(answer.exchange), date: seen.now, result }
}

/// Keeps since when a target's polls have failed, before that is shown.
async fn note_failing(store: StoreHandle, reader: Reader, since: ServerTime) -> Reader {
    blocking::run(move || {
        store.run_blocking(|store| store.note_failing(&reader.target, since.timestamp()));
        reader
    })
    .await
}

/// Handles a failed request of a job.
async fn fail(
    context: StepContext,
    mut reader: Reader,
    job: Job,
    error: ApiError,
    date: ServerTime,
    now: Duration,
) -> (Reader, StepResult) {
    let (job, result) = match reader.fail(job, &error, date) {
        Ok(AfterFailure::Narrowed(job)) => (Some(job), StepResult::Narrowed(error)),
        Ok(AfterFailure::Expected(job)) => (Some(job), StepResult::Expected),
        Ok(AfterFailure::BackOff(job)) => (job, StepResult::Failed(error)),
        Err(_) => (None, StepResult::Failed(error)),
        Ok(AfterFailure::Done(read)) => {
            let batch = reader.complete(read, date);
            return settle(context, reader, batch, now).await;
        }
    };
    if let Some(job) = job {
        reader.park(job);
    }
    (reader, result)
}

/// Parks a job that needs another page, or decides what it has read.
async fn go_on(
    context: StepContext,
    mut reader: Reader,
    absorbed: Result<AfterPage, WalkError>,
    date: ServerTime,
    now: Duration,
) -> (Reader, StepResult) {
    match absorbed {
        Ok(AfterPage::More(job)) => {
            let progress = reader.progress(&job, now, date);
            context.board.update(&reader.target, |view, _| view.progress = progress.or(view.progress));
            stage(context, reader, job, date).await
        }
        Ok(AfterPage::Done(read)) => {
            let batch = reader.complete(read, date);
            settle(context, reader, batch, now).await
        }
        Err(error) => (reader, StepResult::Failed(ApiError::InvalidResponse(error.to_string()))),
    }
}

/// What the time of an answer means for its page.
enum TimeOutcome {
    /// The page may be processed.
    Settled,
    /// The time is not known yet: the page must be requested again.
    Unsettled(StepResult),
    /// The target's marks were corrected, and what was being read is abandoned.
    Mended(StepResult),
}

/// Commits what an answer decides by its time alone, whatever its status.
async fn settle_time(
    context: StepContext,
    mut reader: Reader,
    seen: &Observed,
    now: Duration,
) -> (Reader, TimeOutcome) {
    reader.answered(seen.at);
    if seen.certainty == Certainty::Assumed {
        // A decision now might rest on a wrong clock, and could not be undone.
        return (reader, TimeOutcome::Unsettled(StepResult::More(Tally::default())));
    }
    if let Some(batch) = reader.first_response(seen) {
        return match settle(context, reader, batch, now).await {
            (met, StepResult::More(_)) => (met, TimeOutcome::Settled),
            (reader, failed) => (reader, TimeOutcome::Unsettled(failed)),
        };
    }
    if let Some(batch) = reader.mend(seen.now, context.store.info().created_at()) {
        about_webhook!(
            warn,
            &reader.target,
            "first contact dated ahead of the API's clock; reading the log again for entries that were ignored"
        );
        let (reader, result) = settle(context, reader, batch, now).await;
        return (reader, TimeOutcome::Mended(result));
    }
    (reader, TimeOutcome::Settled)
}

/// Puts what a long walk has read on disk, if that is worth it, and parks the walk.
async fn stage(context: StepContext, mut reader: Reader, mut job: Job, date: ServerTime) -> (Reader, StepResult) {
    let more = StepResult::More(Tally::default());
    let Some((walk, attempts, invalid)) = reader.take_for_stage(&mut job, date) else {
        reader.park(job);
        return (reader, more);
    };
    blocking::run(move || {
        let span = work::stage(&reader.traces.active());
        work::committing(&span, attempts.len(), 0);
        match context.store.run_blocking(|store| store.stage(&reader.target, &walk, &attempts, &invalid)) {
            Ok(()) => {
                reader.staged(walk);
                reader.park(job);
                (reader, more)
            }
            Err(failure) => {
                work::fail_state(&span, &failure);
                context.write_errors.inc();
                // The job is abandoned: it must not continue without what it has just read. The next walk resumes from
                // what is on disk.
                (reader, StepResult::NotWritten(failure))
            }
        }
    })
    .await
}

/// Decides, commits and applies, on a thread that may block.
async fn settle(context: StepContext, mut reader: Reader, batch: Batch, now: Duration) -> (Reader, StepResult) {
    log_unread(&mut reader, &batch);
    blocking::run(move || {
        let is_walk = !matches!(batch.coverage, Coverage::FirstResponse | Coverage::Mended | Coverage::Pages);
        if is_walk && reader.has_staged() {
            settle_staged(&context, reader, batch, now)
        } else {
            settle_whole(&context, reader, batch, now)
        }
    })
    .await
}

/// Logs what could not be read, once each.
fn log_unread(reader: &mut Reader, batch: &Batch) {
    if let Some(cause) = reader.take_cut_short() {
        about_webhook!(warn, &reader.target, "log read only in part: {cause}");
    }
    let unreadable =
        batch.invalid.iter().filter(|key| key.starts_with(holes::PREFIX) && !reader.ledger.knows_invalid(key));
    let count = unreadable.count();
    if count > 0 {
        about_webhook!(warn, &reader.target, count, "unreadable entries: every page that holds one of them fails");
    }
}

fn settle_whole(context: &StepContext, mut reader: Reader, batch: Batch, now: Duration) -> (Reader, StepResult) {
    let poll = reader.traces.active();
    let deciding = work::decide(&poll);
    let mut decision = decide(&reader.ledger, &batch, &policy(context, &reader));
    decision.changes.limit_births(local_clock::now());
    let mut exemplars = Exemplars::default();
    let spans = make_spans(context, &reader, batch.now, &decision.transitions, &mut exemplars);
    work::decided(&deciding, &decision.tally);
    drop(deciding);
    let committing = work::commit(&poll);
    work::committing(&committing, decision.changes.rows.len(), spans.records.len());
    let (must_commit, entries) = (decision.changes.must_commit, decision.changes.rows.len());
    let durable = match context.store.run_blocking(|store| store.commit(&reader.target, decision.changes, &spans)) {
        Ok(durable) => durable,
        Err(failure) => {
            work::fail_state(&committing, &failure);
            return not_written(context, reader, batch, failure);
        }
    };
    drop(committing);
    if must_commit {
        about_webhook!(debug, &reader.target, entries, "committed");
    }
    let was_contacted = reader.ledger.marks().contacted;
    let committed = reader.ledger.apply(durable);
    let shown = Applied { committed, exemplars, tally: decision.tally, was_contacted };
    show(context, reader, &batch, &shown, now)
}

/// A walk that is on disk in parts is decided in parts too, so that it needs no more memory than what is remembered of
/// it; but it is committed in one transaction and shown at once.
fn settle_staged(context: &StepContext, mut reader: Reader, batch: Batch, now: Duration) -> (Reader, StepResult) {
    let mut tally = Tally::default();
    let mut exemplars = Exemplars::default();
    let policy = policy(context, &reader);
    let committing = work::commit(&reader.traces.active());
    let mut decide_part = |memory: Memory<'_>, part: StagedPart| {
        context.store.report_progress();
        let deciding = work::decide(&committing);
        let StagedPart { pass, attempts, invalid } = part;
        let part = Batch { pass, attempts, invalid, missing: Vec::new(), ..batch };
        let mut decision = decide(memory, &part, &policy);
        decision.changes.limit_births(local_clock::now());
        tally.new += decision.tally.new;
        tally.changed += decision.tally.changed;
        tally.unchanged += decision.tally.unchanged;
        work::decided(&deciding, &decision.tally);
        let spans = make_spans(context, &reader, batch.now, &decision.transitions, &mut exemplars);
        (decision.changes, spans)
    };
    let durable = match context.store.run_blocking(|store| {
        store.commit_staged(&reader.target, &reader.ledger, &batch.attempts, &batch.invalid, &mut decide_part)
    }) {
        Ok(durable) => durable,
        Err(failure) => {
            work::fail_state(&committing, &failure);
            return not_written(context, reader, batch, failure);
        }
    };
    drop(committing);
    // What one pass has registered was read again by the next.
    tally.unchanged = tally.unchanged.saturating_sub(tally.new);
    let was_contacted = reader.ledger.marks().contacted;
    let committed = reader.ledger.absorb(durable);
    show(context, reader, &batch, &Applied { committed, exemplars, tally, was_contacted }, now)
}

/// How a target's decisions are made. What is read again after the state went back in time was shown before, and is no
/// birth that a scraper has to see begin at 0.
fn policy(context: &StepContext, reader: &Reader) -> Arc<Policy> {
    if reader.is_behind {
        return Arc::new(Policy { holds_births: false, ..(*context.policy).clone() });
    }
    Arc::clone(&context.policy)
}

/// Makes the spans of a decision, and adds the attempts whose spans are sent to `exemplars`. Without a receiver none
/// are made.
fn make_spans(
    context: &StepContext,
    reader: &Reader,
    now: ServerTime,
    transitions: &[Transition],
    exemplars: &mut Exemplars,
) -> SpanBatch {
    let Some(policy) = &context.spans else { return SpanBatch::default() };
    let webhook = SpanWebhook { target: &reader.target, info: reader.info.as_ref() };
    let Made { records, logs, sampled } = spans(transitions, webhook, policy);
    exemplars.observe(&sampled, &context.policy.labels);
    // No attempt joins a delivery whose latest one is older than `settle_after`; as much again for the time until it is
    // read.
    let parked_since = now.minus(context.policy.windows.settle_after * 2);
    SpanBatch { records, logs, queued_at: local_clock::now(), parked_at: now, parked_since }
}

fn not_written(context: &StepContext, mut reader: Reader, batch: Batch, failure: StoreError) -> (Reader, StepResult) {
    context.write_errors.inc();
    reader.keep_uncommitted(batch);
    (reader, StepResult::NotWritten(failure))
}

/// Records that a log was read again after the state went back in time. While that cannot be written, its series stay
/// absent.
fn catch_up(context: &StepContext, reader: &mut Reader, coverage: Coverage) {
    if !reader.is_behind || !matches!(coverage, Coverage::Sweep | Coverage::FirstContact) {
        return;
    }
    match context.store.run_blocking(|store| store.catch_up(&reader.target)) {
        Ok(()) => {
            reader.is_behind = false;
            about_webhook!(info, &reader.target, "read again what the state had lost: its series are shown again");
        }
        Err(failure) => {
            context.write_errors.inc();
            about_webhook!(warn, &reader.target, "its series stay absent: {failure}");
        }
    }
}

/// What was committed and applied.
struct Applied {
    committed: Committed,
    exemplars: Exemplars,
    tally: Tally,
    /// Whether the first walk was already complete.
    was_contacted: bool,
}

fn show(
    context: &StepContext,
    mut reader: Reader,
    batch: &Batch,
    shown: &Applied,
    now: Duration,
) -> (Reader, StepResult) {
    let tally = shown.tally;
    let is_whole = matches!(batch.coverage, Coverage::Head | Coverage::Sweep | Coverage::FirstContact);
    if !shown.was_contacted && reader.ledger.marks().contacted {
        about_webhook!(debug, &reader.target, entries = tally.new, "first contact complete");
        // So that a copy of the file without its write-ahead log holds it.
        if let Err(failure) = context.store.run_blocking(|store| store.checkpoint()) {
            about_webhook!(warn, &reader.target, "the first contact is in the write-ahead log alone: {failure}");
        }
    }
    catch_up(context, &mut reader, batch.coverage);
    context.board.update(&reader.target, |view, environment| {
        view.is_behind = reader.is_behind;
        view.show(&reader.ledger, &shown.committed, &shown.exemplars);
        if is_whole {
            view.progress = None;
        }
        environment.entries_read.new += tally.new;
        environment.entries_read.changed += tally.changed;
        environment.entries_read.unchanged += tally.unchanged;
    });
    reader.committed(batch, &tally, now);
    match batch.coverage {
        Coverage::FirstResponse | Coverage::Mended => return (reader, StepResult::More(tally)),
        // Rechecks do not show how far the log has been read.
        Coverage::Pages => {}
        Coverage::Head | Coverage::Sweep | Coverage::FirstContact => {
            reader.succeeded(batch.now);
            context.store.run_blocking(|store| store.note_success(&reader.target, batch.now.timestamp()));
        }
    }
    (reader, StepResult::Complete(tally))
}
