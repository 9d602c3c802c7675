//! The status: what the daemon is doing and whether deliveries arrive, as of one moment. `GET /api/v1/status` returns
//! it as JSON (docs/status.schema.json), and the status page shows the same.
//!
//! It keeps two questions apart: whether a log can be read, and whether the deliveries in it arrive.

mod deliveries;
mod losses;
mod reading;
mod report;
mod state;
mod time;

pub(super) use self::deliveries::{DeliveryState, Ended};
pub(super) use self::losses::LastLost;
pub(super) use self::reading::ReadingState;
pub(super) use self::report::{Environment, Facts, StatusReport, WebhookStatus, all_lost};
pub(super) use self::state::{StateProblemKind, StateTrouble};
