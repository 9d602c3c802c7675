//! The metrics and labels that a PromQL expression or a text may speak of: those of the catalogue, of our recording
//! rules, and Prometheus's own. Used by `dashboards`.
//!
//! An expression is read by its grammar: of every part it is known which labels its series can have, so that a label
//! that nothing makes is found in a matcher, a `by`, an `on`, a `group_left` and a legend alike.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::parser::token::{T_BOTTOMK, T_LAND, T_LOR, T_LUNLESS, T_TOPK};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    self, AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, VectorSelector,
};
use talkover_exporter::sinks::metrics::catalogue::{self, Kind, Metric};

/// Names of labels.
pub type Labels = BTreeSet<String>;

/// In place of a label's name: any.
const ANY: &str = "*";
/// Put on every series by the scrape.
const SCRAPED: [&str; 2] = ["job", "instance"];

/// Which metrics there are, and which labels they have.
pub struct Known {
    metrics: BTreeMap<String, Labels>,
}

impl Known {
    /// The catalogue's and Prometheus's own.
    pub fn new() -> Self {
        let mut metrics = BTreeMap::new();
        for metric in catalogue::all() {
            for (name, labels) in series(metric) {
                metrics.insert(name, labels);
            }
        }
        for name in ["up", "scrape_duration_seconds", "scrape_samples_scraped"] {
            metrics.insert(name.to_owned(), set(&SCRAPED));
        }
        for name in ["ALERTS", "ALERTS_FOR_STATE"] {
            metrics.insert(name.to_owned(), set(&[ANY]));
        }
        Self { metrics }
    }

    /// Adds what a recording rule makes, with the labels of all rules of that name.
    pub fn record(&mut self, name: &str, labels: Labels) {
        self.metrics.entry(name.to_owned()).or_default().extend(labels);
    }

    /// The metrics of the catalogue that an expression reads.
    pub fn read_by(text: &str) -> BTreeSet<&'static str> {
        let words: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        let reads = |metric: &&Metric| series(metric).iter().any(|(name, _)| words.contains(name.as_str()));
        catalogue::all().filter(reads).map(|metric| metric.name).collect()
    }

    /// The labels that the result of the expression can have, and what is wrong with it.
    pub fn check(&self, text: &str) -> (Labels, Vec<String>) {
        let mut reading = Reading { known: self, faults: Vec::new() };
        let labels = match parser::parse(text) {
            Ok(expr) => reading.labels(&expr),
            Err(error) => {
                reading.faults.push(error);
                Labels::new()
            }
        };
        let faults = reading.faults.into_iter().map(|fault| format!("{fault}, in: {text}")).collect();
        (labels, faults)
    }

    /// What is wrong with the metrics named in a text, and with the labels in braces behind them.
    pub fn check_text(&self, text: &str) -> Vec<String> {
        mentions(text).filter_map(|mention| self.check_mention(mention).err()).collect()
    }

    fn check_mention(&self, (name, braces): (&str, Option<&str>)) -> Result<(), String> {
        // The crate; and the beginning of several names, as in `talkover_exporter_*`.
        if name == "talkover_exporter" || name.ends_with('_') && self.metrics.keys().any(|one| one.starts_with(name)) {
            return Ok(());
        }
        // A histogram as a whole.
        let histogram = format!("{name}_bucket");
        let labels = self.metrics.get(name).or_else(|| self.metrics.get(&histogram));
        let labels = labels.ok_or_else(|| format!("there is no metric {name}"))?;
        let quoted = |(place, part)| (place % 2 == 0).then_some(part);
        let unquoted: String =
            braces.unwrap_or_default().split(['"', '\'', '`']).enumerate().filter_map(quoted).collect();
        let words = unquoted.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '%');
        let wrong = words.filter(|word| !word.is_empty() && !word.starts_with('%')).find(|word| !has(labels, word));
        wrong.map_or(Ok(()), |label| Err(format!("{name} has no label {label}")))
    }
}

