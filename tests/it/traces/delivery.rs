//! Every way in which a receiver can behave, over both protocols.

use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use talkover_exporter::config::TracesConfig;
use tokio::net::TcpListener;

use super::receiver::{Answer, Receiver};
use super::rig::{PROTOCOLS, Rig, assert_all, names, traces};
use crate::harness::wait_for;

/// Time enough for an answer, which nobody waits for where it comes.
const PATIENT: u32 = 20_000;

#[tokio::test]
async fn spans_arrive_once_and_in_order_and_are_waited_for_without_asking() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start([]).await;
        let mut rig = Rig::new(names(0, 1100));
        rig.start(traces(protocol, &receiver.url(), "headers: {x-key: k}", PATIENT));
        let status = rig.empty().await;
        assert_eq!((status.exported, status.rejected, status.dropped, status.oldest), (1100, 0, 0, None));
        let seen = receiver.seen();
        let sizes: Vec<usize> = seen.iter().map(|seen| seen.names.len()).collect();
        assert_eq!(sizes, [512, 512, 76]);
        assert!(seen.iter().flat_map(|seen| seen.names.clone()).eq(names(0, 1100)));
        rig.queue(names(1100, 3));
        rig.empty().await;
        assert_all(&receiver, names(0, 1103));
        assert!(receiver.taken().values().all(|times| *times == 1));
        let seen = receiver.seen();
        assert_eq!(seen.len(), 4, "nothing is asked where nothing waits");

        let resource = &seen[0].request.resource_spans[0];
        let attributes = resource.resource.as_ref().unwrap().attributes.iter();
        let attributes: Vec<(String, Value)> =
            attributes.map(|pair| (pair.key.clone(), pair.value.clone().unwrap().value.unwrap())).collect();
        let text = |key: &str, value: &str| (key.to_owned(), Value::StringValue(value.to_owned()));
        let version = env!("CARGO_PKG_VERSION");
        let expected = [
            text("service.name", "talkover-webhooks"),
            text("service.version", version),
            text("service.instance.id", "instance"),
        ];
        assert_eq!(attributes, expected);
        let scope = resource.scope_spans[0].scope.as_ref().unwrap();
        assert_eq!((&*scope.name, &*scope.version), ("talkover-exporter", version));
        let headers = &seen[0].headers;
        let shown = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(shown("x-key"), Some("k"));
        assert!(shown("user-agent").unwrap().starts_with("talkover-exporter/"), "{headers:?}");
        let encoding = if protocol == "grpc" { "grpc-encoding" } else { "content-encoding" };
        assert_eq!(shown(encoding), Some("gzip"));
    }
}

#[tokio::test]
async fn a_mebibyte_is_enough_for_one_request() {
    let receiver = Receiver::start([]).await;
    let long = |name: String| format!("{name}{}", "x".repeat(8_000));
    let mut rig = Rig::new(names(0, 200).map(long));
    rig.start(traces("grpc", &receiver.url(), "", PATIENT));
    rig.empty().await;
    assert_all(&receiver, names(0, 200).map(long));
    let sizes: Vec<usize> = receiver.seen().iter().map(|seen| seen.names.len()).collect();
    assert_eq!(sizes, [124, 76], "of spans with 8.4 kB");
}

/// What may be sent again is, until it arrives.
async fn survives(answer: Answer, timeout_ms: u32) {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start([answer.clone(), Answer::Accept, answer.clone()]).await;
        let mut rig = Rig::new(names(0, 700));
        rig.start(traces(protocol, &receiver.url(), "", timeout_ms));
        let status = rig.empty().await;
        assert_eq!((status.exported, status.rejected, status.dropped), (700, 0, 0), "{protocol}, {answer:?}");
        assert_all(&receiver, names(0, 700));
    }
}

#[tokio::test]
async fn an_unavailable_receiver_is_tried_again() {
    survives(Answer::Unavailable, PATIENT).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_none() {
    survives(Answer::BreakOff, PATIENT).await;
}

#[tokio::test]
async fn a_receiver_that_hangs_is_tried_again() {
    survives(Answer::Hang, 1_000).await;
}

#[tokio::test]
async fn a_receiver_that_names_a_time_is_left_alone_until_then() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start([Answer::Busy(3)]).await;
        let mut rig = Rig::new(names(0, 5));
        rig.start(traces(protocol, &receiver.url(), "", PATIENT));
        rig.empty().await;
        let seen = receiver.seen();
        assert_eq!(seen.len(), 2);
        // Without that it would be a second at most.
        assert!(seen[1].at - seen[0].at >= Duration::from_secs(3));
    }
}

