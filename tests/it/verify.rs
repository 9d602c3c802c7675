//! The auditor: reports nothing about a sound state, whatever happens meanwhile, and finds every kind of damage.

use std::path::{Path, PathBuf};
use std::time::Duration;

use talkover_simulator::{
    Clock, EntrySpec, Fault, FaultPlan, PageFaults, RandomFault, Scenario, Simulator, Status, largest_per_minute,
};

use crate::harness::{self, Exporter, Scrape, Verdict, Workspace, quiet_scenario, simulator};

const ATTEMPTS: &str = "talkover_webhook_delivery_attempts_total";
const POLL: &str = "poll: {min_interval: 100ms, max_interval: 200ms, lookback: 1m, sweep_interval: 1s}\n";

impl Verdict {
    /// Asserts that faults were found, and gives the lines under the title that begins with `title`.
    fn faults(&self, title: &str) -> Vec<&str> {
        assert_eq!(self.code, Some(1), "{self:#?}");
        assert!(self.stdout.starts_with("FAULTS: "), "{self:#?}");
        assert!(self.stderr.contains("talkover-exporter: error: the state does not agree with the log"), "{self:#?}");
        self.list(title)
    }

    fn list(&self, title: &str) -> Vec<&str> {
        let rest = self.stdout.lines().skip_while(|line| !line.starts_with(&format!("  {title}")));
        rest.skip(1).take_while(|line| line.starts_with("    ")).map(str::trim).collect()
    }
}

async fn verify(config: &Path, more: &[&str]) -> Verdict {
    harness::verify(config, more, &[]).await
}

fn entry(simulator: &Simulator, ago: u64, status: Status) -> EntrySpec {
    let created_at = simulator.truth().now.minus(Duration::from_secs(ago));
    let http_status = match status {
        Status::Pending => None,
        Status::Success => Some(200),
        _ => Some(503),
    };
    EntrySpec { created_at, status, http_status, ..EntrySpec::default() }
}

fn insert(simulator: &Simulator, spec: EntrySpec) -> String {
    simulator.with_world(|world| world.insert("w-1", spec)).unwrap()
}

/// A world with some old entries of every kind, and the state of a daemon that has counted them and was stopped.
struct Audited {
    simulator: Simulator,
    workspace: Workspace,
    config: PathBuf,
    success: String,
    failed: String,
    retrying: String,
    pending: String,
}

impl Audited {
    async fn new() -> Self {
        Self::with(POLL).await
    }

    async fn with(settings: &str) -> Self {
        let simulator = simulator(quiet_scenario(), Clock::Real).await;
        let [success, failed, retrying, pending] =
            [(900, Status::Success), (800, Status::Failed), (700, Status::Retrying), (600, Status::Pending)]
                .map(|(ago, status)| insert(&simulator, entry(&simulator, ago, status)));
        for ago in 0..250 {
            insert(&simulator, entry(&simulator, 950 + ago / 10, Status::Success));
        }
        // The watermark is that of the newest one.
        insert(&simulator, entry(&simulator, 5, Status::Success));
        let workspace = Workspace::new();
        let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, settings);
        let audited = Self { simulator, workspace, config, success, failed, retrying, pending };
        audited.count(254.0).await;
        audited
    }

    /// Has a daemon run until it has counted so many attempts and polled all.
    async fn count(&self, attempts: f64) {
        let exporter = Exporter::start(&self.config).await;
        exporter
            .wait_for("all attempts", |scrape| {
                scrape.sum(ATTEMPTS, &[]) == attempts && scrape.sum("talkover_up", &[]) == 2.0
            })
            .await;
        assert_eq!(exporter.terminate().await, Some(0));
        assert!(!self.workspace.path("state.db-wal").exists(), "the file was not closed");
    }

    fn state(&self) -> PathBuf {
        self.workspace.path("state.db")
    }

    /// Does damage to the state file.
    fn tamper(&self, statements: &str) {
        harness::change_state(&self.state(), |connection| {
            connection.execute_batch(statements).unwrap();
            assert!(connection.changes() > 0 || statements.contains("PRAGMA"), "{statements}");
        });
    }

    async fn verify(&self) -> Verdict {
        verify(&self.config, &[]).await
    }
}

