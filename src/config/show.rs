//! The settings in force as a file: what the configuration says, what overrides it, and the defaults of the rest, in
//! the order of `config/default.yml`. Never a secret.

use super::excerpt::mask_users;
use super::otlp::{OtlpProtocol, OtlpSignal};
use super::overrides::set;
use super::redact::redacted;
use super::{Config, ConfigSource, LoadedSettings, MetricsPushConfig, Table, format_duration};
use ::config::{Value, ValueKind};
use reqwest::header::HeaderMap;
use std::fmt::Write;
use talkover_settings::yaml;

/// What stands in the place of a secret. It is a value that any header may have.
const REDACTED: &str = "<redacted>";
/// The maps with free keys; their values are secrets.
const HEADERS: [&str; 3] = ["traces.headers", "metrics.otlp.headers", "telemetry.headers"];
/// Where a value comes from that the variables of OpenTelemetry have set.
const OPENTELEMETRY: &str = "a variable of OpenTelemetry, OTEL_…";
/// Where a value of the section `telemetry` comes from that neither the file nor our own variables have set.
const TRACES_OR_OPENTELEMETRY: &str = "the section traces, or a variable of OpenTelemetry, OTEL_…";

/// All settings as YAML.
pub(super) fn text(source: &ConfigSource, settings: &LoadedSettings) -> String {
    let mut given = settings.given.clone();
    take_over_receivers(&mut given, settings);
    let mut text = format!(
        "# The settings in force: {}, what overrides it, and the defaults of the rest.\n",
        source.path.display().to_string().escape_debug()
    );
    for warning in &settings.config.warnings {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# warning: {warning}");
    }
    let shown = Shown { settings };
    shown.section(&mut text, "", &given, &settings.defaults.root, 0);
    text
}

/// Writes into the tree what the variables of OpenTelemetry have made of the sections that name receivers.
fn take_over_receivers(given: &mut Table, settings: &LoadedSettings) {
    let Config { traces, metrics_push, .. } = &settings.config;
    let section = ["traces"];
    take_over(given, settings, &section, "enabled", Some(traces.enabled.to_string()));
    let endpoint = traces.endpoint.as_ref().map(|url| base(url.as_str(), traces.protocol, OtlpSignal::Traces));
    take_over(given, settings, &section, "endpoint", endpoint);
    take_over(given, settings, &section, "protocol", Some(traces.protocol.as_str().to_owned()));
    show_headers(given, &section, &traces.headers);
    if let Some(MetricsPushConfig { receiver, interval, .. }) = metrics_push {
        let section = ["metrics", "otlp"];
        let endpoint = base(receiver.endpoint.as_str(), receiver.protocol, OtlpSignal::Metrics);
        take_over(given, settings, &section, "endpoint", Some(endpoint));
        take_over(given, settings, &section, "protocol", Some(receiver.protocol.as_str().to_owned()));
        take_over(given, settings, &section, "interval", Some(format_duration(*interval)));
        show_headers(given, &section, &receiver.headers);
    }
    take_over_telemetry(given, settings);
}

/// Writes into the tree what `traces` and the variables of OpenTelemetry have made of the section `telemetry`, if
/// anything is sent.
fn take_over_telemetry(given: &mut Table, settings: &LoadedSettings) {
    let section = ["telemetry"];
    let Some(receiver) = &settings.config.telemetry.traces else {
        return take_over(given, settings, &section, "traces", Some("false".to_owned()));
    };
    let endpoint = base(receiver.endpoint.as_str(), receiver.protocol, OtlpSignal::Traces);
    take_over(given, settings, &section, "endpoint", Some(endpoint));
    take_over(given, settings, &section, "protocol", Some(receiver.protocol.as_str().to_owned()));
    show_headers(given, &section, &receiver.headers);
}

/// Sets a key to the value that is in force, unless the tree has it.
fn take_over(given: &mut Table, settings: &LoadedSettings, section: &[&str], key: &str, value: Option<String>) {
    let Some(value) = value else { return };
    let path: Vec<String> = section.iter().copied().chain([key]).map(str::to_owned).collect();
    let in_tree = scalar_at(&settings.given, &path).or_else(|| scalar_at(&settings.defaults.root, &path));
    if in_tree.is_none_or(|text| text.trim_end_matches('/') != value.trim_end_matches('/')) {
        let origin = if section == ["telemetry"] { TRACES_OR_OPENTELEMETRY } else { OPENTELEMETRY };
        set(given, &path, Value::new(Some(&origin.to_owned()), value));
    }
}

/// The value at a path as text, if there is one.
fn scalar_at(table: &Table, path: &[String]) -> Option<String> {
    let (key, rest) = path.split_first()?;
    match (&table.get(key)?.kind, rest) {
        (ValueKind::Nil, _) => None,
        (ValueKind::Table(section), [_, ..]) => scalar_at(section, rest),
        (kind, []) => Some(kind.to_string()),
        (_, [_, ..]) => None,
    }
}

/// Sets the headers that are in force, without their values.
fn show_headers(given: &mut Table, section: &[&str], headers: &HeaderMap) {
    let names = headers.keys().map(|name| (name.as_str().to_owned(), Value::new(None, REDACTED)));
    let path: Vec<String> = section.iter().copied().chain(["headers"]).map(str::to_owned).collect();
    set(given, &path, Value::new(None, ValueKind::Table(names.collect())));
}

/// An endpoint as the file has it: each request over HTTP adds the path.
fn base(url: &str, protocol: OtlpProtocol, signal: OtlpSignal) -> String {
    match protocol {
        OtlpProtocol::Grpc => url.to_owned(),
        OtlpProtocol::HttpProtobuf => url.strip_suffix(signal.http_path()).unwrap_or(url).to_owned(),
    }
}

