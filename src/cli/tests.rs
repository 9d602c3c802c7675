//! The grammar of the command line, and what its mistakes look like.

use super::*;
use clap::CommandFactory;

fn parse_with(arguments: &[&str], environment: &EnvVars) -> Result<Command, Failure> {
    let arguments = ["talkover-exporter"].iter().chain(arguments);
    command(CommandLine::try_parse_from(arguments).map_err(usage)?, environment)
}

fn parse(arguments: &[&str]) -> Result<Command, Failure> {
    parse_with(arguments, &EnvVars::new())
}

#[test]
fn the_grammar_is_sound() {
    CommandLine::command().debug_assert();
}

#[test]
fn a_configuration_without_a_command_runs_the_daemon() {
    for arguments in [&["--config", "c.yml"][..], &["-c", "c.yml"], &["run", "--config", "c.yml"], &["run", "-cc.yml"]]
    {
        let Ok(Command::Run(args)) = parse(arguments) else { panic!("{arguments:?}") };
        assert_eq!(args.config.path.as_deref(), Some(std::path::Path::new("c.yml")));
    }
}

#[test]
fn a_variable_names_the_configuration_where_the_command_line_does_not() {
    let variable = |path: &str| EnvVars::from([(CONFIG_VARIABLE.to_owned(), path.to_owned())]);
    let Ok(Command::Run(args)) = parse_with(&[], &variable("v.yml")) else { panic!("no command, but a file") };
    assert_eq!(file(&args.config, &variable("v.yml")), Some("v.yml".into()));
    let Ok(Command::Run(args)) = parse(&["run", "-c", "c.yml"]) else { panic!("run") };
    assert_eq!(source(&args.config, &variable("v.yml")).expect("named").path, PathBuf::from("c.yml"));
    let Ok(Command::Check(args)) = parse(&["check"]) else { panic!("check") };
    for environment in [EnvVars::new(), variable("")] {
        let failure = source(&args.config, &environment).expect_err("none");
        assert_eq!(failure.code(), 2);
        assert!(failure.messages()[0].contains(CONFIG_VARIABLE), "{failure:?}");
        assert!(parse_with(&[], &environment).is_err());
    }
}

#[test]
fn a_file_without_an_option_gets_the_option_suggested() {
    for arguments in [&["check", "c.yml"][..], &["verify", "./conf"], &["c.yaml"], &["run", "/etc/c.yml"]] {
        let failure = parse(arguments).expect_err("a mistake");
        let path = arguments.last().expect("one");
        assert!(failure.messages()[0].contains(&format!("file, use '--config {path}'")), "{failure:?}");
    }
    for arguments in [&["chekc"][..], &["check", "--conifg", "c.yml"], &["demo", "here"]] {
        let failure = parse(arguments).expect_err("a mistake");
        assert!(!failure.messages()[0].contains("to name the configuration file"), "{failure:?}");
    }
}

#[test]
fn addresses_are_written_as_in_other_exporters() {
    for (text, expected) in [
        (":9877", "[::]:9877"),
        ("localhost:0", "127.0.0.1:0"),
        ("[::]:9877", "[::]:9877"),
        ("10.0.0.1:80", "10.0.0.1:80"),
    ] {
        let Ok(Command::Demo(demo)) = parse(&["demo", "--listen", text]) else { panic!("{text}") };
        assert_eq!(demo.listen.to_string(), expected);
        let Ok(Command::Run(args)) = parse(&["-c", "x", "--web.listen-address", text]) else { panic!("{text}") };
        assert_eq!(args.web.listen_address, Some(demo.listen));
    }
    for text in ["localhost", ":", "9877", "localhost:x", "example.com:80", ":99999", "::"] {
        assert!(parse(&["demo", "--listen", text]).is_err(), "{text}");
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
        &["verify", "--config", "x", "--since", "1 day"],
        &["simulate"],
        &["frobnicate"],
        &["run", "--config"],
        &["--config", "x", "check", "--config", "y"],
        &["demo", "--listen", "nowhere"],
        &["healthcheck", "--ready", "yes"],
        &["completions"],
        &["completions", "tcsh"],
        &["run", "-c", "x", "--web.telemetry-path", "metrics"],
        &["run", "-c", "x", "--web.telemetry-path", "/-/ready"],
    ] {
        let failure = parse(arguments).expect_err("a mistake");
        assert_eq!(failure.code(), 2, "{arguments:?}");
        let [message] = failure.messages() else { panic!("one message") };
        assert!(!message.starts_with("error") && message.contains("--help"), "{message}");
    }
}

#[test]
fn help_and_version_are_everywhere() {
    for command in ["run", "demo", "simulate", "check", "verify", "config", "healthcheck", "completions", "man"] {
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
