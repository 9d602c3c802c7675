//! Spans on their way: whatever a receiver does, in the end it has every span at least once, and the outbox is empty.

mod daemon;
mod delivery;
mod logs;
pub(crate) mod receiver;
pub(crate) mod rig;
mod secrets;
mod tls;
pub(crate) mod truth;
