//! Whether spans are made, and which of `tracing`'s spans are ours. There is one switch, as there is one subscriber.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Filter};

use super::span::TARGET;

static IS_ON: AtomicBool = AtomicBool::new(false);

/// Whether spans are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// They are.
    On,
    /// They are not, at the cost of a comparison each.
    Off,
}

/// Turns the making of spans on or off. Spans that have begun end as they would have.
pub fn turn(switch: Switch) {
    if IS_ON.swap(switch == Switch::On, Ordering::Relaxed) != (switch == Switch::On) {
        // Each place where a span begins, and the most verbose level of all, are decided again.
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Whether `metadata` is that of one of our spans, which the log must not have.
pub(crate) fn is_own_span(metadata: &Metadata<'_>) -> bool {
    metadata.target() == TARGET
}

/// Lets our spans pass while they are on, and nothing else: no span of a library, and no line of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnSpansFilter;

impl<S: Subscriber> Filter<S> for OwnSpansFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        IS_ON.load(Ordering::Relaxed) && is_own_span(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        let is_enabled = IS_ON.load(Ordering::Relaxed) && is_own_span(metadata);
        if is_enabled { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if IS_ON.load(Ordering::Relaxed) { LevelFilter::TRACE } else { LevelFilter::OFF })
    }
}
