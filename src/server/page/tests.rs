//! What the status page says, and that it says it to anybody: with any number of webhooks, and under any name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Query, overview, webhook};
use crate::server::health::Readiness;
use crate::server::status::{Facts, StatusReport};
use crate::server_clock::ServerClocks;
use crate::sinks::metrics::board::{Board, EnvironmentTrouble, TargetView};
use crate::sinks::metrics::exposure::Exposure;
use crate::store::durable::DurableLedger;
use crate::store::problems::{Detached, StateProblems};
use talkover_core::delivery::{Attempt, AttemptStatus, HttpStatus, OwnerType, Target, Timestamp};
use talkover_core::ledger::decide::{Batch, Coverage, decide};
use talkover_core::ledger::state::Ledger;
use talkover_core::reading::error::PollResult;
use talkover_core::server_time::ServerTime;
use talkover_core::testing::{entry, policy};

/// A name that is markup wherever it is not escaped.
const HOSTILE: &str = "\"><script>alert('1')</script><b>&amp;${x}\u{202e}";

fn now() -> Timestamp {
    crate::local_clock::now().timestamp()
}

fn target(environment: &str, webhook_id: &str, name: &str) -> Target {
    Target {
        environment: environment.into(),
        webhook_id: webhook_id.into(),
        owner_type: OwnerType::Agent,
        owner_id: "a-1".into(),
        webhook_name: name.into(),
    }
}

/// A memory that has read deliveries of the last minutes: of each, whether it arrived, latest first.
fn ledger(arrived: &[bool], error: &str) -> Ledger {
    let status = |arrived: &bool| if *arrived { AttemptStatus::Success } else { AttemptStatus::Failed };
    ledger_of(&arrived.iter().map(status).collect::<Vec<_>>(), error)
}

/// The same of attempts with these statuses.
fn ledger_of(statuses: &[AttemptStatus], error: &str) -> Ledger {
    let mut ledger = Ledger::default();
    let attempts = (0..).zip(statuses).map(|(ago, status)| {
        let arrived = *status == AttemptStatus::Success;
        Attempt {
            created_at: now().minus(Duration::from_secs(60 + ago)),
            http_status: HttpStatus::Code(if arrived { 200 } else { 503 }),
            error: (!arrived).then(|| error.into()),
            ..entry(&format!("id-{ago}"), 0, *status)
        }
    });
    let attempts: Vec<Attempt> = attempts.collect();
    for (coverage, attempts) in [(Coverage::FirstResponse, Vec::new()), (Coverage::FirstContact, attempts)] {
        let batch = Batch { coverage, attempts, now: ServerTime::new(now()), ..Batch::default() };
        ledger.apply(decide(&ledger, &batch, &policy()).changes);
    }
    ledger
}

fn view(target: Target, ledger: Ledger) -> TargetView {
    let ledger = DurableLedger::assumed(ledger);
    let mut view = TargetView::new(target, &ledger, Exposure::default(), None, Duration::from_secs(15));
    view.succeed(now());
    view
}

/// A board with an environment that is well: one webhook for each list of deliveries.
fn board(webhooks: &[(&str, &[bool])]) -> Board {
    let board = Board::default();
    board.add_environment("production".into(), 30);
    board.set_config(|config| config.is_good = true);
    for (number, (name, arrived)) in webhooks.iter().enumerate() {
        board.add_target(view(target("production", &format!("w-{number}"), name), ledger(arrived, "HTTP 503")));
    }
    board
}

fn status(board: &Board) -> StatusReport {
    status_with(board, &StateProblems::default())
}

fn status_with(board: &Board, problems: &StateProblems) -> StatusReport {
    let readiness = Readiness::default();
    readiness.set_ready();
    StatusReport::of(&Facts {
        views: &board.snapshot(),
        readiness: &readiness,
        clocks: &ServerClocks::default(),
        state: problems,
        metrics_path: &"/metrics".into(),
    })
}

fn page(board: &Board, query: &str) -> String {
    overview(&status(board), &Query::parse(query))
}

/// Where a text stands on a page.
#[track_caller]
fn place(page: &str, text: &str) -> usize {
    page.find(text).unwrap_or_else(|| panic!("{text} is not in {page}"))
}

