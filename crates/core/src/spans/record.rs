//! An encoded span, and what happens to it. The store keeps it without decoding it.

/// A span to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanRecord {
    /// Its trace, which is its delivery.
    pub trace_id: [u8; 16],
    /// An encoded `opentelemetry.proto.trace.v1.Span`.
    pub span: Vec<u8>,
    /// What happens to it.
    pub fate: Fate,
}

/// What happens to a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent.
    Queue,
    /// It is sent after what is parked of its trace.
    QueueWithParked,
    /// It is kept in case a later span of its trace needs it.
    Park,
}

impl Fate {
    /// Whether the span is sent, whatever comes later.
    pub fn is_sent(self) -> bool {
        self != Self::Park
    }
}