struct Shown<'a> {
    settings: &'a LoadedSettings,
}

impl Shown<'_> {
    fn section(&self, text: &mut String, path: &str, given: &Table, defaults: &Table, depth: usize) {
        let path_of = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let mut keys: Vec<&String> = defaults.keys().collect();
        keys.sort_by_key(|key| self.settings.defaults.outline.line_of(&template(&path_of(key))));
        for key in keys {
            let Some(default) = defaults.get(key) else { continue };
            let is_given = |key: &str| given.get(key).is_some_and(|value| value.kind != ValueKind::Nil);
            if key == "token_env" && is_given("token_file") {
                // They exclude each other, so its default does not apply.
                let _ = writeln!(text, "{}token_env: ~", "  ".repeat(depth));
                continue;
            }
            let value = given.get(key).filter(|value| value.kind != ValueKind::Nil);
            self.key(text, &path_of(key), (key, value, default), depth);
        }
    }

    fn key(&self, text: &mut String, path: &str, (key, given, default): (&str, Option<&Value>, &Value), depth: usize) {
        let indent = "  ".repeat(depth);
        let value = given.unwrap_or(default);
        match (&value.kind, &default.kind) {
            _ if self.settings.absent.contains(path) => {
                let _ = writeln!(text, "{indent}{key}: ~");
            }
            (ValueKind::Table(headers), _) if HEADERS.contains(&path) => {
                let mut names: Vec<&String> = headers.keys().collect();
                names.sort_unstable();
                let headers: Vec<String> = names.iter().map(|name| format!("{}: {REDACTED}", plain(name))).collect();
                let _ = writeln!(text, "{indent}{key}: {{{}}}", headers.join(", "));
            }
            (ValueKind::Table(table), ValueKind::Table(defaults)) => {
                let _ = writeln!(text, "{indent}{key}:");
                let empty = Table::new();
                self.section(text, path, if given.is_some() { table } else { &empty }, defaults, depth + 1);
            }
            (ValueKind::Array(items), ValueKind::Array(templates)) => {
                let template = templates.first().and_then(|first| match &first.kind {
                    ValueKind::Table(template) => Some(template),
                    _ => None,
                });
                match template {
                    Some(template) => {
                        let items = if given.is_some() { items.as_slice() } else { &[] };
                        self.items(text, path, (key, items, template), depth);
                    }
                    None => {
                        let items: Vec<String> = items.iter().map(scalar).collect();
                        let _ = writeln!(text, "{indent}{key}: [{}]{}", items.join(", "), comment(value));
                    }
                }
            }
            (ValueKind::String(bare), ValueKind::Boolean(_) | ValueKind::I64(_) | ValueKind::Float(_)) => {
                let _ = writeln!(text, "{indent}{key}: {bare}{}", comment(value));
            }
            _ => {
                let _ = writeln!(text, "{indent}{key}: {}{}", scalar(value), comment(value));
            }
        }
    }

    /// A list of sections: each over several lines, or, where it has none below it, on one.
    fn items(&self, text: &mut String, path: &str, (key, items, template): (&str, &[Value], &Table), depth: usize) {
        let indent = "  ".repeat(depth);
        let _ = writeln!(text, "{indent}{key}:{}", if items.is_empty() { " []" } else { "" });
        let is_flat = !template.values().any(|value| matches!(value.kind, ValueKind::Table(_) | ValueKind::Array(_)));
        for (index, item) in items.iter().enumerate() {
            let ValueKind::Table(table) = &item.kind else { continue };
            if is_flat {
                let mut pairs: Vec<_> = table.iter().filter(|(_, value)| value.kind != ValueKind::Nil).collect();
                pairs.sort_unstable_by_key(|(key, _)| *key);
                let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}: {}", scalar(value))).collect();
                let _ = writeln!(text, "{indent}  - {{{}}}", pairs.join(", "));
                continue;
            }
            let mut lines = String::new();
            self.section(&mut lines, &format!("{path}[{index}]"), table, template, depth + 2);
            let first = "  ".repeat(depth + 1) + "- ";
            text.push_str(&lines.replacen(&"  ".repeat(depth + 2), &first, 1));
        }
    }
}

/// The path in the defaults, where each list of sections has one.
fn template(path: &str) -> String {
    let mut parts = path.split('[');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str("[0");
        text.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    text
}

fn comment(value: &Value) -> String {
    value.origin().map_or_else(String::new, |origin| format!("  # from {origin}"))
}

/// A single value as YAML.
fn scalar(value: &Value) -> String {
    match &value.kind {
        ValueKind::Nil => "~".to_owned(),
        ValueKind::String(text) => match mask_users(&redacted(text)) {
            shown if shown == *text => plain(text),
            masked => plain(&masked.replace('…', "redacted")),
        },
        ValueKind::Float(number) => format!("{number:?}"),
        other => other.to_string(),
    }
}

/// A text as YAML: as it is where that reads the same, else in quotes.
fn plain(text: &str) -> String {
    let is_plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_./-<>".contains(c));
    let is_read_alike = |text: &str| {
        let document = yaml::parse(format!("k: [{text}]").as_bytes());
        let value = document.ok().and_then(|document| document.root.get("k").cloned());
        value.and_then(|value| value.into_array().ok()).is_some_and(
            |items| matches!(items.as_slice(), [Value { kind: ValueKind::String(read), .. }] if read == text),
        )
    };
    if is_plain && is_read_alike(text) { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
