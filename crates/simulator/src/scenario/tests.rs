//! Scenario files: the bundled ones are read, and every fault in one is told with its path.

use std::time::Duration;

use super::*;

const MINIMAL: &str = "webhooks:\n  - {id: w, name: n, url: 'https://x', owner: {type: agent, id: a, name: A}}\n";

#[test]
fn the_bundled_scenarios_are_sound() {
    let demo = Scenario::demo().unwrap();
    assert_eq!(demo.webhooks.iter().filter(|webhook| webhook.owner.kind == OwnerKind::Agent).count(), 3);
    assert_eq!(demo.webhooks.len(), 4);
    assert_eq!(demo.history, Duration::from_secs(1200));
    let faults = include_str!("../../../../config/scenarios/faults.yml");
    let faults = Scenario::from_yaml(faults, "config/scenarios/faults.yml").unwrap();
    let has = |fault| faults.faults.random.iter().any(|random| random.fault == fault);
    assert!(has(Fault::Hold(Duration::from_secs(40))));
    assert!(has(Fault::Redirect(Some("https://elsewhere.invalid/login".to_owned()))));
}

#[test]
fn what_a_file_leaves_out_is_at_its_default() {
    let scenario = Scenario::from_yaml(MINIMAL, "m.yml").unwrap();
    let mut webhook = Webhook::of_agent("a", "w");
    (webhook.name, webhook.url, webhook.owner.name) = ("n".to_owned(), "https://x".to_owned(), "A".to_owned());
    assert_eq!(scenario, Scenario { webhooks: vec![webhook], ..Scenario::default() });
}

#[test]
fn faults_of_a_file_are_told_with_their_path() {
    let cases = [
        ("colour: red", "f.yml: ", "colour"),
        ("history: 5 minutes", "f.yml: history: ", "is not a duration"),
        ("late: {probability: 1.5, up_to: 1s}", "f.yml: late.probability: ", "between 0 and 1"),
        ("retries: {superseded: forget}", "f.yml: retries.superseded", "forget"),
        ("retries: {factor: 0.5}", "f.yml: retries.factor: ", "between 1 and 100"),
        ("tokens: []", "f.yml: tokens: ", "at least one"),
        ("max_per_page: 200", "f.yml: max_per_page: ", "between 1 and 100"),
        ("bursts: [{every: 0s, entries: 1}]", "f.yml: bursts[0].every: ", "longer than zero"),
        ("faults: {script: [{kind: reset}, {kind: html}]}", "f.yml: faults.script[1]", "needs `status`"),
        ("faults: {script: [{kind: reset, status: 500}]}", "f.yml: faults.script[0]", "does not use `status`"),
        ("faults: {script: [{kind: html, status: 200}]}", "f.yml: faults.script[0]", "between 400 and 599"),
        ("faults: {script: [{kind: drip}]}", "f.yml: faults.script[0]", "needs `hold`"),
        ("faults: {script: [{kind: drip, hold: 0s}]}", "f.yml: faults.script[0]", "longer than zero"),
        ("faults: {script: [{kind: rate_limited_until}]}", "f.yml: faults.script[0]", "needs `retry_after`"),
        ("faults: {script: [{kind: rate_limited_in_fractions}]}", "f.yml: faults.script[0]", "needs `retry_after`"),
        ("faults: {script: [{kind: rate_limited_by_reset}]}", "f.yml: faults.script[0]", "needs `retry_after`"),
        ("faults: {script: [{kind: date_ahead}]}", "f.yml: faults.script[0]", "needs `offset`"),
        ("faults: {script: [{kind: no_date, offset: 1d}]}", "f.yml: faults.script[0]", "does not use `offset`"),
        ("faults: {script: [{kind: reset, location: /x}]}", "f.yml: faults.script[0]", "does not use `location`"),
        ("faults: {script: [{kind: redirect, location: \"a\\nb\"}]}", "f.yml: faults.script[0]", "HTTP header"),
        (
            "faults: {random: [{probability: -1, fault: {kind: reset}}]}",
            "f.yml: faults.random[0].probability: ",
            "0 and 1",
        ),
    ];
    for (line, begins, contains) in cases {
        let text = Scenario::from_yaml(&format!("{MINIMAL}{line}\n"), "f.yml").unwrap_err().to_string();
        assert!(
            text.starts_with(begins) && text.contains(contains) && !text.contains("for key"),
            "{line} gives {text}"
        );
    }
}

