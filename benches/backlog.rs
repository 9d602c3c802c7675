//! The whole path: a backlog of entries from the simulator in another process, read by the real daemon into a fresh
//! state.
//!
//! `cargo bench --bench backlog` reads 50,000 entries, `BACKLOG_ENTRIES=1000000 cargo bench --bench backlog` another
//! number. It prints processor time an entry, peak memory and requests, and beside them what `curl` spends on fetching
//! the same pages and throwing them away. Processor time, because the wall clock of a shared machine says little.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that meets what it does not expect has to fail"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_talkover-exporter");
const ENTRIES: u64 = 50_000;
const PER_PAGE: u64 = 100;
/// Entries read in three runs; of more there is one run.
const ENTRIES_OF_THREE_RUNS: u64 = 100_000;
/// Long enough for the slowest machine, for every 50,000 entries; they take a second or two.
const PATIENCE: Duration = Duration::from_secs(120);

/// A child process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

struct Figures {
    cpu: f64,
    peak_mib: f64,
    requests: f64,
    state_mib: f64,
    wall: Duration,
}

fn main() {
    #[expect(clippy::disallowed_methods, reason = "no stage: the shell says how much to measure")]
    let entries = std::env::var("BACKLOG_ENTRIES").map_or(ENTRIES, |number| number.parse().unwrap());
    let pages = entries.div_ceil(PER_PAGE);
    let directory = tempfile::tempdir().unwrap();
    let (_simulator, api) = start_simulator(directory.path(), entries);
    // The simulator makes its world at the first request.
    fetch(&api, "/_simulator/requests");
    println!("{entries} entries on {pages} pages");
    let mut best = f64::INFINITY;
    let runs = if entries <= ENTRIES_OF_THREE_RUNS { 3 } else { 1 };
    for run in 1..=runs {
        let figures = measure(directory.path(), &api, entries, run);
        println!(
            "run {run}: {:.1} µs of processor time an entry ({:.2} s, {:.2} s on the wall), peak memory {:.0} MiB, \
             {} requests, state on disk {:.1} MiB",
            figures.cpu / entries as f64 * 1e6,
            figures.cpu,
            figures.wall.as_secs_f64(),
            figures.peak_mib,
            figures.requests,
            figures.state_mib,
        );
        best = best.min(figures.cpu);
    }
    match measure_curl(&api, pages) {
        Some(cpu) => println!(
            "curl, throwing the pages away: {:.1} µs an entry; the daemon at its best needs {:.1} times that",
            cpu / entries as f64 * 1e6,
            best / cpu,
        ),
        None => println!("curl is not installed: nothing to compare with"),
    }
}

fn start_simulator(directory: &Path, entries: u64) -> (Running, String) {
    let scenario = directory.join("backlog.yml");
    let text = format!(
        "history: 20h
rate_limit_per_minute: 100000000
webhooks:
  - id: w-1
    name: orders
    url: https://example.com/orders
    owner: {{type: agent, id: a-1, name: Support}}
    backlog: {entries}
    failures: {{probability: 0.1}}
"
    );
    std::fs::write(&scenario, text).unwrap();
    let mut child = Command::new(BINARY)
        .args(["simulate", "--listen", "127.0.0.1:0", "--scenario"])
        .arg(&scenario)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let address = lines.find_map(|line| line.split_once("http://").map(|(_, rest)| rest.trim().to_owned())).unwrap();
    std::thread::spawn(move || lines.for_each(drop));
    (Running(child), address)
}

fn measure(directory: &Path, api: &str, entries: u64, run: u32) -> Figures {
    let state = directory.join(format!("state-{run}.db"));
    let config = directory.join("config.yml");
    let text = format!(
        "server: {{listen: 127.0.0.1:0}}
state: {{path: {state:?}}}
environments:
  - name: bench
    base_url: http://{api}
    requests_per_minute: 10000000
    webhooks: [{{agent_id: a-1, webhook_id: w-1}}]
"
    );
    std::fs::write(&config, text).unwrap();
    let started = Instant::now();
    let mut child = Command::new(BINARY)
        .args(["run", "--config"])
        .arg(&config)
        .env("TALKOVER_TOKEN", "talq_simulator")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let address = lines
        .find_map(|line| line.split_once("listen=").map(|(_, rest)| rest.split(' ').next().unwrap_or(rest).to_owned()))
        .unwrap();
    std::thread::spawn(move || lines.for_each(drop));
    let child = Running(child);
    loop {
        let metrics = fetch(&address, "/metrics");
        if sum(&metrics, "talkover_webhook_delivery_attempts_total") as u64 >= entries {
            return Figures {
                cpu: sum(&metrics, "process_cpu_seconds_total"),
                peak_mib: peak_kib(child.0.id()) as f64 / 1024.0,
                requests: sum(&metrics, "talkover_api_requests_total"),
                state_mib: sum(&metrics, "talkover_exporter_state_size_bytes") / 1024.0 / 1024.0,
                wall: started.elapsed(),
            };
        }
        assert!(
            started.elapsed() < PATIENCE * u32::try_from(entries / ENTRIES + 1).unwrap(),
            "the backlog was not read in time"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The processor time that `curl` needs for the same pages, in seconds.
fn measure_curl(api: &str, pages: u64) -> Option<f64> {
    let before = reaped_children();
    let url = format!("http://{api}/api/v1/agents/a-1/webhooks/w-1/logs?per_page={PER_PAGE}&page=[1-{pages}]");
    let status = Command::new("curl")
        .args(["--silent", "--header", "Authorization: Bearer talq_simulator", "--output", "/dev/null", &url])
        .status()
        .ok()?;
    assert!(status.success());
    Some(reaped_children() - before)
}

/// Processor time of all children that have ended, in seconds.
fn reaped_children() -> f64 {
    let stat = procfs::process::Process::myself().unwrap().stat().unwrap();
    (stat.cutime + stat.cstime) as f64 / procfs::ticks_per_second() as f64
}

fn peak_kib(id: u32) -> u64 {
    let process = procfs::process::Process::new(i32::try_from(id).unwrap()).unwrap();
    process.status().unwrap().vmhwm.unwrap()
}

fn sum(metrics: &str, name: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

fn fetch(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
