//! The daemon's own traces: what they tell of polls and of other work, and that they cost and reveal nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use rustix::process::Signal;
use talkover_simulator::{Clock, EntrySpec, Fault, Simulator, Status};

use crate::harness::{Exporter, Workspace, quiet_scenario, refused, simulator, verify, wait_for};
use crate::traces::receiver::{Answer, Receiver};
use crate::traces::rig::PROTOCOLS;

const SPANS: &str = "talkover_exporter_telemetry_spans_total";
/// Polls that follow each other soon.
const BUSY: &str = "poll: {min_interval: 50ms, max_interval: 100ms}\n";
/// One poll, and then none for a long time.
const IDLE: &str = "poll: {min_interval: 5m, max_interval: 5m, lookback: 10m}\n";
/// Stands in what must not be found in a span.
const MARK: &str = "s3cret";

struct Scene {
    simulator: Simulator,
    workspace: Workspace,
    receiver: Receiver,
}

impl Scene {
    async fn new() -> Self {
        let simulator = simulator(quiet_scenario(), Clock::Real).await;
        Self { simulator, workspace: Workspace::new(), receiver: Receiver::start([]).await }
    }

    /// The configuration with its first webhook, these sections, and these keys of the section `telemetry`.
    fn configure(&self, sections: &str, telemetry: &str) -> PathBuf {
        let more = format!("{sections}telemetry: {{endpoint: '{}', {telemetry}}}\n", self.receiver.url());
        self.workspace.configure(&self.simulator.base_url(), &quiet_scenario().webhooks[..1], &more)
    }

    fn deliver(&self) {
        let inserted = self.simulator.with_world(|world| {
            let created_at = world.now();
            world.insert("w-1", EntrySpec { created_at, status: Status::Success, ..EntrySpec::default() })
        });
        inserted.unwrap();
    }

    /// The first trace whose root is what `is_wanted` says.
    async fn trace(&self, is_wanted: impl Fn(&Span) -> bool) -> Trace {
        wait_for("a trace", || async {
            let spans = self.receiver.spans();
            let root = spans.iter().find(|span| span.parent_span_id.is_empty() && is_wanted(span))?;
            Some(Trace::of(root, &spans))
        })
        .await
    }
}

/// A root, and all spans of its trace in order of their starts.
#[derive(Debug)]
struct Trace {
    root: Span,
    children: Vec<Span>,
}

impl Trace {
    fn of(root: &Span, spans: &[Span]) -> Self {
        let is_below = |span: &&Span| span.trace_id == root.trace_id && span.span_id != root.span_id;
        let mut children: Vec<Span> = spans.iter().filter(is_below).cloned().collect();
        children.sort_by_key(|span| span.start_time_unix_nano);
        for span in &children {
            assert_eq!(span.parent_span_id, root.span_id, "{span:#?}");
            assert!(span.start_time_unix_nano >= root.start_time_unix_nano, "{span:#?}");
            assert!(span.end_time_unix_nano <= root.end_time_unix_nano, "{span:#?}");
        }
        Self { root: root.clone(), children }
    }

    fn names(&self) -> Vec<&str> {
        self.children.iter().map(|span| &*span.name).collect()
    }

    /// The spans of this name.
    fn named(&self, name: &str) -> Vec<&Span> {
        self.children.iter().filter(|span| span.name == name).collect()
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<&str, String> {
    let text = |value: &AnyValue| match value.value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let pairs: BTreeMap<_, _> = pairs.iter().map(|pair| (&*pair.key, text(pair.value.as_ref().unwrap()))).collect();
    pairs
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    attributes(&span.attributes).get(key).cloned()
}

fn is_poll(span: &Span, kind: &str) -> bool {
    span.name == "poll" && attribute(span, "talkover.poll.kind").as_deref() == Some(kind)
}

fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
}

fn lasted(span: &Span) -> Duration {
    Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano)
}

fn base(scene: &Scene) -> String {
    scene.simulator.base_url().trim_end_matches('/').to_owned()
}

/// The request for a page of the log of `w-1`.
const LOGS: &str = "GET /api/v1/agents/{owner_id}/webhooks/{webhook_id}/logs";

