//! Who owns webhooks, and what the API's lists say of owners and webhooks: plain values, parsed by
//! `reading::wire::lists` and kept by discovery.

use std::sync::Arc;

use super::{OwnerType, Timestamp};

/// Identifies an agent or a campaign within its environment. Agents come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerKey {
    /// An agent or a campaign.
    pub owner_type: OwnerType,
    /// Its id.
    pub id: Arc<str>,
}

/// What a list says of an agent or a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiOwner {
    /// Its name, or its id if it has none.
    pub name: Arc<str>,
    /// `draft`, `published`; `draft`, `active`, `paused`, `completed`, `cancelled`; or whatever else the API says.
    pub status: Option<Arc<str>>,
    /// When it was last changed, if the list says so.
    pub updated_at: Option<Timestamp>,
}

/// What a list says of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiWebhook {
    /// Its name, or its id if it has none.
    pub name: Arc<str>,
    /// Where it delivers to.
    pub endpoint: Option<Endpoint>,
    /// How long an attempt may take, in seconds.
    pub timeout_seconds: Option<u32>,
    /// How often a failed delivery is retried.
    pub max_retries: Option<u32>,
    /// The HTTP method of its requests.
    pub method: Method,
    /// Whether it delivers at all; true if the list does not say.
    pub is_enabled: bool,
}

/// Host and port of a webhook's URL. The rest of it may hold secrets and is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host, in lower case.
    pub host: Arc<str>,
    /// The port, if the URL or its scheme names one.
    pub port: Option<u16>,
}

/// The method of a webhook's requests; the API's default is `POST`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// `POST`
    #[default]
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
}

impl Method {
    /// The method as HTTP writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
        }
    }

    /// The method of that name, in either case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Post, Self::Put, Self::Patch].into_iter().find(|method| method.as_str().eq_ignore_ascii_case(name))
    }
}
