//! What a simulated world looks like: its webhooks, their traffic, and everything that can go wrong.
//!
//! Plain data: draws nothing and knows no time. Tests build it in Rust; `simulate` and the demo read it from YAML
//! (`load`). `config/scenarios/demo.yml` explains every key.

use std::time::Duration;

use serde::Deserialize;

pub use super::faults::{Fault, FaultPlan, FaultWindow, RandomFault};
pub use load::ScenarioError;

pub(crate) mod check;
pub(crate) mod duration;
mod load;
#[cfg(test)]
mod tests;

/// The token that the simulated API accepts if a scenario names none.
pub const DEFAULT_TOKEN: &str = "talq_simulator";

/// The demonstration's scenario, which `simulate` plays by default.
pub const DEMO_YAML: &str = include_str!("../../../config/scenarios/demo.yml");

/// The description of a simulated world.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// The bearer tokens that are accepted.
    pub tokens: Vec<String>,
    /// Requests that each token may make in a window of 60 s.
    pub rate_limit_per_minute: u32,
    /// If set, larger values of `per_page` are silently reduced to this; otherwise values outside 1–100 get 422.
    pub max_per_page: Option<u32>,
    /// How long the world has been running when it starts.
    #[serde(deserialize_with = "duration::required")]
    pub history: Duration,
    /// How long entries are kept.
    #[serde(deserialize_with = "duration::required")]
    pub retention: Duration,
    /// Whether entries of one second come in another order with every request.
    pub shuffle_ties: bool,
    /// Whether the attempts of a delivery show its payload's keys in different orders.
    pub shuffle_payload_keys: bool,
    /// What follows a failed attempt.
    pub retries: Retries,
    /// Periods in which failures are frequent.
    pub spikes: Vec<Spike>,
    /// Entries that turn up after younger ones.
    pub late: Late,
    /// Many deliveries in one second.
    pub bursts: Vec<Burst>,
    /// Entries that are deleted.
    pub deletions: Deletions,
    /// The share of deliveries whose only entry cannot be read as documented (see [`super::world::Anomaly`]).
    pub invalid: f64,
    /// Requests that go wrong.
    pub faults: FaultPlan,
    /// Agents and campaigns to list with a status or without a webhook; the others follow from the webhooks.
    pub owners: Vec<ListedOwner>,
    /// The webhooks, and with them the agents and campaigns.
    pub webhooks: Vec<Webhook>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            tokens: vec![DEFAULT_TOKEN.to_owned()],
            // TalkOver's Professional plan.
            rate_limit_per_minute: 1000,
            max_per_page: None,
            history: Duration::ZERO,
            // As TalkOver documents it.
            retention: Duration::from_secs(30 * 86_400),
            shuffle_ties: false,
            shuffle_payload_keys: false,
            retries: Retries::default(),
            spikes: Vec::new(),
            late: Late::default(),
            bursts: Vec::new(),
            deletions: Deletions::default(),
            invalid: 0.0,
            faults: FaultPlan::default(),
            owners: Vec::new(),
            webhooks: Vec::new(),
        }
    }
}

/// What follows a failed attempt.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retries {
    /// The wait before the second attempt's entry is created.
    #[serde(deserialize_with = "duration::required")]
    pub first: Duration,
    /// The factor by which each further wait is longer.
    pub factor: f64,
    /// The longest wait.
    #[serde(deserialize_with = "duration::required")]
    pub max: Duration,
    /// What happens to `retrying` entries once the last attempt has failed.
    pub superseded: Superseded,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(10),
            factor: 2.0,
            max: Duration::from_secs(300),
            superseded: Superseded::Keep,
        }
    }
}

/// What happens to a delivery's `retrying` entries once its last attempt has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Superseded {
    /// They stay `retrying` forever.
    Keep,
    /// The newest of them becomes `failed`.
    FailLast,
    /// All of them become `failed`.
    FailAll,
}

/// A period in which failures are frequent.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spike {
    /// The time from one beginning to the next, also in the history; `None` if it does not recur.
    #[serde(default, deserialize_with = "duration::optional")]
    pub every: Option<Duration>,
    /// Where the first recurring one begins, from the world's start.
    #[serde(default, deserialize_with = "duration::required")]
    pub first: Duration,
    /// Further beginnings, from the world's start.
    #[serde(default, deserialize_with = "duration::list")]
    pub at: Vec<Duration>,
    /// How long each lasts.
    #[serde(deserialize_with = "duration::required")]
    pub lasts: Duration,
    /// The probability that an attempt made within it fails.
    pub probability: f64,
    /// The ids of the affected webhooks; empty for all.
    #[serde(default)]
    pub webhooks: Vec<String>,
}

/// Entries that turn up after younger ones.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Late {
    /// The share of entries that are late.
    pub probability: f64,
    /// How long after its `created_at` a late entry turns up at most.
    #[serde(deserialize_with = "duration::required")]
    pub up_to: Duration,
}

/// Many deliveries in one second, from the world's start on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// The time from one burst to the next.
    #[serde(deserialize_with = "duration::required")]
    pub every: Duration,
    /// How many deliveries each webhook gets in a burst.
    pub entries: u32,
}

/// Entries that are deleted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deletions {
    /// The share of entries that are deleted before their retention is over.
    pub probability: f64,
    /// Their age then.
    pub after: Span,
}

