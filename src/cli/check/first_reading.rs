//! How long the first reading takes: the pages of all logs back to `poll.initial_lookback`, at the request budget.
//!
//! It is an estimate from the newest page of some logs; the other logs are assumed to be alike. It does not consider an
//! existing state file, with which the daemon would only read what is new.

use std::time::Duration;

use super::survey::{FirstLogPage, Survey};
use crate::logging::about::rough;

/// The estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FirstReading {
    /// How many pages of logs.
    pub(super) pages: u64,
    /// At how many requests a minute.
    pub(super) rate: f64,
    /// How long it takes until all are read, including discovery.
    pub(super) time: Duration,
}

impl FirstReading {
    /// Estimates from `survey`, with pages of `per_page` entries back to `lookback`, at `rate` requests a minute.
    /// `None` if no log could be read.
    pub(super) fn of(survey: &Survey, per_page: u32, lookback: Duration, rate: f64) -> Option<Self> {
        let webhooks = survey.targets.len();
        if survey.logs.is_empty() && webhooks > 0 {
            return None;
        }
        let sampled: u64 = survey.logs.iter().map(|log| pages(log, per_page, lookback)).sum();
        // Disabled webhooks have a log, too: at least one page each.
        let (logs, enabled) = (survey.logs.len().max(1), survey.enabled());
        let pages = (sampled as f64 / logs as f64 * enabled as f64).round() as u64 + (webhooks - enabled) as u64;
        let requests = pages + (survey.list_requests + survey.owners) as u64;
        let time = Duration::from_secs_f64(requests as f64 * 60.0 / rate.max(1.0));
        Some(Self { pages, rate, time })
    }

    pub(super) fn line(&self) -> String {
        let (pages, time, rate) = (self.pages, rough(self.time), self.rate);
        format!("about {pages} {}, {time} at {rate} a minute", if pages == 1 { "page" } else { "pages" })
    }
}

/// Returns how many pages of one log are read. The walk ends with the first page that reaches past the lookback.
fn pages(log: &FirstLogPage, per_page: u32, lookback: Duration) -> u64 {
    let entries = (log.rate * lookback.as_secs_f64()).min(log.total.unwrap_or(u64::MAX) as f64);
    (entries / f64::from(per_page)).floor() as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_those_of_the_lookback_and_of_what_the_log_holds() {
        let log = |rate, total| FirstLogPage { rate, total, ..FirstLogPage::default() };
        let day = Duration::from_secs(86_400);
        assert_eq!(pages(&log(0.0, Some(0)), 100, day), 1);
        assert_eq!(pages(&log(0.5, Some(1_000_000)), 100, day), 433);
        assert_eq!(pages(&log(0.5, Some(250)), 100, day), 3);
        assert_eq!(pages(&log(0.5, None), 100, day), 433);
        assert_eq!(pages(&log(0.5, None), 100, Duration::ZERO), 1);
    }

    #[test]
    fn webhooks_that_were_not_looked_into_are_like_the_others() {
        let survey = Survey { logs: vec![FirstLogPage::default()], ..Survey::default() };
        let reading = FirstReading::of(&survey, 100, Duration::ZERO, 30.0).expect("known");
        assert_eq!(reading, FirstReading { pages: 0, rate: 30.0, time: Duration::ZERO });
        let reading = FirstReading { pages: 510, rate: 30.0, time: Duration::from_secs(17 * 60) };
        assert_eq!(reading.line(), "about 510 pages, 17 min at 30 a minute");
    }
}
