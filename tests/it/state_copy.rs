//! `state export` and `state import`: a whole state, copied while a daemon writes to it.

use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;
use talkover_simulator::{Clock, EntrySpec, Simulator};

use crate::harness::{self, Exporter, Verdict, Workspace, quiet_scenario, simulator, state};

const ATTEMPTS: &str = "talkover_webhook_delivery_attempts_total";
const POLL: &str = "poll: {min_interval: 100ms, max_interval: 200ms, lookback: 1m, sweep_interval: 1s}\n";

fn refused(verdict: &Verdict, reason: &str) {
    assert_eq!(verdict.code, Some(1), "{verdict:#?}");
    assert!(verdict.stderr.contains(reason), "{reason}: {verdict:#?}");
}

fn insert(simulator: &Simulator, count: usize) {
    let created_at = simulator.truth().now;
    for _ in 0..count {
        let spec = EntrySpec { created_at, ..EntrySpec::default() };
        simulator.with_world(|world| world.insert("w-1", spec)).unwrap();
    }
}

async fn counted(exporter: &Exporter, attempts: f64) {
    exporter.wait_for("the attempts", |scrape| scrape.sum(ATTEMPTS, &[]) == attempts).await;
}

#[tokio::test]
async fn a_copy_of_a_running_daemon_goes_on_elsewhere() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let configure =
        |workspace: &Workspace| workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, POLL);
    let (here, there) = (Workspace::new(), Workspace::new());
    let (config, other) = (configure(&here), configure(&there));
    insert(&simulator, 300);
    let exporter = Exporter::start(&config).await;
    counted(&exporter, 300.0).await;
    let seen_before = std::fs::read(here.path("state.db.seen")).unwrap();

    let copy = here.path("copy.db");
    let exported = state("export", &config, &copy).await;
    assert_eq!(exported.code, Some(0), "{exported:#?}");
    assert!(!here.path("copy.db-wal").exists(), "the copy is one file");
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    refused(&state("export", &config, &copy).await, "already exists");
    insert(&simulator, 50);
    counted(&exporter, 350.0).await;
    refused(&state("import", &config, &copy).await, "already exists");
    assert_eq!(exporter.terminate().await, Some(0));
    refused(&state("import", &config, &copy).await, "already exists");
    harness::verify(&config, &[], &[]).await.assert_ok();

    let imported = state("import", &other, &copy).await;
    assert_eq!(imported.code, Some(0), "{imported:#?}");
    let seen = std::fs::read(there.path("state.db.seen")).unwrap();
    assert!(seen.len() == seen_before.len() && seen.iter().any(|byte| *byte > 0), "when targets were read came along");
    assert!(!there.path("state.db.draft").exists() && !there.path("state.db.draft.seen").exists());
    let exporter = Exporter::start(&other).await;
    assert!(exporter.scrape().await.sum(ATTEMPTS, &[]) >= 300.0);
    counted(&exporter, 350.0).await;
    assert_eq!(exporter.terminate().await, Some(0));
    harness::verify(&other, &[], &[]).await.assert_ok();
}

#[tokio::test]
async fn what_is_no_sound_state_of_this_version_is_refused() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let (here, there) = (Workspace::new(), Workspace::new());
    let configure =
        |workspace: &Workspace| workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, POLL);
    let (config, other) = (configure(&here), configure(&there));
    let copy = here.path("copy.db");
    refused(&state("export", &config, &copy).await, "there is no state file");
    refused(&state("import", &other, &copy).await, "failed to read");
    insert(&simulator, 3);
    let exporter = Exporter::start(&config).await;
    counted(&exporter, 3.0).await;
    assert_eq!(exporter.terminate().await, Some(0));
    assert_eq!(state("export", &config, &copy).await.code, Some(0));

    let sound = std::fs::read(&copy).unwrap();
    let version = |change: i64| {
        std::fs::write(&copy, &sound).unwrap();
        let connection = Connection::open(&copy).unwrap();
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        connection.pragma_update(None, "user_version", version + change).unwrap();
    };
    version(1);
    refused(&state("import", &other, &copy).await, "run the newer program");
    version(-1);
    refused(&state("import", &other, &copy).await, "has format version");
    std::fs::write(&copy, "not a database, but long enough to be taken for one".repeat(20)).unwrap();
    refused(&state("import", &other, &copy).await, "is damaged");
    std::fs::write(&copy, &sound[..sound.len() / 2]).unwrap();
    refused(&state("import", &other, &copy).await, "copy.db");
    std::fs::write(&copy, &sound).unwrap();
    std::fs::write(there.path("state.db-wal"), "of a state that is gone").unwrap();
    refused(&state("import", &other, &copy).await, "state.db-wal");
    assert!(!there.path("state.db").exists());
}
