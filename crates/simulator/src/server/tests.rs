//! The API over real sockets: shapes, tokens, limits, and every fault as a client meets it.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::scenario::{FaultPlan, FaultWindow, RandomFault};
use crate::{EntrySpec, Fault, ManualClock, Moment, Scenario, Simulator, Status, Webhook};

const START: Moment = Moment::from_seconds(1_705_316_400);
const LOGS: &str = "/api/v1/agents/a/webhooks/w/logs";

struct Api {
    simulator: Simulator,
    clock: ManualClock,
    client: Client,
}

impl Api {
    async fn start(scenario: Scenario) -> Self {
        let clock = ManualClock::new(START);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let simulator = Simulator::start(scenario, 1, clock.clone(), listener).unwrap();
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let client = client.retry(reqwest::retry::never()).build().unwrap();
        Self { simulator, clock, client }
    }

    async fn send(&self, method: &str, path: &str, token: Option<&str>) -> reqwest::Result<Response> {
        let url = format!("{}{path}", self.simulator.base_url());
        let request = self.client.request(method.parse().unwrap(), url);
        match token {
            Some(token) => request.bearer_auth(token).send().await,
            None => request.send().await,
        }
    }

    async fn get(&self, path: &str) -> Response {
        self.send("GET", path, Some("talq_simulator")).await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        body(self.get(path).await).await
    }
}

/// An agent's webhook `w` and a campaign's webhook `v`, each with 60 entries.
fn scenario() -> Scenario {
    let mut agents = Webhook::of_agent("a", "w");
    agents.backlog = 60;
    let mut campaigns = Webhook::of_campaign("c", "v");
    campaigns.backlog = 60;
    Scenario { webhooks: vec![agents, campaigns], ..Scenario::default() }
}