#[tokio::test]
async fn a_poll_is_a_trace_of_its_request_its_decision_and_its_commit() {
    for protocol in PROTOCOLS {
        let scene = Scene::new().await;
        scene.deliver();
        let keys = format!("traces: true, protocol: {protocol}, headers: {{authorization: Bearer {MARK}}}");
        let exporter = Exporter::start(&scene.configure(IDLE, &keys)).await;
        let Trace { root, children } = scene.trace(|span| is_poll(span, "head")).await;

        let poll = attributes(&root.attributes);
        let expected = [
            ("talkover.environment", "test"),
            ("talkover.webhook.id", "w-1"),
            ("talkover.webhook.name", "webhook w-1"),
            ("talkover.poll.kind", "head"),
            ("talkover.poll.requests", "1"),
            ("talkover.poll.result", "success"),
            ("talkover.entries.new", "1"),
            ("talkover.entries.changed", "0"),
            ("talkover.entries.unchanged", "0"),
        ];
        assert_eq!(poll, expected.map(|(key, value)| (key, value.to_owned())).into());
        assert!(!is_error(&root));
        // The first answer decides where the history is cut, and that is committed before the page is.
        let names: Vec<&str> = children.iter().map(|span| &*span.name).collect();
        assert_eq!(names, [LOGS, "decide", "commit", "decide", "commit"]);

        let request = &children[0];
        assert_eq!(request.kind(), SpanKind::Client);
        let url = format!("{}/api/v1/agents/a-1/webhooks/w-1/logs?per_page=100&page=1", base(&scene));
        let told = attributes(&request.attributes);
        for (key, value) in [
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("url.full", &url),
            ("url.template", &LOGS[4..]),
            ("server.address", "127.0.0.1"),
            ("server.port", &scene.simulator.addr().port().to_string()),
        ] {
            assert_eq!(told.get(key).map(String::as_str), Some(value), "{key} of {told:#?}");
        }
        assert!(!told.contains_key("http.request.resend_count") && !told.contains_key("error.type"), "{told:#?}");
        assert!(told["http.response.body.size"].parse::<usize>().unwrap() > 100);
        assert_eq!(attribute(&children[3], "talkover.entries.new").as_deref(), Some("1"));
        assert_eq!(attribute(&children[4], "talkover.commit.rows").as_deref(), Some("1"));

        let seen = scene.receiver.seen();
        assert!(seen.iter().all(|seen| seen.headers["authorization"] == format!("Bearer {MARK}")));
        assert!(seen.iter().all(|seen| seen.headers["user-agent"].to_str().unwrap().starts_with("talkover-exporter/")));
        for resource in seen.iter().flat_map(|seen| &seen.request.resource_spans) {
            let resource = attributes(&resource.resource.as_ref().unwrap().attributes);
            assert_eq!(resource["service.name"], "talkover-exporter");
            assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
            assert_eq!(resource["service.instance.id"].len(), 36, "{resource:?}");
        }
        let text = format!("{:?}", scene.receiver.spans());
        assert!(!text.contains(MARK) && !text.contains("talq_"), "{text}");
        assert_eq!(exporter.terminate().await, Some(0));
    }
}

#[tokio::test]
async fn a_slow_poll_shows_what_it_waited_for() {
    let scene = Scene::new().await;
    scene.simulator.push_fault(Fault::RateLimited(Some(Duration::from_secs(1))));
    scene.simulator.push_fault(Fault::Html(502));
    scene.simulator.push_fault(Fault::Hold(Duration::from_millis(300)));
    let exporter = Exporter::start(&scene.configure(IDLE, "traces: true")).await;
    let trace = scene.trace(|span| is_poll(span, "head")).await;
    assert_eq!(attribute(&trace.root, "talkover.poll.result").as_deref(), Some("success"), "{trace:#?}");
    assert!(!is_error(&trace.root), "in the end it succeeded");

    let requests: Vec<_> = trace.named(LOGS);
    let told = |key| requests.iter().map(|span| attribute(span, key)).collect::<Vec<_>>();
    let texts = |texts: [Option<&str>; 3]| texts.map(|text| text.map(str::to_owned)).to_vec();
    assert_eq!(told("http.response.status_code"), texts([Some("429"), Some("502"), Some("200")]));
    assert_eq!(told("error.type"), texts([Some("429"), Some("502"), None]));
    assert_eq!(told("http.request.resend_count"), texts([None, Some("1"), Some("2")]));
    assert_eq!(told("talkover.api.retry_after"), texts([Some("1"), None, None]));
    assert_eq!(requests.iter().map(|span| is_error(span)).collect::<Vec<_>>(), [true, true, false]);
    let held = lasted(requests[2]);
    assert!(held >= Duration::from_millis(300), "the page was slow: {held:?}");

    let waits: Vec<_> = trace.named("wait");
    let reasons: Vec<_> = waits.iter().map(|span| attribute(span, "talkover.wait.reason").unwrap()).collect();
    assert_eq!(reasons, ["rate_limit", "backoff"]);
    assert!(lasted(waits[0]) >= Duration::from_secs(1), "as long as the API has asked for");
    let (explained, poll) = (trace.children.iter().map(lasted).sum::<Duration>(), lasted(&trace.root));
    assert!(explained * 10 >= poll * 7, "{explained:?} of {poll:?} are explained: {trace:#?}");
    assert_eq!(exporter.terminate().await, Some(0));
}