#[test]
fn faults_of_a_webhook_are_told_with_their_path() {
    let cases = [
        ("rat: 5", "f.yml: webhooks[0]", "rat"),
        ("rate: quick", "f.yml: webhooks[0].rate: ", "quick"),
        ("max_retries: 11", "f.yml: webhooks[0].max_retries: ", "between 0 and 10"),
        ("timeout: 1s", "f.yml: webhooks[0].timeout: ", "between 5s and 120s"),
        ("events: []", "f.yml: webhooks[0].events: ", "weights"),
        ("pending: {min: 2s, max: 1s}", "f.yml: webhooks[0].pending: ", "above"),
        ("latency: {uniform: {min: 2s, max: 1s}}", "f.yml: webhooks[0].latency.uniform: ", "above"),
        ("failures: {statuses: [{status: 500, weight: 0}]}", "f.yml: webhooks[0].failures.statuses: ", "weights"),
    ];
    for (line, begins, contains) in cases {
        let yaml = MINIMAL.replace("{id: w,", &format!("{{{line}, id: w,"));
        let text = Scenario::from_yaml(&yaml, "f.yml").unwrap_err().to_string();
        assert!(text.starts_with(begins) && text.contains(contains), "{line} gives {text}");
    }
}

#[test]
fn webhooks_need_ids_of_their_own() {
    let second = MINIMAL.trim_start_matches("webhooks:\n");
    let text = Scenario::from_yaml(&format!("{MINIMAL}{second}"), "f.yml").unwrap_err().to_string();
    assert_eq!(text, "f.yml: webhooks[1].id: is also the id of another webhook");
    let missing = Scenario::from_yaml(&MINIMAL.replace("id: w, ", ""), "f.yml").unwrap_err().to_string();
    assert_eq!(missing, "f.yml: webhooks[0]: the key `id` is missing");
}

#[test]
fn no_yaml_is_said_so() {
    let text = Scenario::from_yaml("webhooks: [", "f.yml").unwrap_err().to_string();
    assert!(text.starts_with("f.yml:2: not valid YAML: "), "{text}");
    let text = Scenario::from_yaml("late: &l {up_to: 1s}\nretries:\n  <<: *l\n", "f.yml").unwrap_err().to_string();
    assert_eq!(text, "f.yml:3: merge keys (`<<`) are not supported: write the keys out");
    let mut bomb = "x0: &x0 [lol]\n".to_owned();
    for level in 1..9 {
        bomb.push_str(&format!("x{level}: &x{level} [{}]\n", format!("*x{},", level - 1).repeat(9)));
    }
    let text = Scenario::from_yaml(&bomb, "f.yml").unwrap_err().to_string();
    assert_eq!(text, "f.yml:6: more than 200000 values, counting what aliases stand for");
}

#[test]
fn owners_are_listed_with_a_documented_status() {
    let owners = |status: &str| format!("owners: [{{type: campaign, id: c, name: C{status}}}]\n{MINIMAL}");
    let read = |status: &str| Scenario::from_yaml(&owners(status), "f.yml").map(|scenario| scenario.owners);
    assert_eq!(read("").unwrap()[0].status, None);
    assert_eq!(read(", status: completed").unwrap()[0].status.as_deref(), Some("completed"));
    let text = read(", status: published").unwrap_err().to_string();
    assert_eq!(text, "f.yml: owners[0].status: must be one of active, draft, paused, completed, cancelled");
    let slash = Scenario::from_yaml(&owners("").replace("id: c,", "id: c/d,"), "f.yml").unwrap_err().to_string();
    assert!(slash.starts_with("f.yml: owners[0].id: "), "{slash}");
}
