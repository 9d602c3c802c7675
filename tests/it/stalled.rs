//! Nobody reads what the program writes: a full pipe stops nothing.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal};
use talkover_simulator::{Clock, EntrySpec, Simulator, Status};
use tokio::process::{Child, Command};

use crate::harness::{BINARY, Scrape, Workspace, quiet_scenario, simulator, wait_for};

const SETTINGS: &str = "poll: {min_interval: 20ms, max_interval: 20ms}\n";
const DROPPED: &str = "talkover_exporter_log_lines_dropped_total";
const POLLS: &str = "talkover_exporter_polls_total";

/// A pipe that can hold no more: the end to read from, and the one to write to.
fn full_pipe() -> (File, File) {
    let (reader, writer) = std::io::pipe().unwrap();
    let [reader, mut writer] = [reader.into(), writer.into()].map(|end: std::os::fd::OwnedFd| File::from(end));
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    for size in [4096, 1] {
        let full = loop {
            if let Err(error) = writer.write_all(&vec![b'\n'; size]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
    }
    // The program is given one that blocks.
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A program that nobody listens to; killed when it is dropped.
struct Unheard {
    child: Child,
    address: SocketAddr,
}

impl Unheard {
    fn start(arguments: &[&str], address: SocketAddr, stdout: Stdio, stderr: File) -> Self {
        let mut command = Command::new(BINARY);
        command.args(arguments).env("NO_PROXY", "*").stdout(stdout).stderr(stderr).kill_on_drop(true);
        Self { child: command.spawn().unwrap(), address }
    }

    async fn is_ok(&self, path: &str) -> bool {
        let answer = reqwest::get(format!("http://{}{path}", self.address)).await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    async fn wait_until_ok(&self, path: &str) {
        wait_for(path, || async { self.is_ok(path).await.then_some(()) }).await;
    }

    async fn wait_for(&self, what: &str, is_there: impl Fn(&Scrape) -> bool) -> Scrape {
        let url = format!("http://{}/metrics", self.address);
        wait_for(what, || async {
            let scrape = Scrape::parse(reqwest::get(&url).await.ok()?.text().await.ok()?);
            is_there(&scrape).then_some(scrape)
        })
        .await
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        rustix::process::kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    async fn terminate(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        let status = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
        status.expect("it takes more than 30 s to stop").unwrap().code()
    }
}

/// A simulated API, and a daemon that reads its log and whose own log goes to `stderr`.
struct Scene {
    simulator: Simulator,
    workspace: Workspace,
    daemon: Unheard,
}

impl Scene {
    async fn start(stderr: File) -> Self {
        let simulator = simulator(quiet_scenario(), Clock::Real).await;
        let (workspace, address) = (Workspace::new(), free_address());
        let config = configure(&workspace, &simulator.base_url(), address, SETTINGS);
        let arguments = ["run", "--config", config.to_str().unwrap()];
        let daemon = Unheard::start(&arguments, address, Stdio::null(), stderr);
        Self { simulator, workspace, daemon }
    }

    /// Has the daemon refuse a configuration with faults so long, and often enough, that the log has no room for them.
    async fn drop_lines(&self) -> Scrape {
        let faults: String = (0..100).map(|number| format!("unknown_{number}_{}: 1\n", "x".repeat(900))).collect();
        self.workspace.write("config.yml", &faults);
        let are_dropped = |scrape: &Scrape| {
            self.daemon.signal(Signal::HUP);
            scrape.sum(DROPPED, &[]) > 0.0
        };
        self.daemon.wait_for("lines that are dropped", are_dropped).await
    }

    fn deliver(&self) {
        let inserted = self.simulator.with_world(|world| {
            let created_at = world.now();
            world.insert("w-1", EntrySpec { created_at, status: Status::Success, ..EntrySpec::default() })
        });
        inserted.unwrap();
    }
}

fn configure(workspace: &Workspace, base_url: &str, address: SocketAddr, more: &str) -> PathBuf {
    let config = workspace.configure(base_url, &quiet_scenario().webhooks, more);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("127.0.0.1:0", &address.to_string())).unwrap();
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_stderr_from_the_start_on_the_daemon_does_its_work_and_stops() {
    let (_reader, stderr) = full_pipe();
    let scene = Scene::start(stderr).await;
    scene.daemon.wait_until_ok("/-/ready").await;
    let scrape = scene.drop_lines().await;
    let polls = scrape.sum(POLLS, &["success"]);
    scene.daemon.wait_for("further polls", |scrape| scrape.sum(POLLS, &["success"]) > polls + 5.0).await;
    scene.deliver();
    let attempts = "talkover_webhook_delivery_attempts_total";
    scene.daemon.wait_for("an attempt", |scrape| scrape.sum(attempts, &["w-1"]) == 1.0).await;
    assert!(scene.daemon.is_ok("/-/healthy").await);
    assert_eq!(scene.daemon.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_resumes_is_told_how_much_it_has_missed_and_gets_the_last_lines() {
    let (mut reader, stderr) = full_pipe();
    let scene = Scene::start(stderr).await;
    scene.daemon.wait_until_ok("/-/ready").await;
    scene.drop_lines().await;

    let read = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&read);
    let reading = std::thread::spawn(move || {
        let mut chunk = [0; 64 * 1024];
        while let Ok(1..) = reader.read(&mut chunk).inspect(|count| log.lock().unwrap().extend(&chunk[..*count])) {}
    });
    let text = || String::from_utf8(read.lock().unwrap().clone()).unwrap();
    let missed = |text: &str| -> Vec<u64> {
        let lines = text.lines().filter(|line| line.contains("log lines dropped: stderr was not read in time"));
        lines.map(|line| line.rsplit_once("lines=").unwrap().1.parse().unwrap()).collect()
    };
    wait_for("the line about dropped lines", || async { (!missed(&text()).is_empty()).then_some(()) }).await;
    let told: u64 = missed(&text()).iter().sum();
    let scrape = scene.daemon.wait_for("a scrape", |_| true).await;
    assert!(told > 0 && told as f64 <= scrape.sum(DROPPED, &[]), "{told} lines");
    assert_eq!(scene.daemon.terminate().await, Some(0));
    reading.join().unwrap();
    let text = text();
    assert!(text.contains("started version="), "the first lines waited in the queue");
    assert!(text.lines().any(|line| line.contains("stopping")), "{}", tail(&text));
    assert!(text.ends_with('\n'), "{}", tail(&text));
}

#[tokio::test]
async fn a_configuration_that_is_wrong_ends_the_daemon_though_nobody_reads_why() {
    let (_reader, stderr) = full_pipe();
    let workspace = Workspace::new();
    let config = workspace.write("config.yml", "environments: []\n");
    let arguments = ["run", "--config", config.to_str().unwrap()];
    let mut daemon = Unheard::start(&arguments, free_address(), Stdio::null(), stderr);
    let status = tokio::time::timeout(Duration::from_secs(60), daemon.child.wait()).await;
    assert_eq!(status.expect("it does not end").unwrap().code(), Some(2));
}

#[tokio::test]
async fn the_demonstration_and_the_simulator_wait_for_no_reader_either() {
    for (command, path) in [("demo", "/-/healthy"), ("simulate", "/_simulator/truth")] {
        let (_out, stdout) = full_pipe();
        let (_err, stderr) = full_pipe();
        let address = free_address();
        let arguments = [command, "--listen", &address.to_string()];
        let program = Unheard::start(&arguments, address, stdout.into(), stderr);
        program.wait_until_ok(path).await;
        assert_eq!(program.terminate().await, Some(0), "{command}");
    }
}

/// The last lines of a log, for a failure's message.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(3)..].iter().map(|line| format!("{line:.300}\n")).collect()
}