/// The series of a metric by name, with their labels.
fn series(metric: &Metric) -> Vec<(String, Labels)> {
    let mut labels = set(&metric.all_labels());
    // Where the scrape target has a label of the same name.
    let overwritten: Labels = labels.iter().map(|label| format!("exported_{label}")).collect();
    labels.extend(overwritten);
    labels.extend(set(&SCRAPED));
    let of = |suffix: &str, labels: &Labels| (format!("{}{suffix}", metric.name), labels.clone());
    match metric.kind {
        Kind::Gauge => vec![of("", &labels)],
        Kind::Counter => vec![of("", &labels), (metric.name.replace("_total", "_created"), labels)],
        Kind::Histogram => {
            let mut series = ["_sum", "_count", "_created"].map(|suffix| of(suffix, &labels)).to_vec();
            labels.insert("le".to_owned());
            series.push(of("_bucket", &labels));
            series
        }
    }
}

/// Every `talkover_…` in a text, with what stands in braces right behind it.
fn mentions(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let own = move |(at, _): &(usize, &str)| !text[..*at].ends_with(|c: char| is_part(c) || "/-:".contains(c));
    text.match_indices("talkover_").filter(own).map(move |(at, _)| {
        let rest = &text[at..];
        let (name, behind) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
        (name, behind.strip_prefix('{').and_then(|inside| inside.split_once('}')).map(|(labels, _)| labels))
    })
}

fn set(names: &[&str]) -> Labels {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn has(labels: &Labels, name: &str) -> bool {
    labels.contains(ANY) || labels.contains(name)
}

/// One expression on its way through the checks.
struct Reading<'a> {
    known: &'a Known,
    faults: Vec<String>,
}

impl Reading<'_> {
    /// The labels that the expression's result can have.
    fn labels(&mut self, expr: &Expr) -> Labels {
        match expr {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            Expr::Subquery(inner) => self.labels(&inner.expr),
            Expr::Paren(inner) => self.labels(&inner.expr),
            Expr::Unary(inner) => self.labels(&inner.expr),
            Expr::Call(call) => self.call(call),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(binary) => self.binary(binary),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Labels::new(),
        }
    }

    fn need<'l>(&mut self, wanted: impl IntoIterator<Item = &'l String>, labels: &Labels, place: &str) {
        for label in wanted {
            if !has(labels, label) {
                self.faults.push(format!("{place}: nothing there has a label {label}"));
            }
        }
    }

    fn selector(&mut self, selector: &VectorSelector) -> Labels {
        let name = selector.name.clone().unwrap_or_default();
        let Some(labels) = self.known.metrics.get(&name).cloned() else {
            self.faults.push(format!("there is no metric {name:?}"));
            return set(&[ANY]);
        };
        let matchers = selector.matchers.matchers.iter().chain(selector.matchers.or_matchers.iter().flatten());
        let matched: Labels = matchers.map(|matcher| matcher.name.clone()).collect();
        self.need(&matched, &labels, &name);
        labels
    }

    fn call(&mut self, call: &Call) -> Labels {
        let mut labels = Labels::new();
        for argument in &call.args.args {
            labels.extend(self.labels(argument));
        }
        let texts: Vec<String> = call.args.args.iter().filter_map(|argument| text(argument)).collect();
        let (made, sources) = match (call.func.name, texts.as_slice()) {
            ("label_replace", [made, _, source, _]) => (made, std::slice::from_ref(source)),
            ("label_join", [made, _, sources @ ..]) => (made, sources),
            ("vector", _) => return Labels::new(),
            _ => return labels,
        };
        self.need(sources.iter().filter(|source| !source.is_empty()), &labels, call.func.name);
        labels.insert(made.clone());
        labels
    }

    fn aggregate(&mut self, aggregate: &AggregateExpr) -> Labels {
        let labels = self.labels(&aggregate.expr);
        let keeps = [T_TOPK, T_BOTTOMK].contains(&aggregate.op.id());
        let Some(modifier) = &aggregate.modifier else {
            return if keeps { labels } else { Labels::new() };
        };
        let named: Labels = modifier.labels().labels.iter().cloned().collect();
        self.need(&named, &labels, "an aggregation");
        match modifier {
            _ if keeps => labels,
            LabelModifier::Include(_) => named,
            LabelModifier::Exclude(_) => labels.difference(&named).cloned().collect(),
        }
    }

    fn binary(&mut self, binary: &BinaryExpr) -> Labels {
        let (left, right) = (self.labels(&binary.lhs), self.labels(&binary.rhs));
        if binary.rhs.value_type() == ValueType::Scalar {
            return left;
        }
        if binary.lhs.value_type() == ValueType::Scalar {
            return right;
        }
        let both: Labels = left.union(&right).cloned().collect();
        let Some(modifier) = &binary.modifier else {
            return if binary.op.id() == T_LOR { both } else { left };
        };
        let on: Option<Labels> = match &modifier.matching {
            Some(LabelModifier::Include(on)) => Some(on.labels.iter().cloned().collect()),
            _ => None,
        };
        if let Some(on) = &on {
            self.need(on, &left, "left of an `on`");
            self.need(on, &right, "right of an `on`");
        }
        match (&modifier.card, binary.op.id()) {
            (_, T_LOR) => both,
            (_, T_LAND | T_LUNLESS) => left,
            (VectorMatchCardinality::ManyToOne(taken), _) => self.grouped(left, &taken.labels, &right),
            (VectorMatchCardinality::OneToMany(taken), _) => self.grouped(right, &taken.labels, &left),
            _ => on.unwrap_or(left),
        }
    }

    fn grouped(&mut self, many: Labels, taken: &[String], one: &Labels) -> Labels {
        self.need(taken, one, "the one side of a group");
        many.into_iter().chain(taken.iter().cloned()).collect()
    }
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::StringLiteral(literal) => Some(literal.val.clone()),
        _ => None,
    }
}

