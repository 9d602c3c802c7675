//! A defect ends the process, wherever it is: nothing goes on without the task that had it.

use std::process::{Command, Stdio};

use talkover_exporter::config::{LogConfig, LogFormat};
use talkover_exporter::logging;

/// What the test below runs in a process of its own: a runtime whose tasks are fine, but for one.
#[test]
#[ignore = "ends the process"]
#[expect(clippy::disallowed_methods, reason = "what the test below wants of it")]
fn victim() {
    logging::end_on_panic();
    logging::init(&LogConfig { level: "info".to_owned(), format: LogFormat::Json }).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let place = std::env::var("PANIC_IN").unwrap();
        match &*place {
            "a task" => drop(tokio::spawn(async { panic!("a defect in a task") })),
            "a blocking task" => drop(tokio::task::spawn_blocking(|| panic!("a defect in a blocking task"))),
            "a thread" => drop(std::thread::spawn(|| panic!("a defect in a thread"))),
            "a log line" => drop(tokio::spawn(async { tracing::info!("{}", Broken) })),
            other => unreachable!("{other}"),
        }
        // Nobody waits for any of them.
        std::future::pending::<()>().await;
    });
}

struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, _formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("a defect in a log line")
    }
}

#[test]
fn a_panic_ends_the_process_with_its_message() {
    for place in ["a task", "a blocking task", "a thread", "a log line"] {
        let victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "panics::victim", "--ignored", "--nocapture"])
            .env("PANIC_IN", place)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&victim.stderr);
        assert_eq!(victim.status.code(), Some(1), "{place}: {stderr}");
        assert!(stderr.contains("talkover-exporter: error: a defect in the thread "), "{place}: {stderr}");
        assert!(stderr.contains(&format!("a defect in {place}")), "{place}: {stderr}");
        assert!(stderr.contains("panics.rs:"), "{place}: {stderr}");
    }
}