#[test]
fn the_sentence_on_top_says_whether_all_is_well() {
    let well = page(&board(&[("a", &[true]), ("b", &[true])]), "");
    place(&well, "All is well: the logs of 2 webhooks are being read, and their deliveries arrive.");
    let idle = page(&board(&[("a", &[])]), "");
    place(&idle, "All is well: the log of 1 webhook is being read, and no delivery has ended within the last hour.");
    let failing = page(&board(&[("a", &[true]), ("b", &[false, false, false])]), "");
    place(&failing, "1 of 2 webhooks is losing deliveries.");
    place(&failing, "<title>1 problem – talkover-exporter</title>");
    place(&page(&board(&[]), ""), "No webhooks: discovery has found none");
}

#[test]
fn what_is_worst_comes_first() {
    let none_arrive = vec![false; 9];
    let some_arrive: Vec<bool> = (0..100).map(|number| number % 3 > 0).collect();
    let well = vec![true; 9];
    let board = board(&[("idle", &[]), ("well", &well), ("bad", &some_arrive), ("worst", &none_arrive)]);
    let page = page(&board, "");
    let order = ["worst", "bad", "well", "idle"].map(|name| place(&page, &format!(">{name}</a>")));
    assert!(order.is_sorted(), "{order:?}");
    place(&page, "9 lost in a row");
    place(&page, "<b>503</b>");
}

#[test]
fn what_concerns_an_environment_is_told_once() {
    let names: Vec<String> = (0..30).map(|number| format!("webhook {number}")).collect();
    let webhooks: Vec<(&str, &[bool])> = names.iter().map(|name| (&**name, &[true][..])).collect();
    let board = board(&webhooks);
    let error = "failed to connect: connection refused";
    let views = board.snapshot();
    for view in views.listed() {
        board.update(&view.target, |view, _| view.fail(error, now()));
    }
    board.update_environment(&"production".into(), |view| {
        view.trouble = Some(EnvironmentTrouble {
            error: error.into(),
            result: PollResult::Connection,
            since: now(),
            next_attempt: Instant::now().checked_add(Duration::from_secs(30)),
        });
    });
    let page = page(&board, "");
    assert_eq!(page.matches(error).count(), 1, "{page}");
    place(&page, "Requests to the API of production are failing, since");
    place(&page, "Next attempt: in ");
    place(&page, "Check from this machine");
}

#[test]
fn what_is_wrong_with_the_state_is_told_on_top() {
    let problems = StateProblems::default();
    let board = board(&[("a", &[true])]);
    assert_eq!(status_with(&board, &problems).state.problems.len(), 0);
    problems.set_new("/data/state.db.seen was left by another one");
    problems.set_gap("3 commits behind what was last shown");
    let detached = Detached { what: "/data/state.db was deleted".to_owned(), remedy: "save <it>".to_owned() };
    problems.set_detached(&detached);
    let told = || serde_json::to_value(&status_with(&board, &problems).state.problems).unwrap();
    let kinds = || told().as_array().unwrap().iter().map(|one| one["problem"].clone()).collect::<Vec<_>>();
    assert_eq!(kinds(), ["detached", "new"], "all logs have been read again");
    let target = board.snapshot().listed().next().unwrap().target.clone();
    board.update(&target, |view, _| view.is_behind = true);
    assert_eq!(kinds(), ["detached", "behind", "new"]);
    assert!(told()[1]["what"].as_str().unwrap().contains("3 commits behind what was last shown; the log of 1 webhook"));

    let page = overview(&status_with(&board, &problems), &Query::parse(""));
    place(&page, "<title>3 problems – talkover-exporter</title>");
    place(&page, "/data/state.db was deleted");
    place(&page, "Save &lt;it&gt;.");
    place(&page, "/data/state.db.seen was left by another one");
    problems.set_attached();
    assert_eq!(kinds(), ["behind", "new"]);
}

#[test]
fn webhooks_that_are_not_read_are_no_good_news() {
    let board = board(&[("a", &[true])]);
    board.update_environment(&"production".into(), |view| view.webhooks_skipped = 7);
    let page = page(&board, "");
    place(&page, "7 webhooks of production are not read.");
    place(&page, "discovery.max_webhooks");
    assert_eq!(status(&board).environments[0].webhooks_skipped, 7);
}

