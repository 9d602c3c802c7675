//! One turn of one target: one request, and where that completes what was to be read, the decision, the commit, and only then
//! the memory and the metrics.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use tracing::{debug, error, info, warn};

use super::reader::{Absorbed, Failure, Reader};
use crate::client::{Client, Exchange};
use crate::clock;
use crate::shutdown::Shutdown;
use crate::sinks::metrics::board::{Board, Committed};
use crate::sinks::metrics::daemon::{ApiMetrics, LOGS};
use crate::store::error::StoreError;
use crate::store::handle::StoreHandle;
use crate::store::outbox::SpanBatch;
use crate::store::staged::StagedPart;
use talkover_core::delivery::{Target, Timestamp};
use talkover_core::discovery::targets::WebhookInfo;
use talkover_core::ledger::decide::{Batch, Coverage, Policy, Tally, decide};
use talkover_core::ledger::state::Ledger;
use talkover_core::ledger::transition::Transition;
use talkover_core::reading::error::ApiError;
use talkover_core::reading::holes;
use talkover_core::reading::walk::Failed;
use talkover_core::reading::wire::LogPage;
use talkover_core::spans::span::{Made, SampledAttempt, SpanPolicy, Webhook, spans};

/// What every step of an environment works with.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// The way to the API.
    pub client: Arc<Client>,
    /// How decisions are made.
    pub policy: Arc<Policy>,
    /// How spans are made of them; nothing where there is nobody to send them to.
    pub spans: Option<SpanPolicy>,
    /// Where decisions become durable.
    pub store: StoreHandle,
    /// Where they are shown.
    pub board: Board,
    /// Where requests are counted.
    pub api: ApiMetrics,
    /// Writes to the state that have failed.
    pub write_errors: IntCounter,
}

/// What a step came to.
#[derive(Debug)]
pub struct Stepped {
    /// The target, ready for its next step.
    pub reader: Reader,
    /// What is known of the request, where one was made.
    pub exchange: Option<Exchange>,
    /// The server's clock.
    pub date: Timestamp,
    /// The result.
    pub result: StepResult,
}

/// How a step ended.
#[derive(Debug)]
pub enum StepResult {
    /// What was begun needs further requests.
    More(Tally),
    /// It is complete.
    Complete(Tally),
    /// The request failed.
    Failed(ApiError),
    /// The request failed, but others of the list are answered: the next one goes for a part of the page.
    Narrowed(ApiError),
    /// The state file could not be written; what was read is kept.
    NotWritten(StoreError),
    /// The program is to end.
    Stopped,
}

/// Makes one step for `reader`, at `now` since the start. Ends early, before anything is decided, when `shutdown` is requested.
pub async fn step(workshop: Workshop, mut reader: Reader, now: Duration, mut shutdown: Shutdown) -> Stepped {
    if let Some(batch) = reader.take_uncommitted() {
        let date = batch.now;
        let (reader, result) = settle(workshop, reader, batch, now).await;
        return Stepped { reader, exchange: None, date, result };
    }
    let request = reader.request(now);
    let asked = workshop.client.logs(&reader.target, request.page, request.per_page);
    let answer = tokio::select! {
        answer = asked => answer,
        () = shutdown.recv() => {
            return Stepped { reader, exchange: None, date: clock::now(), result: StepResult::Stopped };
        }
    };
    workshop.api.record(&reader.target.environment, LOGS, &answer.exchange);
    let date = answer.exchange.date.unwrap_or_else(clock::now);
    let (reader, result) = match answer.result {
        Err(ApiError::TooLarge { key, limit_mib }) => {
            debug!(webhook = %reader.target, "an answer is larger than {limit_mib} MiB: asking for smaller pages");
            match reader.absorb_too_large(key, date) {
                Ok(Absorbed::More) => (reader, StepResult::More(Tally::default())),
                Ok(Absorbed::Complete(batch)) => settle(workshop, reader, batch, now).await,
                Err(error) => (reader, StepResult::Failed(ApiError::InvalidResponse(error.to_string()))),
            }
        }
        Err(error) => match reader.failed(&error, date) {
            Ok(Failure::Of(Failed::Narrowed)) => (reader, StepResult::Narrowed(error)),
            Ok(Failure::Of(Failed::Expected)) => (reader, StepResult::More(Tally::default())),
            Ok(Failure::Of(Failed::BackOff | Failed::Done)) | Err(_) => (reader, StepResult::Failed(error)),
            Ok(Failure::Complete(batch)) => settle(workshop, reader, batch, now).await,
        },
        Ok(page) => {
            for entry in &page.invalid {
                debug!(webhook = %reader.target, entry = %entry.key, reason = entry.reason, "unusable log entry");
            }
            take_in(workshop, reader, page, date, now).await
        }
    };
    Stepped { reader, exchange: Some(answer.exchange), date, result }
}

