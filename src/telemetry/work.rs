//! The spans of what is not a poll: discovery, the export of deliveries' spans, reloads, `verify`; and the steps that
//! these and polls have in common.

use tracing::Span;
use tracing::field::Empty;

use super::span::{child_span, fail, number, root_span};
use talkover_core::delivery::Target;
use talkover_core::ledger::decide::Tally;

/// Deciding what a batch changes.
pub fn decide(parent: &Span) -> Span {
    child_span!(
        parent,
        "decide",
        talkover.entries.new = Empty,
        talkover.entries.changed = Empty,
        talkover.entries.unchanged = Empty
    )
}

/// What was decided.
pub fn decided(span: &Span, tally: &Tally) {
    span.record("talkover.entries.new", number(tally.new))
        .record("talkover.entries.changed", number(tally.changed))
        .record("talkover.entries.unchanged", number(tally.unchanged));
}

/// Writing a decision: the transaction, and the wait for the disk.
pub fn commit(parent: &Span) -> Span {
    child_span!(
        parent,
        "commit",
        db.system.name = "sqlite",
        talkover.commit.rows = Empty,
        talkover.commit.spans = Empty
    )
}

/// What a commit writes.
pub fn committing(span: &Span, rows: usize, spans: usize) {
    span.record("talkover.commit.rows", number(rows)).record("talkover.commit.spans", number(spans));
}

/// Putting a part of a long walk on disk, which is decided when the walk is complete.
pub fn stage(parent: &Span) -> Span {
    child_span!(parent, "stage", db.system.name = "sqlite", talkover.commit.rows = Empty, talkover.commit.spans = Empty)
}

/// The work of `span` has failed because the state could not be read or written.
pub fn fail_state(span: &Span, reason: &impl ToString) {
    if !span.is_none() {
        fail(span, "state", &reason.to_string());
    }
}

/// A step of discovery: one request, and what it changes.
pub fn discover(environment: &str) -> Span {
    root_span!("discover", talkover.environment = environment)
}

/// Writing what discovery has found.
pub fn register(parent: &Span) -> Span {
    child_span!(parent, "register", db.system.name = "sqlite")
}

/// Sending a batch of deliveries' spans. `server` is the receiver's host.
pub fn export(server: &str, spans: usize) -> Span {
    root_span!(
        "export",
        otel.kind = "client",
        server.address = server,
        talkover.export.spans = number(spans),
        talkover.export.rejected = Empty
    )
}

/// A receiver has accepted a batch, but for `rejected` of its spans.
pub fn exported(span: &Span, rejected: u64) {
    span.record("talkover.export.rejected", number(rejected));
}

/// A batch was not accepted: `kind` is one of few words, `reason` is what the log says.
pub fn fail_export(span: &Span, kind: &str, reason: &str) {
    fail(span, kind, reason);
}

/// Removing from the queue what a receiver has answered for.
pub fn acknowledge(parent: &Span) -> Span {
    child_span!(parent, "acknowledge", db.system.name = "sqlite")
}

/// A reload of the configuration.
pub fn reload(cause: &str) -> Span {
    root_span!("reload", talkover.reload.cause = cause)
}

/// A reload was refused. Its reasons quote the configuration, and are in the log.
pub fn refuse_reload(span: &Span) {
    fail(span, "invalid_configuration", "the configuration was refused; the log says why");
}

/// Reading the configuration, and preparing what can fail.
pub fn prepare(parent: &Span) -> Span {
    child_span!(parent, "prepare")
}

/// Stopping what is gone or has changed, and starting what is new or has changed.
pub fn exchange(parent: &Span) -> Span {
    child_span!(parent, "exchange")
}

/// `verify`: the webhooks of an environment.
pub fn verify(environment: &str) -> Span {
    root_span!("verify", talkover.environment = environment)
}

/// `verify`: one webhook, from its first request to its findings.
pub fn audit(parent: &Span, target: &Target) -> Span {
    child_span!(
        parent,
        "audit",
        talkover.environment = &*target.environment,
        talkover.webhook.id = &*target.webhook_id,
        talkover.webhook.name = &*target.webhook_name
    )
}

/// A command's wait for `reason`: `budget`, or what a failed request leads to.
pub fn wait(parent: &Span, reason: &str) -> Span {
    child_span!(parent, "wait", talkover.wait.reason = reason)
}
