//! Every case of escaping and of numbers, and a round trip through an independent reader of the format.

use std::collections::BTreeMap;

use prometheus::proto::{Bucket, Counter, Gauge, Histogram};
use proptest::prelude::*;

use super::*;
use crate::sinks::metrics::catalogue;
use crate::sinks::metrics::exemplars::Exemplar;
use crate::sinks::metrics::families::Family;

fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    pairs
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect()
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn text(families: &[MetricFamily]) -> String {
    render(families, Format::Text)
}

fn gauge(pairs: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels(pairs));
    metric.set_gauge(gauge);
    metric
}

#[test]
fn numbers_are_written_as_prometheus_reads_them() {
    for (value, expected) in [
        (0.0, "0"),
        (1.0, "1"),
        (-3.0, "-3"),
        (0.25, "0.25"),
        (1_700_000_000.5, "1700000000.5"),
        (1e15, "1000000000000000"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
    ] {
        let text = text(&[family("x", "h", MetricType::GAUGE, vec![gauge(&[], value)])]);
        assert_eq!(text, format!("# HELP x h\n# TYPE x gauge\nx {expected}\n"));
    }
}

#[test]
fn labels_and_help_are_escaped() {
    let metric = gauge(&[("a", "q\"b\\n\nend"), ("b", "")], 1.0);
    let text = text(&[family("x", "say \"hi\"\\\n", MetricType::GAUGE, vec![metric])]);
    assert_eq!(text, "# HELP x say \"hi\"\\\\\\n\n# TYPE x gauge\nx{a=\"q\\\"b\\\\n\\nend\",b=\"\"} 1\n");
}

#[test]
fn a_histogram_has_its_bounds_with_a_point_and_ends_in_infinity() {
    let bucket = |bound: f64, count: u64| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(vec![bucket(0.05, 1), bucket(1.0, 2), bucket(120.0, 2)]);
    histogram.set_sample_count(3);
    histogram.set_sample_sum(200.75);
    let mut metric = Metric::from_label(labels(&[("e", "v")]));
    metric.set_histogram(histogram);
    let text = text(&[family("d_seconds", "h", MetricType::HISTOGRAM, vec![metric])]);
    assert_eq!(
        text,
        "# HELP d_seconds h\n# TYPE d_seconds histogram\n\
         d_seconds_bucket{e=\"v\",le=\"0.05\"} 1\n\
         d_seconds_bucket{e=\"v\",le=\"1.0\"} 2\n\
         d_seconds_bucket{e=\"v\",le=\"120.0\"} 2\n\
         d_seconds_bucket{e=\"v\",le=\"+Inf\"} 3\n\
         d_seconds_sum{e=\"v\"} 200.75\n\
         d_seconds_count{e=\"v\"} 3\n"
    );
}

#[test]
fn a_family_without_series_is_left_out() {
    assert_eq!(text(&[family("x", "h", MetricType::GAUGE, vec![])]), "");
}

/// Reads samples back: name, labels, value.
fn parse(text: &str) -> Vec<(String, BTreeMap<String, String>, f64)> {
    text.lines().filter(|line| !line.starts_with('#')).map(parse_line).collect()
}

fn parse_line(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let name_end = line.find(['{', ' ']).unwrap();
    let mut labels = BTreeMap::new();
    let mut characters = line[name_end..].chars();
    let mut value = String::new();
    if characters.next() == Some('{') {
        loop {
            let name: String = characters.by_ref().take_while(|c| *c != '=').collect();
            assert_eq!(characters.next(), Some('"'));
            let mut text = String::new();
            loop {
                match characters.next().unwrap() {
                    '"' => break,
                    '\\' => text.push(match characters.next().unwrap() {
                        'n' => '\n',
                        other => other,
                    }),
                    other => text.push(other),
                }
            }
            labels.insert(name, text);
            if characters.next() == Some('}') {
                break;
            }
        }
        assert_eq!(characters.next(), Some(' '));
    }
    value.extend(characters);
    (line[..name_end].to_owned(), labels, value.parse().unwrap())
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        series in prop::collection::vec((any::<String>(), any::<String>(), any::<f64>()), 1..20),
    ) {
        let metrics = series
            .iter()
            .map(|(a, b, value)| {
                let mut counter = Counter::default();
                counter.set_value(*value);
                let mut metric = Metric::from_label(labels(&[("a", a), ("b", b)]));
                metric.set_counter(counter);
                metric
            })
            .collect();
        let written = text(&[family("x_total", "h", MetricType::COUNTER, metrics)]);
        let read = parse(&written);
        prop_assert_eq!(read.len(), series.len());
        for ((name, labels, value), (a, b, expected)) in read.iter().zip(&series) {
            prop_assert_eq!(name, "x_total");
            prop_assert_eq!((&labels["a"], &labels["b"]), (a, b));
            prop_assert!(value == expected || (value.is_nan() && expected.is_nan()));
        }
    }
}

