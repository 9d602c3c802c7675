//! A state file that is damaged, older than what was shown, gone, or somebody else's: told, and never shown as what it
//! is not.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use talkover_simulator::{Clock, EntrySpec, Fault, FaultPlan, RandomFault, Simulator, Status};

use crate::harness::{
    Exporter, Scrape, Workspace, all_true_attempts, quiet_scenario, refused, simulator, state, verify, wait_for,
};

const ATTEMPTS: &str = "talkover_webhook_delivery_attempts_total";
const POLL: &str = "poll: {min_interval: 100ms, max_interval: 200ms, lookback: 1m, sweep_interval: 1s}\n";

/// A simulated API, and a place for the exporter.
struct Scene {
    simulator: Simulator,
    workspace: Workspace,
    config: PathBuf,
}

impl Scene {
    async fn new() -> Self {
        Self::with("").await
    }

    /// With more settings.
    async fn with(settings: &str) -> Self {
        let simulator = simulator(quiet_scenario(), Clock::Real).await;
        let workspace = Workspace::new();
        let settings = format!("{POLL}{settings}");
        let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, &settings);
        Self { simulator, workspace, config }
    }

    fn state(&self) -> PathBuf {
        self.workspace.path("state.db")
    }

    fn deliver(&self, webhook: &str, count: usize) {
        for _ in 0..count {
            let created_at = self.simulator.truth().now.minus(Duration::from_secs(5));
            let spec =
                EntrySpec { created_at, status: Status::Success, http_status: Some(200), ..EntrySpec::default() };
            self.simulator.with_world(|world| world.insert(webhook, spec)).unwrap();
        }
    }

    async fn wait_for_truth(&self, exporter: &Exporter) -> Scrape {
        let truth = all_true_attempts(&self.simulator, &quiet_scenario().webhooks);
        exporter.wait_for("the truth", |scrape| scrape.attempts() == truth).await
    }

    /// Moves the state files elsewhere, but for those that end so.
    fn take_away(&self, kept: &[&str]) {
        for file in std::fs::read_dir(self.state().parent().unwrap()).unwrap().map(|file| file.unwrap().path()) {
            let name = file.file_name().unwrap().to_str().unwrap();
            if name.starts_with("state.db") && !kept.iter().any(|kept| name.ends_with(kept)) {
                std::fs::remove_file(&file).unwrap();
            }
        }
    }
}

fn problem(scrape: &Scrape, problem: &str) -> f64 {
    scrape.get(&format!("talkover_exporter_state_problem{{problem=\"{problem}\"}}")).unwrap()
}

/// Whether the first contact with each webhook is complete.
fn is_contacted_everywhere(scrape: &Scrape) -> bool {
    ["w-1", "w-2"].iter().all(|webhook| {
        let series = format!("talkover_exporter_log_entries_total{{environment=\"test\",webhook_id=\"{webhook}\"");
        scrape.text.contains(&series)
    })
}

/// Asserts that the status and its page tell of a problem with the state, and only of that one.
async fn assert_shown(exporter: &Exporter, problem: &str, what: &str) {
    let get = async |path: &str| reqwest::get(format!("{}{path}", exporter.url)).await.unwrap().text().await.unwrap();
    let status: serde_json::Value = serde_json::from_str(&get("/api/v1/status").await).unwrap();
    let problems = status["state"]["problems"].as_array().unwrap();
    assert_eq!(problems.iter().map(|one| one["problem"].as_str().unwrap()).collect::<Vec<_>>(), [problem]);
    assert!(problems[0]["what"].as_str().unwrap().contains(what), "{problems:#?}");
    let page = get("/").await;
    assert!(page.contains(what) && !page.contains("All is well"), "{page}");
}

fn has_line(log: &[String], level: &str, text: &str) -> bool {
    log.iter().any(|line| line.contains(level) && line.contains(text))
}