/// Takes in a page; where it is the first of all, what that settles is committed before.
async fn take_in(
    workshop: Workshop,
    mut reader: Reader,
    page: LogPage,
    date: Timestamp,
    now: Duration,
) -> (Reader, StepResult) {
    if let Some(batch) = reader.meet(date) {
        match settle(workshop.clone(), reader, batch, now).await {
            (met, StepResult::More(_)) => reader = met,
            failed => return failed,
        }
    }
    match reader.absorb(page, date) {
        Ok(Absorbed::More) => {
            if let Some((pages, reached)) = reader.take_progress(now) {
                let hours = reached.map_or(0.0, |reached| date.since(reached).as_secs_f64() / 3600.0);
                info!(webhook = %reader.target, pages, "first contact under way: read back {hours:.1} h so far");
            }
            stage(workshop, reader, date).await
        }
        Ok(Absorbed::Complete(batch)) => settle(workshop, reader, batch, now).await,
        Err(error) => (reader, StepResult::Failed(ApiError::InvalidResponse(error.to_string()))),
    }
}

/// Puts what a long walk has read on disk, where that is worth it.
async fn stage(workshop: Workshop, mut reader: Reader, date: Timestamp) -> (Reader, StepResult) {
    let more = StepResult::More(Tally::default());
    let Some((walk, attempts, invalid)) = reader.take_for_stage(date) else { return (reader, more) };
    on_blocking_thread(reader.target.clone(), move || {
        match workshop.store.stage(&reader.target, &walk, &attempts, &invalid) {
            Ok(()) => {
                reader.staged(walk);
                (reader, more)
            }
            Err(failure) => {
                workshop.write_errors.inc();
                // Read again from where the state file knows of; the walk must not go on without what it has just read.
                reader.restart_walk();
                (reader, StepResult::NotWritten(failure))
            }
        }
    })
    .await
}

/// Decides, commits and applies, on a thread that may wait for the disk.
async fn settle(workshop: Workshop, mut reader: Reader, batch: Batch, now: Duration) -> (Reader, StepResult) {
    tell(&mut reader, &batch);
    let target = reader.target.clone();
    on_blocking_thread(target, move || {
        let is_walk = !matches!(batch.coverage, Coverage::Met | Coverage::Pages);
        if is_walk && reader.has_staged() {
            settle_staged(&workshop, reader, batch, now)
        } else {
            settle_whole(&workshop, reader, batch, now)
        }
    })
    .await
}

/// Logs what could not be read, once each.
fn tell(reader: &mut Reader, batch: &Batch) {
    if let Some(cause) = reader.take_cut_short() {
        warn!(webhook = %reader.target, "the log is read only in part: {cause}");
    }
    let unreadable =
        batch.invalid.iter().filter(|key| key.starts_with(holes::PREFIX) && !reader.ledger.knows_invalid(key));
    let count = unreadable.count();
    if count > 0 {
        warn!(webhook = %reader.target, count, "entries are unreadable: every page that holds one of them fails");
    }
}

async fn on_blocking_thread<T: Send + 'static>(target: Target, work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failure) => {
            // A panic is a defect of ours. What this target remembers is gone with it; going on without would count anew.
            error!(webhook = %target, "the task that decides ended early: {failure}");
            std::panic::resume_unwind(failure.into_panic())
        }
    }
}

fn settle_whole(workshop: &Workshop, mut reader: Reader, batch: Batch, now: Duration) -> (Reader, StepResult) {
    let decision = decide(&reader.ledger, &batch, &workshop.policy);
    let mut committed = Committed::default();
    if decision.changes.must_commit {
        let (spans, sampled) = make_spans(workshop, &reader.target, reader.info.as_ref(), &decision.transitions);
        committed.add_sampled(&sampled, &workshop.policy.labels);
        if let Err(failure) = workshop.store.commit(&reader.target, &decision.changes, &spans) {
            return not_written(workshop, reader, batch, failure);
        }
        debug!(webhook = %reader.target, entries = decision.changes.rows.len(), "committed");
    }
    committed.add(&decision.changes);
    let was_contacted = reader.ledger.marks().contacted;
    reader.ledger.apply(decision.changes);
    show(workshop, reader, &batch, decision.tally, &committed, was_contacted, now)
}

