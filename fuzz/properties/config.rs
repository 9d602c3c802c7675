//! What holds of every configuration file, whatever bytes it is made of.
//!
//! The fuzz target `config` and the tests of the corpora call `check`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use talkover_exporter::config::{
    self, Config, ConfigFault, ConfigFaults, EnvVars, EnvironmentConfig, FaultPlace, LogFormat,
};

/// The only token there is; no output may hold it.
const TOKEN: &str = "talq_KpZ7wXq0";
const FILE: &str = "fuzz.yml";
/// Sets a key over every file.
const OVERRIDE: &str = "TALKOVER_EXPORTER__LOG__FORMAT";

fn environment() -> EnvVars {
    let variables = [
        ("TALKOVER_TOKEN", TOKEN),
        ("TALKOVER_STAGING_TOKEN", TOKEN),
        ("TALKOVER_EXPORTER_PORT", "tcp://10.0.0.1:9877"),
        (OVERRIDE, "json"),
    ];
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Reads a file of these bytes. That takes no more memory and stack than their number allows, whatever aliases stand
/// for, so a fuzzer's limits (`-rss_limit_mb`, `-timeout`) may be small.
///
/// # Panics
/// Where something does not hold.
pub fn check(content: &[u8]) {
    let environment = environment();
    let read = config::parse(Path::new(FILE), content, &environment);
    let again = config::parse(Path::new(FILE), content, &environment);
    match (&read, &again) {
        (Ok(config), Ok(same)) => {
            assert_eq!(config, same, "the same bytes mean the same");
            check_config(config);
            // A file may hold anything in its own names; what comes from the environment is what must not be seen.
            let is_named = content.windows(TOKEN.len()).any(|bytes| bytes == TOKEN.as_bytes());
            assert!(is_named || !format!("{config:?} {config:#?}").contains(TOKEN), "the token is shown");
        }
        (Err(faults), Err(same)) => {
            assert_eq!(faults, same, "the same bytes mean the same");
            check_faults(faults, content);
        }
        _ => panic!("accepted and refused: {read:?}, {again:?}"),
    }
}

fn check_faults(faults: &ConfigFaults, content: &[u8]) {
    // YAML's line breaks are a line feed, a carriage return, or both.
    let lines_of_file = 1 + content.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    assert!(!faults.is_empty(), "refused without a reason");
    let count = faults.iter().count();
    let lines = faults.lines();
    let more = usize::from(count == 100).min(lines.len() - count);
    assert_eq!(lines.len(), count + more, "a line for each fault, and one for what is more than a hundred");
    for (fault, line) in faults.iter().zip(&lines) {
        check_fault(fault, line, lines_of_file);
        // Nothing else can be said of a file that is no tree of keys.
        assert!(fault.place != FaultPlace::File || count == 1, "{line}");
    }
    let printed = format!("{faults} {faults:?}");
    assert!(!printed.contains(TOKEN), "the token is shown: {printed}");
}

fn check_fault(fault: &ConfigFault, line: &str, lines_of_file: usize) {
    let place = match fault.line {
        Some(number) => format!("{FILE}:{number}"),
        None => FILE.to_owned(),
    };
    // The end of the file counts as a line of its own.
    assert!(fault.line.is_none_or(|number| (1..=lines_of_file + 1).contains(&number)), "{line}");
    assert!(!line.contains(char::is_control), "{line:?}");
    assert!(!fault.reason.trim().is_empty(), "{line}");
    assert!(!fault.reason.contains("a mistake in this program"), "{line}");
    let start = match &fault.place {
        FaultPlace::File => format!("{place}: "),
        // A key of the file can be written in any way; one of ours leads to where it stands.
        FaultPlace::Key(path) if path.contains(char::is_control) => format!("{place}: "),
        FaultPlace::Key(path) => format!("{place}: {path}: "),
        FaultPlace::Variable(name) => {
            assert_eq!(name, OVERRIDE, "no other variable can be at fault");
            format!("environment variable {name}: ")
        }
        FaultPlace::Option(name) => panic!("no option is given, and {name} is at fault"),
    };
    assert!(!fault.excerpt.iter().any(|line| line.contains(char::is_control)), "{:?}", fault.excerpt);
    assert!(line.starts_with(&start), "{line}");
}

/// What the rest of the program takes for granted.
fn check_config(config: &Config) {
    assert_eq!(config.log.format, LogFormat::Json, "a variable goes before the file");
    assert_ne!(config.requests_per_minute, Some(0));

    let poll = &config.poll;
    assert!(!poll.min_interval.is_zero() && poll.min_interval <= poll.max_interval, "{poll:?}");
    assert!(!poll.sweep_interval.is_zero() && poll.sweep_interval <= poll.lookback, "{poll:?}");
    assert!(poll.lookback <= poll.settle_after, "{poll:?}");
    assert!((1..=100).contains(&poll.per_page), "{poll:?}");

    let metrics = &config.metrics;
    let bounds = &metrics.duration_buckets;
    assert!(bounds.first().is_some_and(|bound| *bound > 0.0), "{bounds:?}");
    assert!(bounds.iter().all(|bound| bound.is_finite()) && bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
    assert!(metrics.max_events_per_webhook >= 1 && metrics.max_label_sets_per_webhook >= 1, "{metrics:?}");

    assert!((0.0..=1.0).contains(&config.traces.success_sample_ratio), "{:?}", config.traces);
    assert_eq!(config.traces.tls.cert_file.is_some(), config.traces.tls.key_file.is_some());

    let names: BTreeSet<&str> = config.environments.iter().map(|one| &*one.name).collect();
    assert!(!names.is_empty() && names.len() == config.environments.len(), "{names:?}");
    config.environments.iter().for_each(check_environment);
}

fn check_environment(environment: &EnvironmentConfig) {
    check_label(&environment.name);
    assert!(environment.requests_per_minute >= 1 && environment.max_concurrent_requests >= 1);
    assert!(!environment.request_timeout.is_zero());
    assert!(environment.discovery.is_some() || !environment.webhooks.is_empty(), "there is something to read");

    let url = &environment.base_url;
    assert!(matches!(url.scheme(), "http" | "https") && url.host_str().is_some(), "{url}");
    assert!(url.username().is_empty() && url.password().is_none(), "{url}");
    if url.scheme() == "http" && !environment.allow_insecure_http {
        assert!(is_loopback(url.host_str().unwrap_or_default()), "{url}");
    }
    let ids: BTreeSet<&str> = environment.webhooks.iter().map(|one| &*one.webhook_id).collect();
    assert_eq!(ids.len(), environment.webhooks.len(), "{ids:?}");
    for webhook in &environment.webhooks {
        for id in [&webhook.owner_id, &webhook.webhook_id] {
            check_label(id);
            assert!(!id.contains(['/', '\\', '?', '#', '%']) && id != "." && id != "..", "{id}");
        }
    }
    if let Some(discovery) = &environment.discovery {
        assert!((discovery.agents || discovery.campaigns) && !discovery.include.is_empty(), "{discovery:?}");
        assert!(!discovery.refresh_interval.is_zero());
    }
}

fn check_label(text: &str) {
    assert!(!text.is_empty() && text.trim() == text && !text.contains(char::is_control), "{text:?}");
}

fn is_loopback(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => format!(".{}", host.trim_end_matches('.')).ends_with(".localhost"),
    }
}