/// A range of durations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// The shortest.
    #[serde(deserialize_with = "duration::required")]
    pub min: Duration,
    /// The longest.
    #[serde(deserialize_with = "duration::required")]
    pub max: Duration,
}

/// One webhook and its traffic.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The address to which TalkOver delivers (nobody ever connects to it).
    pub url: String,
    /// Its owner.
    pub owner: Owner,
    /// The HTTP method; absent as in the documented sample.
    #[serde(default)]
    pub http_method: Option<String>,
    /// How often a failed delivery is retried, 0–10.
    #[serde(default = "default_max_retries")]
    pub max_retries: u8,
    /// How long an attempt may take.
    #[serde(default = "default_timeout", deserialize_with = "duration::required")]
    pub timeout: Duration,
    /// Whether it delivers.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Deliveries a second, on average (a Poisson process).
    #[serde(default)]
    pub rate: f64,
    /// A number of entries, all finished and evenly spread, that replaces that traffic in the history.
    #[serde(default)]
    pub backlog: u32,
    /// The events and their relative frequencies.
    #[serde(default = "default_events")]
    pub events: Vec<EventWeight>,
    /// How attempts fail.
    #[serde(default)]
    pub failures: Failures,
    /// How long attempts take.
    #[serde(default)]
    pub latency: Latency,
    /// How long an entry stays `pending` before its attempt begins. If `max` is zero, entries have their outcome from
    /// the beginning.
    #[serde(default)]
    pub pending: Span,
}

impl Webhook {
    /// A webhook of an agent without traffic, for tests and benchmarks, with the defaults otherwise.
    pub fn of_agent(agent_id: &str, webhook_id: &str) -> Self {
        Self::quiet(OwnerKind::Agent, agent_id, webhook_id)
    }

    /// A webhook of a campaign without traffic.
    pub fn of_campaign(campaign_id: &str, webhook_id: &str) -> Self {
        Self::quiet(OwnerKind::Campaign, campaign_id, webhook_id)
    }

    fn quiet(kind: OwnerKind, owner_id: &str, webhook_id: &str) -> Self {
        Self {
            id: webhook_id.to_owned(),
            name: format!("webhook {webhook_id}"),
            url: format!("https://hooks.example.com/{webhook_id}"),
            owner: Owner { kind, id: owner_id.to_owned(), name: format!("{} {owner_id}", kind.as_str()) },
            http_method: None,
            max_retries: default_max_retries(),
            timeout: default_timeout(),
            enabled: true,
            rate: 0.0,
            backlog: 0,
            events: default_events(),
            failures: Failures::default(),
            latency: Latency::default(),
            pending: Span::default(),
        }
    }
}

fn default_max_retries() -> u8 {
    3
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

fn yes() -> bool {
    true
}

fn default_events() -> Vec<EventWeight> {
    vec![EventWeight { name: "event_phone_call_ended".to_owned(), weight: 1.0 }]
}

/// The owner of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// An agent or a campaign.
    #[serde(rename = "type")]
    pub kind: OwnerKind,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// An agent or a campaign as the lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedOwner {
    /// An agent or a campaign.
    #[serde(rename = "type")]
    pub kind: OwnerKind,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// One of [`OwnerKind::statuses`]; `None` for the usual one.
    #[serde(default)]
    pub status: Option<String>,
}

/// An agent or a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnerKind {
    /// A voice agent: `/api/v1/agents/…`.
    Agent,
    /// A campaign: `/api/v1/campaigns/…`.
    Campaign,
}

impl OwnerKind {
    /// The word in scenario files and in the names of fields (`agent_id`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Campaign => "campaign",
        }
    }

    /// The documented statuses, the usual one first.
    pub const fn statuses(self) -> &'static [&'static str] {
        match self {
            Self::Agent => &["published", "draft"],
            Self::Campaign => &["active", "draft", "paused", "completed", "cancelled"],
        }
    }
}

/// An event and its relative frequency.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventWeight {
    /// Its name, such as `event_phone_call_ended`.
    pub name: String,
    /// Its weight among the webhook's events.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// How attempts fail.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Failures {
    /// The probability that an attempt fails.
    pub probability: f64,
    /// The share of failures without any answer from the webhook's endpoint.
    pub connection: f64,
    /// The endpoint's answers in the other failures.
    pub statuses: Vec<FailureStatus>,
}

impl Default for Failures {
    fn default() -> Self {
        Self { probability: 0.0, connection: 0.0, statuses: vec![FailureStatus { status: 500, weight: 1.0 }] }
    }
}

/// A status with which the webhook's endpoint answers, and its relative frequency among failures.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureStatus {
    /// The HTTP status.
    pub status: u16,
    /// Its weight among the failures with an answer.
    #[serde(default = "one")]
    pub weight: f64,
}

/// How long attempts take; never longer than the webhook's `timeout`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Latency {
    /// Half take less than `median`; `sigma` is the spread of the logarithm.
    LogNormal {
        /// The median.
        #[serde(deserialize_with = "duration::required")]
        median: Duration,
        /// The standard deviation of the natural logarithm.
        sigma: f64,
    },
    /// Evenly between two bounds.
    Uniform {
        /// The shortest.
        #[serde(deserialize_with = "duration::required")]
        min: Duration,
        /// The longest.
        #[serde(deserialize_with = "duration::required")]
        max: Duration,
    },
}

impl Default for Latency {
    fn default() -> Self {
        Self::LogNormal { median: Duration::from_millis(140), sigma: 0.5 }
    }
}
