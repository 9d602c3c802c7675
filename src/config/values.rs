//! What a single value may be: text, numbers, durations, addresses, paths. Each function answers with the value or with
//! the reason why not, for `Fields` to put beside the key.
//!
//! Reasons may quote the value only where it cannot be a secret: URLs and headers are never quoted.

use ::config::{Value, ValueKind};
use reqwest::Url;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use talkover_settings::duration::parse_duration;

/// The value as a reason names it.
pub(super) fn described(value: &Value) -> String {
    match &value.kind {
        ValueKind::Nil => "null".to_owned(),
        ValueKind::Boolean(flag) => format!("`{flag}`"),
        ValueKind::String(text) => format!("`{text}`"),
        ValueKind::Table(_) => "a map".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        number => format!("the number {number}"),
    }
}

/// Text that is not empty. A number is refused rather than turned back into text: `007` has already become 7.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match &value.kind {
        ValueKind::String(text) if text.trim().is_empty() => Err("must not be empty".to_owned()),
        ValueKind::String(text) => Ok(text.clone()),
        ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil => {
            Err(format!("must be text, not {}", described(value)))
        }
        _ => Err(format!("must be text, but YAML reads {} here: put it in quotes", described(value))),
    }
}

/// Text that becomes a label: no control characters, no white space around it.
pub(super) fn name(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    if text.chars().any(char::is_control) {
        return Err("must not hold control characters".to_owned());
    }
    if text.trim() != text {
        return Err(format!("must not begin or end with white space: `{text}`"));
    }
    Ok(text)
}

/// The id of a webhook, an agent or a campaign, which becomes one segment of a URL's path.
pub(super) fn id(value: &Value) -> Result<String, String> {
    let text = name(value)?;
    if text == "." || text == ".." || text.contains(|c: char| c.is_whitespace() || "/\\?#%".contains(c)) {
        return Err(format!("`{text}` is no id: it must not hold white space, `/`, `\\`, `?`, `#` or `%`"));
    }
    Ok(text)
}

/// `true` or `false`.
pub(super) fn flag(value: &Value) -> Result<bool, String> {
    match &value.kind {
        ValueKind::Boolean(flag) => Ok(*flag),
        ValueKind::String(text) if text == "true" => Ok(true),
        ValueKind::String(text) if text == "false" => Ok(false),
        _ => Err(format!("must be true or false, not {}", described(value))),
    }
}

/// A whole number between `min` and `max`.
pub(super) fn count(min: u32, max: u32) -> impl Fn(&Value) -> Result<u32, String> {
    move |value| {
        let whole = match &value.kind {
            ValueKind::I64(number) => u32::try_from(*number).ok(),
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        whole.filter(|number| (min..=max).contains(number)).ok_or_else(|| {
            let range = if max == u32::MAX { format!("from {min} up") } else { format!("from {min} to {max}") };
            format!("must be a whole number {range}, not {}", described(value))
        })
    }
}

/// A finite number.
pub(super) fn number(value: &Value) -> Result<f64, String> {
    let number = match &value.kind {
        ValueKind::I64(number) => number.to_string().parse().ok(),
        ValueKind::Float(number) => Some(*number),
        ValueKind::String(text) => text.parse().ok(),
        _ => None,
    };
    number
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| format!("must be a finite number, not {}", described(value)))
}

/// A duration, zero included.
pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    match &value.kind {
        ValueKind::String(text) => parse_duration(text),
        ValueKind::I64(number) => parse_duration(&number.to_string()),
        _ => Err(format!("must be a duration such as 15s, not {}", described(value))),
    }
}

/// A duration above zero.
pub(super) fn positive_duration(value: &Value) -> Result<Duration, String> {
    let duration = duration(value)?;
    if duration.is_zero() { Err("must be longer than zero".to_owned()) } else { Ok(duration) }
}

/// A path, as it is written: relative ones mean the current directory.
pub(super) fn path(value: &Value) -> Result<PathBuf, String> {
    text(value).map(PathBuf::from)
}

/// An address to listen at.
pub(super) fn address(value: &Value) -> Result<SocketAddr, String> {
    parse_address(&text(value)?)
}

/// An address to listen at, from text. As in Go, `:9877` is every address of the machine; `localhost` is 127.0.0.1,
/// where all clients find it. Other names are refused: which addresses they have may change from start to start.
///
/// # Errors
/// What is wrong with it.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let port_of = |host: &str| text.strip_prefix(host)?.strip_prefix(':')?.parse().ok();
    let named = port_of("localhost").map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let named = named.or_else(|| port_of("").map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))));
    named.or_else(|| text.parse().ok()).ok_or_else(|| {
        format!("`{text}` is no address with a port, such as 0.0.0.0:9877, :9877, localhost:9877 or [::]:9877")
    })
}