/// The checks can fail: each of these has one fault.
#[test]
fn what_does_not_exist_is_found() {
    let known = Known::new();
    let wrong = [
        ("talkover_webhook_delivery_attempt_total", "there is no metric"),
        ("talkover_webhook_deliveries_total_bucket", "there is no metric"),
        ("talkover_up{event=\"x\"}", "talkover_up: nothing there has a label event"),
        ("sum by (status) (talkover_webhook_deliveries_total)", "an aggregation: nothing there has a label status"),
        ("sum(talkover_up) * on (webhook_id) talkover_up", "left of an `on`"),
        ("talkover_up * on (webhook_id) group_left (name) talkover_webhook_info", "the one side of a group"),
        (
            "label_replace(talkover_up, \"a\", \"$1\", \"event\", \"(.*)\")",
            "label_replace: nothing there has a label event",
        ),
        ("histogram_quantile(0.9, sum by (le) (rate(talkover_webhook_deliveries_total[5m])))", "has a label le"),
        ("sum(talkover_up", "unclosed left parenthesis"),
    ];
    for (expr, fault) in wrong {
        let (_, faults) = known.check(expr);
        assert!(faults.len() == 1 && faults[0].contains(fault), "{expr}: {faults:?}");
    }
    for (text, fault) in [
        ("see talkover_upp.", "there is no metric talkover_upp"),
        ("`talkover_exporter_polls_total{outcome}`", "talkover_exporter_polls_total has no label outcome"),
        ("talkover_nothing_*", "there is no metric talkover_nothing_"),
    ] {
        assert_eq!(known.check_text(text), [fault]);
    }
    let fine =
        "talkover_exporter_polls_total{result=\"no label\",webhook_id=\"…\"}, talkover_api_*, talkover_exporter::cli";
    assert_eq!(known.check_text(fine), [""; 0]);
    let (labels, faults) = known.check("sum by (le) (rate(talkover_webhook_delivery_delay_seconds_bucket[5m]))");
    assert_eq!((labels, faults), (set(&["le"]), vec![]));
}
