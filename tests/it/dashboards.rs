//! The bundled dashboards and rules speak of what there is, every metric can be seen, and nothing is shown that would
//! comfort or puzzle somebody who was woken by it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use promql_parser::parser::token::T_MUL;
use promql_parser::parser::{self, Expr};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde::Deserialize;
use serde_json::Value;
use talkover_exporter::bundle;
use talkover_exporter::sinks::metrics::catalogue;

use crate::names::{Known, Labels};

/// Metrics that are on no dashboard, with the reason.
const NOT_SHOWN: [(&str, &str); 8] = [
    (
        "talkover_exporter_discovery_webhooks_skipped",
        "0 but for a plan with more than 10,000 webhooks, and the log tells",
    ),
    (
        "talkover_exporter_telemetry_spans_total",
        "0 unless telemetry.traces is on, for as long as somebody looks at its spans; the log tells of losses",
    ),
    ("talkover_exporter_state_problem", "each problem has an alert, and the dashboards list those that fire"),
    ("talkover_exporter_metric_pushes_total", PUSHES_ARE_OFF),
    ("talkover_exporter_metric_push_last_success_timestamp_seconds", PUSHES_ARE_OFF),
    ("talkover_exporter_log_records_total", LOGS_ARE_OFF),
    ("talkover_exporter_log_record_queue_length", LOGS_ARE_OFF),
    ("talkover_exporter_log_record_queue_oldest_timestamp_seconds", LOGS_ARE_OFF),
];
/// Why no panel shows how pushes of metrics go.
const PUSHES_ARE_OFF: &str = "off by default; docs/otel.md has an expression for an alert";
/// Why no panel shows how log records fare.
const LOGS_ARE_OFF: &str = "off by default; docs/otel.md has an expression for an alert";
/// What Grafana itself replaces.
const BUILT_IN: [&str; 4] = ["__rate_interval", "__range", "__from", "__to"];

/// A rule file of Prometheus.
#[derive(Debug, Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    record: Option<String>,
    expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

fn bundled(ending: &str) -> Vec<(String, String)> {
    let files = bundle::files().into_iter().filter(|file| file.path.ends_with(ending));
    files.map(|file| (file.path.into_owned(), String::from_utf8(file.content.into_owned()).unwrap())).collect()
}

fn dashboards() -> Vec<(String, Value)> {
    let parsed: Vec<_> =
        bundled(".json").into_iter().map(|(path, text)| (path, serde_json::from_str(&text).unwrap())).collect();
    assert!(parsed.len() >= 3, "{} dashboards", parsed.len());
    parsed
}

fn rules() -> Vec<(String, Rule)> {
    let files = bundled(".yml").into_iter().filter(|(path, _)| path.starts_with("rules/"));
    let parse = |(path, text): (String, String)| {
        let source = config::File::from_str(&text, config::FileFormat::Yaml);
        let file: RuleFile = config::Config::builder().add_source(source).build().unwrap().try_deserialize().unwrap();
        let rules = file.groups.into_iter().flat_map(|group| group.rules);
        rules.map(move |rule| (path.clone(), rule)).collect::<Vec<_>>()
    };
    files.flat_map(parse).collect()
}

/// The catalogue, and what the rules make of it; a recorded series may be made of recorded ones.
fn known() -> Known {
    let mut known = Known::new();
    let mut waiting: Vec<Rule> =
        rules().into_iter().map(|(_, rule)| rule).filter(|rule| rule.record.is_some()).collect();
    loop {
        let before = waiting.len();
        waiting.retain(|rule| {
            let (mut labels, faults) = known.check(&rule.expr);
            if faults.is_empty() {
                labels.extend(rule.labels.keys().cloned());
                known.record(rule.record.as_deref().unwrap(), labels);
            }
            !faults.is_empty()
        });
        if waiting.len() == before {
            return known;
        }
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Everything that has a place: rows, and panels. A collapsed row holds its panels itself.
fn placed(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(dashboard, "panels").iter().flat_map(|panel| std::iter::once(panel).chain(list(panel, "panels")))
}

/// What draws something: no rows.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    placed(dashboard).filter(|panel| panel["type"] != "row")
}

fn variables(dashboard: &Value) -> &[Value] {
    list(&dashboard["templating"], "list")
}

/// An expression as Prometheus gets it. Windows and values do not matter here.
fn filled_in(expr: &str, dashboard: &Value) -> String {
    let own = variables(dashboard).iter().map(|variable| text(variable, "name"));
    let mut filled = expr.to_owned();
    for name in BUILT_IN.into_iter().chain(own) {
        let value = if name.starts_with("__") { "1h" } else { ".*" };
        filled = filled.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
    }
    filled
}

/// The labels of a legend or a title: `{{event}}`.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(label, _)| label.trim())
}