/// The files of a directory, with what is in them.
fn files(state: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(state.parent().unwrap()).unwrap().map(|file| file.unwrap().path()).collect();
    // What is spent of the budget is noted there.
    files.retain(|file| file.extension() != Some("budget".as_ref()));
    files.sort();
    files.into_iter().map(|file| (file.clone(), std::fs::read(&file).unwrap())).collect()
}

#[tokio::test]
async fn a_sound_state_is_found_sound_and_left_as_it_is() {
    let audited = Audited::new().await;
    let before = files(&audited.state());
    assert!(before.iter().all(|(file, _)| !file.ends_with("state.db-wal")), "stopped cleanly");
    let requests = audited.simulator.requests().len();
    let verdict = audited.verify().await;
    verdict.assert_ok();
    assert!(verdict.stdout.contains("test/w-1") && verdict.stdout.contains("test/w-2"), "{verdict:#?}");
    assert!(verdict.stdout.contains("compared: 255 entries of the log since "), "{verdict:#?}");
    assert!(!verdict.stdout.contains("No fault:"), "{verdict:#?}");
    assert_eq!(audited.simulator.requests().len() - requests, 4, "three pages, and one of the other webhook");
    assert!(files(&audited.state()) == before, "some file has changed");

    // A part of it, and a stretch from before the first contact.
    let part = verify(&audited.config, &["--since", "890s"]).await;
    part.assert_ok();
    assert!(part.stdout.contains("compared: 4 entries of the log since "), "{part:#?}");
    insert(&audited.simulator, entry(&audited.simulator, 25 * 3600, Status::Failed));
    let older = verify(&audited.config, &["--since", "48h"]).await;
    older.assert_ok();
}

#[tokio::test]
async fn the_state_of_a_killed_daemon_is_audited_with_its_log() {
    let audited = Audited::new().await;
    let exporter = Exporter::start(&audited.config).await;
    let late = insert(&audited.simulator, entry(&audited.simulator, 30, Status::Failed));
    exporter.wait_for("one more", |scrape| scrape.sum(ATTEMPTS, &[]) == 255.0).await;
    exporter.kill().await;
    let before = files(&audited.state());
    assert!(before.iter().any(|(file, _)| file.ends_with("state.db-wal")), "killed");
    let verdict = audited.verify().await;
    verdict.assert_ok();
    assert!(!verdict.stdout.contains(&late), "{verdict:#?}");
    // The index of SQLite's log is memory that processes share.
    let durable = |files: Vec<(PathBuf, Vec<u8>)>| -> Vec<_> {
        files.into_iter().filter(|(file, _)| !file.ends_with("state.db-shm")).collect()
    };
    assert!(durable(files(&audited.state())) == durable(before), "some file has changed");
    // And the daemon goes on from there.
    audited.count(255.0).await;
}

/// Entries turn up as late as `lookback` just allows, and change, are given up and forgotten all the time.
#[tokio::test(flavor = "multi_thread")]
async fn beside_a_busy_daemon_nothing_is_ever_wrong() {
    tokio::join!(audit_busy("24h"), audit_busy("13s"));
}

async fn audit_busy(settle_after: &str) {
    let scenario = Scenario::from_yaml(include_str!("busy.yml"), "busy.yml").unwrap();
    let simulator = simulator(scenario.clone(), Clock::Real).await;
    let workspace = Workspace::new();
    let more = format!(
        "poll: {{min_interval: 50ms, max_interval: 100ms, lookback: 11s, sweep_interval: 1s, settle_after: {settle_after}}}\n"
    );
    let config = workspace.configure(&simulator.base_url(), &scenario.webhooks, &more);
    let mut exporter = Exporter::start(&config).await;
    let both = |scrape: &Scrape| scrape.sum("talkover_exporter_log_entries_total", &["\"new\""]) > 100.0;
    exporter.wait_for("the first contact", both).await;
    for end in ["kill", "terminate", "kill", "terminate"] {
        for _ in 0..4 {
            let verdict = verify(&config, &[]).await;
            verdict.assert_ok();
            assert_eq!(verdict.stdout.matches("compared: ").count(), 2, "{verdict:#?}");
        }
        match end {
            "kill" => exporter.kill().await,
            _ => assert_eq!(exporter.terminate().await, Some(0)),
        }
        // While no daemon runs, the log goes on.
        verify(&config, &[]).await.assert_ok();
        exporter = Exporter::start(&config).await;
    }
}

