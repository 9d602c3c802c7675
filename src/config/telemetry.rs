//! The section `telemetry`: whether and where the daemon's own spans are sent.
//!
//! What it does not say is as in `traces`. OpenTelemetry's variables go before both sections of the file, by the rules
//! that `traces` has, with two exceptions: the name of the service is always this program's, so that its spans are not
//! taken for deliveries; and variables that cannot be used are warned of once, by `traces`, where that reads them.

use super::EnvVars;
use super::fields::Fields;
use super::otel::{self, OtlpEndpoint};
use super::otlp::{OtlpProtocol, OtlpReceiver, OtlpSignal, OtlpTls, PROTOCOLS};
use super::receiver::{read_headers, read_tls};
use super::traces::TracesConfig;
use super::values::{base_url, flag, one_of};
use reqwest::Url;
use reqwest::header::HeaderMap;

/// The daemon's own spans are traces like those of deliveries: the same variables apply.
const SIGNAL: OtlpSignal = OtlpSignal::Traces;

/// Whether and where the daemon tells of its own work.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryConfig {
    /// Where the daemon's own spans are sent; `None` if none are made.
    pub traces: Option<OtlpReceiver>,
    /// The attributes of their resource, `service.name` among them.
    pub resource_attributes: Vec<(String, String)>,
}

/// What the section itself says.
struct TelemetryKeys {
    endpoint: Option<Url>,
    protocol: Option<OtlpProtocol>,
    headers: HeaderMap,
    /// The headers of our own variables, which go before OpenTelemetry's.
    own_headers: HeaderMap,
    tls: OtlpTls,
}

/// Reads the section; `deliveries` is the section `traces`.
pub(super) fn read(
    mut fields: Fields<'_>,
    environment: &EnvVars,
    deliveries: Option<&TracesConfig>,
) -> Option<TelemetryConfig> {
    let traces = fields.scalar("traces", flag);
    let endpoint = fields.optional("endpoint", base_url);
    let protocol = fields.optional("protocol", one_of(PROTOCOLS));
    let path = SIGNAL.http_path();
    if endpoint.as_ref().is_some_and(|url| url.path().ends_with(path)) {
        fields.fault("endpoint", format!("must not end in {path}: leave {path} off, each request adds it"));
    }
    let (headers, own_headers) = read_headers(&mut fields);
    let tls = read_tls(fields.section("tls"));
    let keys = TelemetryKeys { endpoint, protocol, headers, own_headers, tls };
    let is_forced = fields.is_overridden("traces");
    let is_on = traces? && (is_forced || !otel::turns_off(&mut fields, environment, SIGNAL));
    let none = EnvVars::new();
    let variables = if is_on { environment } else { &none };
    let named = ("service.name".to_owned(), otel::DAEMON.to_owned());
    let attributes = otel::resource(&mut fields, variables).into_iter().filter(|(key, _)| key != "service.name");
    let resource_attributes = [named].into_iter().chain(attributes).collect();
    let receiver = if is_on { receiver(&mut fields, variables, keys, deliveries?) } else { None };
    fields.finish();
    Some(TelemetryConfig { traces: receiver, resource_attributes })
}

fn receiver(
    fields: &mut Fields<'_>,
    variables: &EnvVars,
    keys: TelemetryKeys,
    deliveries: &TracesConfig,
) -> Option<OtlpReceiver> {
    let otel = otel::read(fields, variables, SIGNAL);
    // If it is on, the variables have been applied to `traces` already.
    let is_applied = deliveries.enabled;
    let is_ours = |key: &str| fields.is_overridden(key);
    let protocol = otel.protocol.filter(|_| !(is_ours("protocol") || is_applied && keys.protocol.is_none()));
    let protocol = protocol.or(keys.protocol).unwrap_or(deliveries.protocol);
    let of_otel = otel.endpoint.filter(|_| !(is_ours("endpoint") || is_applied && keys.endpoint.is_none()));
    let own = of_otel.or(keys.endpoint.map(OtlpEndpoint::Base)).map(|endpoint| endpoint.complete(protocol, SIGNAL));
    let Some(endpoint) = own.or_else(|| endpoint_of(deliveries, protocol)) else {
        fields.fault("traces", "needs telemetry.endpoint or traces.endpoint: there is nobody to send spans to");
        return None;
    };
    let of_file = if keys.headers.is_empty() { &deliveries.headers } else { &keys.headers };
    let of_otel = otel.headers.filter(|_| !(is_applied && keys.headers.is_empty()));
    let mut headers = of_otel.unwrap_or_else(|| of_file.clone());
    headers.extend(keys.own_headers);
    let tls = if keys.tls == OtlpTls::default() { deliveries.tls.clone() } else { keys.tls };
    Some(OtlpReceiver { endpoint, protocol, headers, gzip: otel.gzip, timeout: otel.timeout, tls })
}

/// Where deliveries' spans are sent, for this protocol.
fn endpoint_of(deliveries: &TracesConfig, protocol: OtlpProtocol) -> Option<Url> {
    let endpoint = deliveries.endpoint.clone()?;
    if protocol == deliveries.protocol {
        return Some(endpoint);
    }
    let mut base = endpoint;
    let path = base.path().strip_suffix(SIGNAL.http_path()).unwrap_or(base.path()).to_owned();
    base.set_path(&path);
    Some(OtlpEndpoint::Base(base).complete(protocol, SIGNAL))
}
