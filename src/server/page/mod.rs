//! The status page: `/` for all webhooks, `/webhooks/ENVIRONMENT/WEBHOOK_ID` for one. For people with a browser who want
//! to know whether all is well, and if not, what is wrong and what to do.
//!
//! Everything works without a script: sorting, filtering and leafing through are links and forms. With it the page
//! refreshes itself. It loads nothing but its own style and script, and every value is escaped by the templates.

mod asset;
mod chart;
mod overview;
mod parts;
mod query;
mod summary;
mod webhook;

#[cfg(test)]
mod tests;

pub(super) use self::asset::asset;
pub(super) use self::overview::overview;
pub(super) use self::query::Query;
pub(super) use self::webhook::webhook;