#[tokio::test]
async fn a_poll_waits_for_the_budget() {
    let scene = Scene::new().await;
    // Two pages for the first contact, and a request every three seconds.
    (0..6).for_each(|_| scene.deliver());
    let config = scene.configure("poll: {min_interval: 5m, max_interval: 5m, per_page: 5}\n", "traces: true");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("requests_per_minute: 6000", "requests_per_minute: 20\n    max_concurrent_requests: 1");
    std::fs::write(&config, text).unwrap();
    let exporter = Exporter::start(&config).await;
    let trace = scene.trace(|span| is_poll(span, "head")).await;
    assert!(trace.named(LOGS).len() >= 2, "{trace:#?}");
    let waits = trace.named("wait");
    let is_for_budget = |span: &&&Span| attribute(span, "talkover.wait.reason").as_deref() == Some("budget");
    let longest = waits.iter().filter(is_for_budget).map(|span| lasted(span)).max();
    assert!(longest.is_some_and(|wait| wait >= Duration::from_millis(900)), "{trace:#?}");
    assert_eq!(exporter.terminate().await, Some(0));
}

#[tokio::test]
async fn what_the_daemon_did_when_it_stopped_is_told_of() {
    let scene = Scene::new().await;
    scene.deliver();
    let exporter = Exporter::start(&scene.configure(IDLE, "traces: true")).await;
    scene.trace(|span| is_poll(span, "head")).await;
    assert_eq!(exporter.terminate().await, Some(0));
    // So is what was begun.
    scene.simulator.push_fault(Fault::Hold(Duration::from_secs(600)));
    let before = scene.simulator.requests().len();
    let exporter = Exporter::start(&scene.configure(IDLE, "traces: true")).await;
    wait_for("a request", || async { (scene.simulator.requests().len() > before).then_some(()) }).await;
    assert_eq!(exporter.terminate().await, Some(0));
    let is_stopped = |span: &Span| attribute(span, "talkover.poll.result").as_deref() == Some("stopped");
    let trace = scene.trace(is_stopped).await;
    assert_eq!(trace.names(), [LOGS]);
}

#[tokio::test]
async fn a_reload_turns_traces_on_and_off() {
    let scene = Scene::new().await;
    let exporter = Exporter::start(&scene.configure(BUSY, "traces: false")).await;
    let polls = |count: f64| {
        move |scrape: &crate::harness::Scrape| scrape.sum("talkover_exporter_polls_total", &["success"]) >= count
    };
    exporter.wait_for("some polls", polls(5.0)).await;
    assert_eq!(exporter.scrape().await.sum(SPANS, &[]), 0.0);
    assert!(scene.receiver.seen().is_empty());

    scene.configure(BUSY, "traces: true");
    exporter.signal(Signal::HUP);
    scene.trace(|span| is_poll(span, "head")).await;
    // A reload is told of too, with what it did.
    scene.configure(&format!("{BUSY}requests_per_minute: 7000\n"), "traces: true");
    exporter.signal(Signal::HUP);
    let reload = scene.trace(|span| span.name == "reload").await;
    assert_eq!(reload.names(), ["prepare", "exchange"]);

    scene.configure(BUSY, "traces: false");
    exporter.signal(Signal::HUP);
    let is_off =
        |log: &[String]| log.iter().any(|line| line.contains("stopped sending spans of the daemon's own work"));
    exporter.wait_for_log("the end of traces", is_off).await;
    let (spans, before) = (scene.receiver.spans().len(), exporter.scrape().await);
    let so_far = before.sum("talkover_exporter_polls_total", &["success"]);
    let after = exporter.wait_for("further polls", polls(so_far + 5.0)).await;
    assert_eq!(after.sum(SPANS, &[]), before.sum(SPANS, &[]));
    assert_eq!(scene.receiver.spans().len(), spans);
    assert_eq!(before.sum(SPANS, &["exported"]), spans as f64, "all that were made have arrived");
    assert_eq!(exporter.terminate().await, Some(0));
}

