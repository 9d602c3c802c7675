//! How log lines name what they are about: a webhook by the labels that its metrics have, and its name beside them;
//! times as people say them.

use std::time::Duration;

use talkover_core::delivery::Target;

/// Logs at `level` about the webhook `target`, with the fields `environment`, `webhook_id` and, where it has one,
/// `webhook_name`: `about_webhook!(warn, target, count, "entries are unreadable")`.
macro_rules! about_webhook {
    ($level:ident, $target:expr, $($rest:tt)+) => {{
        let target: &talkover_core::delivery::Target = $target;
        tracing::$level!(
            environment = %target.environment,
            webhook_id = %target.webhook_id,
            webhook_name = $crate::logging::about::name_of(target),
            $($rest)+
        )
    }};
}
pub(crate) use about_webhook;

/// The name of a webhook; `None` if it has none but its id.
pub(crate) fn name_of(target: &Target) -> Option<&str> {
    (target.webhook_name != target.webhook_id).then_some(&*target.webhook_name)
}

/// A time in the unit that says enough of it: `45 s`, `20 min`, `3.5 h`, `4.0 d`.
pub(crate) fn rough(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        _ if seconds < 10.0 => format!("{seconds:.1} s"),
        _ if seconds < 100.0 => format!("{seconds:.0} s"),
        _ if seconds < 100.0 * 60.0 => format!("{:.0} min", seconds / 60.0),
        _ if seconds < 48.0 * 3600.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} d", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_people_would_use() {
        for (seconds, text) in
            [(0.4, "0.4 s"), (45.0, "45 s"), (1200.0, "20 min"), (12_600.0, "3.5 h"), (345_600.0, "4.0 d")]
        {
            assert_eq!(rough(Duration::from_secs_f64(seconds)), text);
        }
    }
}