#[tokio::test]
async fn every_kind_of_damage_is_found() {
    let audited = Audited::new().await;
    let (success, failed, retrying) = (&audited.success, &audited.failed, &audited.retrying);
    let sound = std::fs::read(audited.state()).unwrap();
    let copy = "INSERT INTO entries SELECT target, created_at - 60000000, id, at, attempt, status, event, counted_status, \
                counted_http_status, grp, opening_at, opening_id, flags, result, finished_at FROM entries WHERE id = ";
    let table: [(&str, String, &str, &[&str]); 9] = [
        ("a row is gone", format!("DELETE FROM entries WHERE id = '{failed}'"), "MISSING", &[failed, "failed (503)"]),
        (
            "a row is gone, and its counts with it",
            format!(
                "DELETE FROM entries WHERE id = '{retrying}';
                 UPDATE totals SET value = value - 1 WHERE family = 'attempts' AND labels LIKE '%retrying%';
                 UPDATE totals SET value = value - 1 WHERE family = 'log_entries' AND labels = '[\"new\"]'"
            ),
            "MISSING",
            &[retrying, "retrying (503)"],
        ),
        ("a row is there twice", format!("{copy}'{success}'"), "DOUBLED", &[success, "stands 2 times"]),
        (
            "counted under another code",
            format!("UPDATE entries SET counted_http_status = '418' WHERE id = '{failed}'"),
            "DIFFERENT",
            &[failed, "counted as failed (418), the log says failed (503)"],
        ),
        (
            "counted under another status",
            format!("UPDATE entries SET counted_status = 'success' WHERE id = '{failed}'"),
            "DIFFERENT",
            &[failed, "counted as success, but its delivery ended as failed"],
        ),
        (
            "counted under another event",
            format!("UPDATE entries SET event = 'event_other' WHERE id = '{success}'"),
            "DIFFERENT",
            &[success, "\"event_other\""],
        ),
        (
            "not counted at all",
            format!("UPDATE entries SET counted_status = NULL, flags = 0 WHERE id = '{success}'"),
            "DIFFERENT",
            &[success, "never counted"],
        ),
        (
            "a total is too high",
            "UPDATE totals SET value = value + 1 WHERE family = 'attempts' AND labels LIKE '%failed%'".to_owned(),
            "SUMS",
            &["status=\"failed\",http_status=\"503\"}: 2, but 1 by entry"],
        ),
        (
            "what was forgotten is",
            "INSERT INTO pruned_totals SELECT target, family, labels, 3 FROM totals WHERE family = 'deliveries'
             AND labels LIKE '%success%'"
                .to_owned(),
            "SUMS",
            &["talkover_webhook_deliveries_total{", "result=\"success\"}: 252, but 255 by entry (252 remembered, 3"],
        ),
    ];
    for (what, damage, title, expected) in table {
        audited.tamper(&damage);
        let verdict = audited.verify().await;
        let found = verdict.faults(title);
        let is_told = found.iter().any(|line| expected.iter().all(|text| line.contains(text)));
        assert!(is_told, "{what}: {verdict:#?}");
        std::fs::write(audited.state(), &sound).unwrap();
    }
    audited.verify().await.assert_ok();
}

#[tokio::test]
async fn what_happens_later_is_no_fault() {
    let audited = Audited::new().await;
    let deleted = &audited.success;
    let late = insert(&audited.simulator, entry(&audited.simulator, 50, Status::Failed));
    let new = insert(&audited.simulator, entry(&audited.simulator, 0, Status::Failed));
    audited.simulator.with_world(|world| {
        world.change(&audited.retrying, |entry| entry.status = Status::Failed);
        world.change(&audited.pending, |entry| (entry.status, entry.http_status) = (Status::Success, Some(200)));
        assert!(world.delete(deleted));
    });
    let verdict = audited.verify().await;
    verdict.assert_ok();
    for (title, id, what) in [
        ("changed", &audited.retrying, "counted as retrying (503), the log now says failed (503)"),
        ("an outcome", &audited.pending, "the log now says success"),
        ("not in the log", deleted, "counted as success (200)"),
    ] {
        let [line] = *verdict.list(title) else { panic!("{title}: {verdict:#?}") };
        assert!(line.contains(id) && line.contains(what), "{line}");
    }
    let unread = verdict.list("not read yet");
    let line = |id: &str| *unread.iter().find(|line| line.contains(id)).unwrap();
    assert!(line(&late).ends_with("(the next sweep reads it)"), "{unread:?}");
    assert!(line(&new).ends_with("(newer than the watermark)"), "{unread:?}");

    // What turned up later than `lookback` allows, the daemon never finds.
    let lost = insert(&audited.simulator, entry(&audited.simulator, 500, Status::Failed));
    let verdict = audited.verify().await;
    let [line] = *verdict.faults("MISSING") else { panic!("{verdict:#?}") };
    assert!(line.contains(&lost), "{line}");
}

