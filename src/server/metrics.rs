//! `GET /metrics`: the metrics at that moment, as text.
//!
//! A scrape never writes to the state, never asks TalkOver, and never waits for a poll. The answer is OpenMetrics 1.0
//! where `Accept` prefers that, else the text format 0.0.4, which every scraper reads. Called by the router;
//! compression is the router's.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;

use crate::exposition::Format;

/// A scrape that waits for its answer.
type Scrape = (Format, oneshot::Sender<String>);

/// Renders off the threads that serve, one answer after the other: a long list of series takes milliseconds, and the
/// memory that it needs is needed once. A thread of a pool would keep that memory each, for the next time that it
/// renders.
#[derive(Clone, Debug)]
pub struct Renderer(mpsc::Sender<Scrape>);

impl Renderer {
    /// Answers scrapes with what `write` writes, until the last clone is dropped.
    pub fn start(write: impl Fn(Format, &mut String) -> fmt::Result + Send + 'static) -> Self {
        let (scrapes, waiting) = mpsc::channel::<Scrape>();
        let serve = move || {
            // As much room as the last answer took, so that this one need not be moved while it grows.
            let mut length = 0;
            for (format, answer) in waiting {
                // Whoever has gone away needs no answer.
                if answer.is_closed() {
                    continue;
                }
                let render = || {
                    let mut text = String::with_capacity(length + length / 8);
                    write(format, &mut text).map(|()| text)
                };
                if let Ok(Ok(text)) = catch_unwind(AssertUnwindSafe(render)) {
                    length = text.len();
                    let _ = answer.send(text);
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("metrics".to_owned()).spawn(serve) {
            tracing::error!(%error, "failed to start the thread that renders the metrics");
        }
        Self(scrapes)
    }

    /// Returns the metrics as they are when it is their turn; `None` if writing them has failed, which is a defect of
    /// ours.
    async fn text(&self, format: Format) -> Option<String> {
        let (answer, text) = oneshot::channel();
        self.0.send((format, answer)).ok()?;
        text.await.ok()
    }
}

/// Answers a scrape.
pub(super) async fn metrics(State(renderer): State<Renderer>, headers: HeaderMap) -> Response {
    let format = preferred(&headers);
    match renderer.text(format).await {
        Some(text) => {
            let headers = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")];
            (headers, text).into_response()
        }
        None => {
            tracing::error!("failed to render the metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, "failed to render the metrics: see the log\n").into_response()
        }
    }
}

/// The format that `Accept` (RFC 9110, section 12.5.1) prefers; the text format where it does not say.
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

/// One media range of `Accept`.
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn one_thread_renders_all_scrapes_and_survives_one_that_fails() {
        let times = AtomicUsize::new(0);
        let renderer = Renderer::start(move |format, out| {
            assert_eq!(thread::current().name(), Some("metrics"));
            match times.fetch_add(1, Ordering::Relaxed) {
                0 => panic!("the first time goes wrong"),
                1 => Err(fmt::Error),
                time => fmt::Write::write_fmt(out, format_args!("{format:?} {time}")),
            }
        });
        assert_eq!(renderer.text(Format::Text).await, None);
        assert_eq!(renderer.text(Format::Text).await, None);
        let (first, second) = tokio::join!(renderer.text(Format::Text), renderer.text(Format::OpenMetrics));
        assert_eq!((first.as_deref(), second.as_deref()), (Some("Text 2"), Some("OpenMetrics 3")));
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
