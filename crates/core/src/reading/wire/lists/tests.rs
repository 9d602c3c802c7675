//! The documented lists, and what is made of others.

use super::*;
use crate::delivery::Timestamp;

const AGENTS: &[u8] = include_bytes!("../../../../../../tests/fixtures/api-samples/agents.json");
const CAMPAIGNS: &[u8] = include_bytes!("../../../../../../tests/fixtures/api-samples/campaigns.json");
const WEBHOOKS: &[u8] = include_bytes!("../../../../../../tests/fixtures/api-samples/agent-webhooks.json");

fn only<T>(page: ListPage<T>) -> (Arc<str>, T) {
    assert_eq!((page.entries.len(), page.invalid.len()), (1, 0));
    page.entries.into_iter().next().unwrap()
}

/// A list with this one webhook.
fn read_webhook(entry: &str) -> ApiWebhook {
    only(parse_webhooks(format!(r#"{{"data": [{entry}]}}"#).as_bytes()).unwrap()).1
}

#[test]
fn the_documented_lists_are_read() {
    let agents = parse_owners(AGENTS).unwrap();
    assert_eq!(agents.pagination, Pagination { per_page: Some(10), total: Some(25), last_page: Some(3) });
    let (id, agent) = only(agents);
    assert_eq!(&*id, "550e8400-e29b-41d4-a716-446655440000");
    let updated_at = Some(Timestamp::from_seconds(1_705_314_600));
    assert_eq!(agent, ApiOwner { name: "SupportBot".into(), status: Some("published".into()), updated_at });

    let campaigns = parse_owners(CAMPAIGNS).unwrap();
    assert_eq!(campaigns.pagination, Pagination { per_page: Some(20), total: Some(2), last_page: Some(1) });
    let (id, campaign) = only(campaigns);
    assert_eq!((&*id, &*campaign.name), ("campaign-uuid-1", "Sales Campaign"));
    assert_eq!(campaign.status.as_deref(), Some("active"));

    let (id, webhook) = only(parse_webhooks(WEBHOOKS).unwrap());
    assert_eq!(&*id, "9fcafbf2-7593-44d6-8cd7-1b221beba62a");
    let expected = ApiWebhook {
        name: "My Webhook".into(),
        endpoint: Some(Endpoint { host: "example.com".into(), port: Some(443) }),
        timeout_seconds: Some(30),
        max_retries: Some(3),
        method: Method::Post,
        is_enabled: true,
    };
    assert_eq!(webhook, expected);
}

#[test]
fn a_campaigns_webhooks_may_stand_under_data_or_below_it() {
    for body in [r#"{"data": [{"id": "w"}]}"#, r#"{"success": true, "data": {"webhooks": [{"id": "w"}]}}"#] {
        assert_eq!(&*only(parse_webhooks(body.as_bytes()).unwrap()).0, "w", "{body}");
    }
}

#[test]
fn a_bad_entry_costs_only_itself() {
    let body = br#"{"data": [7, {"name": "no id"}, {"id": ""}, {"id": ".."}, {"id": "a/b"}, {"id": {}}, null, [],
        {"id": 12, "name": 5, "updated_at": "yesterday", "current_status": ["x"], "more": {"id": 1}}]}"#;
    let page = parse_owners(body).unwrap();
    assert_eq!(page.invalid.len(), 8);
    assert_eq!(page.entries, [("12".into(), ApiOwner { name: "12".into(), status: None, updated_at: None })]);
}

#[test]
fn what_is_no_list_is_refused() {
    for (body, reason) in [
        ("", "not a JSON object"),
        ("<html>", "not a JSON object"),
        (r#"{"success": false, "data": []}"#, "success: false"),
        (r#"{"success": true}"#, "no data"),
        (r#"{"data": null}"#, "no data"),
        (r#"{"data": {"webhooks": {}}}"#, "list"),
        (r#"{"data": {"available_events": {}}}"#, "list"),
        (r#"{"data": "text"}"#, "list"),
    ] {
        let error = parse_webhooks(body.as_bytes()).unwrap_err();
        assert!(error.contains(reason), "{body}: {error}");
    }
    assert!(parse_owners(br#"{"data": {"webhooks": []}}"#).is_err());
}

#[test]
fn of_a_url_only_host_and_port_are_kept() {
    for (url, expected) in [
        ("https://user:pass@Hooks.Example.com/a?key=secret", Some(("hooks.example.com", 443))),
        ("http://10.0.0.7:8080/x", Some(("10.0.0.7", 8080))),
        ("https://[2001:db8::1]/x", Some(("[2001:db8::1]", 443))),
        ("hooks.example.com/x", None),
        ("mailto:a@example.com", None),
        ("", None),
    ] {
        let webhook = read_webhook(&format!(r#"{{"id": "w", "webhook_url": "{url}", "headers": {{"x": "secret"}}}}"#));
        let endpoint = webhook.endpoint.as_ref().map(|endpoint| (&*endpoint.host, endpoint.port.unwrap()));
        assert_eq!(endpoint, expected, "{url}");
        assert!(!format!("{webhook:?}").contains("secret"));
    }
}

#[test]
fn settings_are_read_in_every_form() {
    let known = |entry: &str| {
        let webhook = read_webhook(entry);
        (webhook.is_enabled, webhook.timeout_seconds, webhook.max_retries, webhook.method)
    };
    for (entry, expected) in [
        (r#"{"id": "w"}"#, (true, None, None, Method::Post)),
        (
            r#"{"id": "w", "enabled": false, "timeout": "15", "max_retries": 0}"#,
            (false, Some(15), Some(0), Method::Post),
        ),
        (r#"{"id": "w", "enabled": 0, "timeout": -1, "max_retries": "many"}"#, (false, None, None, Method::Post)),
        (
            r#"{"id": "w", "enabled": true, "status": "disabled", "http_method": "PUT"}"#,
            (false, None, None, Method::Put),
        ),
        (r#"{"id": "w", "status": "active", "http_method": "patch"}"#, (true, None, None, Method::Patch)),
        (r#"{"id": "w", "enabled": false, "enabled": true, "http_method": null}"#, (true, None, None, Method::Post)),
    ] {
        assert_eq!(known(entry), expected, "{entry}");
    }
}

#[test]
fn names_become_labels() {
    let long = "ä".repeat(300);
    for (name, expected) in [("  a\\nb ", "a b".to_owned()), (" ", "w".to_owned()), (&long, "ä".repeat(256))] {
        assert_eq!(*read_webhook(&format!(r#"{{"id": "w", "name": "{name}"}}"#)).name, *expected);
    }
}
