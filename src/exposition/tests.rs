//! Every case of escaping and of numbers, and a round trip through an independent reader of the format.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;
use talkover_core::delivery::Timestamp;

use super::model::{Exemplar, Histogram, Kind, Number, SampleValue};
use super::*;

fn family<'a>(name: &'a str, kind: Kind) -> FamilyHead<'a> {
    FamilyHead { name, kind, help: "h" }
}

fn single<'a>(labels: &[(&'a str, &'a str)], value: impl Into<Number>) -> Sample<'a> {
    let value = SampleValue::Single { value: value.into(), exemplar: None };
    Sample { labels: labels.to_vec(), value, created: None }
}

fn histogram<'a>(bounds: &'a [f64], counts: &'a [u64], sum: Number) -> Histogram<'a> {
    Histogram { bounds: Cow::Borrowed(bounds), counts: Cow::Borrowed(counts), sum, exemplars: &[] }
}

fn write(format: Format, families: &[(FamilyHead<'_>, Vec<Sample<'_>>)]) -> String {
    let mut out = String::new();
    let mut writer = ExpositionWriter::new(format, &mut out);
    for (family, samples) in families {
        let mut writer = writer.family(*family);
        samples.iter().try_for_each(|sample| writer.sample(sample)).unwrap();
    }
    writer.finish().unwrap();
    out
}

fn text(family: FamilyHead<'_>, samples: Vec<Sample<'_>>) -> String {
    write(Format::Text, &[(family, samples)])
}

#[test]
fn numbers_are_written_as_prometheus_reads_them() {
    for (value, expected) in [
        (Number::Float(0.0), "0"),
        (Number::Float(1.0), "1"),
        (Number::Float(-3.0), "-3"),
        (Number::Float(0.25), "0.25"),
        (Number::Float(1_700_000_000.5), "1700000000.5"),
        (Number::Float(1e15), "1000000000000000"),
        (Number::Float(f64::NAN), "NaN"),
        (Number::Float(f64::INFINITY), "+Inf"),
        (Number::Float(f64::NEG_INFINITY), "-Inf"),
        (Number::Integer(9_007_199_254_740_993), "9007199254740993"),
        (Number::Nanos(3_601_600_000_001), "3601.600000001"),
        (true.into(), "1"),
        (7_u32.into(), "7"),
        (Timestamp::from_micros(1_700_000_000_500_000).into(), "1700000000.5"),
        (std::time::Duration::from_millis(1500).into(), "1.5"),
    ] {
        let text = text(family("x", Kind::Gauge), vec![single(&[], value)]);
        assert_eq!(text, format!("# HELP x h\n# TYPE x gauge\nx {expected}\n"));
    }
}

#[test]
fn labels_and_help_are_escaped() {
    let sample = || single(&[("a", "q\"b\\n\nend"), ("b", "")], 1_u64);
    let family = FamilyHead { help: "say \"hi\"\\\n", ..family("x", Kind::Gauge) };
    let line = "x{a=\"q\\\"b\\\\n\\nend\",b=\"\"} 1\n";
    let head = "# HELP x say \"hi\"\\\\\\n\n# TYPE x gauge\n";
    assert_eq!(text(family, vec![sample()]), format!("{head}{line}"));
    let head = "# HELP x say \\\"hi\\\"\\\\\\n\n# TYPE x gauge\n";
    assert_eq!(write(Format::OpenMetrics, &[(family, vec![sample()])]), format!("{head}{line}# EOF\n"));
}

#[test]
fn a_histogram_has_its_bounds_with_a_point_and_ends_in_infinity() {
    let one = histogram(&[0.05, 1.0, 120.0], &[1, 1, 0, 1], Number::Float(200.75));
    let other = histogram(&[2.0], &[0, 0], Number::Integer(0));
    let sample = |labels: &[(&'static str, &'static str)], histogram| Sample {
        labels: labels.to_vec(),
        value: SampleValue::Histogram(histogram),
        created: None,
    };
    let text = text(family("d_seconds", Kind::Histogram), vec![sample(&[("e", "v")], one), sample(&[], other)]);
    assert_eq!(
        text,
        "# HELP d_seconds h\n# TYPE d_seconds histogram\n\
         d_seconds_bucket{e=\"v\",le=\"0.05\"} 1\n\
         d_seconds_bucket{e=\"v\",le=\"1.0\"} 2\n\
         d_seconds_bucket{e=\"v\",le=\"120.0\"} 2\n\
         d_seconds_bucket{e=\"v\",le=\"+Inf\"} 3\n\
         d_seconds_sum{e=\"v\"} 200.75\n\
         d_seconds_count{e=\"v\"} 3\n\
         d_seconds_bucket{le=\"2.0\"} 0\n\
         d_seconds_bucket{le=\"+Inf\"} 0\n\
         d_seconds_sum 0\n\
         d_seconds_count 0\n"
    );
}