/// What else is served, and what is below it.
const OTHER_PATHS: [&str; 6] = ["/-", "/api", "/assets", "/dashboards", "/rules", "/webhooks"];

/// Where the metrics are served.
pub(super) fn metrics_path(value: &Value) -> Result<String, String> {
    parse_metrics_path(&text(value)?)
}

/// Where the metrics are served, from text.
///
/// # Errors
/// What is wrong with it.
pub fn parse_metrics_path(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    if !text.starts_with('/') || !text.chars().all(is_plain) || text.contains("//") {
        return Err(format!("`{text}` is no path such as /metrics, of letters, digits and `-._~`"));
    }
    let is_taken = |other: &str| text.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if text == "/" || OTHER_PATHS.iter().any(|other| is_taken(other)) {
        return Err(format!("`{text}` is the path of something else: metrics are served at a path of their own"));
    }
    Ok(text.to_owned())
}

/// One of the words of a table.
pub(super) fn one_of<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Value) -> Result<T, String> {
    move |value| {
        let given = match &value.kind {
            ValueKind::String(text) => words.iter().find(|(word, _)| word == text),
            _ => None,
        };
        given.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            format!("must be one of {}, not {}", known.join(", "), described(value))
        })
    }
}

/// The base of an HTTP API: http or https, a host, perhaps a path, which is cut behind its last segment.
pub(super) fn base_url(value: &Value) -> Result<Url, String> {
    let mut url = plain_url(&text(value)?)?;
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// An address for a browser: http or https, with any path and query.
pub(super) fn web_address(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    let before_query = text.split(['?', '#']).next().unwrap_or_default();
    plain_url(before_query)?;
    Ok(text)
}

const MUST_BE_HTTP: &str = "must be a URL that begins with http:// or https://";

/// As `base_url`, from text.
pub(super) fn plain_url(text: &str) -> Result<Url, String> {
    // A host alone, such as `app.talkover.ai`, is what people write most.
    if !text.contains("://") {
        return Err(MUST_BE_HTTP.to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(MUST_BE_HTTP.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or a password".to_owned());
    }
    if url.query().is_some() {
        return Err("must not hold a query (`?…`)".to_owned());
    }
    if url.fragment().is_some() {
        return Err("must not hold a fragment (`#…`)".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(kind: impl Into<ValueKind>) -> Value {
        Value::new(None, kind)
    }

    #[test]
    fn numbers_that_yaml_made_of_text_are_not_turned_back() {
        assert_eq!(text(&value("007")), Ok("007".to_owned()));
        assert_eq!(
            text(&value(7_i64)),
            Err("must be text, but YAML reads the number 7 here: put it in quotes".to_owned())
        );
        assert_eq!(text(&value(" ")), Err("must not be empty".to_owned()));
    }

    #[test]
    fn ids_stay_within_one_segment_of_a_path() {
        assert!(id(&value("9fbef0b7-3a52")).is_ok());
        for bad in ["a/b", "..", "a b", "a?x", "a#x", "%2e", "a\nb", " a"] {
            assert!(id(&value(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn counts_have_bounds() {
        let per_page = count(1, 100);
        assert_eq!(per_page(&value(100_i64)), Ok(100));
        assert_eq!(per_page(&value("25")), Ok(25));
        for bad in [value(0_i64), value(101_i64), value(-1_i64), value(1.0), value("x"), value(true)] {
            assert!(per_page(&bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            count(1, u32::MAX)(&value(5_000_000_000_i64)),
            Err("must be a whole number from 1 up, not the number 5000000000".to_owned())
        );
    }

    #[test]
    fn a_base_url_loses_its_last_slash_and_nothing_else() {
        let base = |text: &str| base_url(&value(text)).map(|url| url.to_string());
        assert_eq!(base("https://app.talkover.ai"), Ok("https://app.talkover.ai/".to_owned()));
        assert_eq!(base("https://proxy.example/talkover//"), Ok("https://proxy.example/talkover".to_owned()));
        assert_eq!(base("http://[::1]:8080/x"), Ok("http://[::1]:8080/x".to_owned()));
        for bad in
            ["app.talkover.ai", "ftp://x", "https://", "https://u@x", "https://u:p@x", "https://x?a", "https://x#a"]
        {
            assert!(base(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_finite() {
        assert_eq!(number(&value(1_i64)), Ok(1.0));
        assert_eq!(number(&value("0.5")), Ok(0.5));
        for bad in [value("inf"), value("NaN"), value(f64::INFINITY), value(false)] {
            assert!(number(&bad).is_err(), "{bad:?}");
        }
    }
}
