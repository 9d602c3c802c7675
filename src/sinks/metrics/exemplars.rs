//! Exemplars: for each series, and for each bucket, the latest attempt whose span is sent
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/#exemplars>).
//!
//! They link a spike to a trace. They are not durable: after a start there are none until attempts come. Shown in
//! OpenMetrics only, and never on a series that is served as 0.

use std::collections::BTreeMap;

use talkover_core::ledger::labels::LabelPolicy;
use talkover_core::ledger::series::SeriesKey;
use talkover_core::ledger::totals::NANOS_PER_SECOND;
use talkover_core::spans::span::SampledAttempt;

use crate::exposition::model::Exemplar;

/// The exemplars of one target, by series and by the position of the bucket; counters have the position 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exemplars(BTreeMap<SeriesKey, Vec<(usize, Exemplar)>>);

impl Exemplars {
    /// Adds attempts, with the labels and buckets with which they count.
    pub fn observe(&mut self, sampled: &[SampledAttempt], policy: &LabelPolicy) {
        for attempt in sampled {
            let exemplar =
                Exemplar { trace_id: attempt.trace_id, span_id: attempt.span_id, value: 1.0, at: attempt.at };
            self.set(attempt.labels.attempts_series(), 0, exemplar);
            if let Some(nanos) = attempt.duration_ns {
                let value = nanos as f64 / NANOS_PER_SECOND;
                let bucket = policy.duration_buckets.partition_point(|bound| *bound < value);
                let series = attempt.labels.duration_series(&policy.duration_labels);
                self.set(series, bucket, Exemplar { value, ..exemplar });
            }
        }
    }

    /// Takes over exemplars that are not older than the present ones.
    pub fn merge(&mut self, newer: &Self) {
        for (series, exemplars) in &newer.0 {
            for (position, exemplar) in exemplars {
                self.set(series.clone(), *position, *exemplar);
            }
        }
    }

    /// Returns the exemplars of a series, by position.
    pub fn get(&self, series: &SeriesKey) -> &[(usize, Exemplar)] {
        self.0.get(series).map_or(&[], Vec::as_slice)
    }

    fn set(&mut self, series: SeriesKey, position: usize, exemplar: Exemplar) {
        let exemplars = self.0.entry(series).or_default();
        match exemplars.binary_search_by_key(&position, |(at, _)| *at) {
            // Prometheus rejects an exemplar that is not newer than the last one, and warns about it at every scrape.
            Ok(found) if exemplar.at > exemplars[found].1.at => exemplars[found].1 = exemplar,
            Ok(_) => {}
            Err(free) => exemplars.insert(free, (position, exemplar)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use talkover_core::delivery::Timestamp;
    use talkover_core::delivery::{AttemptStatus, HttpStatus};
    use talkover_core::ledger::labels::{AttemptLabels, HttpLabel};
    use talkover_core::testing::policy;

    fn sampled(second: i64, duration_ns: Option<u64>, span: u8) -> SampledAttempt {
        let http_status = HttpLabel::Exact(HttpStatus::Code(200));
        SampledAttempt {
            labels: AttemptLabels { event: "e".into(), status: AttemptStatus::Success, http_status },
            duration_ns,
            at: Timestamp::from_seconds(second),
            trace_id: [1; 16],
            span_id: [span; 8],
        }
    }

    fn spans(exemplars: &Exemplars, series: &SeriesKey) -> Vec<(usize, u8, f64)> {
        exemplars.get(series).iter().map(|(position, one)| (*position, one.span_id[0], one.value)).collect()
    }

    #[test]
    fn the_latest_of_each_series_and_bucket_is_kept() {
        let labels = policy().labels;
        let [attempts, durations] = {
            let one = sampled(0, None, 0).labels;
            [one.attempts_series(), one.duration_series(&labels.duration_labels)]
        };
        let mut exemplars = Exemplars::default();
        // The bounds are 0.1 s and 1 s, both inclusive.
        let first = [sampled(10, Some(100_000_000), 1), sampled(12, Some(1_000_000_000), 2), sampled(11, None, 3)];
        exemplars.observe(&first, &labels);
        assert_eq!(spans(&exemplars, &attempts), [(0, 2, 1.0)], "the third is older");
        assert_eq!(spans(&exemplars, &durations), [(0, 1, 0.1), (1, 2, 1.0)]);

        let mut newer = Exemplars::default();
        newer.observe(&[sampled(12, Some(1_000_000_001), 4), sampled(9, Some(1), 5)], &labels);
        exemplars.merge(&newer);
        assert_eq!(spans(&exemplars, &attempts), [(0, 2, 1.0)], "the fourth is of the same second");
        assert_eq!(spans(&exemplars, &durations), [(0, 1, 0.1), (1, 2, 1.0), (2, 4, 1.000_000_001)]);
        exemplars.observe(&[sampled(13, Some(1), 6)], &labels);
        assert_eq!(spans(&exemplars, &attempts), [(0, 6, 1.0)]);
        assert_eq!(spans(&exemplars, &durations), [(0, 6, 0.000_000_001), (1, 2, 1.0), (2, 4, 1.000_000_001)]);
    }
}