#[test]
fn a_family_without_series_is_left_out() {
    assert_eq!(text(family("x", Kind::Gauge), vec![]), "");
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
        let samples = series.iter().map(|(a, b, value)| single(&[("a", a), ("b", b)], *value)).collect();
        let written = text(family("x_total", Kind::Counter), samples);
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
fn openmetrics_names_counters_without_their_suffix_and_shows_created_times() {
    let created = |millis: i64, sample| Sample { created: Some(Timestamp::from_micros(millis * 1000)), ..sample };
    let empty = Sample {
        labels: Vec::new(),
        value: SampleValue::Histogram(histogram(&[], &[0], Number::Nanos(0))),
        created: Some(Timestamp::from_seconds(2)),
    };
    let families = [
        (family("x_total", Kind::Counter), vec![single(&[], 3_u64), created(1_500, single(&[("a", "b")], 3_u64))]),
        (family("d_seconds", Kind::Histogram), vec![empty]),
        (family("g", Kind::Gauge), vec![created(9, single(&[], 1_u64))]),
    ];
    let expected = r#"# HELP x h
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
    assert_eq!(write(Format::OpenMetrics, &families), expected);
    assert!(!write(Format::Text, &families).contains("created"));
}

#[test]
fn exemplars_stand_on_counters_and_buckets_in_openmetrics_alone() {
    let exemplar = |value| Exemplar {
        trace_id: [0xab; 16],
        span_id: [0x0c; 8],
        value,
        at: Timestamp::from_micros(1_700_000_000_500_000),
    };
    let value = SampleValue::Single { value: 2_u64.into(), exemplar: Some(exemplar(1.0)) };
    let counter = Sample { labels: vec![("result", "failed")], value, created: None };
    let exemplars = [(0, exemplar(0.05)), (2, exemplar(7.0))];
    let value = Histogram { exemplars: &exemplars, ..histogram(&[0.1, 1.0], &[1, 0, 1], Number::Nanos(7_050_000_000)) };
    let delays = Sample { labels: vec![("event", "x")], value: SampleValue::Histogram(value), created: None };
    let families = [
        (family("c_total", Kind::Counter), vec![counter, single(&[("result", "success")], 1_u64)]),
        (family("d_seconds", Kind::Histogram), vec![delays]),
    ];
    let ids = r#"{trace_id="abababababababababababababababab",span_id="0c0c0c0c0c0c0c0c"}"#;
    let written = write(Format::OpenMetrics, &families);
    let samples: Vec<&str> = written.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        samples,
        [
            format!(r#"c_total{{result="failed"}} 2 # {ids} 1 1700000000.5"#),
            r#"c_total{result="success"} 1"#.to_owned(),
            format!(r#"d_seconds_bucket{{event="x",le="0.1"}} 1 # {ids} 0.05 1700000000.5"#),
            r#"d_seconds_bucket{event="x",le="1.0"} 1"#.to_owned(),
            format!(r#"d_seconds_bucket{{event="x",le="+Inf"}} 2 # {ids} 7 1700000000.5"#),
            r#"d_seconds_sum{event="x"} 7.05"#.to_owned(),
            r#"d_seconds_count{event="x"} 2"#.to_owned(),
        ]
    );
    assert!(ids.len() <= 128);
    assert!(!write(Format::Text, &families).contains("trace_id"));
}

#[test]
fn samples_of_the_past_have_their_time_behind_each_value() {
    let mut out = String::new();
    let mut writer = ExpositionWriter::new(Format::OpenMetrics, &mut out);
    let mut counter = writer.family(family("x_total", Kind::Counter));
    counter.sample_at(&single(&[("a", "b")], 3_u64), Timestamp::from_seconds(1_700_000_100)).unwrap();
    counter.sample_at(&single(&[("a", "b")], 4_u64), Timestamp::from_micros(1_700_000_400_500_000)).unwrap();
    let value = SampleValue::Histogram(histogram(&[1.0], &[1, 0], Number::Nanos(500_000_000)));
    let sample = Sample { labels: Vec::new(), value, created: None };
    writer.family(family("d", Kind::Histogram)).sample_at(&sample, Timestamp::from_seconds(300)).unwrap();
    writer.finish().unwrap();
    let expected = r#"# HELP x h
# TYPE x counter
x_total{a="b"} 3 1700000100
x_total{a="b"} 4 1700000400.5
# HELP d h
# TYPE d histogram
d_bucket{le="1.0"} 1 300
d_bucket{le="+Inf"} 1 300
d_sum 0.5 300
d_count 1 300
# EOF
"#;
    assert_eq!(out, expected);
}
