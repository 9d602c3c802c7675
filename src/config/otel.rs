//! OpenTelemetry's own environment variables, as far as they concern what this program sends.
//!
//! They are often set for other programs, which know values that this one does not. So, as the specification wants
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>), an empty variable counts as
//! unset, and a value that cannot be used is warned of and ignored. Called by the readers of the sections that name a
//! receiver.

use super::EnvVars;
use super::fields::Fields;
use super::otlp::{OtlpProtocol, OtlpSignal, PROTOCOLS, add_header};
use super::values::plain_url;
use reqwest::Url;
use reqwest::header::HeaderMap;
use std::time::Duration;

/// The service whose deliveries are sent, where no variable names another.
pub(super) const DELIVERIES: &str = "talkover-webhooks";
/// This program, where no variable names another service.
pub(super) const DAEMON: &str = "talkover-exporter";

/// What the variables say; what is unset is absent.
pub(super) struct Settings {
    pub(super) endpoint: Option<OtlpEndpoint>,
    pub(super) protocol: Option<OtlpProtocol>,
    pub(super) headers: Option<HeaderMap>,
    pub(super) gzip: Option<bool>,
    pub(super) timeout: Option<Duration>,
}

/// Where to send.
pub(super) enum OtlpEndpoint {
    /// The base of a receiver.
    Base(Url),
    /// A URL for one signal alone, to be used as it is.
    Exact(Url),
}

impl OtlpEndpoint {
    /// The URL to send to.
    pub(super) fn complete(self, protocol: OtlpProtocol, signal: OtlpSignal) -> Url {
        match (self, protocol) {
            (Self::Base(mut url), OtlpProtocol::HttpProtobuf) => {
                let path = format!("{}{}", url.path().trim_end_matches('/'), signal.http_path());
                url.set_path(&path);
                url
            }
            (Self::Base(url) | Self::Exact(url), _) => url,
        }
    }
}

/// Reads the settings of the exporter of a signal. A value that cannot be used is warned of and counts as unset.
pub(super) fn read(fields: &mut Fields<'_>, environment: &EnvVars, signal: OtlpSignal) -> Settings {
    let mut of = Variables { fields, environment, signal };
    Settings {
        endpoint: of.parsed("ENDPOINT", |text, scope| {
            let url = plain_url(text)?;
            Ok(match scope {
                VariableScope::OneSignal => OtlpEndpoint::Exact(url),
                VariableScope::AllSignals => OtlpEndpoint::Base(url),
            })
        }),
        protocol: of.parsed("PROTOCOL", |text, _| {
            let known = PROTOCOLS.iter().find(|(word, _)| *word == text);
            known.map(|(_, protocol)| *protocol).ok_or_else(|| one_of("grpc, http/protobuf", text))
        }),
        headers: of.parsed("HEADERS", |text, _| headers(text)),
        gzip: of.parsed("COMPRESSION", |text, _| match text {
            "gzip" => Ok(true),
            "none" => Ok(false),
            _ => Err(one_of("gzip, none", text)),
        }),
        timeout: of.parsed("TIMEOUT", |text, _| millis(text)),
    }
}

fn millis(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(millis) if millis > 0 => Ok(Duration::from_millis(millis.into())),
        _ => Err(format!("must be a whole number of milliseconds above zero, not `{text}`")),
    }
}

fn one_of(words: &str, text: &str) -> String {
    format!("must be one of {words}, not `{text}`")
}

/// What a variable is about.
#[derive(Clone, Copy)]
enum VariableScope {
    OneSignal,
    AllSignals,
}

/// The variables of the exporter of a signal.
struct Variables<'v, 'f> {
    fields: &'v mut Fields<'f>,
    environment: &'v EnvVars,
    signal: OtlpSignal,
}

impl Variables<'_, '_> {
    /// The usable value of the variable of the signal, else that of the general one.
    fn parsed<T>(&mut self, setting: &str, parse: impl Fn(&str, VariableScope) -> Result<T, String>) -> Option<T> {
        let own = format!("{}{setting}", self.signal.variable_prefix());
        let general = format!("OTEL_EXPORTER_OTLP_{setting}");
        [(own, VariableScope::OneSignal), (general, VariableScope::AllSignals)]
            .into_iter()
            .find_map(|(name, scope)| usable(self.fields, self.environment, &name, |text| parse(text, scope)))
    }
}

