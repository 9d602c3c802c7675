//! What the daemon is doing and how deliveries go, as of one moment: `GET /api/v1/status` is this as JSON
//! (docs/status.schema.json), and the status page shows the same.
//!
//! Two things are told apart everywhere: whether a log can be read, and whether the deliveries in it arrive.

mod deliveries;
mod losses;
mod reading;
mod report;
mod time;

pub(super) use self::deliveries::{DeliveryState, Ended};
pub(super) use self::losses::LastLost;
pub(super) use self::reading::ReadingState;
pub(super) use self::report::{Environment, Facts, StatusReport, WebhookStatus, all_lost};
