//! `GET /metrics`: the current metrics as text.
//!
//! A scrape never writes to the state, sends no request to TalkOver, and never waits for a poll. The response is
//! OpenMetrics 1.0 if `Accept` prefers that, else the text format 0.0.4, which every scraper reads. It is compressed if
//! the client accepts gzip. Called by the router.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::answer::AnswerEncoding;
use super::renderer::{Renderer, ScrapeVariant};
use crate::exposition::Format;

/// Answers a scrape.
pub(super) async fn metrics(State(renderer): State<Renderer>, headers: HeaderMap) -> Response {
    let (format, encoding) = (preferred(&headers), encoding(&headers));
    let Some(answer) = renderer.answer(ScrapeVariant { format, encoding }).await else {
        tracing::error!("failed to render the metrics");
        return (StatusCode::INTERNAL_SERVER_ERROR, "failed to render the metrics: see the log\n").into_response();
    };
    let body = Body::new(answer.body());
    let head = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept, accept-encoding")];
    match encoding {
        AnswerEncoding::Identity => (head, body).into_response(),
        AnswerEncoding::Gzip => (head, [(header::CONTENT_ENCODING, "gzip")], body).into_response(),
    }
}

/// Chooses the encoding by `Accept-Encoding` (RFC 9110, section 12.5.3).
fn encoding(headers: &HeaderMap) -> AnswerEncoding {
    let accepted = headers.get_all(header::ACCEPT_ENCODING);
    let texts = accepted.iter().filter_map(|value| value.to_str().ok());
    let codings: Vec<Range<'_>> = texts.flat_map(|text| text.split(',')).filter_map(Range::parse).collect();
    let quality = |names: &[&str]| {
        let named = codings.iter().filter(|coding| names.contains(&&*coding.media));
        named.map(|coding| coding.quality).reduce(f64::max)
    };
    let gzip = quality(&["gzip", "x-gzip"]).or(quality(&["*"])).unwrap_or(0.0);
    // Plain text is acceptable unless the header excludes it, but gzip is preferred.
    if gzip > 0.0 && gzip >= quality(&["identity"]).unwrap_or(0.0) {
        AnswerEncoding::Gzip
    } else {
        AnswerEncoding::Identity
    }
}

/// Chooses the format that `Accept` prefers (RFC 9110, section 12.5.1); the text format if it does not say.
fn preferred(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(header::ACCEPT);
    let texts = accepted.iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<Range<'_>> = texts.flat_map(|text| text.split(',')).filter_map(Range::parse).collect();
    let best = |matches: &dyn Fn(&Range<'_>) -> bool| {
        ranges.iter().filter(|range| matches(range)).map(|range| range.quality).fold(0.0, f64::max)
    };
    let open = best(&|range| range.media == "application/openmetrics-text" && range.is_version(&["1.0.0", "0.0.1"]));
    let text = best(&|range| range.media == "text/plain" && range.is_version(&["0.0.4"]));
    if open > text { Format::OpenMetrics } else { Format::Text }
}

/// One media range of `Accept`, or one coding of `Accept-Encoding`.
struct Range<'a> {
    media: String,
    version: Option<&'a str>,
    quality: f64,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self { media: parts.next()?.to_ascii_lowercase(), version: None, quality: 1.0 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => range.quality = value.trim().parse().ok().filter(|quality| (0.0..=1.0).contains(quality))?,
                "version" => range.version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        Some(range)
    }

    fn is_version(&self, known: &[&str]) -> bool {
        self.version.is_none_or(|version| known.contains(&version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_served_where_it_is_accepted() {
        for (accepted, expected) in [
            ("gzip", AnswerEncoding::Gzip),
            ("br, GZIP;q=0.5", AnswerEncoding::Gzip),
            ("x-gzip", AnswerEncoding::Gzip),
            ("*", AnswerEncoding::Gzip),
            ("gzip;q=0.5, identity", AnswerEncoding::Identity),
            ("gzip;q=0", AnswerEncoding::Identity),
            ("gzip;q=0, *", AnswerEncoding::Identity),
            ("deflate, br", AnswerEncoding::Identity),
            ("", AnswerEncoding::Identity),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, accepted.parse().unwrap())]);
            assert_eq!(encoding(&headers), expected, "{accepted}");
        }
        assert_eq!(encoding(&HeaderMap::new()), AnswerEncoding::Identity);
    }

    #[test]
    fn openmetrics_is_served_where_it_is_preferred() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;\
                            q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let text_first = "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5";
        for (accept, expected) in [
            (prometheus_2, Format::OpenMetrics),
            (prometheus_3, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; version=\"1.0.0\"; charset=utf-8", Format::OpenMetrics),
            ("application/openmetrics-text, */*", Format::OpenMetrics),
            (text_first, Format::Text),
            ("text/plain, application/openmetrics-text", Format::Text),
            ("application/openmetrics-text; version=2.0.0", Format::Text),
            ("application/openmetrics-text; q=0", Format::Text),
            ("application/openmetrics-text; q=many", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("", Format::Text),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(preferred(&headers), expected, "{accept}");
        }
        assert_eq!(preferred(&HeaderMap::new()), Format::Text);
    }
}
