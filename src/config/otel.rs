//! OpenTelemetry's own environment variables, as far as they concern traces.
//!
//! An empty variable counts as unset, as the specification wants; a wrong one is a fault, so that nobody wonders where
//! the spans went. Called by the reader of the section `traces` alone.

use super::Environment;
use super::faults::Place;
use super::fields::Fields;
use super::traces::{PROTOCOLS, TracesProtocol, add_header};
use super::values::plain_url;
use reqwest::Url;
use reqwest::header::HeaderMap;
use std::time::Duration;

/// The name under which spans are shown where no variable gives another.
const SERVICE_NAME: &str = "talkover-webhooks";

/// What the variables say; what is unset is absent.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) endpoint: Option<Endpoint>,
    pub(super) protocol: Option<TracesProtocol>,
    pub(super) headers: Option<HeaderMap>,
    pub(super) gzip: Option<bool>,
    pub(super) timeout: Option<Duration>,
}

/// Where to send spans.
pub(super) enum Endpoint {
    /// The base of a receiver.
    Base(Url),
    /// A URL for traces alone, to be used as it is.
    Traces(Url),
}

impl Endpoint {
    /// The URL to send to.
    pub(super) fn complete(self, protocol: TracesProtocol) -> Url {
        match (self, protocol) {
            (Self::Base(mut url), TracesProtocol::HttpProtobuf) => {
                let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
                url.set_path(&path);
                url
            }
            (Self::Base(url) | Self::Traces(url), _) => url,
        }
    }
}

pub(super) fn read(fields: &mut Fields<'_>, environment: &Environment) -> Settings {
    Settings {
        endpoint: parsed(fields, environment, "ENDPOINT", |text, signal| {
            let url = plain_url(text)?;
            Ok(if signal { Endpoint::Traces(url) } else { Endpoint::Base(url) })
        }),
        protocol: parsed(fields, environment, "PROTOCOL", |text, _| {
            let known = PROTOCOLS.iter().find(|(word, _)| *word == text);
            known.map(|(_, protocol)| *protocol).ok_or_else(|| one_of("grpc, http/protobuf", text))
        }),
        headers: parsed(fields, environment, "HEADERS", |text, _| headers(text)),
        gzip: parsed(fields, environment, "COMPRESSION", |text, _| match text {
            "gzip" => Ok(true),
            "none" => Ok(false),
            _ => Err(one_of("gzip, none", text)),
        }),
        timeout: parsed(fields, environment, "TIMEOUT", |text, _| match text.parse::<u32>() {
            Ok(millis) if millis > 0 => Ok(Duration::from_millis(millis.into())),
            _ => Err(format!("must be a whole number of milliseconds above zero, not `{text}`")),
        }),
    }
}

fn one_of(words: &str, text: &str) -> String {
    format!("must be one of {words}, not `{text}`")
}

/// The variable of the signal before the general one; the parser is told whether it is the signal's.
fn parsed<T>(
    fields: &mut Fields<'_>,
    environment: &Environment,
    setting: &str,
    parse: impl Fn(&str, bool) -> Result<T, String>,
) -> Option<T> {
    let names =
        [(format!("OTEL_EXPORTER_OTLP_TRACES_{setting}"), true), (format!("OTEL_EXPORTER_OTLP_{setting}"), false)];
    let (name, text, signal) =
        names.into_iter().find_map(|(name, signal)| set(environment, &name).map(|text| (name, text, signal)))?;
    parse(text, signal).map_err(|reason| fields.fault_at(Place::Variable(name), reason)).ok()
}

fn set<'e>(environment: &'e Environment, name: &str) -> Option<&'e str> {
    environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
}

pub(super) fn is_disabled(environment: &Environment) -> bool {
    set(environment, "OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// The resource's attributes: those of `OTEL_RESOURCE_ATTRIBUTES`, and a `service.name` in any case.
pub(super) fn resource(environment: &Environment) -> Vec<(String, String)> {
    let listed = set(environment, "OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let mut attributes: Vec<(String, String)> = pairs(listed).flatten().collect();
    let own = set(environment, "OTEL_SERVICE_NAME").map(str::to_owned);
    let listed = attributes.iter().rfind(|(key, _)| key == "service.name").map(|(_, value)| value.clone());
    attributes.retain(|(key, _)| key != "service.name");
    let name = own.or(listed).unwrap_or_else(|| SERVICE_NAME.to_owned());
    attributes.insert(0, ("service.name".to_owned(), name));
    attributes
}

fn headers(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for pair in pairs(text) {
        let (name, value) = pair.ok_or("must be name=value pairs, separated by commas")?;
        add_header(&mut headers, &name, &value)?;
    }
    Ok(headers)
}

/// `name=value` pairs separated by commas, percent-encoded; nothing for a part that is no pair.
fn pairs(text: &str) -> impl Iterator<Item = Option<(String, String)>> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        (!name.is_empty()).then(|| (percent_decoded(name), percent_decoded(value)))
    })
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

    #[test]
    fn the_service_has_a_name_in_any_case() {
        let of =
            |pairs: &[(&str, &str)]| resource(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(of(&[]), [pair("service.name", "talkover-webhooks")]);
        let listed = ("OTEL_RESOURCE_ATTRIBUTES", "a=1, service.name=x%20y,broken,b=2=3");
        assert_eq!(of(&[listed]), [pair("service.name", "x y"), pair("a", "1"), pair("b", "2=3")]);
        let named = ("OTEL_SERVICE_NAME", "own");
        assert_eq!(of(&[listed, named]).first(), Some(&pair("service.name", "own")));
    }
}