#[test]
fn a_list_is_filtered_sorted_and_leafed_through_by_links() {
    let names: Vec<String> = (0..120).map(|number| format!("webhook {number:03}")).collect();
    let webhooks: Vec<(&str, &[bool])> = names.iter().map(|name| (&**name, &[true][..])).collect();
    let board = board(&webhooks);
    let shown = |query: &str| {
        let page = page(&board, query);
        let names = names.iter().filter(|name| page.contains(&format!(">{name}</a>")));
        names.map(|name| name["webhook ".len()..].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((shown("").len(), shown("page=3").len(), shown("page=9")), (50, 20, shown("page=3")));
    assert_eq!(shown("q=OOK+01"), (10..20).map(|number| format!("0{number}")).collect::<Vec<_>>());
    assert_eq!(
        shown("q=w-7"),
        std::iter::once(7).chain(70..80).map(|number| format!("{number:03}")).collect::<Vec<_>>()
    );
    assert_eq!(shown("state=failing"), [""; 0]);
    place(&page(&board, "state=failing"), "No webhook matches.");
    place(&page(&board, "sort=name&page=2"), "href=\"?sort=name&amp;page=3\"");
    place(&page(&board, "q=%3Cb%3E"), "value=\"&lt;b&gt;\"");
}

#[test]
fn a_thousand_webhooks_fit_on_a_page() {
    let arrived: Vec<bool> = (0..40).map(|number| number % 4 > 0).collect();
    let template = ledger(&arrived, &"an error of the longest kind ".repeat(9));
    let board = Board::default();
    board.add_environment("production".into(), 30);
    for number in 0..1_000 {
        let name = format!("webhook number {number} with a rather long name");
        let id = format!("9fcafbf2-4a30-4f0e-9a55-{number:012}");
        board.add_target(view(target("production", &id, &name), template.clone()));
    }
    let page = page(&board, "");
    assert!(page.len() < 300 * 1024, "{} bytes", page.len());
    place(&page, "1–50 of 1,000");
}

#[test]
fn no_name_becomes_markup() {
    let board = Board::default();
    board.add_environment(HOSTILE.into(), 30);
    board.add_target(view(target(HOSTILE, HOSTILE, HOSTILE), ledger(&[false, false, false], HOSTILE)));
    board.update(&target(HOSTILE, HOSTILE, HOSTILE), |view, environment| {
        view.fail(HOSTILE, now());
        environment.trouble = Some(EnvironmentTrouble {
            error: HOSTILE.into(),
            result: PollResult::HttpError,
            since: now(),
            next_attempt: None,
        });
    });
    let status = status(&board);
    let pages = [
        overview(&status, &Query::parse("")),
        overview(&status, &Query { text: HOSTILE.to_owned(), ..Query::parse("") }),
        webhook(&status, HOSTILE, HOSTILE).unwrap(),
    ];
    for page in pages {
        assert!(page.contains("&lt;script&gt;"), "{page}");
        assert!(!page.contains("<script>") && !page.contains("<b>&"), "{page}");
        // What a policy without inline styles and scripts would drop.
        for inline in [" style=", "<style", " onclick", "javascript:"] {
            assert!(!page.contains(inline), "{inline}: {page}");
        }
    }
}

#[test]
fn the_page_of_a_webhook_has_its_losses_with_links() {
    let board = board(&[("orders", &[false, true, false])]);
    board.set_display(crate::sinks::metrics::board::Display {
        links: crate::sinks::metrics::board::Links {
            trace_url: Some("https://traces.example.com/?q={trace_id}&x=\"".into()),
            grafana_url: Some(Arc::from("https://grafana.example.com")),
        },
        ..Default::default()
    });
    let status = status(&board);
    let page = webhook(&status, "production", "w-0").unwrap();
    place(
        &page,
        "href=\"https://grafana.example.com/d/talkover-webhook?var-environment=production&amp;var-webhook=w-0\"",
    );
    let trace = &status.webhooks[0].deliveries.last_lost.as_ref().unwrap().trace_id;
    place(&page, &format!("href=\"https://traces.example.com/?q={trace}&amp;x=&quot;\""));
    assert!(place(&page, "<code>id-0</code>") < place(&page, "<code>id-2</code>"), "latest first");
    assert_eq!(webhook(&status, "production", "other"), None);
    assert_eq!(webhook(&status, "staging", "w-0"), None);
}

#[test]
fn an_unknown_status_is_neither_a_success_nor_a_failure_in_the_chart() {
    let page_with = |statuses: &[AttemptStatus]| {
        let board = board(&[]);
        board.add_target(view(target("production", "w-0", "orders"), ledger_of(statuses, "")));
        webhook(&status(&board), "production", "w-0").unwrap()
    };
    let unknown_bar = "<path class=\"unknown\"";
    let mixed = page_with(&[AttemptStatus::Success, AttemptStatus::Unknown, AttemptStatus::Unknown]);
    place(&mixed, "Attempts of the last 24 hours: 1 succeeded, 0 failed, 2 with an unknown status; at most 3 in half");
    place(&mixed, unknown_bar);
    assert!(!mixed.contains("<path class=\"bad\""), "{mixed}");
    assert!(place(&mixed, "<span class=\"swatch unknown\">") < place(&mixed, " unknown status</p>"));
    let only_unknown = page_with(&[AttemptStatus::Unknown]);
    place(&only_unknown, unknown_bar);
    assert!(!only_unknown.contains("<path class=\"good\""), "{only_unknown}");
    assert!(!page_with(&[AttemptStatus::Success, AttemptStatus::Failed]).contains(unknown_bar));
}

#[test]
fn every_colour_has_a_light_and_a_dark_value() {
    let css = include_str!("status.css");
    let (light, dark) = css.split_once("prefers-color-scheme: dark").unwrap();
    let dark = dark.split_once("\n}").unwrap().0;
    let defined = |text: &str| {
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("--")?.split_once(':'));
        names.map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>()
    };
    let used: BTreeSet<String> =
        css.split("var(--").skip(1).map(|rest| rest.split_once(')').unwrap().0.to_owned()).collect();
    assert_eq!((defined(light), defined(dark)), (used.clone(), used));
}

/// The states of deliveries, by how many arrived and how many were lost, in that order of time.
#[test]
fn deliveries_fail_when_too_many_are_lost() {
    let state = |arrived: &[bool]| status(&board(&[("w", arrived)])).webhooks[0].deliveries.state;
    let states: BTreeMap<&str, String> = [
        ("none", &[][..]),
        ("one lost", &[false]),
        ("two lost", &[false, false]),
        ("two of three lost, the last arrived", &[true, false, false]),
    ]
    .map(|(name, arrived)| (name, format!("{:?}", state(arrived))))
    .into();
    let expected = [
        ("none", "Idle"),
        ("one lost", "Ok"),
        ("two lost", "Failing"),
        ("two of three lost, the last arrived", "Failing"),
    ];
    assert_eq!(states, expected.map(|(name, state)| (name, state.to_owned())).into());
    let with_two_lost_of = |count: usize| (0..count).map(|number| number != 5 && number != 9).collect::<Vec<_>>();
    assert_eq!(format!("{:?}", state(&with_two_lost_of(200))), "Ok", "1 % is not more than 1 %");
    assert_eq!(format!("{:?}", state(&with_two_lost_of(199))), "Failing");
}

#[test]
fn what_was_not_read_lately_is_not_well() {
    // As a start shows it before the first poll: the log could not be read when the daemon stopped.
    let board = Board::default();
    board.add_environment("production".into(), 30);
    board.set_config(|config| config.is_good = true);
    let days_ago = now().minus(Duration::from_secs(3 * 24 * 3600));
    let ledger = DurableLedger::assumed(ledger(&[true], ""));
    let view = |id: &str| {
        let target = target("production", id, id);
        TargetView::new(target, &ledger, Exposure::default(), Some(days_ago), Duration::from_secs(15))
    };
    board.add_target(TargetView { up_since: Some(days_ago), ..view("failed") });
    board.add_target(view("stopped"));
    let status = status(&board);
    let of = |id: &str| {
        let webhook = status.webhooks.iter().find(|webhook| webhook.webhook_id == id).unwrap();
        serde_json::to_value(webhook).unwrap()
    };
    assert_eq!(of("failed")["reading"]["state"], "failing");
    assert!(of("failed")["reading"]["since"].is_string());
    assert_eq!(of("stopped")["reading"]["state"], "ok");
    for id in ["failed", "stopped"] {
        assert_eq!(of(id)["deliveries"]["state"], "unknown", "{id}");
    }
    assert!(!page(&board, "").contains("All is well"));
}
