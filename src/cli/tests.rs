//! The grammar of the command line, and what its mistakes look like.

use super::*;
use clap::CommandFactory;

fn parse(arguments: &[&str]) -> Result<Command, Failure> {
    let arguments = ["talkover-exporter"].iter().chain(arguments);
    command(CommandLine::try_parse_from(arguments).map_err(|error| usage(&error))?)
}

#[test]
fn the_grammar_is_sound() {
    CommandLine::command().debug_assert();
}

#[test]
fn a_configuration_without_a_command_runs_the_daemon() {
    for arguments in [&["--config", "c.yml"][..], &["run", "--config", "c.yml"]] {
        let Ok(Command::Run(args)) = parse(arguments) else { panic!("{arguments:?}") };
        assert_eq!(args.config, std::path::Path::new("c.yml"));
    }
}

#[test]
fn defaults_of_options() {
    let Ok(Command::Demo(demo)) = parse(&["demo"]) else { panic!("demo") };
    assert_eq!(demo.listen.to_string(), "127.0.0.1:9877");
    let Ok(Command::Verify(verify)) = parse(&["verify", "--config", "c.yml"]) else { panic!("verify") };
    assert_eq!(verify.since, std::time::Duration::from_secs(24 * 3600));
    let Ok(Command::Healthcheck(health)) = parse(&["healthcheck"]) else { panic!("healthcheck") };
    assert_eq!((health.url.as_str(), health.ready), ("http://127.0.0.1:9877", false));
    let Ok(Command::Simulate(simulate)) = parse(&["simulate", "--listen", "[::1]:1", "--seed", "7"]) else {
        panic!("simulate")
    };
    assert_eq!((simulate.listen.port(), simulate.seed, simulate.scenario), (1, Some(7), None));
}

#[test]
fn mistakes_exit_with_2() {
    for arguments in [
        &[][..],
        &["run"],
        &["check"],
        &["verify"],
        &["verify", "--config", "x", "--since", "1 day"],
        &["simulate"],
        &["frobnicate"],
        &["run", "--config"],
        &["--config", "x", "check", "--config", "y"],
        &["demo", "--listen", "nowhere"],
        &["healthcheck", "--ready", "yes"],
    ] {
        let failure = parse(arguments).expect_err("a mistake");
        assert_eq!(failure.code(), 2, "{arguments:?}");
        let [message] = failure.messages() else { panic!("one message") };
        assert!(!message.starts_with("error") && message.contains("--help"), "{message}");
    }
}

#[test]
fn help_and_version_are_everywhere() {
    for command in ["run", "demo", "simulate", "check", "verify", "healthcheck"] {
        for (option, expected) in [("--help", "Usage:"), ("--version", env!("CARGO_PKG_VERSION"))] {
            let error = CommandLine::try_parse_from(["talkover-exporter", command, option]).expect_err("an answer");
            assert!(!error.use_stderr());
            assert!(error.to_string().contains(expected), "{command} {option}: {error}");
        }
    }
    let version = CommandLine::command().render_version();
    assert!(version.starts_with("talkover-exporter 0.") && version.contains("revision"), "{version}");
    assert!(version.contains("rustc 1."), "{version}");
}

#[test]
fn faults_of_a_configuration_exit_with_2_and_a_message_each() {
    let arguments = |text: &str| {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        let arguments = ["talkover-exporter", "check", "--config"].map(OsString::from).to_vec();
        let arguments: Vec<_> = arguments.into_iter().chain([file.path().as_os_str().to_owned()]).collect();
        (file, arguments)
    };
    let (_file, arguments) = arguments("poll: {per_page: 0}\nlog: {format: x}\nenvironments: []");
    let failure = execute(arguments, &EnvVars::new()).expect_err("wrong");
    assert_eq!((failure.code(), failure.messages().len()), (2, 3), "{failure:?}");
}