#[tokio::test]
async fn a_receiver_that_is_not_there_yet_gets_all_of_them_later() {
    for protocol in PROTOCOLS {
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = door.local_addr().unwrap();
        let mut rig = Rig::new(names(0, 600));
        rig.start(traces(protocol, &format!("http://{address}"), "", PATIENT));
        // Shut before anybody is in.
        drop(door.accept().await.unwrap());
        drop(door);
        rig.queue(names(600, 1));
        let receiver = Receiver::start_at(address, []).await;
        let status = rig.empty().await;
        assert_eq!((status.exported, status.rejected), (601, 0));
        assert_all(&receiver, names(0, 601));
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_counted_and_does_not_block_the_rest() {
    for (protocol, answer) in PROTOCOLS.iter().zip([Answer::Invalid, Answer::Unauthorized]) {
        let receiver = Receiver::start([answer]).await;
        let mut rig = Rig::new(names(0, 700));
        rig.start(traces(protocol, &receiver.url(), "headers: {authorization: Bearer s3cret}", PATIENT));
        let status = rig.empty().await;
        assert_eq!((status.exported, status.rejected, status.dropped), (188, 512, 0));
        assert_all(&receiver, names(512, 188));
        assert_eq!(receiver.seen().len(), 2, "never tried again");
    }
}

#[tokio::test]
async fn a_partial_success_is_never_sent_again() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start([Answer::Partial(12)]).await;
        let mut rig = Rig::new(names(0, 700));
        rig.start(traces(protocol, &receiver.url(), "", PATIENT));
        let status = rig.empty().await;
        assert_eq!((status.exported, status.rejected, status.dropped), (688, 12, 0));
        assert!(receiver.taken().values().all(|times| *times == 1));
        assert_eq!(receiver.seen().len(), 2);
    }
}

#[tokio::test]
async fn what_is_too_large_is_sent_in_smaller_parts() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start([]).await;
        receiver.always(Answer::AtMost(100));
        let mut rig = Rig::new(names(0, 700));
        rig.start(traces(protocol, &receiver.url(), "", PATIENT));
        let status = rig.empty().await;
        assert_eq!((status.exported, status.rejected), (700, 0));
        assert!(receiver.taken().values().all(|times| *times == 1));
        assert_all(&receiver, names(0, 700));
    }
}

#[tokio::test]
async fn a_receiver_that_cannot_decompress_gets_them_as_they_are() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start([]).await;
        receiver.always(Answer::Plain);
        let mut rig = Rig::new(names(0, 700));
        rig.start(traces(protocol, &receiver.url(), "", PATIENT));
        let status = rig.empty().await;
        assert_eq!((status.exported, status.rejected), (700, 0));
        assert_eq!(receiver.seen().len(), 3, "it is asked once");

        let mut rig = Rig::new(names(0, 1));
        let told = TracesConfig { gzip: Some(true), ..traces(protocol, &receiver.url(), "", PATIENT) };
        rig.start(told);
        assert_eq!(rig.empty().await.rejected, 1, "where gzip is demanded it is not left out");
    }
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_at_all_costs_one_span_at_a_time() {
    let receiver = Receiver::start([]).await;
    receiver.always(Answer::AtMost(0));
    let mut rig = Rig::new(names(0, 4));
    rig.start(traces("http/protobuf", &receiver.url(), "", PATIENT));
    wait_for("a span that is given up", || async { (rig.status().rejected == 1).then_some(()) }).await;
    let sizes: Vec<usize> = receiver.seen().iter().map(|seen| seen.names.len()).collect();
    assert_eq!(sizes, [4, 2, 1]);
    receiver.always(Answer::Accept);
    let status = rig.empty().await;
    assert_eq!((status.exported, status.rejected), (3, 1));
}

#[tokio::test]
async fn while_a_receiver_is_down_the_oldest_make_room_and_are_counted() {
    let receiver = Receiver::start([]).await;
    receiver.always(Answer::Hang);
    let mut rig = Rig::new(names(0, 40));
    rig.store.run_blocking(|store| store.limit_spans(50)).unwrap();
    rig.start(traces("grpc", &receiver.url(), "", 1_000));
    rig.queue(names(40, 40));
    rig.queue(names(80, 20));
    let status = rig.status();
    assert_eq!((status.length, status.dropped), (50, 50));
    receiver.always(Answer::Accept);
    let status = rig.empty().await;
    // What was on its way when it was dropped may have arrived nevertheless.
    assert_eq!((status.exported, status.rejected, status.dropped), (50, 0, 50));
    assert!(names(50, 50).all(|name| receiver.taken().contains_key(&name)));
}

#[tokio::test]
async fn an_exporter_that_stops_lets_a_request_end_but_does_not_wait_for_ever() {
    let receiver = Receiver::start([Answer::Hang]).await;
    let mut rig = Rig::new(names(0, 3));
    rig.start(traces("http/protobuf", &receiver.url(), "", PATIENT));
    tokio::time::timeout(Duration::from_millis(PATIENT.into()) / 2, rig.stop()).await.expect("it waits for an answer");
    assert_eq!(rig.status().length, 3, "nothing is lost");
    rig.start(traces("grpc", &receiver.url(), "", PATIENT));
    rig.empty().await;
    rig.stop().await;
    assert_all(&receiver, names(0, 3));
}