#[tokio::test]
async fn a_state_that_went_back_in_time_is_shown_when_its_log_has_been_read_again() {
    let scene = Scene::new().await;
    scene.deliver("w-1", 3);
    scene.deliver("w-2", 1);
    let exporter = Exporter::start(&scene.config).await;
    scene.wait_for_truth(&exporter).await;
    // The first contact is in the file itself, without its write-ahead log.
    let copy = scene.workspace.path("copy.db");
    std::fs::copy(scene.state(), &copy).unwrap();
    scene.deliver("w-1", 2);
    let shown = scene.wait_for_truth(&exporter).await;
    assert_eq!(["behind", "detached", "new"].map(|name| problem(&shown, name)), [0.0; 3]);
    exporter.kill().await;

    scene.take_away(&[".served", ".seen", ".budget"]);
    std::fs::rename(&copy, scene.state()).unwrap();
    let verdict = verify(&scene.config, &[], &[]).await;
    assert_eq!(verdict.code, Some(1), "{verdict:#?}");
    assert!(verdict.stdout.contains("cannot be proven any more"), "{verdict:#?}");
    let verdict = verify(&scene.config, &["--json"], &[]).await;
    let audit: serde_json::Value = serde_json::from_str(&verdict.stdout).unwrap();
    assert_eq!((verdict.code, &audit["ok"], &audit["state"]["problem"]), (Some(1), &false.into(), &"behind".into()));
    assert!(audit["state"]["went_back"]["commits_missing"].as_u64() > Some(0), "{audit:#}");

    let random = vec![RandomFault { probability: 1.0, path: "/webhooks/w-1/".to_owned(), fault: Fault::Status(500) }];
    scene.simulator.set_faults(&FaultPlan { random, ..FaultPlan::default() });
    let exporter = Exporter::start(&scene.config).await;
    assert!(has_line(&exporter.log(), "WARN", "behind what was last shown"), "{:#?}", exporter.log());
    let other = exporter.wait_for("the other webhook", |scrape| scrape.sum(ATTEMPTS, &["w-2"]) == 1.0).await;
    assert_eq!(problem(&other, "behind"), 1.0);
    assert_shown(&exporter, "behind", "behind what was last shown").await;
    assert!(!other.text.contains("talkover_exporter_log_entries_total{environment=\"test\",webhook_id=\"w-1\""));
    assert_eq!(other.sum(ATTEMPTS, &["w-1"]), 0.0);
    exporter.kill().await;

    // Not even a restart forgets what is still to be read again.
    let exporter = Exporter::start(&scene.config).await;
    assert_eq!(problem(&exporter.scrape().await, "behind"), 1.0);
    scene.simulator.set_faults(&FaultPlan::default());
    let again = scene.wait_for_truth(&exporter).await;
    again.assert_not_below(&shown);
    assert_eq!(problem(&again, "behind"), 0.0);
    assert_eq!(exporter.terminate().await, Some(0));
    let verdict = verify(&scene.config, &[], &[]).await;
    verdict.assert_ok();
    assert!(verdict.stdout.contains("the logs have been read again since"), "{verdict:#?}");
    let exporter = Exporter::start(&scene.config).await;
    assert!(!has_line(&exporter.log(), "WARN", "behind"), "{:#?}", exporter.log());
}

#[tokio::test]
async fn a_series_that_was_shown_is_not_held_again_when_the_state_went_back_in_time() {
    let scene = Scene::with("metrics: {birth_hold: 300ms}\n").await;
    let exporter = Exporter::start(&scene.config).await;
    exporter.wait_for("the first contact", is_contacted_everywhere).await;
    scene.deliver("w-1", 5);
    // Nobody scrapes, so the hold cannot end before the copy is made.
    let held = || {
        let state = rusqlite::Connection::open(scene.state()).unwrap();
        state
            .query_row("SELECT count(*) FROM totals WHERE family = 'attempts' AND held", [], |row| row.get::<_, i64>(0))
    };
    wait_for("the birth", || async { held().is_ok_and(|count| count == 1).then_some(()) }).await;
    let files = ["state.db", "state.db-wal"]
        .map(|name| (scene.workspace.path(name), std::fs::read(scene.workspace.path(name)).unwrap()));
    let shown = scene.wait_for_truth(&exporter).await;
    exporter.kill().await;

    scene.take_away(&[".served", ".seen", ".budget"]);
    for (path, bytes) in files {
        std::fs::write(path, bytes).unwrap();
    }
    let exporter = Exporter::start(&scene.config).await;
    assert!(has_line(&exporter.log(), "WARN", "behind what was last shown"), "{:#?}", exporter.log());
    let again = exporter.wait_for("the series", |scrape| scrape.of(ATTEMPTS).next().is_some()).await;
    assert_eq!(again.attempts(), shown.attempts());
    exporter.wait_for("all series", is_contacted_everywhere).await.assert_not_below(&shown);
}

