//! How spans of the daemon's own traces are made.
//!
//! All of them have one target and the level `trace`: the log takes none of them, and while traces are off, `tracing`
//! rejects them by a comparison of levels. A span whose parent was not made is not made either, so that turning traces
//! on amid some work makes no trees without a root.

use tracing::Span;

/// The target of all spans. No line of the log has it.
pub(crate) const TARGET: &str = "talkover_exporter::telemetry::span";

/// A span that begins a trace: `root_span!("poll", talkover.environment = name)`.
macro_rules! root_span {
    ($name:literal $($fields:tt)*) => {
        tracing::span!(
            target: $crate::telemetry::span::TARGET, parent: None, tracing::Level::TRACE, $name,
            error.type = tracing::field::Empty, otel.status_description = tracing::field::Empty $($fields)*
        )
    };
}
pub(crate) use root_span;

/// A span below another one; none if that is none: `child_span!(&parent, "commit", talkover.commit.rows = 3)`.
macro_rules! child_span {
    ($parent:expr, $name:literal $($fields:tt)*) => {{
        let parent: &tracing::Span = $parent;
        if parent.is_none() {
            tracing::Span::none()
        } else {
            tracing::span!(
                target: $crate::telemetry::span::TARGET, parent: parent, tracing::Level::TRACE, $name,
                error.type = tracing::field::Empty, otel.status_description = tracing::field::Empty $($fields)*
            )
        }
    }};
}
pub(crate) use child_span;

/// Records that the work of a span has failed: `kind` is one of few words, `reason` is what the log says too.
pub(crate) fn fail(span: &Span, kind: &str, reason: &str) {
    if !span.is_none() {
        // The description makes the status an error.
        span.record("error.type", kind).record("otel.status_description", reason);
    }
}

/// A number as attributes have it: OpenTelemetry knows no unsigned ones.
pub(crate) fn number(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
