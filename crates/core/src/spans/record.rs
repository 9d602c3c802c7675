//! An encoded span, and what becomes of it. The store keeps it without decoding it.

/// A span to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanRecord {
    /// Its trace, which is its delivery.
    pub trace_id: [u8; 16],
    /// An encoded `opentelemetry.proto.trace.v1.Span`.
    pub span: Vec<u8>,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent.
    Queue,
    /// It is sent, and what is parked of its trace before it.
    QueueWithParked,
    /// It is kept for the case that a later span calls it back.
    Park,
}

impl Fate {
    /// Whether the span is sent, whatever comes later.
    pub fn is_sent(self) -> bool {
        self != Self::Park
    }
}
