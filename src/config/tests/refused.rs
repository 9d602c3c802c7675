//! Files that are refused, and in which words.

use super::*;
use insta::assert_snapshot;
use proptest::prelude::*;

#[test]
fn all_faults_are_told_at_once() {
    let text = r#"
server: {listen: ":9877", tls: true}
requests_per_minute: 0
enviroments: []
environments:
  - name: production
    base_url: http://example.com/?x=1
    token_file: /nonexistent/token
    requests_per_minute: many
    request_timeout: 0s
    discovery: {agent: true, include: [""], refresh_interval: 5}
  - name: production
    base_url: http://example.com
    webhooks:
      - {agent_id: a, campaign_id: b, webhook_id: w}
      - {webhook_id: w, agnt_id: a}
      - {agent_id: 12, webhook_id: a/b, name: ""}
      - text
poll: {min_interval: 10m, max_interval: 5m, per_page: 101, lookback: 1m, sweep_interval: 2m, settle_after: 30s}
metrics:
  http_status: exactly
  duration_labels: [event, event, code]
  duration_buckets: [1, 1, -1]
  max_events_per_webhook: 0
traces: {success_sample_ratio: 1.5, protocol: http/json, endpoint: "ftp://x", max_queued_spans: 1.5, tls: {cert_file: /nonexistent/c}}
state: {path: ""}
log: {level: inof, format: 3}
"#;
    assert_snapshot!(faults_of(text, &[]), @r#"
    c.yml:2: server.tls: unknown key
    c.yml:3: requests_per_minute: must be a whole number from 1 up, not the number 0
    c.yml:7: environments[0].base_url: must not hold a query (`?…`)
    c.yml:8: environments[0].token_file: failed to read the token file /nonexistent/token: No such file or directory (os error 2)
    c.yml:9: environments[0].requests_per_minute: must be a whole number from 1 up, not `many`
    c.yml:10: environments[0].request_timeout: must be longer than zero
    c.yml:11: environments[0].discovery.refresh_interval: `5` is not a duration; did you mean `5s`? (write whole numbers with a unit, such as 200ms, 15s, 5m, 24h or 30d)
    c.yml:11: environments[0].discovery.include[0]: must not be empty
    c.yml:11: environments[0].discovery.agent: unknown key; did you mean `agents`?
    c.yml:12: environments[1].name: another environment is called `production`
    c.yml:13: environments[1].base_url: http:// would send the token in clear text: use https://, or set allow_insecure_http to true
    c.yml:15: environments[1].webhooks[0]: has both agent_id and campaign_id: a webhook belongs to one owner
    c.yml:16: environments[1].webhooks[1]: needs agent_id or campaign_id: the webhook's owner
    c.yml:16: environments[1].webhooks[1].webhook_id: the webhook `w` is named twice in this environment
    c.yml:16: environments[1].webhooks[1].agnt_id: unknown key; did you mean `agent_id`?
    c.yml:17: environments[1].webhooks[2].agent_id: must be text, but YAML reads the number 12 here: put it in quotes
    c.yml:17: environments[1].webhooks[2].webhook_id: `a/b` is no id: it must not hold white space, `/`, `\`, `?`, `#` or `%`
    c.yml:17: environments[1].webhooks[2].name: must not be empty
    c.yml:18: environments[1].webhooks[3]: must be a map of keys, not `text`
    c.yml:19: poll.per_page: must be a whole number from 1 to 100, not the number 101
    c.yml:19: poll.min_interval: 10m is more than max_interval (5m): a busy target would be polled less often than an idle one
    c.yml:19: poll.sweep_interval: 2m is more than lookback (1m): entries that turn up between two sweeps would be missed
    c.yml:19: poll.lookback: 1m is more than settle_after (30s): an entry would be given up while it may still turn up
    c.yml:21: metrics.http_status: must be one of exact, class, off, not `exactly`
    c.yml:22: metrics.duration_labels[2]: must be one of event, status, http_status, not `code`
    c.yml:23: metrics.duration_buckets[2]: must be above zero, not the number -1
    c.yml:24: metrics.max_events_per_webhook: must be a whole number from 1 up, not the number 0
    c.yml:25: traces.endpoint: must be a URL that begins with http:// or https://
    c.yml:25: traces.protocol: must be one of grpc, http/protobuf, not `http/json`
    c.yml:25: traces.tls.cert_file: failed to read /nonexistent/c: No such file or directory (os error 2)
    c.yml:25: traces.tls.cert_file: needs key_file beside it
    c.yml:25: traces.success_sample_ratio: must be from 0 to 1, not 1.5
    c.yml:25: traces.max_queued_spans: must be a whole number from 1 up, not the number 1.5
    c.yml:26: state.path: must not be empty
    c.yml:27: log.level: must be one of error, warn, info, debug, trace, or a filter such as info,talkover_exporter=debug, not `inof`
    c.yml:27: log.format: must be one of text, json, not the number 3
    c.yml:4: enviroments: unknown key; did you mean `environments`?
    "#);
}

#[test]
fn environments_are_needed_and_must_have_something_to_read() {
    assert_snapshot!(faults_of("", &[]), @"c.yml: environments: must hold at least one environment");
    assert_snapshot!(faults_of("environments: {}", &[]), @"c.yml:1: environments: must be a list, not a map");
    assert_snapshot!(faults_of("environments: [{name: a}, {name: b, webhooks: []}, {}]", &[]), @"
    c.yml:1: environments[0]: has neither discovery nor webhooks: there is nothing to read (`discovery: {}` finds them all)
    c.yml:1: environments[1]: has neither discovery nor webhooks: there is nothing to read (`discovery: {}` finds them all)
    c.yml:1: environments[2].name: is missing
    c.yml:1: environments[2]: has neither discovery nor webhooks: there is nothing to read (`discovery: {}` finds them all)
    ");
    assert_snapshot!(faults_of("environments: [{name: a, discovery: {agents: false, campaigns: false}}]", &[]), @"c.yml:1: environments[0].discovery: searches neither agents nor campaigns: leave the section out instead");
    assert_snapshot!(faults_of("environments: [{name: a, discovery: {include: []}}]", &[]), @"c.yml:1: environments[0].discovery.include: must hold at least one glob: with none, nothing is found");
}

#[test]
fn sections_and_lists_must_be_such() {
    assert_snapshot!(faults("poll: 3\nlog: [x]\nmetrics: {duration_buckets: 1, duration_labels: event}\nstate: {path: {}}", &[]), @"
    c.yml:2: poll: must be a map of keys, not the number 3
    c.yml:4: metrics.duration_labels: must be a list, not `event`
    c.yml:4: metrics.duration_buckets: must be a list, not the number 1
    c.yml:5: state.path: must be text, not a map
    c.yml:3: log: must be a map of keys, not a list
    ");
    assert_snapshot!(faults("metrics: {duration_buckets: [], duration_labels: [event, status, event]}", &[]), @"
    c.yml:2: metrics.duration_labels[2]: stands there twice
    c.yml:2: metrics.duration_buckets: must hold at least one bound
    ");
    assert_snapshot!(faults("metrics: {duration_buckets: [1, 5, 2.5, 10]}", &[]), @"c.yml:2: metrics.duration_buckets[2]: must ascend: 2.5 comes after 5");
}

#[test]
fn a_pair_of_settings_is_refused_at_the_one_that_was_set() {
    assert_snapshot!(faults("poll: {min_interval: 10m}", &[]), @"c.yml:2: poll.min_interval: 10m is more than max_interval (5m): a busy target would be polled less often than an idle one");
    assert_snapshot!(faults("poll: {max_interval: 10s}", &[]), @"c.yml:2: poll.max_interval: 10s is less than min_interval (15s): a busy target would be polled less often than an idle one");
    assert_snapshot!(faults("poll: {lookback: 0s}", &[]), @"c.yml:2: poll.lookback: 0s is less than sweep_interval (5m): entries that turn up between two sweeps would be missed");
    assert_snapshot!(faults("poll: {lookback: 2d}", &[]), @"c.yml:2: poll.lookback: 2d is more than settle_after (1d): an entry would be given up while it may still turn up");
    assert_snapshot!(faults("poll: {sweep_interval: 0}", &[]), @"c.yml:2: poll.sweep_interval: must be longer than zero");
}

#[test]
fn a_token_is_named_by_its_place_and_never_shown() {
    let with = |keys: &str| SMALLEST.replace("name: a", &format!("name: a, {keys}"));
    assert_snapshot!(parse(Path::new("c.yml"), SMALLEST.as_bytes(), &EnvVars::new()).expect_err("no token"), @"c.yml:1: environments[0].token_env: the environment variable TALKOVER_TOKEN is not set (it is the default; token_env names another one, token_file a file)");
    assert_snapshot!(faults_of(SMALLEST, &[("TALKOVER_TOKEN", " ")]), @"c.yml:1: environments[0].token_env: the token in the environment variable TALKOVER_TOKEN is empty (it is the default; token_env names another one, token_file a file)");
    assert_snapshot!(faults_of(&with("token_env: OTHER"), &[]), @"c.yml:1: environments[0].token_env: the environment variable OTHER is not set");
    assert_snapshot!(faults_of(&with("token_env: OTHER"), &[("OTHER", "talq_se cret")]), @"c.yml:1: environments[0].token_env: the token in the environment variable OTHER holds white space or characters that an HTTP header must not carry");
    assert_snapshot!(faults_of(&with("token_env: OTHER, token_file: /x"), &[]), @"c.yml:1: environments[0].token_file: token_file and token_env exclude each other: give one of them");
    // What people paste where a name belongs.
    assert_snapshot!(faults_of(&with("token_env: talq_secret"), &[]), @"c.yml:1: environments[0].token_env: must be the name of an environment variable: letters, digits and underscores (not the token itself)");
    assert_snapshot!(faults_of(&with("token_file: talq_secret"), &[]), @"c.yml:1: environments[0].token_file: failed to read the token file talq_…: No such file or directory (os error 2)");
    assert_snapshot!(faults_of(&with("token: talq_secret"), &[]), @"c.yml:1: environments[0].token: unknown key; did you mean `token_file`? The token itself does not belong in this file");
    assert_snapshot!(faults_of(&with("talq_secret: x"), &[]), @"c.yml:1: environments[0].talq_…: unknown key");
    assert_snapshot!(faults_of(&with("base_url: 'https://x:talq_secret@y'"), &[]), @"c.yml:1: environments[0].base_url: must not hold a user name or a password");
    assert_snapshot!(faults_of(&with("proxy: 'http://me:secret@y'"), &[]), @"c.yml:1: environments[0].proxy: must not hold a user name or a password; set HTTPS_PROXY instead");
    let headers = r#"traces: {headers: {key: "sec\nret", "a b": x, X: x, x: y, n: 1}}"#;
    assert_snapshot!(faults(headers, &[]), @"
    c.yml:2: traces.headers.a b: `a b` is no name of an HTTP header
    c.yml:2: traces.headers.key: the value of `key` holds characters that an HTTP header must not carry
    c.yml:2: traces.headers.n: must be text: put it in quotes
    c.yml:2: traces.headers.x: `x` stands there twice: the case of letters does not matter
    ");
}

#[test]
fn the_path_that_each_request_adds_is_left_off() {
    for path in ["/api/v1", "/api/v1/", "/gateway/API/v1//"] {
        let text = SMALLEST.replace("name: a", &format!("name: a, base_url: 'https://x{path}'"));
        let expected =
            "c.yml:1: environments[0].base_url: must not end in /api/v1: leave /api/v1 off, each request adds it";
        assert_eq!(faults_of(&text, &[]), expected, "{path}");
    }
    for path in ["/api", "/api/v1/gateway", "/myapi/v1", "/api/v1x"] {
        let text = SMALLEST.replace("name: a", &format!("name: a, base_url: 'https://x{path}'"));
        assert!(load(&text, &[]).is_ok(), "{path}");
    }
}

#[test]
fn aliases_and_merge_keys_are_refused_alone() {
    assert_snapshot!(faults("colour: red\npoll: &p {per_page: 0}\nlog:\n  <<: *p\n", &[]), @"c.yml:5: merge keys (`<<`) are not supported: write the keys out");
    let bomb: String = (1..9).map(|n| format!("x{n}: &x{n} [{}]\n", format!("*x{},", n - 1).repeat(9))).collect();
    assert_snapshot!(faults(&format!("x0: &x0 [lol]\n{bomb}"), &[]), @"c.yml:7: more than 200000 values, counting what aliases stand for");
}

#[test]
fn a_key_cannot_forge_a_line() {
    assert_snapshot!(faults("\"x\\nc.yml: poll\": 1", &[]), @r#"c.yml:2: x\nc.yml: poll: unknown key"#);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(Path::new("c.yml"), &bytes, &EnvVars::new());
    }

    #[test]
    fn no_text_makes_it_panic(text in "([a-z_]{1,5}|[-:?\\[\\]{},&*!|>'\"%@`#~ \n\t]|: |\n *|- ){0,60}") {
        let _ = parse(Path::new("c.yml"), text.as_bytes(), &EnvVars::new());
    }

    /// Each value of the model's keys is replaced by something: that is refused or taken, and nothing else.
    #[test]
    fn no_value_makes_it_panic(line in 0_usize..200, value in "([0-9a-z.]{0,6}|\\[.{0,3}\\]|\\{[a-z]: 1\\}|'.{0,9}'|~)") {
        let mut lines: Vec<String> = crate::config::DEFAULTS.lines().map(str::to_owned).collect();
        let at = line % lines.len();
        if let Some((key, _)) = lines[at].clone().split_once(':') {
            lines[at] = format!("{key}: {value}");
        }
        let _ = parse(Path::new("c.yml"), lines.join("\n").as_bytes(), &variables(&[]));
    }

    #[test]
    fn no_variable_makes_it_panic(name in "[A-Z_]{0,20}", value in ".{0,10}") {
        let name = format!("TALKOVER_EXPORTER__{name}");
        let _ = load(SMALLEST, &[(&name, &value)]);
    }
}