#[tokio::test]
async fn a_webhook_that_no_daemon_has_read_has_no_faults() {
    let audited = Audited::new().await;
    audited.tamper("DELETE FROM targets WHERE webhook_id = 'w-2'");
    let verdict = audited.verify().await;
    verdict.assert_ok();
    assert!(verdict.stdout.contains("not known to the state yet"), "{verdict:#?}");
}

#[tokio::test]
async fn a_webhook_that_is_no_longer_named_is_audited_in_its_sums() {
    let audited = Audited::new().await;
    audited.workspace.configure(&audited.simulator.base_url(), &quiet_scenario().webhooks[1..], POLL);
    audited.verify().await.assert_ok();
    audited.tamper("UPDATE totals SET value = value + 1 WHERE family = 'deliveries'");
    let verdict = audited.verify().await;
    assert!(!verdict.faults("SUMS").is_empty());
    assert!(verdict.stdout.contains("not named by the configuration"), "{verdict:#?}");
}

#[tokio::test]
async fn requests_are_paid_from_the_daemons_budget_and_repeated_when_they_fail() {
    let audited = Audited::new().await;
    audited.simulator.push_fault(Fault::Status(503));
    audited.simulator.push_fault(Fault::RateLimited(Some(Duration::from_secs(1))));
    audited.simulator.push_fault(Fault::Truncated);
    let before = audited.simulator.requests().len();
    audited.verify().await.assert_ok();
    let requests = audited.simulator.requests();
    assert_eq!(requests.len() - before, 7);
    let pause = requests[before + 2].at.since(requests[before + 1].at);
    assert!(pause >= Duration::from_secs(1), "{pause:?}");

    let text = std::fs::read_to_string(&audited.config).unwrap();
    audited.workspace.write("config.yml", &text.replace("requests_per_minute: 6000", "requests_per_minute: 9"));
    let before = audited.simulator.requests().len();
    // Other settings begin with a minute of silence: nothing is known of the last one.
    let patience = Duration::from_secs(5);
    let ended = tokio::time::timeout(patience, verify(&audited.config, &[])).await;
    assert!(ended.is_err(), "{ended:#?}");
    assert_eq!(audited.simulator.requests().len(), before);
    assert!(largest_per_minute(&requests) <= 6000);
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error() {
    let audited = Audited::new().await;
    audited.simulator.set_tokens(vec!["talq_other".to_owned()]);
    let before = audited.simulator.requests().len();
    let verdict = audited.verify().await;
    assert_eq!(verdict.code, Some(1), "{verdict:#?}");
    assert!(verdict.stderr.contains("error: test/w-1 could not be audited: the API does not accept the token (401"));
    assert!(verdict.stdout.starts_with("FAILED: 2 of 2 webhooks could not be audited\n"), "{verdict:#?}");
    assert_eq!(audited.simulator.requests().len() - before, 2, "the token is read again once");
    audited.simulator.set_tokens(vec!["talq_simulator".to_owned()]);

    for (fault, reason) in [
        (Fault::InvalidJson, "the answer cannot be used"),
        (Fault::Status(500), "the API answered 500"),
        (Fault::Html(503), "the API answered 503"),
        (Fault::Reset, "the connection failed"),
    ] {
        let random = vec![RandomFault { probability: 1.0, path: "/webhooks/w-1/".to_owned(), fault }];
        audited.simulator.set_faults(&FaultPlan { random, ..FaultPlan::default() });
        let verdict = audited.verify().await;
        assert_eq!(verdict.code, Some(1), "{verdict:#?}");
        assert!(verdict.stderr.contains(&format!("test/w-1 could not be audited: {reason}")), "{verdict:#?}");
        let other = "test/w-2 (webhook w-2)\n  compared: ";
        assert!(verdict.stdout.contains(other), "the other one is audited: {verdict:#?}");
        assert!(verdict.stdout.starts_with("FAILED: 1 of 2 webhooks could not be audited\n"), "{verdict:#?}");
    }
    audited.simulator.set_faults(&FaultPlan::default());

    let wrong = verify(&audited.config, &["--since", "yesterday"]).await;
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(2), ""));
    let wrong = verify(&audited.workspace.path("none.yml"), &[]).await;
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(2), ""));
}

