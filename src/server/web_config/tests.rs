//! What a web file may say, and how it is refused.

use std::path::Path;

use super::WebConfig;
use crate::server::tests::{Files, TLS};

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let table = [
        ("surprise: 1", "surprise: unknown field"),
        ("http_server_config: {http3: true}", "http_server_config.http3: unknown field"),
        ("http_server_config: {http2: 7x}", "http_server_config.http2: "),
        ("http_server_config: {headers: {X-Powered-By: x}}", "http_server_config.headers.X-Powered-By: cannot be set"),
        (
            "http_server_config: {headers: {X-Frame-Options: maybe}}",
            "http_server_config.headers.X-Frame-Options: must be",
        ),
        ("rate_limit: {interval: 1s}", "rate_limit.burst: must be at least 1"),
        ("rate_limit: {interval: 1s, burst: 0}", "rate_limit.burst: must be at least 1"),
        ("rate_limit: {interval: often, burst: 1}", "rate_limit.interval: "),
        ("rate_limit: {interval: 1s, burst: 1, client_ip: true}", "rate_limit.client_ip: unknown field"),
        ("basic_auth_users: secret", "basic_auth_users: must be a map"),
        ("basic_auth_users: {a: secret}", "basic_auth_users.a: must be a bcrypt hash"),
        ("basic_auth_users: {a: $2y$10$short}", "basic_auth_users.a: is not a complete bcrypt hash"),
        ("- 1", "the file must be a map of keys"),
        ("a: [", "not valid YAML"),
        ("tls_server_config: {cert_file: server.crt}", "tls_server_config.key_file: is missing"),
        ("tls_server_config: {key_file: server.key}", "tls_server_config.cert_file: is missing"),
        ("tls_server_config: {key_file: server.key, cert_file: no.crt}", "tls_server_config.cert_file: failed to read"),
        ("tls_server_config: {key_file: server.crt, cert_file: server.crt}", "tls_server_config.key_file: holds no"),
        ("tls_server_config: {key_file: server.key, cert_file: server.key}", "tls_server_config.cert_file: holds no"),
        ("tls_server_config: {key_file: server.key, cert_file: ca.crt}", "tls_server_config.cert_file: "),
    ];
    for (web, expected) in table {
        let reasons = Files::refusals(web);
        assert!(reasons.len() == 1 && reasons[0].starts_with(expected), "{web}: {reasons:?}");
        assert!(!reasons[0].contains("secret"), "{reasons:?}");
    }
}

#[test]
fn tls_settings_are_refused_with_their_key() {
    let table = [
        ("cipher_suites: [TLS_AES_128_GCM_SHA256]", "cipher_suites: is not supported"),
        ("prefer_server_cipher_suites: true", "prefer_server_cipher_suites: is not supported"),
        ("curve_preferences: [X25519]", "curve_preferences: is not supported"),
        ("client_allowed_sans: [a]", "client_allowed_sans: needs client_auth_type: RequireAndVerifyClientCert"),
        (
            "client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n  client_allowed_sans: [a]",
            "client_allowed_sans: needs client_auth_type: RequireAndVerifyClientCert",
        ),
        ("cert: x", "cert: is not supported"),
        ("min_version: TLS10", "min_version: is not supported"),
        ("max_version: SSL3", "max_version: must be"),
        ("min_version: TLS13\n  max_version: TLS12", "min_version: must not be above"),
        ("client_auth_type: RequireAnyClientCert", "client_auth_type: is not supported"),
        ("client_auth_type: Maybe", "client_auth_type: must be"),
        ("client_auth_type: RequireAndVerifyClientCert", "client_ca_file: is missing"),
        ("client_ca_file: ca.crt", "client_ca_file: would be ignored"),
        ("no_such_key: 1", "no_such_key: unknown field"),
    ];
    for (setting, expected) in table {
        let reasons = Files::refusals(&format!("{TLS}  {setting}\n"));
        let expected = format!("tls_server_config.{expected}");
        assert!(reasons.len() == 1 && reasons[0].starts_with(&expected), "{setting}: {reasons:?}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let web = format!("{TLS}  min_version: TLS10\n  cipher_suites: []\nbasic_auth_users: {{a: x, b: y}}\n");
    assert_eq!(Files::refusals(&web).len(), 4);
}

#[test]
fn hashes_of_all_common_tools_are_taken_and_slow_ones_are_not() {
    let hash = bcrypt::hash("x", 4).unwrap();
    for (prefix, is_good) in [("$2a$", true), ("$2b$", true), ("$2y$", true), ("$2x$", false)] {
        let web = format!("basic_auth_users:\n  \"007\": {prefix}{}\n", &hash[4..]);
        assert_eq!(WebConfig::load(&Files::new(&web).web()).is_ok(), is_good, "{prefix}");
    }
    let reasons = Files::refusals(&format!("basic_auth_users: {{a: $2b$31${}}}", &hash[7..]));
    assert_eq!(reasons, ["basic_auth_users.a: has the cost 31; 4 to 16 are supported"]);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let files = Files::new("# TLS comes later\nbasic_auth_users:\n  a: x\nhttp_server_config:\n  http2: 7x\n");
    let file = files.web().display().to_string();
    let reasons = WebConfig::load(&files.web()).unwrap_err();
    assert!(reasons[0].starts_with(&format!("{file}:5: http_server_config.http2: ")), "{reasons:?}");
    let files = Files::new("# TLS comes later\nbasic_auth_users:\n  a: x\n");
    let file = files.web().display().to_string();
    let reasons = WebConfig::load(&files.web()).unwrap_err();
    assert!(reasons[0].starts_with(&format!("{file}:3: basic_auth_users.a: must be a bcrypt hash")), "{reasons:?}");
}

#[test]
fn aliases_that_fill_the_memory_and_merge_keys_are_refused() {
    let mut bomb = "x0: &x0 [lol]\n".to_owned();
    for level in 1..9 {
        bomb.push_str(&format!("x{level}: &x{level} [{}]\n", format!("*x{},", level - 1).repeat(9)));
    }
    let reasons = Files::refusals(&bomb);
    assert_eq!(reasons, ["more than 200000 values, counting what aliases stand for"]);
    let reasons = Files::refusals("x: &x {a: b}\nbasic_auth_users:\n  <<: *x\n");
    assert_eq!(reasons, ["merge keys (`<<`) are not supported: write the keys out"]);
    let reasons = Files::refusals(&format!("# {}", "x".repeat(5 << 20)));
    assert!(reasons.len() == 1 && reasons[0].starts_with("failed to read: it has more than 4096 KiB"), "{reasons:?}");
}

#[test]
fn an_empty_file_asks_for_nothing_and_a_missing_one_is_an_error() {
    let no_header = "http_server_config: {headers: {X-Frame-Options: ''}}";
    for empty in ["", "# nothing\n", "tls_server_config:\nbasic_auth_users:\n", no_header] {
        assert!(!Files::new(empty).load().is_tls(), "{empty:?}");
    }
    let reasons = WebConfig::load(Path::new("/nowhere/web.yml")).unwrap_err();
    assert!(reasons[0].starts_with("/nowhere/web.yml: failed to read"), "{reasons:?}");
}
