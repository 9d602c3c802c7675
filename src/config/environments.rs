//! The list `environments`: which APIs to read, with which token, at which rate, and for which webhooks.

use super::EnvVars;
use super::fields::Fields;
use super::files::{LoadedFile, certificate_file};
use super::token::{self, TokenSource};
use super::values::{base_url, count, flag, id, name, positive_duration, text};
use ::config::Value;
use reqwest::Url;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use talkover_core::delivery::OwnerType;

/// One TalkOver environment: one token, one budget, some webhooks.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvironmentConfig {
    /// The label `environment`, unique.
    pub name: String,
    /// The API's base without `/api/v1`. A path ends without a slash; without one the path is `/`.
    pub base_url: Url,
    /// Where the token comes from.
    pub token: TokenSource,
    /// At most this many requests in any sliding minute. At least 1.
    pub requests_per_minute: u32,
    /// Requests under way at once. At least 1, and perhaps more than `requests_per_minute`.
    pub max_concurrent_requests: u32,
    /// How long one request may take. Above zero.
    pub request_timeout: Duration,
    /// Further authorities to trust, in PEM form.
    pub ca_file: Option<LoadedFile>,
    /// The proxy to use instead of the usual variables'.
    pub proxy: Option<Url>,
    /// Whether `http://` is allowed beyond loopback.
    pub allow_insecure_http: bool,
    /// How webhooks are found; `None` if discovery is off.
    pub discovery: Option<DiscoveryConfig>,
    /// Webhooks named by hand.
    pub webhooks: Vec<WebhookConfig>,
}

/// How webhooks are found through the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// Whether agents are searched.
    pub agents: bool,
    /// Whether campaigns are searched.
    pub campaigns: bool,
    /// How often. Above zero.
    pub refresh_interval: Duration,
    /// Globs of what to take; not empty.
    pub include: Vec<String>,
    /// Globs of what to leave.
    pub exclude: Vec<String>,
    /// Webhooks that are read at most. At least 1.
    pub max_webhooks: u32,
}

/// One webhook named by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Whether `owner_id` is an agent's or a campaign's.
    pub owner_type: OwnerType,
    /// The owner's id.
    pub owner_id: String,
    /// The webhook's id, unique within the environment.
    pub webhook_id: String,
    /// A name for people.
    pub name: Option<String>,
}

/// Reads the list of the root section.
pub(super) fn read(root: &mut Fields<'_>, environment: &EnvVars) -> Option<Vec<EnvironmentConfig>> {
    let mut names = BTreeSet::new();
    let environments = root.sections("environments", |fields| read_one(fields, environment, &mut names))?;
    if environments.is_empty() {
        root.fault("environments", "must hold at least one environment");
    }
    Some(environments)
}

fn read_one(mut fields: Fields<'_>, environment: &EnvVars, names: &mut BTreeSet<String>) -> Option<EnvironmentConfig> {
    let name = fields.scalar("name", name);
    if let Some(name) = &name
        && !names.insert(name.clone())
    {
        fields.fault("name", format!("another environment is called `{name}`"));
    }
    let base_url = fields.scalar("base_url", api_url);
    let allow_insecure_http = fields.scalar("allow_insecure_http", flag);
    refuse_clear_text(&mut fields, base_url.as_ref(), allow_insecure_http);
    let token = token::read(&mut fields, environment);
    let requests_per_minute = fields.scalar("requests_per_minute", count(1, u32::MAX));
    let max_concurrent_requests = fields.scalar("max_concurrent_requests", count(1, u32::MAX));
    let request_timeout = fields.scalar("request_timeout", positive_duration);
    let ca_file = fields.optional("ca_file", certificate_file);
    let proxy = fields.optional("proxy", |value| {
        super::values::base_url(value).map_err(|reason| match reason.contains("user name") {
            true => format!("{reason}; set HTTPS_PROXY instead"),
            false => reason,
        })
    });
    let has_discovery = fields.is_given("discovery");
    let discovery = fields.optional_section("discovery").and_then(read_discovery);
    let has_webhooks = fields.is_given("webhooks");
    let mut ids = BTreeSet::new();
    let webhooks = fields.sections("webhooks", |fields| read_webhook(fields, &mut ids));
    let none_named = !has_webhooks || webhooks.as_ref().is_some_and(Vec::is_empty);
    if none_named && !has_discovery {
        fields.fault_here(
            "has neither discovery nor webhooks: there is nothing to read (`discovery: {}` finds them all)",
        );
    }
    fields.finish();
    Some(EnvironmentConfig {
        name: name?,
        base_url: base_url?,
        token: token?,
        requests_per_minute: requests_per_minute?,
        max_concurrent_requests: max_concurrent_requests?,
        request_timeout: request_timeout?,
        ca_file,
        proxy,
        allow_insecure_http: allow_insecure_http?,
        discovery,
        webhooks: webhooks?,
    })
}

