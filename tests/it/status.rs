//! `/api/v1/status` and the status page of the real daemon: what they say of a log, that a restart changes none of it,
//! and that the answers are what the schema in `docs/` says.

use std::time::Duration;

use serde_json::{Value, json};
use talkover_simulator::{Clock, EntrySpec, Fault, FaultPlan, RandomFault, Simulator, Status};

use crate::harness::{Exporter, Workspace, quiet_scenario, simulator, wait_for};

const POLL: &str = "poll: {min_interval: 100ms, max_interval: 200ms, lookback: 1m, sweep_interval: 1s}\n";

/// Fetches a status, which must be what the schema says.
async fn status(exporter: &Exporter) -> Value {
    let text = reqwest::get(format!("{}/api/v1/status", exporter.url)).await.unwrap().text().await.unwrap();
    let status: Value = serde_json::from_str(&text).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../../docs/status.schema.json")).unwrap();
    let mut faults = Vec::new();
    check(&schema, &schema, &status, "", &mut faults);
    assert_eq!(faults, [""; 0], "{status:#}");
    status
}

/// Checks a value against the part of JSON Schema that `docs/status.schema.json` uses. Any other keyword is a fault of
/// the schema: it would be taken for a promise.
fn check(root: &Value, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().unwrap() {
        let holds = match &**keyword {
            "title" | "description" | "$schema" | "$id" | "$defs" => true,
            "$ref" => {
                let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                check(root, root.pointer(pointer).unwrap(), value, place, faults);
                true
            }
            "anyOf" => rule.as_array().unwrap().iter().any(|one| {
                let mut found = Vec::new();
                check(root, one, value, place, &mut found);
                found.is_empty()
            }),
            "type" => match rule {
                Value::Array(types) => types.iter().any(|one| is_of(value, one)),
                one => is_of(value, one),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "format" => value.as_str().is_none_or(|text| text.parse::<jiff::Timestamp>().is_ok()),
            "pattern" => {
                value.as_str().is_none_or(|text| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()))
            }
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().unwrap()),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, item, &format!("{place}[{index}]"), faults);
                }
                true
            }
            "properties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    match rule.get(key) {
                        Some(rule) => check(root, rule, value, &format!("{place}.{key}"), faults),
                        None => faults.push(format!("{place}.{key} is not in the schema")),
                    }
                }
                true
            }
            "required" => {
                let is_there = |key: &Value| value.is_null() || value.get(key.as_str().unwrap()).is_some();
                rule.as_array().unwrap().iter().all(is_there)
            }
            "additionalProperties" => rule == false,
            other => panic!("the check does not know the keyword {other}"),
        };
        if !holds {
            faults.push(format!("{place}: {keyword} {rule} does not hold of {value}"));
        }
    }
}

fn is_of(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other}"),
    }
}

#[test]
fn the_schema_refuses_what_it_does_not_promise() {
    let schema = json!({
        "type": "object",
        "properties": {"count": {"type": ["integer", "null"], "minimum": 0}, "time": {"type": "string", "format": "date-time"}},
        "required": ["count"],
        "additionalProperties": false,
    });
    for (value, is_good) in [
        (json!({"count": 1, "time": "2026-01-01T00:00:00Z"}), true),
        (json!({"count": null}), true),
        (json!({}), false),
        (json!({"count": -1}), false),
        (json!({"count": "1"}), false),
        (json!({"count": 1, "time": "yesterday"}), false),
        (json!({"count": 1, "other": 1}), false),
    ] {
        let mut faults = Vec::new();
        check(&schema, &schema, &value, "", &mut faults);
        assert_eq!(faults.is_empty(), is_good, "{value}: {faults:?}");
    }
}

/// Waits for a status of which `is_there` holds.
async fn wait_for_status(exporter: &Exporter, what: &str, is_there: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, || async {
        let status = status(exporter).await;
        is_there(&status).then_some(status)
    })
    .await
}

fn insert(simulator: &Simulator, ago: u64, status: Status, code: u16, error: &str) -> String {
    let created_at = simulator.truth().now.minus(Duration::from_secs(ago));
    let error = (!error.is_empty()).then(|| error.to_owned());
    let spec = EntrySpec { created_at, status, http_status: Some(code), error, ..EntrySpec::default() };
    simulator.with_world(|world| world.insert("w-1", spec)).unwrap()
}

/// The webhook `w-1`.
fn webhook(status: &Value) -> &Value {
    let all = status["webhooks"].as_array().unwrap();
    all.iter().find(|webhook| webhook["webhook_id"] == "w-1").unwrap()
}