fn sample(name: &str) -> Value {
    let path = format!("{}/../../tests/fixtures/api-samples/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The body of the documented error at this place of the samples.
fn documented_error(place: usize) -> (StatusCode, Value) {
    let error = &sample("errors")[place];
    (StatusCode::from_u16(error["http_status"].as_u64().unwrap() as u16).unwrap(), error["body"].clone())
}

async fn body(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

async fn parts(response: Response) -> (StatusCode, Value) {
    (response.status(), body(response).await)
}

#[tokio::test]
async fn answers_have_the_shape_of_the_samples() {
    let api = Api::start(scenario()).await;
    let cases = [
        ("/api/v1/agents", "agents", "/data/0"),
        ("/api/v1/campaigns", "campaigns", "/data/0"),
        ("/api/v1/agents/a/webhooks", "agent-webhooks", "/data/webhooks/0"),
        (LOGS, "logs-agent", "/data/0"),
    ];
    for (path, name, first) in cases {
        let (answer, sample) = (api.json(path).await, sample(name));
        assert_eq!(keys(&answer), keys(&sample), "{path}");
        let (own, documented) = (answer.pointer(first).unwrap(), sample.pointer(first).unwrap());
        assert_eq!(keys(own), keys(documented), "{path}");
        for key in keys(own) {
            let same = std::mem::discriminant(&own[key]) == std::mem::discriminant(&documented[key]);
            assert!(same, "{path} {key}: {} is no {}", own[key], documented[key]);
        }
        for counts in ["meta", "pagination"] {
            let (own, documented) = (answer.get(counts), sample.get(counts));
            assert_eq!(own.map(keys), documented.map(keys), "{path}");
        }
    }
    let campaign = api.json("/api/v1/campaigns/c/webhooks/v/logs").await;
    assert_eq!(keys(&campaign["pagination"]), keys(&sample("logs-campaign")["pagination"]));
    assert!(campaign["data"][0].get("webhook_id").is_none());
    let webhooks = api.json("/api/v1/campaigns/c/webhooks").await;
    assert_eq!((&webhooks["data"][0]["id"], &webhooks["data"][0]["campaign_id"]), (&json!("v"), &json!("c")));
}

#[tokio::test]
async fn failed_entries_show_an_error_and_no_delivery() {
    let api = Api::start(scenario()).await;
    let failed = |http_status| EntrySpec {
        created_at: START,
        status: Status::Failed,
        http_status,
        error: Some("Internal Server Error".to_owned()),
        ..EntrySpec::default()
    };
    api.simulator.with_world(|world| world.insert("w", failed(Some(500)))).unwrap();
    api.simulator.with_world(|world| world.insert("w", failed(None))).unwrap();
    let page = api.json(LOGS).await;
    let documented = sample("logs-agent");
    assert!(keys(&documented["data"][1]).iter().all(|key| page["data"][1].get(key).is_some()));
    assert_eq!(page["data"][1].get("delivered_at"), None);
    assert_eq!(page["data"][0].get("http_status"), None);
    assert_eq!(page["data"][0]["created_at"], "2024-01-15T11:00:00Z");
}

#[tokio::test]
async fn lists_are_paged() {
    let api = Api::start(scenario()).await;
    let page = |query: &str| format!("{LOGS}{query}");
    for (query, entries, pagination) in [
        ("", 25, json!({"current_page": 1, "per_page": 25, "total": 60, "last_page": 3})),
        ("?page=3", 10, json!({"current_page": 3, "per_page": 25, "total": 60, "last_page": 3})),
        ("?per_page=100", 60, json!({"current_page": 1, "per_page": 100, "total": 60, "last_page": 1})),
        ("?per_page=50&page=9", 0, json!({"current_page": 9, "per_page": 50, "total": 60, "last_page": 2})),
    ] {
        let answer = api.json(&page(query)).await;
        assert_eq!(answer["data"].as_array().unwrap().len(), entries, "{query}");
        assert_eq!(answer["pagination"], pagination, "{query}");
    }
    for query in ["?per_page=0", "?per_page=101", "?per_page=many", "?page=0", "?page=-1"] {
        let (status, body) = parts(api.get(&page(query)).await).await;
        assert_eq!(status, 422, "{query}");
        assert!(body["errors"].is_object() && body["message"] == documented_error(5).1["message"], "{query}: {body}");
    }
    let agents = api.json("/api/v1/agents?per_page=1").await;
    assert_eq!(agents["meta"], json!({"current_page": 1, "per_page": 1, "total": 1, "last_page": 1}));
    assert_eq!(api.json("/api/v1/agents?search=nobody").await["meta"]["total"], 0);
    let clamped = Api::start(Scenario { max_per_page: Some(10), ..scenario() }).await;
    assert_eq!(clamped.json(&page("?per_page=100")).await["pagination"]["per_page"], 10);
}

#[tokio::test]
async fn lists_show_what_an_operator_does() {
    let api = Api::start(scenario()).await;
    let control =
        async |method: &str, path: &str| api.send(method, &format!("/_simulator/{path}"), None).await.unwrap().status();
    api.clock.advance(Duration::from_secs(60));
    for (method, path, status) in [
        ("POST", "campaigns/d?name=Autumn&status=completed", 200),
        ("POST", "campaigns/c?name=Spring", 200),
        ("POST", "webhooks/x?agent_id=b&name=New", 200),
        ("POST", "webhooks/w?enabled=false", 200),
        ("POST", "webhooks/unknown?enabled=false", 404),
        ("DELETE", "webhooks/v", 200),
        ("DELETE", "webhooks/v", 404),
        ("DELETE", "agents/nobody", 404),
        ("PUT", "agents/a", 405),
        ("POST", "others/a", 404),
        ("POST", "agents/", 404),
    ] {
        assert_eq!(control(method, path).await, status, "{method} {path}");
    }
    let campaigns = api.json("/api/v1/campaigns").await;
    let shown = |place: usize| ["id", "name", "status", "updated_at"].map(|key| campaigns["data"][place][key].clone());
    assert_eq!(shown(0), ["c", "Spring", "active", "2024-01-15T11:01:00Z"]);
    assert_eq!(shown(1), ["d", "Autumn", "completed", "2024-01-15T11:01:00Z"]);
    assert_eq!(api.json("/api/v1/campaigns?status=completed").await["pagination"]["total"], 1);
    assert_eq!(api.json("/api/v1/campaigns/c/webhooks").await["data"], json!([]));
    assert_eq!(api.json("/api/v1/agents/b/webhooks").await["data"]["webhooks"][0]["name"], "New");
    let changed = &api.json("/api/v1/agents/a/webhooks").await["data"]["webhooks"][0];
    let shown = ["enabled", "status", "updated_at"].map(|key| changed[key].clone());
    assert_eq!(shown, [json!(false), json!("disabled"), json!("2024-01-15T11:01:00.000000Z")]);
    assert_eq!(control("DELETE", "agents/a").await, 200);
    assert_eq!(api.get("/api/v1/agents/a/webhooks").await.status(), 404);
}

#[tokio::test]
async fn lists_have_twenty_owners_on_a_page() {
    let webhooks = (0..45).map(|id| Webhook::of_agent(&format!("a-{id:02}"), &format!("w-{id}"))).collect();
    let api = Api::start(Scenario { webhooks, rate_limit_per_minute: 3, ..Scenario::default() }).await;
    for (page, count) in [(1, 20), (3, 5)] {
        let answer = api.json(&format!("/api/v1/agents?page={page}")).await;
        assert_eq!(answer["data"].as_array().unwrap().len(), count);
        assert_eq!(answer["meta"], json!({"current_page": page, "per_page": 20, "total": 45, "last_page": 3}));
    }
    assert_eq!(api.send("GET", "/api/v1/agents", None).await.unwrap().status(), 401);
    api.get("/api/v1/campaigns").await;
    assert_eq!(api.get("/api/v1/agents").await.status(), 429, "the token's third request was the last");
}

#[tokio::test]
async fn errors_are_the_documented_ones() {
    let api = Api::start(scenario()).await;
    let path = |path: &'static str, place: usize| (path, documented_error(place));
    assert_eq!(parts(api.send("GET", LOGS, None).await.unwrap()).await, documented_error(0));
    assert_eq!(parts(api.send("GET", LOGS, Some("talq_other")).await.unwrap()).await, documented_error(1));
    for (path, expected) in [
        path("/api/v1/agents/nobody/webhooks", 2),
        path("/api/v1/agents/nobody/webhooks/w/logs", 2),
        path("/api/v1/agents/a/webhooks/nothing/logs", 3),
        path("/api/v1/agents/a/webhooks/v/logs", 3),
    ] {
        assert_eq!(parts(api.get(path).await).await, expected, "{path}");
    }
    assert_eq!(api.get("/api/v1/nothing").await.status(), 404);
    assert_eq!(api.get("/other").await.status(), 404);
    assert_eq!(api.send("DELETE", LOGS, Some("talq_simulator")).await.unwrap().status(), 405);
    api.simulator.set_tokens(vec!["talq_new".to_owned()]);
    assert_eq!(api.get(LOGS).await.status(), 401);
    assert_eq!(api.send("GET", LOGS, Some("talq_new")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn every_answer_tells_the_time_and_the_limit() {
    let api = Api::start(Scenario { rate_limit_per_minute: 2, ..scenario() }).await;
    let header =
        |response: &Response, name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let first = api.get(LOGS).await;
    assert_eq!(header(&first, "date").as_deref(), Some("Mon, 15 Jan 2024 11:00:00 GMT"));
    assert_eq!(header(&first, "x-ratelimit-limit").as_deref(), Some("2"));
    assert_eq!(header(&first, "x-ratelimit-remaining").as_deref(), Some("1"));
    assert_eq!(header(&first, "retry-after"), None);
    api.clock.advance(Duration::from_secs(20));
    assert_eq!(header(&api.get("/api/v1/nothing").await, "x-ratelimit-remaining").as_deref(), Some("0"));
    let refused = api.get(LOGS).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(header(&refused, "retry-after").as_deref(), Some("40"));
    assert_eq!(header(&refused, "x-ratelimit-reset").as_deref(), Some("1705316460"));
    assert_eq!(header(&refused, "x-ratelimit-remaining").as_deref(), Some("0"));
    api.clock.advance(Duration::from_secs(40));
    assert_eq!(api.get(LOGS).await.status(), 200);
}

#[tokio::test]
async fn failed_entries_can_be_retried_by_hand() {
    let api = Api::start(scenario()).await;
    let spec = |status| EntrySpec { created_at: START, status, ..EntrySpec::default() };
    let insert = |status| api.simulator.with_world(|world| world.insert("w", spec(status))).unwrap();
    let (failed, success, pending) = (insert(Status::Failed), insert(Status::Success), insert(Status::Pending));
    let retry = |id: &str| {
        let path = format!("{LOGS}/{id}/retry");
        let api = &api;
        async move { parts(api.send("POST", &path, Some("talq_simulator")).await.unwrap()).await }
    };
    assert_eq!(retry(&success).await, documented_error(4));
    assert_eq!(retry(&pending).await, documented_error(4));
    assert_eq!(retry("nothing").await.0, 404);
    let (status, body) = retry(&failed).await;
    assert_eq!((status, &body["data"]["original_log_id"]), (StatusCode::OK, &json!(failed)));
    let page = api.json(LOGS).await;
    let find = |id: &Value| page["data"].as_array().unwrap().iter().find(|entry| entry["id"] == *id).unwrap().clone();
    let (new, original) = (find(&body["data"]["log_id"]), find(&json!(failed)));
    assert_eq!((&new["attempt"], &original["attempt"]), (&json!(2), &json!(1)));
    assert_eq!(new["request_payload"], original["request_payload"]);
}

#[tokio::test]
async fn a_right_answer_may_lie_about_the_time() {
    let api = Api::start(scenario()).await;
    let day = Duration::from_secs(24 * 3600);
    for (fault, date) in [
        (Fault::DateAhead(day), "Tue, 16 Jan 2024 11:00:00 GMT"),
        (Fault::DateBehind(day), "Sun, 14 Jan 2024 11:00:00 GMT"),
        (Fault::NoDate, ""),
        (Fault::None, "Mon, 15 Jan 2024 11:00:00 GMT"),
    ] {
        api.simulator.push_fault(fault.clone());
        let response = api.get(LOGS).await;
        assert_eq!(
            (response.status(), response.headers()["date"].to_str().unwrap()),
            (StatusCode::OK, date),
            "{fault:?}"
        );
        assert_eq!(response.headers().get_all("date").iter().count(), 1, "{fault:?}");
        assert_eq!(body(response).await["success"], true, "{fault:?}");
    }
}

#[tokio::test]
async fn faults_that_are_answers_come_as_such() {
    let api = Api::start(scenario()).await;
    for (fault, status, kind) in [
        (Fault::Html(502), 502, "text/html"),
        (Fault::Status(401), 401, "application/json"),
        (Fault::Status(403), 403, "application/json"),
        (Fault::Status(404), 404, "application/json"),
        (Fault::Status(422), 422, "application/json"),
        (Fault::Status(500), 500, "application/json"),
        (Fault::RateLimited(None), 429, "application/json"),
        (Fault::Redirect(None), 302, "text/html"),
        (Fault::NotSuccess, 200, "application/json"),
        (Fault::None, 200, "application/json"),
    ] {
        api.simulator.push_fault(fault.clone());
        let response = api.get(LOGS).await;
        assert_eq!(response.status(), status, "{fault:?}");
        assert_eq!(response.headers()["content-type"], kind, "{fault:?}");
        assert!(response.headers().contains_key("x-ratelimit-remaining") && response.headers().contains_key("date"));
        assert!(!response.headers().contains_key("retry-after"), "{fault:?}");
        assert_eq!(response.headers().contains_key("location"), status == 302);
        if kind == "application/json" {
            let body = body(response).await;
            assert_eq!(body["success"] == true, fault == Fault::None, "{fault:?}");
        }
    }
    api.simulator.push_fault(Fault::RateLimited(Some(Duration::from_millis(1_500))));
    assert_eq!(api.get(LOGS).await.headers()["retry-after"], "2");
    api.simulator.push_fault(Fault::RateLimitedUntil(Duration::from_secs(2)));
    let dated = api.get(LOGS).await;
    assert_eq!(
        (dated.status(), &dated.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"Mon, 15 Jan 2024 11:00:02 GMT".parse().unwrap())
    );
    api.simulator.push_fault(Fault::RateLimitedInFractions(Duration::from_millis(3_500)));
    assert_eq!(api.get(LOGS).await.headers()["retry-after"], "3.500");
    api.simulator.push_fault(Fault::RateLimitedByReset(Duration::from_secs(3)));
    let unclear = api.get(LOGS).await;
    assert_eq!(unclear.headers()["retry-after"], "soon");
    assert_eq!(unclear.headers()["x-ratelimit-reset"], "1705316403");
    api.simulator.push_fault(Fault::Redirect(Some("http://127.0.0.1:1/".to_owned())));
    assert_eq!(api.get(LOGS).await.headers()["location"], "http://127.0.0.1:1/");
    api.simulator.push_fault(Fault::InvalidJson);
    let text = api.get(LOGS).await.text().await.unwrap();
    assert!(serde_json::from_str::<Value>(&text).unwrap_err().is_eof(), "{text}");
}

#[tokio::test]
async fn faults_of_the_connection_break_it() {
    let api = Api::start(scenario()).await;
    api.get(LOGS).await.bytes().await.unwrap();
    api.simulator.push_fault(Fault::Reset);
    let reset = api.send("GET", LOGS, Some("talq_simulator")).await.unwrap_err();
    let reasons = format!("{reset:?}");
    assert!(reasons.contains("ConnectionReset"), "{reasons}");
    api.simulator.push_fault(Fault::Truncated);
    let cut = api.get(LOGS).await;
    assert_eq!(cut.status(), 200);
    assert!(cut.headers().contains_key("content-length"));
    assert!(cut.bytes().await.is_err());
    api.simulator.push_fault(Fault::ResetInBody);
    let reset = api.get(LOGS).await;
    assert_eq!(reset.status(), 200);
    let reasons = format!("{:?}", reset.bytes().await.unwrap_err());
    assert!(reasons.contains("ConnectionReset"), "{reasons}");
    assert_eq!(api.get(LOGS).await.status(), 200, "the next connection is sound");
}

#[tokio::test]
async fn lengths_can_be_wrong() {
    let api = Api::start(scenario()).await;
    let whole = api.get(LOGS).await.bytes().await.unwrap();
    api.simulator.push_fault(Fault::LengthTooShort);
    assert_eq!(api.get(LOGS).await.bytes().await.unwrap(), whole[..whole.len() / 2]);
    api.simulator.push_fault(Fault::LengthTooLong);
    let mut long = api.get(LOGS).await;
    assert_eq!(long.content_length(), Some(2 * whole.len() as u64));
    let mut come = 0;
    while come < whole.len() {
        come += long.chunk().await.unwrap().unwrap().len();
    }
    assert!(tokio::time::timeout(Duration::from_millis(50), long.chunk()).await.is_err(), "the connection stays open");
    assert_eq!(api.get(LOGS).await.bytes().await.unwrap(), whole);
}

#[tokio::test]
async fn a_body_can_drip() {
    let api = Api::start(scenario()).await;
    api.simulator.push_fault(Fault::Drip(Duration::from_millis(1)));
    let mut dripping = api.get("/api/v1/agents").await;
    let mut chunks = Vec::new();
    while let Some(chunk) = dripping.chunk().await.unwrap() {
        chunks.push(chunk);
    }
    assert!(chunks.len() > 20, "{} chunks", chunks.len());
    assert_eq!(serde_json::from_slice::<Value>(&chunks.concat()).unwrap()["success"], true);
}

#[tokio::test]
async fn faults_can_be_replaced() {
    let api = Api::start(scenario()).await;
    api.simulator.push_fault(Fault::Reset);
    let random = vec![RandomFault { probability: 1.0, path: "/agents/".to_owned(), fault: Fault::Html(503) }];
    api.simulator.set_faults(&FaultPlan { random, ..FaultPlan::default() });
    assert_eq!(api.get(LOGS).await.status(), 503);
    assert_eq!(api.get("/api/v1/campaigns/c/webhooks/v/logs").await.status(), 200);
    api.simulator.set_faults(&FaultPlan::default());
    assert_eq!(api.get(LOGS).await.status(), 200);
}

#[tokio::test]
async fn an_answer_can_be_held_back() {
    let api = Api::start(scenario()).await;
    api.simulator.push_fault(Fault::Hold(Duration::from_secs(3600)));
    let url = format!("{}{LOGS}", api.simulator.base_url());
    let held = tokio::spawn(api.client.get(url).bearer_auth("talq_simulator").send());
    while api.simulator.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    api.simulator.push_fault(Fault::Hold(Duration::from_millis(20)));
    assert_eq!(api.json(LOGS).await["success"], true);
    assert!(!held.is_finished(), "whoever has asked before is still waiting");
}

#[tokio::test]
async fn faults_follow_the_worlds_clock() {
    let window = FaultWindow {
        from: Duration::from_secs(10),
        until: Duration::from_secs(20),
        probability: 1.0,
        path: String::new(),
        fault: Fault::Html(503),
    };
    let faults = FaultPlan { windows: vec![window], ..FaultPlan::default() };
    let api = Api::start(Scenario { faults, ..scenario() }).await;
    for (second, status) in [(0, 200), (10, 503), (19, 503), (20, 200)] {
        api.clock.set(START.plus(Duration::from_secs(second)));
        assert_eq!(api.get(LOGS).await.status(), status, "at {second} s");
    }
}

#[tokio::test]
async fn the_truth_is_what_the_api_shows() {
    let mut scenario = scenario();
    (scenario.webhooks[0].rate, scenario.webhooks[0].failures.probability) = (1.0, 0.5);
    let api = Api::start(scenario).await;
    api.clock.advance(Duration::from_secs(30));
    let freeze = api.send("POST", "/_simulator/freeze?settle=true", None).await.unwrap();
    assert_eq!(freeze.status(), 200);
    api.clock.advance(Duration::from_secs(30));
    let shown = api.json(&format!("{LOGS}?per_page=100")).await;
    let truth = body(api.send("GET", "/_simulator/truth", None).await.unwrap()).await;
    let webhook = &truth["webhooks"][0];
    assert_eq!(webhook["total"], shown["pagination"]["total"]);
    let entries = webhook["entries"].as_array().unwrap();
    assert!(entries.len() > 65);
    for entry in shown["data"].as_array().unwrap() {
        let known = entries.iter().find(|known| known["id"] == entry["id"]).unwrap();
        for key in ["created_at", "event", "attempt", "status"] {
            assert_eq!(known[key], entry[key]);
        }
        let http_status = entry.get("http_status").map_or("none".to_owned(), Value::to_string);
        assert_eq!(known["http_status"], http_status);
    }
    let in_process = serde_json::to_value(api.simulator.truth()).unwrap();
    assert_eq!(in_process, truth);
}

#[tokio::test]
async fn entries_can_be_added_by_request() {
    let api = Api::start(scenario()).await;
    api.clock.advance(Duration::from_secs(7));
    let add =
        async |query: &str| parts(api.send("POST", &format!("/_simulator/entries?{query}"), None).await.unwrap()).await;
    let (status, failed) = add("webhook_id=w&event=lead%2Flost&status=failed&http_status=418").await;
    assert_eq!(status, StatusCode::OK);
    let newest = &api.json(LOGS).await["data"][0];
    assert_eq!(newest["id"], failed["id"]);
    assert_eq!(newest["created_at"], START.plus(Duration::from_secs(7)).to_rfc3339());
    assert_eq!(
        (&newest["event"], &newest["status"], &newest["http_status"]),
        (&json!("lead/lost"), &json!("failed"), &json!(418))
    );
    assert_eq!(add("webhook_id=v&event=e&status=retrying").await.0, StatusCode::OK);
    let unanswered = &api.json("/api/v1/campaigns/c/webhooks/v/logs").await["data"][0];
    assert_eq!((&unanswered["status"], unanswered.get("http_status")), (&json!("retrying"), None));

    for (query, status, reason) in [
        ("webhook_id=x&event=e&status=failed", StatusCode::NOT_FOUND, "no webhook x"),
        ("webhook_id=w&event=e&status=lost", StatusCode::BAD_REQUEST, "unknown variant `lost`"),
        ("webhook_id=w&event=e", StatusCode::BAD_REQUEST, "missing field `status`"),
        ("webhook_id=w&event=e&status=failed&atempt=2", StatusCode::BAD_REQUEST, "unknown field `atempt`"),
    ] {
        let (refused, body) = add(query).await;
        assert!(refused == status && body["message"].as_str().unwrap().contains(reason), "{query}: {refused} {body}");
    }
    assert_eq!(api.json(LOGS).await["pagination"]["total"], 61);
}

#[tokio::test]
async fn requests_are_remembered() {
    let api = Api::start(scenario()).await;
    api.get(&format!("{LOGS}?page=2")).await;
    api.clock.advance(Duration::from_secs(61));
    api.get(LOGS).await;
    api.send("GET", LOGS, None).await.unwrap();
    let requests = api.simulator.requests();
    assert_eq!((requests.len(), requests[0].path.as_str()), (3, "/api/v1/agents/a/webhooks/w/logs?page=2"));
    assert_eq!(requests[1].at, START.plus(Duration::from_secs(61)));
    let counted = body(api.send("GET", "/_simulator/requests", None).await.unwrap()).await;
    assert_eq!(counted, json!({"count": 3, "largest_per_minute": 2}));
}

#[tokio::test]
async fn a_stopped_simulator_lets_go_of_held_answers_and_its_port() {
    let api = Api::start(scenario()).await;
    api.simulator.push_fault(Fault::Hold(Duration::from_secs(3600)));
    let Api { simulator, client, .. } = api;
    let (address, url) = (simulator.addr(), format!("{}{LOGS}", simulator.base_url()));
    let held = tokio::spawn(client.get(url).bearer_auth("talq_simulator").send());
    while simulator.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    simulator.shutdown().await;
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
    TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn a_dropped_simulator_stops() {
    let Api { simulator, .. } = Api::start(scenario()).await;
    let address = simulator.addr();
    assert!(TcpListener::bind(address).await.is_err());
    drop(simulator);
    while TcpListener::bind(address).await.is_err() {
        tokio::task::yield_now().await;
    }
}