#[test]
fn openmetrics_names_counters_without_their_suffix_and_shows_births() {
    let born = |millis: i64, mut metric: Metric| {
        metric.set_timestamp_ms(millis);
        metric
    };
    let counted = |pairs: &[(&str, &str)]| {
        let mut counter = Counter::default();
        counter.set_value(3.0);
        let mut metric = Metric::from_label(labels(pairs));
        metric.set_counter(counter);
        metric
    };
    let mut histogram = Metric::from_label(labels(&[]));
    histogram.set_histogram(Histogram::default());
    let families = [
        family("x_total", "say \"hi\"", MetricType::COUNTER, vec![counted(&[]), born(1_500, counted(&[("a", "b")]))]),
        family("d_seconds", "h", MetricType::HISTOGRAM, vec![born(2_000, histogram)]),
        family("g", "h", MetricType::GAUGE, vec![gauge(&[], 1.0)]),
    ];
    let expected = r#"# HELP x say \"hi\"
# TYPE x counter
x_total 3
x_total{a="b"} 3
x_created{a="b"} 1.5
# HELP d_seconds h
# TYPE d_seconds histogram
d_seconds_bucket{le="+Inf"} 0
d_seconds_sum 0
d_seconds_count 0
d_seconds_created 2
# HELP g h
# TYPE g gauge
g 1
# EOF
"#;
    assert_eq!(render(&families, Format::OpenMetrics), expected);
    assert!(!text(&families).contains("created"));
}

#[test]
fn exemplars_stand_on_counters_and_buckets_in_openmetrics_alone() {
    let exemplar = |value| Exemplar {
        trace_id: [0xab; 16],
        span_id: [0x0c; 8],
        value,
        at: talkover_core::delivery::Timestamp::from_micros(1_700_000_000_500_000),
    };
    let mut counters = Family::new(&catalogue::DELIVERIES);
    counters.push(&["e", "w", "x", "failed"], 2.0);
    counters.add_exemplars([(0, exemplar(1.0))].into_iter());
    counters.push(&["e", "w", "x", "success"], 1.0);
    counters.add_exemplars(std::iter::empty());
    let mut histogram = talkover_core::ledger::totals::Histogram::new([0.1, 1.0].into());
    histogram.observe(50, 1000.0);
    histogram.observe(7_000, 1000.0);
    let mut histograms = Family::new(&catalogue::DELIVERY_DELAY);
    histograms.push_histogram([("event", "x")].into_iter(), &histogram, 1000.0, None);
    histograms.add_exemplars([(0, exemplar(0.05)), (2, exemplar(7.0))].into_iter());
    let families = [counters.finish(), histograms.finish()];

    let ids = r#"{trace_id="abababababababababababababababab",span_id="0c0c0c0c0c0c0c0c"}"#;
    let rendered = render(&families, Format::OpenMetrics);
    let samples: Vec<&str> = rendered.lines().filter(|line| !line.starts_with('#')).collect();
    let name = "talkover_webhook_deliver";
    assert_eq!(
        samples,
        [
            format!(
                r#"{name}ies_total{{environment="e",webhook_id="w",event="x",result="failed"}} 2 # {ids} 1 1700000000.5"#
            ),
            format!(r#"{name}ies_total{{environment="e",webhook_id="w",event="x",result="success"}} 1"#),
            format!(r#"{name}y_delay_seconds_bucket{{event="x",le="0.1"}} 1 # {ids} 0.05 1700000000.5"#),
            format!(r#"{name}y_delay_seconds_bucket{{event="x",le="1.0"}} 1"#),
            format!(r#"{name}y_delay_seconds_bucket{{event="x",le="+Inf"}} 2 # {ids} 7 1700000000.5"#),
            format!(r#"{name}y_delay_seconds_sum{{event="x"}} 7.05"#),
            format!(r#"{name}y_delay_seconds_count{{event="x"}} 2"#),
        ]
    );
    assert!(ids.len() <= 128);
    let plain = text(&families);
    assert!(!plain.contains("trace_id") && !plain.contains('\0'), "{plain}");
}