#[tokio::test]
async fn its_own_spans_make_no_spans_and_the_export_of_deliveries_does() {
    let scene = Scene::new().await;
    let exporter = Exporter::start(&scene.configure(BUSY, "traces: true")).await;
    wait_for("several batches", || async { (scene.receiver.seen().len() >= 4).then_some(()) }).await;
    let roots = |spans: &[Span]| {
        let roots = spans.iter().filter(|span| span.parent_span_id.is_empty());
        roots.map(|span| span.name.clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!(roots(&scene.receiver.spans()), ["poll".to_owned()].into());
    assert_eq!(exporter.terminate().await, Some(0));

    let deliveries = Receiver::start([Answer::Unavailable]).await;
    let traces = format!("{BUSY}traces: {{endpoint: '{}'}}\n", deliveries.url());
    let exporter = Exporter::start(&scene.configure(&traces, "traces: true")).await;
    scene.deliver();
    let failed = scene.trace(|span| span.name == "export" && is_error(span)).await;
    assert_eq!(attribute(&failed.root, "error.type").as_deref(), Some("later"));
    let sent = scene.trace(|span| span.name == "export" && !is_error(span)).await;
    assert_eq!(sent.names(), ["acknowledge"]);
    let told = attributes(&sent.root.attributes);
    assert_eq!((&*told["talkover.export.spans"], &*told["talkover.export.rejected"]), ("2", "0"));
    assert_eq!(told["server.address"], "127.0.0.1");
    assert_eq!(exporter.terminate().await, Some(0));
    assert!(deliveries.spans().iter().all(|span| span.name != "poll"), "each has its own receiver");
}

#[tokio::test]
async fn a_receiver_that_does_not_take_spans_costs_them_alone() {
    let scene = Scene::new().await;
    scene.receiver.always(Answer::Unauthorized);
    let keys = format!("traces: true, headers: {{authorization: Bearer {MARK}}}");
    let exporter = Exporter::start(&scene.configure(BUSY, &keys)).await;
    exporter.wait_for("spans that are lost", |scrape| scrape.sum(SPANS, &["failed"]) > 0.0).await;
    let is_told = |log: &[String]| log.iter().any(|line| line.contains("failed to send the daemon's own spans"));
    let log = exporter.wait_for_log("that spans are lost", is_told).await;
    assert!(log.iter().all(|line| !line.contains(MARK)), "{log:#?}");
    scene.receiver.always(Answer::Accept);
    let is_over = |log: &[String]| log.iter().any(|line| line.contains("accepts the daemon's own spans again"));
    exporter.wait_for_log("that they are sent again", is_over).await;

    // A receiver that hangs delays no end.
    let before = scene.receiver.seen().len();
    scene.receiver.always(Answer::Hang);
    scene.deliver();
    let polls = exporter.scrape().await.sum("talkover_exporter_polls_total", &["success"]);
    let goes_on =
        |scrape: &crate::harness::Scrape| scrape.sum("talkover_exporter_polls_total", &["success"]) > polls + 5.0;
    exporter.wait_for("polls that go on", goes_on).await;
    assert_eq!(exporter.terminate().await, Some(0));
    assert!(scene.receiver.seen().len() <= before + 1, "the last batch may have been on its way");
}

#[tokio::test]
async fn verify_tells_what_it_read() {
    let scene = Scene::new().await;
    scene.deliver();
    let config = scene.configure(IDLE, "traces: false");
    let exporter = Exporter::start(&config).await;
    exporter.wait_for("the first contact", |scrape| scrape.sum("talkover_up", &[]) == 1.0).await;
    assert_eq!(exporter.terminate().await, Some(0));
    scene.simulator.push_fault(Fault::Status(500));
    verify(&scene.configure(IDLE, "traces: true"), &[], &[]).await.assert_ok();
    let spans = scene.receiver.spans();
    let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {spans:#?}"));
    let (root, audit) = (find("verify"), find("audit"));
    assert!(root.parent_span_id.is_empty());
    assert_eq!(audit.parent_span_id, root.span_id);
    assert_eq!(attribute(audit, "talkover.webhook.id").as_deref(), Some("w-1"));
    let below: Vec<_> = spans.iter().filter(|span| span.parent_span_id == audit.span_id).collect();
    let resent: Vec<_> = below.iter().filter(|span| span.name == LOGS).collect();
    assert!(resent.iter().any(|span| is_error(span)), "{below:#?}");
    assert!(resent.iter().any(|span| attribute(span, "http.request.resend_count").as_deref() == Some("1")));
    let waits = below.iter().filter(|span| span.name == "wait");
    assert!(waits.map(|span| attribute(span, "talkover.wait.reason").unwrap()).any(|reason| reason == "backoff"));
}

#[tokio::test]
async fn without_a_receiver_it_does_not_start() {
    let scene = Scene::new().await;
    let config = scene.workspace.configure(
        &scene.simulator.base_url(),
        &quiet_scenario().webhooks[..1],
        "telemetry: {traces: true}\n",
    );
    let verdict = refused(&config, &[]).await;
    assert_eq!(verdict.code, Some(2));
    assert!(verdict.stderr.contains("telemetry.traces: needs telemetry.endpoint or traces.endpoint"), "{verdict:#?}");
    // Where variables turn it off, there is nothing to send.
    let off = ("OTEL_SDK_DISABLED", "true".to_owned());
    let exporter = Exporter::start_with(&config, &[off]).await;
    assert_eq!(exporter.terminate().await, Some(0));
}