/// The value of the variable `name`. `None` if it is unset, or cannot be used, which is warned of.
fn usable<T>(
    fields: &mut Fields<'_>,
    environment: &EnvVars,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let text = set(environment, name)?;
    parse(text).map_err(|reason| fields.ignore(name, &reason)).ok()
}

fn set<'e>(environment: &'e EnvVars, name: &str) -> Option<&'e str> {
    environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
}

/// Whether the variables name a receiver for this signal, or ask for its exporter: what only then is sent at all.
pub(super) fn asks_for(environment: &EnvVars, signal: OtlpSignal) -> bool {
    let endpoint = format!("{}ENDPOINT", signal.variable_prefix());
    let exporters = set(environment, signal.exporter_variable()).unwrap_or_default();
    set(environment, &endpoint).is_some() || names_otlp(exporters)
}

/// Whether `otlp` is among these exporters: some SDKs take a list.
fn names_otlp(exporters: &str) -> bool {
    exporters.split(',').any(|exporter| exporter.trim().eq_ignore_ascii_case("otlp"))
}

/// `OTEL_METRIC_EXPORT_INTERVAL`: how often metrics are sent.
pub(super) fn metric_interval(fields: &mut Fields<'_>, environment: &EnvVars) -> Option<Duration> {
    usable(fields, environment, "OTEL_METRIC_EXPORT_INTERVAL", millis)
}

/// Whether `OTEL_SDK_DISABLED` or the variable of the signal's exporter turns a signal off.
pub(super) fn turns_off(fields: &mut Fields<'_>, environment: &EnvVars, signal: OtlpSignal) -> bool {
    let is_disabled =
        usable(fields, environment, "OTEL_SDK_DISABLED", |text| match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(one_of("true, false", text)),
        });
    let has_none =
        usable(fields, environment, signal.exporter_variable(), |text| match text.to_ascii_lowercase().as_str() {
            "none" => Ok(true),
            list if names_otlp(list) => Ok(false),
            _ => Err(one_of("otlp, none", text)),
        });
    is_disabled == Some(true) || has_none == Some(true)
}

/// The resource's attributes: those of `OTEL_RESOURCE_ATTRIBUTES`, and first a `service.name` if any variable has one.
pub(super) fn resource(fields: &mut Fields<'_>, environment: &EnvVars) -> Vec<(String, String)> {
    let mut attributes: Vec<(String, String)> =
        usable(fields, environment, "OTEL_RESOURCE_ATTRIBUTES", pairs).unwrap_or_default();
    let own = set(environment, "OTEL_SERVICE_NAME").map(str::to_owned);
    let listed = attributes.iter().rfind(|(key, _)| key == "service.name").map(|(_, value)| value.clone());
    attributes.retain(|(key, _)| key != "service.name");
    if let Some(name) = own.or(listed) {
        attributes.insert(0, ("service.name".to_owned(), name));
    }
    attributes
}

/// These attributes of a resource, with this `service.name` if they have none.
pub(super) fn named(attributes: &[(String, String)], service_name: &str) -> Vec<(String, String)> {
    let is_named = attributes.iter().any(|(key, _)| key == "service.name");
    let name = (!is_named).then(|| ("service.name".to_owned(), service_name.to_owned()));
    name.into_iter().chain(attributes.iter().cloned()).collect()
}

fn headers(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(text)? {
        add_header(&mut headers, &name, &value)?;
    }
    Ok(headers)
}

/// `name=value` pairs separated by commas, percent-encoded.
///
/// # Errors
/// If any part is no pair: half a list is not what was meant, and the specification of `OTEL_RESOURCE_ATTRIBUTES` wants
/// all of it discarded
/// (<https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable>).
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        (!name.is_empty()).then(|| (percent_decoded(name), percent_decoded(value)))
    };
    let read: Option<Vec<_>> = parts.map(pair).collect();
    read.ok_or_else(|| "must be name=value pairs, separated by commas".to_owned())
}

/// `%2C` is a comma; what is no such sequence stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.get(..2).and_then(hex_byte)).flatten();
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_where_it_is_one() {
        for (text, expected) in [("a%2Cb", "a,b"), ("%41%", "A%"), ("%zz%4", "%zz%4"), ("%+1", "%+1"), ("é", "é")] {
            assert_eq!(percent_decoded(text), expected);
        }
    }
}
