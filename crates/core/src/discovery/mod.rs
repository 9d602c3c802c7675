//! Which webhooks there are: what the API's lists say of agents and campaigns, and of the webhooks that they own.
//!
//! Pure: time is passed in, requests are made elsewhere. [`plan`] says what to ask next and takes the answers in,
//! [`listing`] puts the pages of one list together, [`filter`] says which webhooks are wanted, and [`targets`] what is
//! to be polled.
//!
//! *Invariant:* nothing is taken for gone because an answer failed, or because a page shifted while its list was read.

pub mod filter;
pub mod listing;
pub mod plan;
pub mod record;
pub mod request;
mod rotation;
pub mod targets;

pub use crate::delivery::owners::{ApiOwner, ApiWebhook, Endpoint, Method, OwnerKey};
