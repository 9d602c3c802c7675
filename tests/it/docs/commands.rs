//! Every command that the documents show is started, against a simulated API, and must do what it is shown for.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal};
use talkover_simulator::Clock;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::{blocks, document, pages};
use crate::harness::{BINARY, Exporter, Workspace, quiet_scenario, simulator};

/// A command as it is shown, with the variables before it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shown {
    variables: Vec<(String, String)>,
    /// Without the program's name.
    arguments: Vec<String>,
}

impl Shown {
    /// What a shell would make of the line; `None` if it starts another program.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(" #").next()?.split_whitespace().map(str::to_owned).peekable();
        let mut variables = Vec::new();
        while let Some((name, value)) = words.peek().and_then(|word| word.split_once('=')) {
            variables.push((name.to_owned(), value.to_owned()));
            words.next();
        }
        let program = words.next()?;
        let arguments: Vec<String> = words.collect();
        let is_ours = ["talkover-exporter", "./talkover-exporter"].contains(&program.as_str());
        (is_ours && !arguments.is_empty()).then_some(Self { variables, arguments })
    }

    /// The command's name. `--config` alone is `run`.
    fn name(&self) -> &str {
        Some(self.arguments[0].as_str()).filter(|name| *name != "--config").unwrap_or("run")
    }

    /// The arguments, with files of this machine in place of the reader's.
    fn arguments(&self, config: &Path, output: &Path, url: &str) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut before = "";
        for argument in &self.arguments {
            arguments.push(match before {
                "--config" | "-c" => config.display().to_string(),
                "--output" => output.display().to_string(),
                "--url" => url.to_owned(),
                _ if argument.starts_with('/') || argument.contains("FILE") => output.display().to_string(),
                _ => argument.clone(),
            });
            before = argument;
        }
        match self.name() {
            "healthcheck" if !self.arguments.iter().any(|one| one == "--url") => {
                arguments.extend(["--url".to_owned(), url.to_owned()]);
            }
            "demo" => arguments.extend(["--listen".to_owned(), "127.0.0.1:0".to_owned()]),
            _ => {}
        }
        arguments
    }
}

/// Commands in blocks for a shell, and in the running text.
fn shown() -> BTreeSet<Shown> {
    let mut shown = BTreeSet::new();
    for text in pages().iter().map(|name| document(name)) {
        let lines = blocks(&text, "sh").into_iter().flat_map(str::lines);
        // A line that is indented goes on with the one before it.
        shown.extend(lines.filter(|line| !line.starts_with(' ')).filter_map(Shown::parse));
        let prose = text.split("```").step_by(2);
        let spans = prose.flat_map(|part| part.split('`').skip(1).step_by(2));
        let spans = spans.filter(|span| !span.contains(['[', '…'])).filter_map(Shown::parse);
        // A name alone names a command, and shows none.
        shown.extend(spans.filter(|one| one.arguments.len() > 1 || one.arguments[0].starts_with('-')));
    }
    shown
}

#[tokio::test]
async fn every_command_shown_can_be_started() {
    let scenario = quiet_scenario();
    let webhooks = scenario.webhooks.clone();
    let api = simulator(scenario, Clock::Real).await;
    let workspace = Workspace::new();
    let config = workspace.configure(&api.base_url(), &webhooks, "");
    // What looks at a daemon, or at its state, looks at this one.
    let exporter = Exporter::start(&config).await;
    exporter.wait_for("a poll of each webhook", |scrape| scrape.sum("talkover_up", &[]) == 2.0).await;
    let shown = shown();
    for (number, one) in shown.iter().enumerate() {
        let name = one.name();
        let own = Workspace::new();
        let config = if name == "run" { own.configure(&api.base_url(), &webhooks, "") } else { config.clone() };
        let mut command = Command::new(BINARY);
        command.args(one.arguments(&config, &own.path(&format!("output-{number}")), &exporter.url));
        command.envs(one.variables.iter().cloned()).env("NO_PROXY", "*").kill_on_drop(true);
        match name {
            "run" => {
                let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
                let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
                let mut log = Vec::new();
                while !log.last().is_some_and(|line: &String| line.contains("listen")) {
                    let line = lines.next_line().await.unwrap();
                    log.push(line.unwrap_or_else(|| panic!("{one:?} ended: {log:#?}")));
                }
                let id = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
                rustix::process::kill_process(id, Signal::TERM).unwrap();
                // The pipe is read to its end, so that it does not fill up.
                while lines.next_line().await.unwrap().is_some() {}
                assert_eq!(child.wait().await.unwrap().code(), Some(0), "{one:?}");
            }
            "demo" => {
                let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
                let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
                let line = lines.next_line().await.unwrap();
                assert!(line.is_some_and(|line| line.starts_with("talkover-exporter demo")), "{one:?}");
                child.kill().await.unwrap();
            }
            _ => {
                let output = command.output().await.unwrap();
                assert_eq!(output.status.code(), Some(0), "{one:?}: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }
    let names: BTreeSet<&str> = shown.iter().map(Shown::name).collect();
    for name in ["run", "demo", "check", "verify", "config", "completions", "man", "dashboards", "healthcheck"] {
        assert!(names.contains(name), "no document shows {name}: {names:?}");
    }
}
