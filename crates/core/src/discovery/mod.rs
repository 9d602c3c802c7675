//! Which webhooks there are: what the API's lists say of agents and campaigns, and of the webhooks that they own.
//!
//! Pure: time is passed in, requests are made elsewhere. [`plan`] decides what to request next and processes the
//! answers, [`listing`] joins the pages of one list, [`filter`] says which webhooks are wanted, and [`targets`] which
//! ones are polled.
//!
//! *Invariant:* nothing is taken to be gone because an answer failed, or because a page shifted while its list was
//! read.

pub mod filter;
pub mod listing;
pub mod plan;
mod pool;
pub mod record;
pub mod request;
mod room;
mod rotation;
mod take_over;
pub mod targets;

pub use crate::delivery::owners::{ApiOwner, ApiWebhook, Endpoint, Method, OwnerKey};