#[tokio::test]
async fn an_entry_that_makes_the_first_page_fail_is_walked_past() {
    let audited = Audited::new().await;
    let newest = insert(&audited.simulator, entry(&audited.simulator, 1, Status::Success));
    audited.simulator.set_page_faults(PageFaults { unreadable: vec![newest], ..PageFaults::default() });
    let exporter = Exporter::start(&audited.config).await;
    exporter
        .wait_for("the unreadable entry", |scrape| {
            scrape.sum("talkover_exporter_log_entries_total", &["webhook_id=\"w-1\"", "outcome=\"invalid\""]) == 1.0
        })
        .await;
    assert_eq!(exporter.terminate().await, Some(0));
    let verdict = audited.verify().await;
    verdict.assert_ok();
    assert!(
        verdict.stdout.contains("test/w-1 (webhook w-1)\n  compared: 255 entries of the log since "),
        "{verdict:#?}"
    );
}

#[tokio::test]
async fn a_state_file_that_cannot_be_audited_is_left_as_it_is() {
    let audited = Audited::new().await;
    let requests = audited.simulator.requests().len();
    let sound = std::fs::read(audited.state()).unwrap();
    let older = include_str!("../fixtures/state/v1.sql");
    let remove = |audited: &Audited| std::fs::remove_file(audited.state()).unwrap();
    type Damage<'a> = (&'a str, Box<dyn Fn(&Audited)>);
    let table: [Damage<'_>; 8] = [
        ("there is no state file", Box::new(remove)),
        ("is damaged", Box::new(|audited| std::fs::write(audited.state(), "garbage ".repeat(1000)).unwrap())),
        ("is damaged", Box::new(|audited| std::fs::write(audited.state(), "").unwrap())),
        (
            "is damaged",
            Box::new(|audited| {
                let bytes = std::fs::read(audited.state()).unwrap();
                std::fs::write(audited.state(), &bytes[..bytes.len() / 2]).unwrap();
            }),
        ),
        ("format version 99", Box::new(|audited| audited.tamper("PRAGMA user_version = 99"))),
        (
            "format version 1,",
            Box::new(move |audited| {
                remove(audited);
                audited.tamper(&format!("{older} -- PRAGMA"));
            }),
        ),
        ("not a state file", Box::new(|audited| audited.tamper("PRAGMA application_id = 7"))),
        (
            "cannot be opened: Too many levels of symbolic links",
            Box::new(move |audited| {
                remove(audited);
                std::fs::create_dir(audited.state()).unwrap();
                std::fs::remove_dir(audited.state()).unwrap();
                std::os::unix::fs::symlink(audited.state(), audited.state()).unwrap();
            }),
        ),
    ];
    for (expected, damage) in table {
        damage(&audited);
        let names = |audited: &Audited| -> Vec<PathBuf> {
            let files = std::fs::read_dir(audited.state().parent().unwrap()).unwrap();
            let mut names: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
            names.sort();
            names
        };
        let (before, bytes) = (names(&audited), std::fs::read(audited.state()).ok());
        let verdict = audited.verify().await;
        assert_eq!((verdict.code, verdict.stdout.as_str()), (Some(1), ""), "{expected}: {verdict:#?}");
        assert!(verdict.stderr.contains(expected) && verdict.stderr.contains("state.db"), "{verdict:#?}");
        assert_eq!(verdict.stderr.lines().count(), 1, "{verdict:#?}");
        assert_eq!(names(&audited), before, "{expected}");
        assert!(std::fs::read(audited.state()).ok() == bytes, "{expected}");
        if expected.starts_with("cannot be opened") {
            remove(&audited);
        }
        std::fs::write(audited.state(), &sound).unwrap();
    }
    assert_eq!(audited.simulator.requests().len(), requests, "nothing was asked");
    audited.verify().await.assert_ok();
}
