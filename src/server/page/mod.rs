//! The status page: `/` for all webhooks, `/webhooks/ENVIRONMENT/WEBHOOK_ID` for one. It tells people whether all is
//! well, and if not, what is wrong and what to do.
//!
//! Everything works without scripts: sorting, filtering and paging are links and forms. The script only refreshes the
//! page in place. The page loads nothing but its own style and script, and the templates escape every value.

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
