//! The documented answers value for value, and the table of values that are not as documented.

use super::*;

#[expect(clippy::disallowed_methods, reason = "a fixture")]
fn sample(name: &str) -> Vec<u8> {
    let path = format!("{}/../../tests/fixtures/api-samples/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn page(entries: &str) -> LogPage {
    parse_logs(format!(r#"{{"success":true,"data":[{entries}],"pagination":{{}}}}"#).as_bytes()).unwrap()
}

/// An entry with one field set to a JSON text, all else usable.
fn with(field: &str, json: &str) -> Attempt {
    usable(field, Some(json))
}

/// An entry that lacks one field.
fn without(field: &str) -> Attempt {
    usable(field, None)
}

fn usable(field: &str, json: Option<&str>) -> Attempt {
    let defaults = [
        ("id", r#""log-1""#),
        ("created_at", r#""2024-01-15T11:00:00Z""#),
        ("status", r#""success""#),
        ("event", r#""e""#),
    ];
    let mut fields: Vec<String> =
        defaults.iter().filter(|(name, _)| *name != field).map(|(name, json)| format!(r#""{name}":{json}"#)).collect();
    fields.extend(json.map(|json| format!(r#""{field}":{json}"#)));
    let page = page(&format!("{{{}}}", fields.join(",")));
    assert_eq!(page.invalid, [], "{field}: {json:?}");
    page.attempts.into_iter().next().unwrap()
}

#[test]
fn an_agents_log_is_read_value_for_value() {
    let page = parse_logs(&sample("logs-agent.json")).unwrap();
    assert_eq!(page.pagination, Pagination { per_page: Some(50), total: Some(247), last_page: Some(5) });
    assert_eq!(page.invalid, []);
    let [first, second] = &page.attempts[..] else { panic!("two entries") };
    assert_eq!(first.id, EntryId::new("log-uuid-1"));
    assert_eq!(&*first.event, "event_phone_call_ended");
    assert_eq!((first.attempt, first.status, first.http_status), (1, AttemptStatus::Success, HttpStatus::Code(200)));
    assert_eq!(first.duration_ns, Some(142_000_000));
    assert_eq!(first.delivered_at, Some(at("2024-01-15T11:00:01Z")));
    assert_eq!(first.created_at, at("2024-01-15T11:00:00Z"));
    assert_eq!((second.attempt, second.status, second.http_status), (3, AttemptStatus::Failed, HttpStatus::Code(500)));
    assert_eq!((second.duration_ns, second.delivered_at), (Some(8_021_000_000), None));
    assert_eq!(second.created_at, at("2024-01-15T10:55:00Z"));
}

#[test]
fn a_campaigns_log_is_read_value_for_value() {
    let page = parse_logs(&sample("logs-campaign.json")).unwrap();
    assert_eq!(page.pagination, Pagination { per_page: Some(25), total: Some(47), last_page: None });
    let [only] = &page.attempts[..] else { panic!("one entry") };
    assert_eq!((&*only.event, only.duration_ns), ("campaign.started", Some(142_000_000)));
}

#[test]
fn every_documented_error_gives_its_message() {
    #[derive(Deserialize)]
    struct Sample {
        body: Box<RawValue>,
    }
    let samples: Vec<Sample> = serde_json::from_slice(&sample("errors.json")).unwrap();
    let messages: Vec<_> = samples.iter().map(|s| error_message(s.body.get().as_bytes()).unwrap()).collect();
    assert_eq!(
        messages,
        [
            "Missing Bearer Token",
            "The provided API key is invalid",
            "Agent not found in this environment.",
            "Webhook not found.",
            "Log cannot be retried",
            "The given data was invalid.",
        ]
    );
}

#[test]
fn an_id_may_be_a_number_but_not_missing_empty_or_another_type() {
    for (json, expected) in [("17", "17"), ("-1.50", "-1.50"), ("\"17\"", "17"), ("\"\\u0061\"", "a"), ("\" \"", " ")] {
        assert_eq!(with("id", json).id, EntryId::new(expected), "{json}");
    }
    for id in [r#""id":null,"#, r#""id":"","#, r#""id":[],"#, r#""id":{},"#, r#""id":true,"#, r#""id":"\ud800","#, ""] {
        let page = page(&format!(r#"{{{id}"created_at":"2024-01-15T11:00:00Z"}}"#));
        assert_eq!(page.invalid.len(), 1, "{id}");
        assert!(page.invalid[0].key.starts_with("sha256:"), "{id}");
    }
}

#[test]
fn a_moment_is_any_rfc_3339_or_laravels_own_form() {
    for text in [
        "2024-01-15T11:00:00Z",
        "2024-01-15T11:00:00.000000Z",
        "2024-01-15T12:00:00+01:00",
        "2024-01-15T11:00:00+0000",
        "2024-01-15 11:00:00",
    ] {
        assert_eq!(with("created_at", &format!("\"{text}\"")).created_at, at("2024-01-15T11:00:00Z"), "{text}");
    }
    assert_eq!(with("created_at", "\"2024-01-15 11:00:00.25\"").created_at, at("2024-01-15T11:00:00.25Z"));
}

#[test]
fn a_fraction_of_a_second_may_have_any_number_of_digits() {
    for fraction in ["250001", "2500011", "250001987", "2500019876", "250001987654321", &"250001".repeat(9)] {
        for (before, after) in
            [("2024-01-15T12:00:00.", "+01:00"), ("2024-01-15T11:00:00.", "Z"), ("2024-01-15 11:00:00.", "")]
        {
            let found = with("created_at", &format!("\"{before}{fraction}{after}\"")).created_at;
            assert_eq!(found, at("2024-01-15T11:00:00.250001Z"), "{before}{fraction}{after}");
        }
    }
    let page = page(r#"{"id":"x","created_at":"2024-01-15T11:00:00.1234567890x"}"#);
    assert_eq!(page.invalid.len(), 1);
}

#[test]
fn a_byte_order_mark_before_an_answer_is_skipped() {
    let marked = |text: &str| [b"\xEF\xBB\xBF", text.as_bytes()].concat();
    let read = parse_logs(&marked(r#"{"data":[{"id":"x","created_at":"2024-01-15T11:00:00Z"}]}"#)).unwrap();
    assert_eq!((read.attempts.len(), read.invalid.len()), (1, 0));
    assert_eq!(error_message(&marked(r#"{"message":"Forbidden"}"#)).as_deref(), Some("Forbidden"));
}

#[test]
fn a_list_may_come_as_an_object_with_numbers_for_keys() {
    let answer = br#"{"data":{"1":{"id":"x","created_at":"2024-01-15T11:00:01Z"},"3":{"id":"y","created_at":"2024-01-15T11:00:00Z"}}}"#;
    let ids: Vec<_> = parse_logs(answer).unwrap().attempts.into_iter().map(|attempt| attempt.id).collect();
    assert_eq!(ids, [EntryId::new("x"), EntryId::new("y")]);
}

#[test]
fn what_is_no_moment_is_not_guessed() {
    for json in [
        "null",
        "\"\"",
        "1705316400",
        "\"1705316400\"",
        "\"yesterday\"",
        "\"2024-13-01T00:00:00Z\"",
        "\"2024-01-15\"",
        "\"20240115\"",
        "\"2024-01-15T11:00:00[America/New_York]\"",
        "\"\\ud800\"",
        "true",
        "[]",
        "{}",
    ] {
        let page = page(&format!(r#"{{"id":"x","created_at":{json}}}, {{"id":"y"}}"#));
        let keys: Vec<_> = page.invalid.iter().map(|invalid| &*invalid.key).collect();
        assert_eq!(keys, ["id:x", "id:y"], "{json}");
        assert_eq!(with("delivered_at", json).delivered_at, None, "{json}");
    }
    assert_eq!(without("delivered_at").delivered_at, None);
    assert_eq!(with("delivered_at", "\"2024-01-15 11:00:01\"").delivered_at, Some(at("2024-01-15T11:00:01Z")));
}

#[test]
fn a_status_outside_the_four_is_unknown() {
    for (json, expected) in [
        ("\"pending\"", AttemptStatus::Pending),
        ("\"retrying\"", AttemptStatus::Retrying),
        ("\"failed\"", AttemptStatus::Failed),
        ("\"s\\u0075ccess\"", AttemptStatus::Success),
        ("\"delivered\"", AttemptStatus::Unknown),
        ("\"SUCCESS\"", AttemptStatus::Unknown),
        ("[\"success\"]", AttemptStatus::Unknown),
        ("\"\"", AttemptStatus::Unknown),
        ("null", AttemptStatus::Unknown),
        ("1", AttemptStatus::Unknown),
        ("{}", AttemptStatus::Unknown),
    ] {
        assert_eq!(with("status", json).status, expected, "{json}");
    }
    assert_eq!(without("status").status, AttemptStatus::Unknown);
}

#[test]
fn an_http_status_is_read_leniently_and_bounded() {
    for (json, expected) in [
        ("null", HttpStatus::None),
        ("0", HttpStatus::None),
        ("\"0\"", HttpStatus::None),
        ("0.0", HttpStatus::None),
        ("200", HttpStatus::Code(200)),
        ("\"200\"", HttpStatus::Code(200)),
        ("200.0", HttpStatus::Code(200)),
        ("100", HttpStatus::Code(100)),
        ("999", HttpStatus::Code(999)),
        ("99", HttpStatus::Invalid),
        ("1000", HttpStatus::Invalid),
        ("200.5", HttpStatus::Invalid),
        ("-1", HttpStatus::Invalid),
        ("\"\"", HttpStatus::Invalid),
        ("\"ok\"", HttpStatus::Invalid),
        ("true", HttpStatus::Invalid),
        ("1e999", HttpStatus::Invalid),
        ("\"-nan\"", HttpStatus::Invalid),
        ("[200]", HttpStatus::Invalid),
        ("{}", HttpStatus::Invalid),
    ] {
        assert_eq!(with("http_status", json).http_status, expected, "{json}");
    }
    assert_eq!(without("http_status").http_status, HttpStatus::None);
}

#[test]
fn an_attempt_number_that_cannot_be_used_is_1() {
    for (json, expected) in [
        ("3", 3),
        ("\"2\"", 2),
        ("2.0", 2),
        ("255", 255),
        ("256", 1),
        ("0", 1),
        ("-2", 1),
        ("1.5", 1),
        ("null", 1),
        ("\"x\"", 1),
        ("\"256\"", 1),
        ("1e999", 1),
        ("true", 1),
        ("[2]", 1),
    ] {
        assert_eq!(with("attempt", json).attempt, expected, "{json}");
    }
    assert_eq!(without("attempt").attempt, 1);
}

#[test]
fn a_duration_that_cannot_be_used_is_none() {
    for (json, expected) in [
        ("142", Some(142_000_000)),
        ("\"142\"", Some(142_000_000)),
        ("0", Some(0)),
        ("0.25", Some(250_000)),
        ("86400000", Some(86_400_000_000_000)),
        ("86400001", None),
        ("-1", None),
        ("null", None),
        ("\"fast\"", None),
        ("1e999", None),
        ("\"inf\"", None),
        ("\"-nan\"", None),
        ("\"86400001\"", None),
        ("\"\"", None),
        ("true", None),
        ("[142]", None),
    ] {
        assert_eq!(with("duration_ms", json).duration_ns, expected, "{json}");
    }
    assert_eq!(without("duration_ms").duration_ns, None);
}

#[test]
fn an_event_that_cannot_be_used_is_none() {
    for json in ["null", "\"\"", "7", "true", "[]", "{}", "\"\\ud800\""] {
        assert_eq!(&*with("event", json).event, "none", "{json}");
    }
    assert_eq!(&*without("event").event, "none");
    assert_eq!(&*with("event", "\"a\\u0062\"").event, "ab");
}

#[test]
fn what_the_entry_says_of_the_webhook_and_its_own_texts_change_nothing() {
    let plain = without("webhook_id");
    for field in ["webhook_id", "error", "response_body", "response_headers"] {
        for json in ["null", "7", "\"another\"", "\"\\ud800\"", "[]", "{\"id\":\"x\",\"status\":\"failed\"}"] {
            assert_eq!(with(field, json), plain, "{field}: {json}");
        }
    }
}

#[test]
fn one_bad_entry_costs_only_itself() {
    let good = r#"{"id":"good","created_at":"2024-01-15T11:00:00Z","status":"success"}"#;
    let page = page(&format!(r#"7, null, "text", [], {{}}, {good}, {{"id":"x"}}"#));
    assert_eq!(page.attempts.len(), 1);
    assert_eq!(page.invalid.len(), 6);
}

#[test]
fn the_same_bad_entry_has_the_same_key_and_others_have_another() {
    let keys = |json: &str| page(json).invalid.into_iter().map(|entry| entry.key).collect::<Vec<_>>();
    assert_eq!(keys(r#"{"event":"a"}"#), keys(r#"{"event":"a"}"#));
    assert_ne!(keys(r#"{"event":"a"}"#), keys(r#"{"event":"b"}"#));
    // By its id where that can be read, whatever else has changed; no text can pass for another's digest.
    assert_eq!(keys(r#"{"id":"x"}"#), keys(r#"{"id":"x","created_at":7}"#));
    let digest = keys("7").remove(0);
    assert_ne!(keys(&format!(r#"{{"id":"{digest}"}}"#)), [digest]);
}

#[test]
fn the_names_of_events_are_kept_once() {
    let entry = |event: &str| format!(r#"{{"id":"{event}","created_at":"2024-01-15T11:00:00Z","event":"{event}"}}"#);
    let attempts = page(&["a", "b", "a"].map(entry).join(",")).attempts;
    assert!(Arc::ptr_eq(&attempts[0].event, &attempts[2].event));
    assert_eq!((&*attempts[0].event, &*attempts[1].event), ("a", "b"));
}

#[test]
fn repeated_keys_deep_payloads_and_broken_utf_8_are_survived() {
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let body = format!(
        r#"{{"data":[1],"data":[{{"id":"a","id":"b","created_at":"2024-01-15T11:00:00Z","request_payload":{deep}}}]}}"#
    );
    let page = parse_logs(body.as_bytes()).unwrap();
    assert_eq!(page.attempts[0].id, EntryId::new("b"));

    let mut body = br#"{"data":[{"id":"a","event":"x"#.to_vec();
    body.push(0xFF);
    body.extend_from_slice(br#"","created_at":"2024-01-15T11:00:00Z"}]}"#);
    assert_eq!(&*parse_logs(&body).unwrap().attempts[0].event, "x\u{fffd}");
}

#[test]
fn an_answer_that_is_no_page_says_why() {
    for (body, reason) in [
        ("", "the answer is not a JSON object"),
        ("<html>", "the answer is not a JSON object"),
        ("[]", "the answer is not a JSON object"),
        (r#"{"data":[{"id""#, "the answer is not a JSON object"),
        ("{}", "the answer has no data"),
        (r#"{"data":null}"#, "the answer has no data"),
        (r#"{"data":{}}"#, "the answer's data is not a list"),
        (r#"{"data":"x"}"#, "the answer's data is not a list"),
        (r#"{"success":false,"data":[]}"#, "the answer says success: false"),
    ] {
        let error = parse_logs(body.as_bytes()).unwrap_err();
        assert!(error.starts_with(reason), "{body}: {error}");
    }
}

#[test]
fn an_answer_is_never_quoted() {
    let error = parse_logs(br#""somebody's name and number""#).unwrap_err();
    assert_eq!(error, "the answer is not a JSON object");
}

#[test]
fn numbers_of_pages_that_cannot_be_are_left_out() {
    let read = |pagination: &str| {
        parse_logs(format!(r#"{{"data": [], "pagination": {pagination}}}"#).as_bytes()).unwrap().pagination
    };
    assert_eq!(read(r#"{"per_page": 0, "total": -5, "last_page": 0}"#), Pagination::default());
    let empty = Pagination { per_page: Some(25), total: Some(0), last_page: Some(1) };
    assert_eq!(read(r#"{"per_page": "25", "total": 0, "last_page": 1.0}"#), empty);
}
