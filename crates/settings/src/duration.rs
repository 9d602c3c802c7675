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
        format!("`{text}` is not a duration: write whole numbers with a unit, such as 200ms, 15s, 5m, 24h or 30d")
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