/// Every expression of a dashboard with the texts that name its labels: queries of panels, and annotations.
fn queries(dashboard: &Value) -> Vec<(String, Vec<String>)> {
    let targets = panels(dashboard).flat_map(|panel| list(panel, "targets"));
    let targets = targets.map(|target| (text(target, "expr"), vec![text(target, "legendFormat").to_owned()]));
    let annotations = list(&dashboard["annotations"], "list").iter().filter(|one| one["expr"].is_string());
    let format = |one: &Value| ["titleFormat", "textFormat"].map(|key| text(one, key).to_owned()).to_vec();
    let annotations = annotations.map(|one| (text(one, "expr"), format(one)));
    targets.chain(annotations).map(|(expr, texts)| (filled_in(expr, dashboard), texts)).collect()
}

/// What is wrong with a variable's query: `label_values(SELECTOR, LABEL)`, or `query_result(EXPR)` with labels in the
/// regex.
fn check_variable(known: &Known, variable: &Value, dashboard: &Value) -> Vec<String> {
    let query = filled_in(text(&variable["query"], "query"), dashboard);
    let inside = |function: &str| query.strip_prefix(function)?.strip_prefix('(')?.strip_suffix(')').map(str::to_owned);
    let (expr, wanted) = if let Some(inside) = inside("label_values") {
        let (selector, label) = inside.rsplit_once(',').unwrap();
        (selector.to_owned(), vec![label.trim().to_owned()])
    } else {
        let expr = inside("query_result").unwrap_or_else(|| panic!("{query}"));
        let before_quotes = text(variable, "regex").split("=\"").collect::<Vec<_>>();
        let before_quotes = before_quotes.split_last().map_or(&[][..], |(_, before)| before);
        let label = |part: &&str| part.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned();
        (expr, before_quotes.iter().map(label).collect())
    };
    let (labels, mut faults) = known.check(&expr);
    faults.extend(missing(wanted.iter().map(String::as_str), &labels, &query));
    faults
}

fn missing<'a>(wanted: impl Iterator<Item = &'a str>, labels: &Labels, place: &str) -> Vec<String> {
    wanted.filter(|&label| !labels.contains(label)).map(|label| format!("no label {label}, in: {place}")).collect()
}

/// Every text in a JSON value.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().flat_map(texts).collect(),
        Value::Object(object) => object.values().flat_map(texts).collect(),
        _ => vec![],
    }
}

