//! The section `log`: how much the daemon says on stderr, and in which form.

use super::fields::Fields;
use super::values::{one_of, text};
use ::config::Value;
use tracing_subscriber::EnvFilter;

/// What is logged, and how. `logging::init` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or a filter directive of `tracing`; checked.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

pub(super) fn read(mut fields: Fields<'_>) -> Option<LogConfig> {
    let level = fields.scalar("level", level);
    let format = fields.scalar("format", one_of(FORMATS));
    fields.finish();
    Some(LogConfig { level: level?, format: format? })
}

/// `EnvFilter` takes a lone word such as `inof` for a module that is to log everything, so words must be levels.
fn level(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    let word_is_level = |part: &str| part.contains(['=', '[']) || LEVELS.contains(&part.trim());
    if text.split(',').all(word_is_level) && EnvFilter::try_new(&text).is_ok() {
        return Ok(text);
    }
    let levels = LEVELS.join(", ");
    Err(format!("must be one of {levels}, or a filter such as info,talkover_exporter=debug, not `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_taken_and_typing_errors_are_not() {
        let level = |text: &str| level(&Value::new(None, text));
        for good in ["error", "trace", "info,talkover_exporter=debug", "warn,hyper=off", "info,[poll{id=1}]=trace"] {
            assert!(level(good).is_ok(), "{good}");
        }
        for bad in ["inof", "", "INFO,", "info,hyper", "hyper=loud", "info;debug"] {
            assert!(level(bad).is_err(), "{bad}");
        }
    }
}
