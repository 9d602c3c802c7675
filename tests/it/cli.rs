//! The command line: what it answers, and with which exit code it refuses what.

use std::process::{Command, Output};

use crate::harness::{BINARY, Workspace};

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).env_remove("TALKOVER_TOKEN").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Asserts a refusal: the exit code, a message that holds `expected`, nothing on stdout, no panic, no token.
fn assert_refused(output: &Output, code: i32, expected: &str) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(message.contains(expected), "{message}");
    // Below a message stand the lines of the file that it is about.
    let mut lines = message.lines().filter(|line| !line.contains(" INFO ") && !line.starts_with("     "));
    assert!(lines.all(|line| line.starts_with("talkover-exporter: error: ")), "{message}");
    assert!(!message.contains("panicked") && !message.contains("talq_"), "{message}");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn help_and_version_are_everywhere() {
    for command in [&[][..], &["run"], &["demo"], &["simulate"], &["check"], &["verify"], &["config"], &["man"]] {
        for flag in ["--help", "--version"] {
            let output = run(&[command, &[flag]].concat());
            assert_eq!(output.status.code(), Some(0), "{command:?} {flag}");
            assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{command:?} {flag}");
        }
    }
    insta::assert_snapshot!(text(&run(&["--help"]).stdout));
}

#[test]
fn a_command_line_that_is_wrong_ends_with_2() {
    for arguments in [
        &[][..],
        &["fly"],
        &["run"],
        &["--config"],
        &["demo", "--listen", "here"],
        &["run", "--confg", "x"],
        &["check", "c.yml"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).starts_with("talkover-exporter: error: "), "{arguments:?}");
    }
    for command in ["demo", "simulate"] {
        let message = text(&run(&[command, "--listen", "example.com:9877"]).stderr);
        assert!(message.contains("`example.com:9877` is no address with a port, such as "), "{message}");
    }
}

const GOOD: &str = "environments:\n  - name: production\n    base_url: http://127.0.0.1:1\n    token_file: TOKEN\n    \
                    webhooks: [{agent_id: a, webhook_id: w}]\nstate: {path: STATE}\nserver: {listen: 127.0.0.1:0}\n";

/// A workspace whose `config.yml` is [`GOOD`] after a change.
fn workspace(change: impl Fn(&str) -> String) -> (Workspace, String) {
    let workspace = Workspace::new();
    workspace.write("token", "talq_good\n");
    let text = change(GOOD)
        .replace("TOKEN", &workspace.path("token").display().to_string())
        .replace("STATE", &workspace.path("state.db").display().to_string());
    let config = workspace.write("config.yml", &text).display().to_string();
    (workspace, config)
}

#[test]
fn check_accepts_what_is_right_and_names_every_fault_of_what_is_not() {
    let (_workspace, config) = workspace(str::to_owned);
    let output = run(&["check", "--config", &config]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("OK"));

    let (_workspace, config) = workspace(|good| {
        good.replace("http://127.0.0.1:1", "http://example.com")
            + "poll: {min_interval: 1h, per_pge: 10}\nlog: {level: 7}\n"
    });
    let output = run(&["check", "--config", &config]);
    for (key, reason) in [
        ("environments[0].base_url", "http"),
        ("poll.min_interval", "max_interval"),
        ("poll.per_pge", "per_page"),
        ("log.level", ""),
    ] {
        assert_refused(&output, 2, key);
        let message = text(&output.stderr);
        let line = message.lines().find(|line| line.contains(key)).unwrap();
        assert!(line.contains(&config) && line.contains(reason), "{line}");
    }
}

#[test]
fn check_names_the_faults_of_the_web_file_too() {
    let files = Workspace::new();
    let text = "basic_auth_users: {ops: talq_plain}\ntls_server_config: {cert_file: a.crt}\n";
    let web = files.write("web.yml", text).display().to_string();
    let key = format!("server: {{web_config_file: {web:?}, ");
    let (_workspace, config) = workspace(|good| good.replace("server: {", &key));
    let output = run(&["check", "--config", &config]);
    assert_refused(&output, 2, "basic_auth_users.ops");
    assert_refused(&output, 2, "tls_server_config.key_file");
    assert_refused(&output, 2, &web);
}

#[test]
fn every_bad_input_is_one_clear_message() {
    let missing = run(&["run", "--config", "/nonexistent/config.yml"]);
    assert_refused(&missing, 2, "/nonexistent/config.yml");

    for (what, change, expected) in
        [("an unknown key", "colour: blue\n", "colour"), ("a wrong type", "poll: {per_page: many}\n", "poll.per_page")]
    {
        let (_workspace, config) = workspace(|good| format!("{good}{change}"));
        let output = run(&["run", "--config", &config]);
        assert_refused(&output, 2, expected);
        assert_eq!(text(&output.stderr).lines().count(), 2, "{what}, and the line itself");
    }
    for (from, to, expected) in [
        ("http://127.0.0.1:1", "not a url", "base_url"),
        ("http://127.0.0.1:1", "http://example.com", "allow_insecure_http"),
        ("token_file: TOKEN", "token_file: /nonexistent/token", "token_file"),
        ("    token_file: TOKEN\n", "", "TALKOVER_TOKEN"),
    ] {
        let (_workspace, config) = workspace(|good| good.replace(from, to));
        assert_refused(&run(&["run", "--config", &config]), 2, expected);
    }
    let (workspace, config) = workspace(str::to_owned);
    workspace.write("token", " \n");
    assert_refused(&run(&["run", "--config", &config]), 2, "empty");
}

