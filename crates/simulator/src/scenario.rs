//! What a simulated world looks like: its webhooks, their traffic, and everything that can go wrong.
//!
//! Plain data: it draws nothing and knows no time. Tests build it in Rust, `simulate` and the demo read it from
//! YAML (`load`). `config/scenarios/demo.yml` explains every key.

use std::time::Duration;

use serde::Deserialize;

pub use super::faults::{Fault, FaultPlan, FaultWindow, RandomFault};
pub use load::ScenarioError;

pub(crate) mod check;
pub(crate) mod duration;
mod load;
#[cfg(test)]
mod tests;

/// The token that the simulated API knows where a scenario names none.
pub const DEFAULT_TOKEN: &str = "talq_simulator";

/// The demonstration's scenario, and what `simulate` plays by default.
pub const DEMO_YAML: &str = include_str!("../../../config/scenarios/demo.yml");

/// A simulated world, as it is described before it begins.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// The bearer tokens that are known.
    pub tokens: Vec<String>,
    /// Requests that each token has in a window of 60 s.
    pub rate_limit_per_minute: u32,
    /// Where given, `per_page` is silently held to this; otherwise anything outside 1–100 is refused with 422.
    pub max_per_page: Option<u32>,
    /// How long the world has been running when it starts.
    #[serde(deserialize_with = "duration::required")]
    pub history: Duration,
    /// How long entries are kept.
    #[serde(deserialize_with = "duration::required")]
    pub retention: Duration,
    /// Whether entries of the same second come in another order at every request.
    pub shuffle_ties: bool,
    /// Whether the attempts of a delivery show its payload's keys in different orders.
    pub shuffle_payload_keys: bool,
    /// What follows a failed attempt.
    pub retries: Retries,
    /// Stretches in which failures are frequent.
    pub spikes: Vec<Spike>,
    /// Entries that turn up after others which are younger.
    pub late: Late,
    /// Many deliveries in one second.
    pub bursts: Vec<Burst>,
    /// Entries that vanish.
    pub deletions: Deletions,
    /// The share of deliveries whose only entry cannot be read as documented (see [`super::world::Anomaly`]).
    pub invalid: f64,
    /// Requests that go wrong.
    pub faults: FaultPlan,
    /// Agents and campaigns that are to be listed with a status or without a webhook; the others follow from the
    /// webhooks.
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
    /// The wait before the second attempt's entry is made.
    #[serde(deserialize_with = "duration::required")]
    pub first: Duration,
    /// By how much each further wait is longer.
    pub factor: f64,
    /// The longest wait.
    #[serde(deserialize_with = "duration::required")]
    pub max: Duration,
    /// What becomes of `retrying` entries once the last attempt has failed.
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

/// What becomes of a delivery's `retrying` entries once its last attempt has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Superseded {
    /// They stay `retrying` for ever.
    Keep,
    /// The newest of them becomes `failed`.
    FailLast,
    /// All of them become `failed`.
    FailAll,
}

/// A stretch in which failures are frequent.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spike {
    /// The time from one beginning to the next, through the history too; absent where it does not recur.
    #[serde(default, deserialize_with = "duration::optional")]
    pub every: Option<Duration>,
    /// Where the recurring one begins, from the world's start.
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
    /// The ids of the webhooks that suffer; empty for all.
    #[serde(default)]
    pub webhooks: Vec<String>,
}

/// Entries that turn up after others which are younger.
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
    /// How many deliveries each webhook gets in it.
    pub entries: u32,
}

/// Entries that vanish.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deletions {
    /// The share of entries that vanish before their retention is over.
    pub probability: f64,
    /// How old they are then.
    pub after: Span,
}

/// From how long to how long.
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
    /// The address that TalkOver delivers to (nobody ever connects to it).
    pub url: String,
    /// Whose it is.
    pub owner: Owner,
    /// The HTTP method; absent as in the documented sample.
    #[serde(default)]
    pub http_method: Option<String>,
    /// How often a failed delivery is tried again, 0–10.
    #[serde(default = "default_max_retries")]
    pub max_retries: u8,
    /// How long an attempt may take.
    #[serde(default = "default_timeout", deserialize_with = "duration::required")]
    pub timeout: Duration,
    /// Whether it delivers at all.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Deliveries a second, on average (a Poisson process).
    #[serde(default)]
    pub rate: f64,
    /// Entries, all finished, that the history holds instead of that traffic, evenly spread.
    #[serde(default)]
    pub backlog: u32,
    /// The events and how frequent they are among each other.
    #[serde(default = "default_events")]
    pub events: Vec<EventWeight>,
    /// How attempts fail.
    #[serde(default)]
    pub failures: Failures,
    /// How long attempts take.
    #[serde(default)]
    pub latency: Latency,
    /// How long an entry stays `pending` before its attempt begins. Where `max` is zero, entries have their outcome
    /// from the beginning.
    #[serde(default)]
    pub pending: Span,
}

impl Webhook {
    /// A webhook of an agent without traffic, for tests and benchmarks; all else is at its default.
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

/// Whose a webhook is.
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
    /// One of [`OwnerKind::statuses`]; the usual one where absent.
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

/// An event and how frequent it is.
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
    /// The share of failures without any answer of the webhook's endpoint.
    pub connection: f64,
    /// What the endpoint answers in the others.
    pub statuses: Vec<FailureStatus>,
}

impl Default for Failures {
    fn default() -> Self {
        Self { probability: 0.0, connection: 0.0, statuses: vec![FailureStatus { status: 500, weight: 1.0 }] }
    }
}

/// A status that the webhook's endpoint answers with, and how frequent it is among failures.
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
