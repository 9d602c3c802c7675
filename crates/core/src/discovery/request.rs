//! What discovery requests, and the answers.

use super::{ApiOwner, ApiWebhook, OwnerKey};
use crate::delivery::OwnerType;
use crate::reading::wire::lists::ListPage;

/// A request of discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A page of the list of agents or campaigns.
    Owners {
        /// Which list.
        owner_type: OwnerType,
        /// The page, from 1.
        page: u32,
        /// Entries on a page.
        per_page: u32,
    },
    /// A page of the list of an owner's webhooks.
    Webhooks {
        /// The owner.
        owner: OwnerKey,
        /// The page, from 1.
        page: u32,
    },
}

/// A page that was requested.
#[derive(Clone, Debug, PartialEq)]
pub enum DiscoveredPage {
    /// A page of owners.
    Owners(ListPage<ApiOwner>),
    /// A page of webhooks.
    Webhooks(ListPage<ApiWebhook>),
}