#[test]
fn dashboards_speak_of_what_there_is() {
    let known = known();
    let mut faults = vec![];
    for (path, dashboard) in dashboards() {
        let mut found = vec![];
        for (expr, texts) in queries(&dashboard) {
            let (labels, wrong) = known.check(&expr);
            found.extend(wrong);
            found.extend(missing(texts.iter().flat_map(|text| placeholders(text)), &labels, &expr));
        }
        for variable in variables(&dashboard).iter().filter(|variable| variable["type"] == "query") {
            found.extend(check_variable(&known, variable, &dashboard));
        }
        // Descriptions, too. What stands in braces was checked above, as PromQL.
        let words = texts(&dashboard).join("\n").replace('{', " {");
        found.extend(known.check_text(&words));
        faults.extend(found.into_iter().map(|fault| format!("{path}: {fault}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Two exporters may know a webhook by two names for a while: Prometheus refuses a join with both.
#[test]
fn a_webhook_is_joined_with_one_name_only() {
    let mut joins = 0;
    for (path, dashboard) in dashboards() {
        for (expr, _) in queries(&dashboard) {
            for join in expr.split("group_left").skip(1).filter(|join| join.contains("talkover_webhook_info")) {
                let names = join.split_once(')').map_or("", |(_, names)| names.trim_start());
                assert!(names.starts_with("topk by (environment, webhook_id) (1,"), "{path}: {expr}");
                joins += 1;
            }
        }
    }
    assert!(joins > 3, "{joins} joins");
}

#[test]
fn rules_speak_of_what_there_is() {
    let known = known();
    let mut faults = vec![];
    for (path, rule) in rules() {
        let (mut labels, mut found) = known.check(&rule.expr);
        labels.extend(rule.labels.keys().cloned());
        for text in rule.annotations.values() {
            let parts = text.split("$labels.").skip(1);
            let named = parts.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap());
            found.extend(missing(named, &labels, text));
            found.extend(known.check_text(text));
        }
        faults.extend(found.into_iter().map(|fault| format!("{path}: {fault}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn documents_speak_of_what_there_is() {
    let known = known();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [root.to_owned(), root.join("docs")].into_iter().flat_map(|directory| directory.read_dir().unwrap());
    let (mut faults, mut checked) = (vec![], 0);
    for path in files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let blocks = text.split("```promql\n").skip(1).filter_map(|rest| rest.split_once("```"));
        let mut found: Vec<String> = blocks.flat_map(|(block, _)| block_faults(&known, block)).collect();
        found.extend(known.check_text(&text));
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", path.display())));
        checked += 1;
    }
    assert!(faults.is_empty() && checked >= 5, "{checked} documents\n{}", faults.join("\n"));
}

/// A block of PromQL holds expressions with empty lines between them.
fn block_faults(known: &Known, block: &str) -> Vec<String> {
    let code =
        |part: &str| part.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    let parts = block.split("\n\n").map(code).filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| known.check(&part).1).collect()
}

#[test]
fn every_metric_is_on_a_dashboard_or_has_a_reason_not_to_be() {
    let shown: BTreeSet<&str> = dashboards()
        .iter()
        .flat_map(|(_, dashboard)| panels(dashboard).flat_map(|panel| list(panel, "targets")))
        .flat_map(|target| Known::read_by(text(target, "expr")))
        .collect();
    let reasons = BTreeMap::from(NOT_SHOWN);
    for metric in catalogue::all() {
        let (is_shown, reason) = (shown.contains(metric.name), reasons.get(metric.name));
        assert!(is_shown != reason.is_some(), "{}: shown: {is_shown}, reason not to be: {reason:?}", metric.name);
    }
}

#[test]
fn panels_explain_themselves() {
    for (path, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            let place = format!("{path}, panel {} ({})", panel["id"], text(panel, "title"));
            assert!(!text(panel, "title").is_empty(), "{place}: no title");
            assert!(text(panel, "description").len() > 20, "{place}: no description");
            let units = match text(panel, "type") {
                "heatmap" => vec![text(&panel["options"]["yAxis"], "unit")],
                "table" => overridden_units(panel),
                _ => vec![text(&panel["fieldConfig"]["defaults"], "unit")],
            };
            assert!(units.iter().any(|unit| !unit.is_empty()), "{place}: no unit");
        }
    }
}

fn overridden_units(panel: &Value) -> Vec<&str> {
    let overrides = list(&panel["fieldConfig"], "overrides").iter();
    let properties = overrides.flat_map(|one| list(one, "properties"));
    properties.filter(|property| property["id"] == "unit").map(|property| text(property, "value")).collect()
}

#[test]
fn dashboards_have_the_same_variables_and_lead_to_each_other() {
    let dashboards = dashboards();
    let uids: BTreeSet<&str> = dashboards.iter().map(|(_, dashboard)| text(dashboard, "uid")).collect();
    assert_eq!(uids.len(), dashboards.len(), "uids are not unique: {uids:?}");
    for (path, dashboard) in &dashboards {
        let names: Vec<&str> = variables(dashboard).iter().map(|variable| text(variable, "name")).collect();
        let common = names.iter().filter(|name| **name != "tempo").copied().collect::<Vec<_>>();
        assert_eq!(common, ["datasource", "environment", "webhook", "event", "step"], "{path}");
        let navigation = &dashboard["links"][0];
        assert!(navigation["keepTime"] == true && navigation["includeVars"] == true, "{path}");
        assert_eq!(dashboard["tags"], navigation["tags"], "{path}: what has the tag is linked to");
        let all = texts(dashboard);
        let links = all.iter().filter_map(|text| text.strip_prefix("/d/")).map(|rest| rest.split('/').next().unwrap());
        for uid in links {
            assert!(uids.contains(uid), "{path}: a link to the dashboard {uid}");
        }
    }
}

/// A span has the time of its attempt, which may be read days later: a search over the dashboard's range misses it.
#[test]
fn every_search_for_traces_can_be_made_over_the_last_week_too() {
    let mut searches = 0;
    for (path, dashboard) in dashboards() {
        let all = texts(&dashboard);
        let links: BTreeSet<&str> = all.into_iter().filter(|text| text.starts_with("/explore?")).collect();
        for link in links.iter().filter(|link| link.contains("${__from}")) {
            let week = link.replace("${__from}", "now-7d").replace("${__to}", "now");
            assert!(links.contains(week.as_str()), "{path}: no link to {week}");
            searches += 1;
        }
    }
    assert!(searches >= 3, "{searches} searches");
}

#[test]
fn panels_have_their_place() {
    for (path, dashboard) in dashboards() {
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for row in list(&dashboard, "panels").iter().filter(|panel| panel["type"] == "row") {
            assert_eq!(row["collapsed"] == true, !list(row, "panels").is_empty(), "{path}: {}", row["title"]);
        }
        for panel in placed(&dashboard) {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{path}: two panels {}", panel["id"]);
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            assert!(x + w <= 24, "{path}: panel {} is outside", panel["id"]);
            // The panels of a collapsed row take their place only once it is opened.
            if list(&dashboard, "panels").contains(panel) {
                let cells = (x..x + w).flat_map(|column| (y..y + h).map(move |line| (column, line)));
                let overlaps = cells.filter(|cell| !taken.insert(*cell)).count();
                assert_eq!(overlaps, 0, "{path}: panel {} overlaps another", panel["id"]);
            }
            let refs: BTreeSet<&str> = list(panel, "targets").iter().map(|target| text(target, "refId")).collect();
            assert_eq!(refs.len(), list(panel, "targets").len(), "{path}: panel {}", panel["id"]);
        }
    }
}

#[test]
fn a_dashboard_opens_with_what_fits_a_screen_or_two() {
    let exporter = dashboards().into_iter().find(|(path, _)| path.ends_with("exporter.json")).unwrap().1;
    let open = list(&exporter, "panels").iter().filter(|panel| panel["type"] == "row" && panel["collapsed"] != true);
    assert!(open.count() <= 4);
}

/// `topk` chooses anew at each step of a graph, so that many more series than `k` can appear in it. What is chosen by the
/// whole range (`@ end()`) stays, and what is left out is one more series.
#[test]
fn graphs_choose_their_series_once_and_show_the_rest_as_one() {
    let mut chosen = 0;
    for (path, dashboard) in dashboards() {
        for panel in panels(&dashboard).filter(|panel| panel["type"] == "timeseries") {
            let exprs: Vec<&str> = list(panel, "targets").iter().map(|target| text(target, "expr")).collect();
            let place = format!("{path}, {}", panel["title"]);
            for part in
                exprs.iter().flat_map(|expr| expr.split("topk(").flat_map(|part| part.split("bottomk(")).skip(1))
            {
                assert!(part.contains("@ end()"), "{place}: chosen at each step: {part}");
                chosen += 1;
            }
            let chooses = exprs.iter().any(|expr| expr.contains("@ end()"));
            let rest = exprs.iter().any(|expr| expr.contains("unless on ("));
            assert_eq!(chooses, rest, "{place}: no series for what is left out");
        }
    }
    assert!(chosen >= 10, "{chosen}");
}

/// Where an expression makes numbers out of nothing.
#[derive(Default)]
struct Comforts(Vec<String>);

impl ExprVisitor for Comforts {
    type Error = ();

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, ()> {
        match expr {
            Expr::Call(call) if ["vector", "absent", "absent_over_time"].contains(&call.func.name) => {
                self.0.push(expr.to_string());
            }
            // `0 * x`, and NaN, which is shown as a word, stand in for what is missing.
            Expr::Binary(binary) if binary.op.id() == T_MUL && is_nothing(&binary.lhs) => {
                let read = Known::read_by(&binary.rhs.to_string());
                if read != BTreeSet::from(["talkover_up"]) {
                    self.0.push(expr.to_string());
                }
            }
            _ => {}
        }
        Ok(true)
    }
}

fn is_nothing(expr: &Expr) -> bool {
    matches!(expr, Expr::NumberLiteral(number) if number.val == 0.0 || number.val.is_nan())
}

fn comforts(expr: &str) -> Vec<String> {
    let mut found = Comforts::default();
    walk_expr(&mut found, &parser::parse(expr).unwrap()).unwrap();
    found.0
}

#[test]
fn nothing_is_filled_in_where_the_exporter_is_down() {
    for (path, dashboard) in dashboards() {
        for (expr, _) in queries(&dashboard) {
            assert_eq!(comforts(&expr), [""; 0], "{path}");
        }
    }
    // And this can fail.
    assert_eq!(comforts("sum(talkover_up) or vector(0)").len(), 1);
    assert_eq!(comforts("sum(x) or on () vector(1)").len(), 1);
    assert_eq!(comforts("sum(x) or 0 * max(talkover_webhook_info)").len(), 1);
    assert_eq!(comforts("sum(x) or 0 * max(talkover_up)"), [""; 0]);
}
