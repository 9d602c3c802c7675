//! Every answer that the specification speaks of, and what becomes of the spans.

use reqwest::header::HeaderValue;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(784_111_777);

fn http(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Verdict {
    let header = |(name, value): &(&'static str, &str)| {
        (reqwest::header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    Verdict::of_http(StatusCode::from_u16(status).unwrap(), &headers.iter().map(header).collect(), body, NOW)
}

fn response(rejected_items: i64, error_message: &str) -> ExportResponse {
    let partial = PartialSuccess { rejected_items, error_message: error_message.to_owned() };
    ExportResponse { partial_success: Some(partial) }
}

fn accepted(rejected: u64, words: &str) -> Verdict {
    Verdict::Accepted { rejected, words: words.to_owned() }
}

fn later(reason: &str, after: Option<u64>) -> Verdict {
    Verdict::Later { reason: reason.to_owned(), after: after.map(Duration::from_secs) }
}

#[test]
fn over_http_four_answers_are_worth_another_try() {
    for status in [429, 502, 503, 504] {
        assert_eq!(http(status, &[], b""), later(&format!("status {status}"), None));
    }
    for status in [300, 301, 307, 400, 401, 403, 404, 405, 408, 409, 415, 422, 425, 431, 500, 501, 505, 507, 599] {
        assert_eq!(http(status, &[("retry-after", "5")], b""), Verdict::Refused(format!("status {status}")));
    }
    assert_eq!(http(413, &[], b""), Verdict::TooLarge { reason: "status 413".to_owned(), is_final: true });
    for (status, body) in [(200, &b""[..]), (200, b"{}"), (202, b"{\"partialSuccess\":{}}"), (204, b"")] {
        assert_eq!(http(status, &[], body), accepted(0, ""));
    }
}

#[test]
fn the_time_to_wait_is_read_in_every_form() {
    let date = ("date", "Sun, 06 Nov 1994 08:49:27 GMT");
    for (headers, expected) in [
        (&[("retry-after", "17")][..], Some(17)),
        (&[("retry-after", " 0 ")], None),
        (&[("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")], Some(60)),
        (&[("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT"), date], Some(70)),
        (&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")], None),
        (&[("retry-after", "soon")], None),
        (&[("retry-after", "-1")], None),
        (&[("retry-after", "1.5")], Some(2)),
        (&[("retry-after", "3, 17")], Some(17)),
        (&[("retry-after", "86400")], Some(3600)),
    ] {
        assert_eq!(http(503, headers, b""), later("status 503", expected), "{headers:?}");
    }
}

#[test]
fn a_partial_success_is_a_success_of_which_some_are_lost() {
    for (rejected, expected) in [(0, 0), (3, 3), (-1, 0)] {
        let answer = response(rejected, "");
        assert_eq!(http(200, &[], &answer.encode_to_vec()), accepted(expected, ""));
        assert_eq!(Verdict::of_success(answer), accepted(expected, ""));
    }
    assert_eq!(Verdict::of_success(response(1, " too old\u{1b}[31m\nsecond line")), accepted(1, "too old[31m"));
    assert_eq!(Verdict::of_success(ExportResponse::default()), accepted(0, ""));
}

fn details(type_url: &str, seconds: i64, nanos: i32) -> Vec<u8> {
    let info = RetryInfo { retry_delay: Some(RetryDelay { seconds, nanos }) };
    let other = Any { type_url: "type.googleapis.com/google.rpc.DebugInfo".to_owned(), value: vec![1] };
    let any = Any { type_url: type_url.to_owned(), value: info.encode_to_vec() };
    RpcStatus { message: "busy".to_owned(), details: vec![other, any] }.encode_to_vec()
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

#[test]
fn over_grpc_the_codes_of_the_specification_are_worth_another_try() {
    use Code::{
        Aborted, AlreadyExists, Cancelled, DataLoss, DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument,
        NotFound, OutOfRange, PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable, Unimplemented,
        Unknown,
    };
    let of = |code, details: &[u8]| Verdict::of_status(code, "", details);
    for code in [Cancelled, DeadlineExceeded, Aborted, Unavailable, DataLoss] {
        assert_eq!(of(code, b""), later(name(code), None));
        assert_eq!(of(code, &details(RETRY_INFO, 7, 0)), later(name(code), Some(7)));
    }
    let final_ones = [
        Unknown,
        InvalidArgument,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        FailedPrecondition,
        Unimplemented,
        Internal,
        Unauthenticated,
    ];
    for code in final_ones {
        assert_eq!(of(code, &details(RETRY_INFO, 7, 0)), Verdict::Refused(name(code).to_owned()));
    }
    let too_large = |reason: &str, is_final| Verdict::TooLarge { reason: reason.to_owned(), is_final };
    assert_eq!(of(ResourceExhausted, b""), too_large("RESOURCE_EXHAUSTED", true));
    assert_eq!(
        of(ResourceExhausted, &details("x/google.rpc.QuotaFailure", 7, 0)),
        too_large("RESOURCE_EXHAUSTED", true)
    );
    assert_eq!(of(ResourceExhausted, b"\xff\xff"), too_large("RESOURCE_EXHAUSTED", true));
    assert_eq!(of(ResourceExhausted, &details(RETRY_INFO, 7, 0)), later("RESOURCE_EXHAUSTED", Some(7)));
    assert_eq!(of(OutOfRange, b""), too_large("OUT_OF_RANGE", false));
}

#[test]
fn delays_that_make_no_sense_are_none_at_all() {
    let after = |seconds, nanos| match Verdict::of_status(Code::Unavailable, "", &details(RETRY_INFO, seconds, nanos)) {
        Verdict::Later { after, .. } => after,
        other => panic!("{other:?}"),
    };
    assert_eq!(after(1, 500_000_000), Some(Duration::from_millis(1500)));
    assert_eq!(after(-1, -5), Some(Duration::ZERO));
    assert_eq!(after(i64::MAX, i32::MAX), Some(Duration::new(i64::MAX as u64 + 2, 147_483_647)));
}

#[test]
fn what_a_receiver_says_is_shortened_and_never_repeats_a_secret() {
    let protobuf = RpcStatus { message: "no such tenant".to_owned(), details: Vec::new() }.encode_to_vec();
    let kind = |kind| ("content-type", kind);
    assert_eq!(
        http(404, &[kind("application/x-protobuf")], &protobuf),
        Verdict::Refused("status 404 (no such tenant)".to_owned())
    );
    assert_eq!(
        http(401, &[kind("text/plain; charset=utf-8")], b"\xffkey unknown\r\nmore"),
        Verdict::Refused("status 401 (\u{fffd}key unknown)".to_owned())
    );
    assert_eq!(http(401, &[kind("text/html")], b"<html>"), Verdict::Refused("status 401".to_owned()));
    let Verdict::Refused(long) = Verdict::of_status(Code::Internal, &"é".repeat(1000), b"") else { panic!() };
    assert_eq!(long.chars().count(), "INTERNAL ()".len() + MAX_WORDS);

    let hides =
        |verdict: Verdict| !format!("{:?}", verdict.without_secrets(|text| text.contains("s3cret"))).contains("s3cret");
    let told = || "key s3cret is wrong".to_owned();
    assert!(hides(Verdict::Refused(told())));
    assert!(hides(Verdict::Unreachable(told())));
    assert!(hides(Verdict::Later { reason: told(), after: None }));
    assert!(hides(Verdict::TooLarge { reason: told(), is_final: true }));
    assert!(hides(accepted(1, &told())));
    assert_eq!(accepted(1, "fine").without_secrets(|_| false), accepted(1, "fine"));
}

#[test]
fn a_receiver_that_cannot_decompress_is_told_from_others_by_its_words() {
    let refused = |reason: &str| Verdict::Refused(reason.to_owned()).is_of_compression();
    assert!(refused("status 415"));
    assert!(refused("status 400 (Failed to decode request body)"));
    assert!(refused("UNIMPLEMENTED (Content is compressed with `gzip` which isn't supported)"));
    assert!(!refused("status 400") && !refused("status 401 (unknown key)") && !refused("INVALID_ARGUMENT (bad span)"));
    assert!(!later("status 503 (gzip)", None).is_of_compression());
    assert_eq!(http(400, &[], b"no"), Verdict::Refused("status 400 (no)".to_owned()), "text without a type is text");
}