#[test]
fn what_stands_in_the_way_of_running_ends_with_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_workspace, config) = workspace(|good| good.replace("127.0.0.1:0", &address));
    assert_refused(&run(&["run", "--config", &config]), 1, &address);
    assert_refused(&run(&["simulate", "--listen", &address]), 1, &address);
    assert_refused(&run(&["demo", "--listen", &address]), 1, &address);

    let (workspace, config) = workspace(str::to_owned);
    let state = workspace
        .write("state.db", "this is no database, and longer than the header of one would be".repeat(9).as_str());
    let before = std::fs::read(&state).unwrap();
    assert_refused(&run(&["run", "--config", &config]), 1, "damaged");
    assert_eq!(std::fs::read(&state).unwrap(), before);

    let newer = include_str!("../fixtures/state/v1.sql").replace("user_version = 1", "user_version = 99");
    std::fs::remove_file(&state).unwrap();
    rusqlite::Connection::open(&state).unwrap().execute_batch(&newer).unwrap();
    let before = std::fs::read(&state).unwrap();
    assert_refused(&run(&["run", "--config", &config]), 1, "version 99");
    assert_eq!(std::fs::read(&state).unwrap(), before);
}

#[test]
fn healthcheck_says_whether_a_daemon_is_there() {
    let output = run(&["healthcheck", "--url", "http://127.0.0.1:1"]);
    assert_refused(&output, 1, "127.0.0.1:1");
}

#[test]
fn what_is_wrong_is_shown_with_its_line_and_what_is_meant() {
    let (_workspace, config) = workspace(|good| {
        good.replace("token_file: TOKEN", "token: talq_pasted\n    token_file: TOKEN") + "poll: {min_interval: 5min}\n"
    });
    let output = run(&["check", "--config", &config]);
    assert_refused(&output, 2, "did you mean `5m`?");
    assert_refused(&output, 2, "| poll: {min_interval: 5min}\n");
    assert_refused(&output, 2, "did you mean `token_file`?");
    assert_refused(&output, 2, "4 |     token: …\n");

    let (_workspace, config) = workspace(|good| format!("{good}poll: [1\nlog: {{}}\n"));
    let output = run(&["check", "--config", &config]);
    assert_refused(&output, 2, &format!("{config}:10: not valid YAML: "));
    assert_refused(&output, 2, "8 | poll: [1\n       9 | log: {}\n");
}

#[test]
fn the_settings_in_force_are_a_configuration_without_secrets() {
    let (files, config) = workspace(|good| {
        let headers = "{authorization: Bearer hunter2, x-scope: hunter2}";
        good.replace("TOKEN", "TOKEN\n    discovery: {include: [\"7*\"]}")
            + &format!("traces: {{endpoint: 'http://x:4317', headers: {headers}}}\nmetrics: {{birth_hold: 7s}}\n")
    });
    let show = |config: &str| {
        let mut command = Command::new(BINARY);
        command.args(["config", "-c", config]).env("TALKOVER_EXPORTER__POLL__PER_PAGE", "50");
        command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf").env_remove("TALKOVER_EXPORTER_CONFIG");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let shown = show(&config);
    assert!(!shown.contains("hunter2") && !shown.contains("talq_"), "{shown}");
    for line in [
        "  per_page: 50  # from TALKOVER_EXPORTER__POLL__PER_PAGE\n",
        "  protocol: http/protobuf  # from a variable of OpenTelemetry, OTEL_…\n",
        "  headers: {authorization: <redacted>, x-scope: <redacted>}\n",
        "  birth_hold: 7s\n",
        "  max_interval: 5m\n",
        "      include: [\"7*\"]\n",
        "      - {agent_id: a, webhook_id: w}\n",
    ] {
        assert!(shown.contains(line), "{line}{shown}");
    }
    let copy = files.write("copy.yml", &shown).display().to_string();
    assert_eq!(run(&["check", "--config", &copy]).status.code(), Some(0));
    // Without the comments: of the copy, what a variable has set is its own.
    let settings = |text: &str| -> Vec<String> {
        text.lines().skip(1).map(|line| line.split("  #").next().unwrap().to_owned()).collect()
    };
    assert_eq!(settings(&show(&copy)), settings(&shown), "the settings in force are those of the copy");

    let defaults = text(&run(&["config", "--defaults"]).stdout);
    assert_eq!(defaults, include_str!("../../config/default.yml"));
}

#[test]
fn completions_and_the_manual_know_every_command() {
    let help = text(&run(&["--help"]).stdout);
    let commands: Vec<&str> = help.lines().skip_while(|line| *line != "Commands:").skip(1).collect();
    let commands = commands.iter().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() >= 11, "{commands:?}");
    let manual = text(&run(&["man"]).stdout);
    for command in commands.iter().filter(|command| **command != "help") {
        assert!(manual.contains(&format!(".SH \"COMMAND {}\"\n", command.to_uppercase())), "{command}");
        for shell in ["bash", "zsh", "fish"] {
            let script = text(&run(&["completions", shell]).stdout);
            assert!(script.contains(command) && !script.contains('\u{1b}'), "{shell}: {command}");
        }
    }
}