/// The base of the API, to which each request adds its whole path.
fn api_url(value: &Value) -> Result<Url, String> {
    let url = base_url(value)?;
    if url.path().to_ascii_lowercase().ends_with("/api/v1") {
        return Err("must not end in /api/v1: leave /api/v1 off, each request adds it".to_owned());
    }
    Ok(url)
}

fn refuse_clear_text(fields: &mut Fields<'_>, url: Option<&Url>, allowed: Option<bool>) {
    let Some(url) = url else { return };
    if url.scheme() == "http" && allowed == Some(false) && !is_loopback(url) {
        fields.fault(
            "base_url",
            "http:// would send the token in clear text: use https://, or set allow_insecure_http to true",
        );
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

fn read_discovery(mut fields: Fields<'_>) -> Option<DiscoveryConfig> {
    let agents = fields.scalar("agents", flag);
    let campaigns = fields.scalar("campaigns", flag);
    let refresh_interval = fields.scalar("refresh_interval", positive_duration);
    let include = fields.scalars("include", text);
    let exclude = fields.scalars("exclude", text);
    let max_webhooks = fields.scalar("max_webhooks", count(1, u32::MAX));
    if agents == Some(false) && campaigns == Some(false) {
        fields.fault_here("searches neither agents nor campaigns: leave the section out instead");
    }
    if include.as_ref().is_some_and(Vec::is_empty) {
        fields.fault("include", "must hold at least one glob: with none, nothing is found");
    }
    fields.finish();
    Some(DiscoveryConfig {
        agents: agents?,
        campaigns: campaigns?,
        refresh_interval: refresh_interval?,
        include: include?,
        exclude: exclude?,
        max_webhooks: max_webhooks?,
    })
}

fn read_webhook(mut fields: Fields<'_>, ids: &mut BTreeSet<String>) -> Option<WebhookConfig> {
    let owner = read_owner(&mut fields);
    let webhook_id = fields.scalar("webhook_id", id);
    if let Some(id) = &webhook_id
        && !ids.insert(id.clone())
    {
        fields.fault("webhook_id", format!("the webhook `{id}` is named twice in this environment"));
    }
    let name = fields.optional("name", name);
    fields.finish();
    let (owner_type, owner_id) = owner?;
    Some(WebhookConfig { owner_type, owner_id, webhook_id: webhook_id?, name })
}

fn read_owner(fields: &mut Fields<'_>) -> Option<(OwnerType, String)> {
    let given = (fields.is_given("agent_id"), fields.is_given("campaign_id"));
    let agent = fields.optional("agent_id", id);
    let campaign = fields.optional("campaign_id", id);
    match given {
        (true, true) => fields.fault_here("has both agent_id and campaign_id: a webhook belongs to one owner"),
        (false, false) => fields.fault_here("needs agent_id or campaign_id: the webhook's owner"),
        _ => {}
    }
    let agent = agent.map(|id| (OwnerType::Agent, id));
    agent.or(campaign.map(|id| (OwnerType::Campaign, id)))
}
