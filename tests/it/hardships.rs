//! What happens to the machine: a disk that is full, a state directory that cannot be written to, a local clock that
//! jumps.
//!
//! These tests mount file systems and so need root, e2fsprogs and, for the clock, libfaketime: `ci/hardships` runs
//! them, in a mount namespace of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use talkover_simulator::{Clock, EntrySpec, Scenario, Simulator, Status};

use crate::harness::{
    Exporter, Scrape, Variable, Workspace, all_true_attempts, quiet_scenario, refused, simulator, verify,
};

mod clock;
mod full_disk;
mod read_only;

const WRITE_ERRORS: &str = "talkover_exporter_state_write_errors_total";
const SETTINGS: &str = "poll: {min_interval: 100ms, max_interval: 200ms, lookback: 1m, sweep_interval: 2s}\n\
                        metrics: {birth_hold: 200ms}\n";

/// A simulated API, and a daemon's configuration whose state is in a directory of its own, `state`.
struct Scene {
    simulator: Simulator,
    workspace: Workspace,
    config: PathBuf,
}

impl Scene {
    async fn new() -> Self {
        let scenario = Scenario { rate_limit_per_minute: 100_000, ..quiet_scenario() };
        let simulator = simulator(scenario, Clock::Real).await;
        let workspace = Workspace::new();
        std::fs::create_dir(workspace.path("state")).unwrap();
        let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, SETTINGS);
        Self { simulator, workspace, config }
    }

    /// The directory of the state.
    fn directory(&self) -> PathBuf {
        self.workspace.path("state")
    }

    /// What names the state file to the daemon.
    fn state(&self) -> Variable {
        let path = self.directory().join("state.db");
        ("TALKOVER_EXPORTER__STATE__PATH", path.into_os_string().into_string().unwrap())
    }

    async fn start(&self) -> Exporter {
        Exporter::start_with(&self.config, &[self.state()]).await
    }

    /// Lets so many attempts be made now, in equal shares of success, failure, retrying and pending.
    fn deliver(&self, count: usize) {
        self.simulator.with_world(|world| {
            let created_at = world.now();
            for number in 0..count {
                let (status, http_status) = [
                    (Status::Success, Some(200)),
                    (Status::Failed, Some(500)),
                    (Status::Retrying, Some(503)),
                    (Status::Pending, None),
                ][number % 4];
                let spec = EntrySpec { created_at, status, http_status, ..EntrySpec::default() };
                world.insert(["w-1", "w-2"][number % 2], spec).unwrap();
            }
        });
    }

    /// Lets all that is pending succeed.
    fn settle(&self) {
        let truth = self.simulator.truth();
        let pending =
            truth.webhooks.iter().flat_map(|webhook| &webhook.entries).filter(|entry| entry.status == "pending");
        self.simulator.with_world(|world| {
            for entry in pending {
                let succeed = |spec: &mut EntrySpec| (spec.status, spec.http_status) = (Status::Success, Some(200));
                assert!(world.change(&entry.id, succeed));
            }
        });
    }

    fn truth(&self) -> BTreeMap<String, f64> {
        all_true_attempts(&self.simulator, &quiet_scenario().webhooks)
    }

    /// Waits until everything is counted and shown as it is.
    async fn wait_for_truth(&self, exporter: &Exporter) -> Scrape {
        let truth = self.truth();
        exporter.wait_for("the truth", |scrape| scrape.attempts() == truth && held(scrape) == 0.0).await
    }

    async fn assert_sound(&self) {
        verify(&self.config, &[], &[self.state()]).await.assert_ok();
    }

    /// Asserts that the daemon does not start, and gives what it says.
    async fn assert_refused(&self, state: Variable) -> String {
        let verdict = refused(&self.config, &[state]).await;
        assert_eq!((verdict.code, &*verdict.stdout), (Some(1), ""), "{verdict:#?}");
        verdict.stderr
    }
}

fn held(scrape: &Scrape) -> f64 {
    scrape.sum("talkover_exporter_attempts_held", &[])
}

/// Waits until all polls fail because the state cannot be written, and asserts that what was shown before is shown all
/// the time.
async fn assert_serves_while_failing(exporter: &Exporter, before: &Scrape) {
    let is_failing = |scrape: &Scrape| {
        assert_eq!(scrape.attempts(), before.attempts());
        scrape.get(WRITE_ERRORS) >= Some(2.0) && up(scrape) == [Some(0.0); 2]
    };
    exporter.wait_for("write errors", is_failing).await;
}

fn up(scrape: &Scrape) -> [Option<f64>; 2] {
    ["w-1", "w-2"].map(|webhook| scrape.get(&format!("talkover_up{{environment=\"test\",webhook_id=\"{webhook}\"}}")))
}

/// Asserts that the log says why the state cannot be written, and where: once for each webhook, or once for all.
async fn assert_told(exporter: &Exporter, reason: &str) {
    let is_error = |line: &&String| line.contains(" ERROR ");
    let log = exporter.wait_for_log("an error", |log| log.iter().any(|line| is_error(&line))).await;
    let told: Vec<&String> = log.iter().filter(is_error).collect();
    assert!(told.len() <= 3, "{log:#?}");
    assert!(told.iter().all(|line| line.contains("/state/state.db") && line.contains(reason)), "{told:#?}");
}

/// Runs a program of the system.
fn system(program: &str, arguments: &[&str], path: &Path) {
    let output = Command::new(program).args(arguments).arg(path).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?} {}: {output:?}", path.display());
}

/// A file system that is mounted as long as this exists.
struct Mount(PathBuf);

impl Mount {
    /// Mounts at `path` what the arguments of `mount` say.
    fn new(arguments: &[&str], path: PathBuf) -> Self {
        system("mount", arguments, &path);
        Self(path)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // In a test that fails, the daemon has not ended yet and still has files open there.
        let _status = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
