//! What the daemon's own traces cost, on and off.
//!
//! `cargo bench --bench telemetry -- off 100000` goes through the places of so many polls of one page where spans begin and end:
//! a poll with its request, its decision and its commit. `none` does the same without these places; `on` makes spans and
//! drops them. Under `valgrind --tool=callgrind` the difference of the instructions, divided by the polls, is what a poll
//! pays; the process itself prints processor time, as the wall clock of a shared machine says little.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement that meets what it does not expect has to fail"
)]

use std::hint::black_box;

use reqwest::Url;
use reqwest::header::HeaderMap;
use talkover_core::delivery::{OwnerType, Target};
use talkover_core::ledger::decide::Tally;
use talkover_exporter::config::{LogConfig, LogFormat};
use talkover_exporter::logging;
use talkover_exporter::telemetry::poll::{PollKind, PollTraces};
use talkover_exporter::telemetry::switch::{Switch, turn};
use talkover_exporter::telemetry::{request, work};

fn target() -> Target {
    Target {
        environment: "test".into(),
        webhook_id: "w".into(),
        owner_type: OwnerType::Agent,
        owner_id: "a".into(),
        webhook_name: "w".into(),
    }
}

/// The places of a poll of one page, in the order in which the daemon comes to them.
fn poll(traces: &mut PollTraces, target: &Target, url: &Url, headers: &HeaderMap) {
    traces.begin(target, PollKind::Head);
    let span = traces.request(PollKind::Head);
    span.in_scope(|| {
        let span = request::current();
        request::describe(&span, url, || "/api/v1/agents/{owner_id}/webhooks/{webhook_id}/logs".to_owned());
        request::answered(&span, 200, headers);
        request::received(&span, 1000);
    });
    drop(span);
    let deciding = work::decide(&traces.active());
    work::decided(&deciding, &Tally::default());
    drop(deciding);
    let committing = work::commit(&traces.active());
    work::committing(&committing, 1, 0);
    drop(committing);
    traces.complete(PollKind::Head, &Tally::default());
}

/// The nanoseconds that this thread has run. From procfs, because rustix reads clocks in a way that valgrind does not know.
fn processor_time() -> u64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    times.split(' ').next().unwrap().parse().unwrap()
}

fn main() {
    // `cargo bench` adds an option of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [mode, polls] = arguments.as_slice() else { return println!("usage: none|off|on POLLS") };
    let polls: u32 = polls.parse().unwrap();
    logging::init(&LogConfig { level: "info".to_owned(), format: LogFormat::Text }).unwrap();
    if mode == "on" {
        turn(Switch::On);
    }
    let (target, url) = (target(), Url::parse("http://127.0.0.1/api/v1/agents/a/webhooks/w/logs?page=1").unwrap());
    let (mut traces, headers) = (PollTraces::default(), HeaderMap::new());
    let began = processor_time();
    for _ in 0..polls {
        if mode != "none" {
            poll(black_box(&mut traces), &target, &url, &headers);
        }
        black_box(&mut traces);
    }
    let nanos = processor_time() - began;
    println!("{mode}: {} ns of processor time a poll, over {polls} polls", nanos / u64::from(polls.max(1)));
}
