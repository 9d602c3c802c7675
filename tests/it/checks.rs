//! `check`, and what a start and a reload make of files and variables that are wrong or meant for others.

use std::path::Path;

use talkover_simulator::{Clock, EntrySpec, Fault, FaultPlan, RandomFault, Webhook};

use crate::harness::{BINARY, Exporter, Verdict, Workspace, check_online, quiet_scenario, simulator};

async fn check(config: &Path, variables: &[(&str, &str)]) -> Verdict {
    let mut command = tokio::process::Command::new(BINARY);
    command.args(["check", "--config"]).arg(config).envs(variables.iter().copied());
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Verdict { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Nine levels of nine aliases each: a billion values in less than 600 bytes.
fn bomb() -> String {
    let level = |n: usize| format!("x{n}: &x{n} [{}]\n", vec![format!("*x{}", n - 1); 9].join(","));
    "x0: &x0 [lol]\n".to_owned() + &(1..=9).map(level).collect::<String>()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_named_in_the_file_that_cannot_be_read_fails_the_check() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let named = [quiet_scenario().webhooks, vec![Webhook::of_agent("a-1", "w-missing")]].concat();
    let config = workspace.configure(&simulator.base_url(), &named, "");
    let verdict = check_online(&config).await;
    assert_eq!(verdict.code, Some(1), "{verdict:#?}");
    let reason = "environment `test`: the webhook `w-missing`, named in the file, cannot be read: the API answered 404";
    assert!(verdict.stderr.contains(reason), "{verdict:#?}");
    assert!(verdict.stdout.contains("NOT READABLE       w-missing: the API answered 404"), "{verdict:#?}");
    assert!(verdict.stdout.contains("an entry is read after "), "two logs were read: {verdict:#?}");

    let config = workspace.configure(&simulator.base_url(), &named[2..], "");
    let verdict = check_online(&config).await;
    assert_eq!(verdict.code, Some(1), "{verdict:#?}");
    assert!(verdict.stdout.contains("freshness          unknown: no log could be read"), "{verdict:#?}");
    assert!(verdict.stdout.contains("polls unknown"), "{verdict:#?}");

    let config = workspace.configure(&simulator.base_url(), &named[..2], "");
    let verdict = check_online(&config).await;
    assert_eq!(verdict.code, Some(0), "{verdict:#?}");
    assert!(verdict.stdout.contains("at worst; the logs are empty now"), "empty logs have no average: {verdict:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_webhook_or_list_keeps_no_other_from_being_checked() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let settings = "requests_per_minute: 6000\n    discovery: {agents: true, campaigns: true}";
    let webhooks = quiet_scenario().webhooks;
    let (of_agents, of_campaigns): (Vec<Webhook>, Vec<Webhook>) =
        webhooks.iter().cloned().partition(|webhook| webhook.owner.kind.as_str() == "agent");
    assert!(!of_agents.is_empty() && !of_campaigns.is_empty());
    for (fault, reason) in [(Fault::Status(500), "the API answered 500"), (Fault::Reset, "the connection failed")] {
        for (path, what, named) in [
            ("/webhooks/w-1/", "webhook `w-1`, named in the file,", &webhooks),
            ("/agents", "list of agents", &of_campaigns),
            ("/campaigns", "list of campaigns", &of_agents),
        ] {
            let config = workspace.configure_with(settings, &simulator.base_url(), named, "");
            let random = vec![RandomFault { probability: 1.0, path: path.to_owned(), fault: fault.clone() }];
            simulator.set_faults(&FaultPlan { random, ..FaultPlan::default() });
            let verdict = check_online(&config).await;
            assert_eq!(verdict.code, Some(1), "{verdict:#?}");
            let message = format!("environment `test`: the {what} cannot be read: {reason}");
            assert!(verdict.stderr.contains(&message), "{verdict:#?}");
            assert_eq!(verdict.stderr.matches("cannot be read").count(), 1, "{verdict:#?}");
            assert!(verdict.stdout.contains("freshness          an entry is read after "), "{verdict:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_webhook_named_in_the_file_is_asked_for_beyond_the_sample_too() {
    let mut scenario = quiet_scenario();
    scenario.webhooks = (0..25).map(|n| Webhook::of_agent("a-1", &format!("w-{n:02}"))).collect();
    let named = [scenario.webhooks.clone(), vec![Webhook::of_agent("a-1", "w-99")]].concat();
    let simulator = simulator(scenario, Clock::Real).await;
    let workspace = Workspace::new();
    let verdict = check_online(&workspace.configure(&simulator.base_url(), &named, "")).await;
    assert_eq!(verdict.code, Some(1), "{verdict:#?}");
    assert!(verdict.stderr.contains("`w-99`") && verdict.stdout.contains("26 requests"), "{verdict:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_cannot_be_asked_fails_the_check_and_the_next_is_asked() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks[..1], "");
    let text = std::fs::read_to_string(&config).unwrap();
    let first = "environments:\n  - {name: gone, base_url: 'http://127.0.0.1:1', token_file: TOKEN, discovery: {}}\n";
    let first = first.replace("TOKEN", &workspace.path("token").display().to_string());
    std::fs::write(&config, text.replace("environments:\n", &first)).unwrap();
    let verdict = check_online(&config).await;
    assert_eq!(verdict.code, Some(1), "{verdict:#?}");
    assert!(verdict.stderr.contains("environment `gone`: the connection failed"), "{verdict:#?}");
    assert!(verdict.stdout.contains("environment `test`, according to the API"), "{verdict:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_looks_at_the_states_path_beside_a_running_daemon() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, "");
    let state = workspace.path("state.db").display().to_string();
    assert_eq!(check(&config, &[]).await.code, Some(0));
    assert!(!workspace.path("state.db").exists(), "nothing is created");
    let _running = Exporter::start(&config).await;
    assert_eq!(check(&config, &[]).await.code, Some(0));

    let text = std::fs::read_to_string(&config).unwrap();
    let line = 1 + text.lines().position(|line| line.starts_with("state:")).unwrap();
    std::fs::write(&config, text.replace(&state, "/proc/nope/x.db")).unwrap();
    let verdict = check(&config, &[]).await;
    assert_eq!(verdict.code, Some(2), "{verdict:#?}");
    let place = format!("{}:{line}: state.path: /proc/nope/x.db cannot be created", config.display());
    assert!(verdict.stderr.contains(&place), "{verdict:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_nested_aliases_is_refused_at_a_reload_and_the_daemon_goes_on() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, "");
    let exporter = Exporter::start(&config).await;
    let pristine = std::fs::read_to_string(&config).unwrap();
    let merging = format!("{pristine}poll: &p {{per_page: 1}}\nlog:\n  <<: *p\n");
    for (bad, reason) in [(bomb(), "more than 200000 values"), (merging, "merge keys (`<<`) are not supported")] {
        std::fs::write(&config, &bad).unwrap();
        exporter.signal(rustix::process::Signal::HUP);
        let is_refused = |lines: &[String]| lines.iter().any(|line| line.contains(reason));
        exporter.wait_for_log("the refusal", is_refused).await;
        let verdict = check(&config, &[]).await;
        assert_eq!(verdict.code, Some(2), "{verdict:#?}");
        let messages = verdict.stderr.lines().filter(|line| line.starts_with("talkover-exporter: error: "));
        assert!(messages.count() == 1 && verdict.stderr.contains(reason), "{verdict:#?}");
    }
    assert!(exporter.scrape().await.sum("process_resident_memory_bytes", &[]) < 300e6);
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_other_programs_keep_nothing_from_starting() {
    let simulator = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let config = workspace.configure(&simulator.base_url(), &quiet_scenario().webhooks, "");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_SDK_DISABLED", "perhaps"),
        ("TOKIO_WORKER_THREADS", "many"),
        ("HTTPS_PROXY", "::garbage::"),
        ("SSL_CERT_FILE", "/nowhere"),
        ("SSL_CERT_DIR", "/nowhere"),
        ("RUST_LOG", "]]"),
        ("TALKOVER_EXPORTER_PORT", "tcp://10.0.0.1:9877"),
    ];
    let verdict = check(&config, &variables).await;
    assert_eq!(verdict.code, Some(0), "{verdict:#?}");
    let warnings = verdict.stdout.lines().filter(|line| line.starts_with("warning: environment variable OTEL_"));
    assert_eq!(warnings.count(), 3, "{verdict:#?}");
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let exporter = Exporter::start_with(&config, &variables).await;
    assert!(exporter.scrape().await.get("process_start_time_seconds").is_some());
    let logged = exporter.log().join("\n");
    assert!(logged.contains("OTEL_EXPORTER_OTLP_PROTOCOL: must be one of grpc, http/protobuf"), "{logged}");
    assert!(logged.contains("failed to load the system's certificate authorities; "), "{logged}");
    assert!(logged.contains("certificate authorities, and traces.tls names none"), "{logged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_reading_is_estimated_and_all_of_it_is_there_as_json() {
    let mut scenario = quiet_scenario();
    scenario.webhooks.truncate(1);
    let simulator = simulator(scenario.clone(), Clock::Real).await;
    simulator.with_world(|world| {
        // Half a day of an entry a minute.
        for minutes in 1..=720 {
            let created_at = world.now().minus(std::time::Duration::from_secs(minutes * 60));
            world.insert("w-1", EntrySpec { created_at, ..EntrySpec::default() }).unwrap();
        }
    });
    let workspace = Workspace::new();
    let config = workspace.configure_with("requests_per_minute: 60", &simulator.base_url(), &scenario.webhooks, "");
    let verdict = check_online(&config).await;
    assert_eq!(verdict.code, Some(0), "{verdict:#?}");
    assert!(verdict.stdout.contains("first reading      about 8 pages, 8.0 s at 60 a minute"), "{verdict:#?}");

    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(BINARY);
        let output = command.args(arguments).arg("-c").arg(&config).env("NO_PROXY", "*").output().await.unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), json)
    };
    let (code, json) = run(&["check", "--online", "--json"]).await;
    assert_eq!((code, &json["ok"]), (Some(0), &true.into()), "{json:#}");
    assert_eq!(json["environments"][0]["webhooks_named"], 1);
    let online = &json["online"][0];
    assert_eq!((&online["first_reading"]["pages"], &online["webhooks"]["total"]), (&8.into(), &1.into()), "{json:#}");
    assert!(online["requests_per_minute"]["needed"].as_f64().unwrap() > 0.0, "{json:#}");

    let exporter = Exporter::start(&config).await;
    exporter.wait_for("the first contact", |scrape| scrape.sum("talkover_up", &[]) == 1.0).await;
    let (code, json) = run(&["verify", "--json"]).await;
    assert_eq!((code, &json["ok"], &json["summary"]["webhooks"]), (Some(0), &true.into(), &1.into()), "{json:#}");
    assert_eq!(json["webhooks"][0]["compared"]["log_entries"], 720, "{json:#}");

    std::fs::write(&config, "poll: {per_page: 0}\nenvironments: []\n").unwrap();
    let (code, json) = run(&["check", "--json"]).await;
    assert_eq!((code, &json["ok"]), (Some(2), &false.into()), "{json:#}");
    assert_eq!(
        (&json["faults"][1]["key"], &json["faults"][1]["line"]),
        (&"poll.per_page".into(), &1.into()),
        "{json:#}"
    );
}
