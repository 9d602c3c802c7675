//! Log lines as JSON: one object a line, with the time, the level, the message and its fields, and the part of the
//! program.
//!
//! The format of tracing-subscriber has the whole path of the module, which nobody looks for and which changes with the
//! code. Each key stands there once, or most readers would keep one of the values. Called by the subscriber.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Our own modules begin with it.
const CRATE: &str = "talkover_exporter::";

/// Writes each event as a JSON object.
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = EventFields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let target = fields.log_target.as_deref().unwrap_or(metadata.target());
        let head = [("timestamp", Value::from(time)), ("level", Value::from(metadata.level().as_str()))];
        let message = ("message", Value::from(fields.message));
        let target = ("target", Value::from(part(target)));
        let pairs = head.into_iter().chain([message]).chain(fields.others).chain([target]);
        writer.write_char('{')?;
        for (index, (key, value)) in pairs.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(writer, "{comma}{}:{value}", Value::from(key))?;
        }
        writer.write_str("}\n")
    }
}

/// The part of the program that a module belongs to: `pipeline` of `talkover_exporter::pipeline::environment::results`.
fn part(target: &str) -> &str {
    let own = target.strip_prefix(CRATE);
    own.map_or(target, |path| path.split("::").next().unwrap_or(path))
}

/// The fields of an event.
#[derive(Default)]
struct EventFields {
    message: String,
    /// Of events that come from the crate `log`: their own target.
    log_target: Option<String>,
    others: Vec<(&'static str, Value)>,
}

impl EventFields {
    fn add(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            "log.target" => self.log_target = value.as_str().map(str::to_owned),
            name if name.starts_with("log.") => {}
            name => self.others.push((name, value)),
        }
    }
}

impl Visit for EventFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_parts_of_the_program() {
        assert_eq!(part("talkover_exporter::pipeline::environment::results"), "pipeline");
        assert_eq!(part("talkover_exporter::budget"), "budget");
        assert_eq!(part("hyper_util::client::legacy"), "hyper_util::client::legacy");
    }
}
