//! Durations as people write them: `200ms`, `15s`, `5m`, `24h`, `30d`, and `1h30m`, as in Prometheus.
//!
//! Never guesses a unit. Used to parse settings, and to print durations in messages.

use std::time::Duration;

/// Unit and its milliseconds, from the longest.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Ten years: keeps every sum with a point in time far from overflow.
const MAX_MILLIS: u64 = 3650 * 86_400_000;

/// Parses a duration: whole numbers with units from the longest to the shortest, each at most once, or `0`.
///
/// # Errors
/// A sentence that says what a duration looks like.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let millis = total_millis(text).ok_or_else(|| {
        let rule = "write whole numbers with a unit, such as 200ms, 15s, 5m, 24h or 30d";
        match suggestion(text) {
            Some(meant) => format!("`{text}` is not a duration; did you mean `{meant}`? ({rule})"),
            None => format!("`{text}` is not a duration: {rule}"),
        }
    })?;
    if millis > MAX_MILLIS {
        return Err(format!("`{text}` is longer than 3650d"));
    }
    Ok(Duration::from_millis(millis))
}

fn total_millis(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (number, after) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_where(after, |c| c.is_ascii_digit());
        let (_, millis) = units.find(|(name, _)| *name == unit)?;
        // Numbers that do not fit in u64 saturate, and are then too long, which is the better message.
        let number = if number.is_empty() {
            return None;
        } else {
            number.parse().unwrap_or(u64::MAX)
        };
        total = total.saturating_add(millis.saturating_mul(number));
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// What people write for units, in seconds. `m` is for minutes, as in what is read.
const SPELLINGS: [(&str, f64); 26] = [
    ("ms", 0.001),
    ("msec", 0.001),
    ("millis", 0.001),
    ("millisecond", 0.001),
    ("milliseconds", 0.001),
    ("", 1.0),
    ("s", 1.0),
    ("sec", 1.0),
    ("secs", 1.0),
    ("second", 1.0),
    ("seconds", 1.0),
    ("m", 60.0),
    ("min", 60.0),
    ("mins", 60.0),
    ("minute", 60.0),
    ("minutes", 60.0),
    ("h", 3600.0),
    ("hr", 3600.0),
    ("hrs", 3600.0),
    ("hour", 3600.0),
    ("hours", 3600.0),
    ("d", 86_400.0),
    ("day", 86_400.0),
    ("days", 86_400.0),
    ("week", 604_800.0),
    ("weeks", 604_800.0),
];

/// What a text that is no duration probably means: other spellings of units, spaces, fractions, a number alone.
fn suggestion(text: &str) -> Option<String> {
    let text: String = text.to_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
    let mut rest = text.as_str();
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let (number, after) = split_where(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, after) = split_where(after, |c| c.is_ascii_digit());
        let (_, size) = SPELLINGS.iter().find(|(spelling, _)| *spelling == unit)?;
        seconds += number.parse::<f64>().ok()? * size;
        rest = after;
    }
    let is_worth_it = seconds > 0.0 && seconds * 1000.0 <= MAX_MILLIS as f64;
    is_worth_it.then(|| format_duration(Duration::from_millis((seconds * 1000.0).round() as u64)))
}

fn split_where(text: &str, stop: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(stop).unwrap_or(text.len()))
}

/// Formats a duration so that `parse_duration` can parse it, in milliseconds at the finest.
pub fn format_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in UNITS {
        if millis >= size {
            text.push_str(&format!("{}{unit}", millis / size));
            millis %= size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_documentation_shows_is_read() {
        for (text, millis) in [
            ("200ms", 200),
            ("15s", 15_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("30d", 2_592_000_000),
            ("1h30m", 5_400_000),
            ("1m5ms", 60_005),
            ("0s", 0),
            ("0", 0),
            ("3650d", MAX_MILLIS),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "15", "s", "1.5s", "-1s", "1 s", "5min", "1s1m", "1s1s", "15S", "١s", "3651d", "1m ", "∞"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_duration("99999999999999999999999d").is_err_and(|e| e.ends_with("is longer than 3650d")));
    }

    #[test]
    fn what_people_write_instead_is_understood_and_suggested() {
        for (text, meant) in [
            ("5min", "5m"),
            ("1 day", "1d"),
            ("10 Seconds", "10s"),
            ("1.5h", "1h30m"),
            ("15", "15s"),
            ("0.2s", "200ms"),
            ("1s1m", "1m1s"),
            ("2 weeks", "14d"),
            ("1 hour 30 mins", "1h30m"),
            ("15S", "15s"),
        ] {
            let reason = parse_duration(text).expect_err("no duration");
            assert!(reason.starts_with(&format!("`{text}` is not a duration; did you mean `{meant}`? (")), "{reason}");
        }
        for text in ["", "soon", "-1s", "5 fortnights", "1..5s", "99999d 1h", "0 min"] {
            let reason = parse_duration(text).expect_err("no duration");
            assert!(reason.starts_with(&format!("`{text}` is not a duration: write ")), "{reason}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(millis in 0..=MAX_MILLIS) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,20}") {
            let _ = parse_duration(&text);
        }
    }
}