#[tokio::test]
async fn lost_deliveries_are_told_and_survive_a_kill() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    for ago in 100..150 {
        insert(&simulator, ago, Status::Success, 200, "");
    }
    let first = insert(&simulator, 50, Status::Failed, 503, "HTTP 503 from https://user:secret@hooks.example.com/x");
    let last = insert(&simulator, 40, Status::Failed, 404, "HTTP 404 Not Found");
    let workspace = Workspace::new();
    let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, POLL);
    let exporter = Exporter::start_with(
        &config,
        &[("TALKOVER_EXPORTER__SERVER__TRACE_URL", "https://traces.example.com/{trace_id}".to_owned())],
    )
    .await;
    let told = wait_for_status(&exporter, "both webhooks are read", |status| {
        status["webhooks"].as_array().unwrap().iter().all(|webhook| webhook["deliveries"]["state"] != "unknown")
    })
    .await;

    // What is worst comes first.
    assert_eq!(told["webhooks"][0]["webhook_id"], "w-1");
    assert_eq!(told["webhooks"][1]["deliveries"]["state"], "idle");
    assert_eq!(told["webhooks"][1]["deliveries"]["consecutive_lost"], 0);
    let deliveries = &webhook(&told)["deliveries"];
    assert_eq!(deliveries["state"], "failing", "two of 52 are more than 1 %");
    assert_eq!(deliveries["last_hour"], json!({"success": 50, "failed": 2, "abandoned": 0}));
    assert_eq!(deliveries["last_day"], deliveries["last_hour"]);
    assert_eq!(deliveries["attempts_last_hour"], json!({"success": 50, "failed": 2, "retrying": 0}));
    assert_eq!(deliveries["consecutive_lost"], 2);
    let lost = told["lost"].as_array().unwrap();
    let ids: Vec<&str> = lost.iter().map(|one| one["log_id"].as_str().unwrap()).collect();
    assert_eq!(ids, [&*last, &*first], "latest first");
    assert_eq!(lost[1]["error"], "HTTP 503 from https://hooks.example.com");
    assert_eq!((&lost[0]["http_status"], &lost[0]["result"]), (&json!(404), &json!("failed")));
    assert_eq!(deliveries["last_lost"]["log_id"], lost[0]["log_id"]);
    let trace = lost[0]["trace_id"].as_str().unwrap();
    assert_eq!(lost[0]["trace_url"], format!("https://traces.example.com/{trace}"));
    assert_eq!(deliveries["failing_since"], lost[1]["time"]);

    let scrape = exporter.scrape().await;
    let of = |name: &str| scrape.get(&format!("{name}{{environment=\"test\",webhook_id=\"w-1\"}}"));
    assert_eq!(of("talkover_webhook_consecutive_lost_deliveries"), Some(2.0));
    let since: jiff::Timestamp = deliveries["failing_since"].as_str().unwrap().parse().unwrap();
    assert_eq!(of("talkover_webhook_failing_since_timestamp_seconds"), Some(since.as_second() as f64));
    assert_eq!(of("talkover_exporter_first_contact_ratio"), Some(1.0));
    let quiet = "talkover_webhook_failing_since_timestamp_seconds{environment=\"test\",webhook_id=\"w-2\"}";
    assert_eq!(scrape.get(quiet), None);
    let series = scrape.text.lines().filter(|line| line.contains("webhook_id=\"w-1\"")).count();
    assert_eq!(webhook(&told)["series"], series);

    // Nothing of that is asked for again: the API is away when the daemon comes back.
    exporter.kill().await;
    let away = RandomFault { probability: 1.0, path: String::new(), fault: Fault::Html(503) };
    simulator.set_faults(&FaultPlan { random: vec![away], ..FaultPlan::default() });
    let exporter = Exporter::start(&config).await;
    let again =
        wait_for_status(&exporter, "the reading fails", |status| webhook(status)["reading"]["state"] == "failing")
            .await;
    for key in ["state", "last_hour", "last_day", "attempts_last_hour", "consecutive_lost", "failing_since", "since"] {
        assert_eq!(webhook(&again)["deliveries"][key], deliveries[key], "{key}");
    }
    assert_eq!(again["lost"].as_array().unwrap().len(), 2);
    assert_eq!(again["lost"][1]["error"], lost[1]["error"]);
    let failing = wait_for_status(&exporter, "nobody is answered", |status| {
        status["environments"][0]["state"] == "failing" && !status["environments"][0]["next_attempt"].is_null()
    })
    .await;
    let environment = &failing["environments"][0];
    let since = &environment["since"];
    assert!(environment["error"].as_str().unwrap().contains("503"), "{environment}");
    exporter.kill().await;
    // Nor does a restart change since when that is so.
    let exporter = Exporter::start(&config).await;
    let failing = wait_for_status(&exporter, "still nobody is answered", |status| {
        status["environments"][0]["state"] == "failing"
    })
    .await;
    // Told in whole seconds: of the request that failed first, and of the webhook that it was for.
    let second = |since: &Value| since.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    assert!(second(&failing["environments"][0]["since"]).abs_diff(second(since)) <= 1, "{failing} {since}");

    let page = reqwest::get(&exporter.url).await.unwrap().text().await.unwrap();
    assert!(page.contains("Requests to the API of test are failing, since"), "{page}");
    let page = reqwest::get(format!("{}/webhooks/test/w-1", exporter.url)).await.unwrap().text().await.unwrap();
    assert!(page.contains(&last) && page.contains("HTTP 404 Not Found"), "{page}");
}