/// A walk that is on disk in parts is decided in parts too, so that it needs no more memory than what is remembered of it; but
/// it is one transaction, and shown in one step.
fn settle_staged(workshop: &Workshop, mut reader: Reader, batch: Batch, now: Duration) -> (Reader, StepResult) {
    let was_contacted = reader.ledger.marks().contacted;
    let mut tally = Tally::default();
    let mut committed = Committed::default();
    let ledger = &mut reader.ledger;
    let decided = workshop.store.commit_staged(&reader.target, &batch.attempts, &batch.invalid, |part| {
        let StagedPart { pass, attempts, invalid } = part;
        let part = Batch { pass, attempts, invalid, missing: Vec::new(), ..batch };
        let decision = decide(ledger, &part, &workshop.policy);
        tally.new += decision.tally.new;
        tally.changed += decision.tally.changed;
        tally.unchanged += decision.tally.unchanged;
        let (spans, sampled) = make_spans(workshop, &reader.target, reader.info.as_ref(), &decision.transitions);
        committed.add_sampled(&sampled, &workshop.policy.labels);
        committed.add(&decision.changes);
        ledger.apply(decision.changes.clone());
        (decision.changes, spans)
    });
    if let Err(failure) = decided {
        // The memory has run ahead of the disk. It may be large: it goes before the other is made.
        reader.ledger = Ledger::default();
        match workshop.store.load(&reader.target, &workshop.policy.labels) {
            Ok(loaded) => reader.ledger = loaded.ledger,
            // A state file that can be neither written nor read: nothing that is counted from here on would be right.
            Err(unreadable) => panic!("the state file cannot be read any more: {unreadable}"),
        }
        return not_written(workshop, reader, batch, failure);
    }
    // What was taken into the books by one pass was told again by the next.
    tally.unchanged = tally.unchanged.saturating_sub(tally.new);
    show(workshop, reader, &batch, tally, &committed, was_contacted, now)
}

/// The spans that a decision gives, and the attempts among them that are sent. Where there is nobody to send them to, none is made.
fn make_spans(
    workshop: &Workshop,
    target: &Target,
    info: Option<&WebhookInfo>,
    transitions: &[Transition],
) -> (SpanBatch, Vec<SampledAttempt>) {
    let Some(policy) = &workshop.spans else { return Default::default() };
    let Made { records, sampled } = spans(transitions, Webhook { target, info }, policy);
    let now = clock::now();
    // No attempt joins a delivery whose latest one is older; as much again for the time that it takes to be read.
    let parked_since = now.minus(workshop.policy.windows.settle_after * 2);
    (SpanBatch { records, now, parked_since }, sampled)
}

fn not_written(workshop: &Workshop, mut reader: Reader, batch: Batch, failure: StoreError) -> (Reader, StepResult) {
    workshop.write_errors.inc();
    reader.keep_uncommitted(batch);
    (reader, StepResult::NotWritten(failure))
}

/// Shows what was committed and applied.
fn show(
    workshop: &Workshop,
    mut reader: Reader,
    batch: &Batch,
    tally: Tally,
    committed: &Committed,
    was_contacted: bool,
    now: Duration,
) -> (Reader, StepResult) {
    if !was_contacted && reader.ledger.marks().contacted {
        info!(webhook = %reader.target, entries = tally.new, "first contact: read the retained log");
    }
    workshop.board.update(&reader.target, |view, environment| {
        view.show(&reader.ledger, committed);
        environment.entries_read.new += tally.new;
        environment.entries_read.changed += tally.changed;
        environment.entries_read.unchanged += tally.unchanged;
    });
    reader.committed(batch, &tally, now);
    match batch.coverage {
        Coverage::Met => return (reader, StepResult::More(tally)),
        // Rechecks say nothing of how far the log has been read.
        Coverage::Pages => {}
        Coverage::Head | Coverage::Sweep | Coverage::FirstContact => {
            reader.succeeded(batch.now);
            workshop.store.note_success(&reader.target, batch.now);
        }
    }
    (reader, StepResult::Complete(tally))
}