#[tokio::test]
async fn a_new_state_where_there_was_one_before_is_told() {
    let scene = Scene::new().await;
    let exporter = Exporter::start(&scene.config).await;
    let first = exporter.wait_for("polls", |scrape| scrape.sum("talkover_up", &[]) == 2.0).await;
    assert_eq!(problem(&first, "new"), 0.0);
    assert_eq!(exporter.terminate().await, Some(0));
    scene.take_away(&[".served", ".seen", ".budget"]);
    std::fs::write(scene.state(), "").unwrap();
    let exporter = Exporter::start(&scene.config).await;
    assert!(has_line(&exporter.log(), "WARN", "made a new state file, but"), "{:#?}", exporter.log());
    assert_eq!(problem(&exporter.scrape().await, "new"), 1.0);
    assert_shown(&exporter, "new", "was left by another one").await;
    assert_eq!(exporter.terminate().await, Some(0));
    let exporter = Exporter::start(&scene.config).await;
    assert_eq!(problem(&exporter.scrape().await, "new"), 0.0);
}

/// What happens to the file of a running daemon.
type Harm = (&'static str, fn(&Scene));

impl Scene {
    /// Lets a daemon count, harms its file, and waits until the log, the metric and the page tell `what`.
    async fn harmed(&self, harm: fn(&Self), what: &str) -> (Exporter, Scrape) {
        self.deliver("w-1", 2);
        let exporter = Exporter::start(&self.config).await;
        let shown = self.wait_for_truth(&exporter).await;
        // A checkpoint after the harm could repair it.
        wait_for("the first contacts in the file itself", || async { (self.contacted_in_file() == 2).then_some(()) })
            .await;
        harm(self);
        let told = |log: &[String]| has_line(log, "ERROR", "the next start would not find the state");
        let log = exporter.wait_for_log(what, told).await;
        // A checkpoint that meets the damage first leaves the write-ahead log behind.
        let words = [what, "state.db-wal was deleted or replaced"];
        let told = words.into_iter().find(|words| has_line(&log, "ERROR", words));
        let what = told.unwrap_or_else(|| panic!("{what}: {log:#?}"));
        let scrape = exporter.scrape().await;
        assert_eq!(problem(&scrape, "detached"), 1.0, "{what}");
        scrape.assert_not_below(&shown);
        assert_shown(&exporter, "detached", what).await;
        (exporter, shown)
    }

    fn other(&self) -> PathBuf {
        self.workspace.path("other.db")
    }

    /// The number of webhooks whose first contact is in the file without its write-ahead log.
    fn contacted_in_file(&self) -> i64 {
        let alone = self.workspace.path("alone.db");
        std::fs::copy(self.state(), &alone).unwrap();
        let alone = rusqlite::Connection::open(alone).unwrap();
        // While it is being written to, the copy may be torn.
        alone.query_row("SELECT count(*) FROM targets WHERE contacted", [], |row| row.get(0)).unwrap_or(0)
    }
}

#[tokio::test]
async fn a_state_that_was_deleted_or_replaced_under_the_daemon_is_told_and_can_be_saved() {
    let harms: [Harm; 4] = [
        ("state.db-wal was deleted or replaced", |scene| {
            std::fs::remove_file(scene.workspace.path("state.db-wal")).unwrap();
        }),
        ("was deleted", |scene| std::fs::remove_file(scene.state()).unwrap()),
        ("was deleted", |scene| scene.take_away(&[])),
        ("is another file now", |scene| {
            std::fs::write(scene.other(), "of somebody else").unwrap();
            std::fs::rename(scene.other(), scene.state()).unwrap();
        }),
    ];
    for (what, harm) in harms {
        let scene = Scene::new().await;
        let (exporter, shown) = scene.harmed(harm, what).await;
        let second = refused(&scene.config, &[]).await;
        assert_eq!(second.code, Some(1), "{what}: {second:#?}");
        // What comes after the loss is saved too.
        scene.deliver("w-1", 3);
        let later = scene.wait_for_truth(&exporter).await;
        later.assert_not_below(&shown);

        // The way out, as the log tells it. It is held still, so that it commits and shows nothing after the copy.
        exporter.signal(Signal::STOP);
        let saved = scene.workspace.path("saved.db");
        let exported = state("export", &scene.config, &saved).await;
        assert_eq!(exported.code, Some(0), "{what}: {exported:#?}");
        assert!(exported.stdout.contains("what that has open was copied"), "{what}: {exported:#?}");
        exporter.kill().await;
        scene.take_away(&[".served"]);
        let imported = state("import", &scene.config, &saved).await;
        assert_eq!(imported.code, Some(0), "{what}: {imported:#?}");
        // The copy alone has every count: nothing is read again while the API is away.
        let away = RandomFault { probability: 1.0, path: String::new(), fault: Fault::Status(503) };
        scene.simulator.set_faults(&FaultPlan { random: vec![away], ..FaultPlan::default() });
        let exporter = Exporter::start(&scene.config).await;
        assert_eq!(exporter.scrape().await.attempts(), later.attempts(), "{what}");
        scene.simulator.set_faults(&FaultPlan::default());
        scene.wait_for_truth(&exporter).await.assert_not_below(&later);
        assert_eq!(exporter.terminate().await, Some(0));
        verify(&scene.config, &[], &[]).await.assert_ok();
    }
}

#[tokio::test]
async fn of_a_state_in_memory_and_another_one_at_its_place_none_is_copied_unasked() {
    let scene = Scene::new().await;
    let backup = scene.workspace.path("backup.db");
    let first = Exporter::start(&scene.config).await;
    assert_eq!(state("export", &scene.config, &backup).await.code, Some(0));
    assert_eq!(first.terminate().await, Some(0));
    let (exporter, shown) = scene.harmed(|scene| scene.take_away(&[]), "was deleted").await;
    std::fs::copy(&backup, scene.state()).unwrap();
    let saved = scene.workspace.path("saved.db");
    let exported = state("export", &scene.config, &saved).await;
    assert_eq!(exported.code, Some(1), "{exported:#?}");
    assert!(exported.stderr.contains("works with a state that was at"), "{exported:#?}");
    std::fs::remove_file(scene.state()).unwrap();
    let exported = state("export", &scene.config, &saved).await;
    assert!(exported.stdout.contains("what that has open was copied"), "{exported:#?}");
    let counted: i64 = rusqlite::Connection::open(&saved)
        .unwrap()
        .query_row("SELECT sum(value) FROM totals WHERE family = 'attempts'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(counted as f64, shown.sum(ATTEMPTS, &[]));
    assert_eq!(exporter.terminate().await, Some(0));
}

#[tokio::test]
async fn a_state_that_another_program_wrote_to_is_told_and_never_shown_again() {
    let harms: [Harm; 3] = [
        ("(table entries", |scene| {
            let other = rusqlite::Connection::open(scene.state()).unwrap();
            other.busy_timeout(Duration::from_secs(60)).unwrap();
            other.execute("UPDATE entries SET event = event || 'x'", []).unwrap();
        }),
        ("was overwritten or cut", |scene| {
            let length = std::fs::metadata(scene.state()).unwrap().len() as usize;
            std::fs::write(scene.state(), vec![b'x'; length]).unwrap();
        }),
        ("was overwritten or cut", |scene| {
            std::fs::OpenOptions::new().write(true).open(scene.state()).unwrap().set_len(0).unwrap();
        }),
    ];
    for (what, harm) in harms {
        let scene = Scene::new().await;
        let (exporter, _) = scene.harmed(harm, what).await;
        // Nobody takes it for a copy of what was counted.
        let exported = state("export", &scene.config, &scene.workspace.path("saved.db")).await;
        assert_eq!(exported.code, Some(1), "{what}: {exported:#?}");
        exporter.kill().await;
        // What of it is in the write-ahead log would be found there.
        let _may_be_gone = std::fs::remove_file(scene.workspace.path("state.db-wal"));
        if std::fs::metadata(scene.state()).unwrap().len() == 0 {
            let exporter = Exporter::start(&scene.config).await;
            assert_eq!(problem(&exporter.scrape().await, "new"), 1.0, "{what}");
        } else {
            let started = refused(&scene.config, &[]).await;
            assert!(started.code == Some(1) && started.stderr.contains("state.db"), "{what}: {started:#?}");
        }
    }
}

#[tokio::test]
async fn a_state_that_is_moved_away_and_back_is_in_its_place_again() {
    let harms: [Harm; 2] = [
        ("was moved to", |scene| std::fs::rename(scene.state(), scene.other()).unwrap()),
        ("is another file now, as it was moved to", |scene| {
            std::fs::rename(scene.state(), scene.other()).unwrap();
            std::fs::write(scene.state(), "of somebody else").unwrap();
        }),
    ];
    for (what, harm) in harms {
        let scene = Scene::new().await;
        let (exporter, _) = scene.harmed(harm, what).await;
        std::fs::rename(scene.other(), scene.state()).unwrap();
        exporter.wait_for("that it is back", |scrape| problem(scrape, "detached") == 0.0).await;
        scene.deliver("w-1", 1);
        scene.wait_for_truth(&exporter).await;
        assert_eq!(exporter.terminate().await, Some(0));
        verify(&scene.config, &[], &[]).await.assert_ok();
    }
}

#[tokio::test]
async fn one_daemon_has_the_state_whatever_name_leads_to_it() {
    let scene = Scene::new().await;
    let exporter = Exporter::start(&scene.config).await;
    symlink(scene.state(), scene.workspace.path("symbolic.db")).unwrap();
    std::fs::hard_link(scene.state(), scene.workspace.path("hard.db")).unwrap();
    for name in ["state.db", "symbolic.db", "hard.db"] {
        let variables = [("TALKOVER_EXPORTER__STATE__PATH", scene.workspace.path(name).display().to_string())];
        let second = refused(&scene.config, &variables).await;
        assert_eq!(second.code, Some(1), "{name}: {second:#?}");
        assert!(second.stderr.contains("is in use by another talkover-exporter"), "{name}: {second:#?}");
    }
    assert_eq!(exporter.terminate().await, Some(0));
}

#[tokio::test]
async fn what_cannot_be_a_state_is_named_as_what_it_is() {
    let scene = Scene::new().await;
    let state = scene.state();
    let fifo = |path: &Path| {
        let status = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(status.success());
    };
    type Make<'a> = (&'a str, &'a dyn Fn(&Path));
    let table: [Make<'_>; 3] = [
        ("is a directory", &|path| std::fs::create_dir(path).unwrap()),
        ("is a FIFO", &fifo),
        ("is a symbolic link to /gone/state.db, which does not exist", &|path| {
            symlink("/gone/state.db", path).unwrap()
        }),
    ];
    for (expected, make) in table {
        make(&state);
        for verdict in [refused(&scene.config, &[]).await, verify(&scene.config, &[], &[]).await] {
            assert_eq!(verdict.code, Some(1), "{verdict:#?}");
            assert!(verdict.stderr.contains(expected), "{expected}: {verdict:#?}");
        }
        let _gone = std::fs::remove_file(&state).or_else(|_| std::fs::remove_dir(&state));
    }

    assert_eq!(Exporter::start(&scene.config).await.terminate().await, Some(0));
    let shell = rusqlite::Connection::open(&state).unwrap();
    shell.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; DELETE FROM entries").unwrap();
    let verdict = refused(&scene.config, &[]).await;
    assert!(verdict.stderr.contains("is locked by another program, such as a sqlite3 shell"), "{verdict:#?}");
}

#[tokio::test]
async fn files_of_the_state_are_private_and_looser_ones_are_warned_of() {
    let scene = Scene::new().await;
    let exporter = Exporter::start(&scene.config).await;
    wait_for("the files", || async { scene.workspace.path("state.db-wal").exists().then_some(()) }).await;
    for file in std::fs::read_dir(scene.state().parent().unwrap()).unwrap().map(|file| file.unwrap()) {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        let is_of_state = file.file_name().to_str().unwrap().starts_with("state.db");
        assert!(!is_of_state || mode == 0o600, "{file:?}: {mode:o}");
    }
    assert!(!has_line(&exporter.log(), "WARN", "open to every user"), "{:#?}", exporter.log());
    assert_eq!(exporter.terminate().await, Some(0));
    std::fs::set_permissions(scene.state(), PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::set_permissions(scene.workspace.path("token"), PermissionsExt::from_mode(0o644)).unwrap();
    let exporter = Exporter::start(&scene.config).await;
    let log = exporter.log();
    assert!(has_line(&log, "WARN", "state files are open to every user of this machine"), "{log:#?}");
    assert!(has_line(&log, "WARN", "token (0644)"), "{log:#?}");
}
