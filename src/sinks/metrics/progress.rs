//! How far an environment has come with reading logs for the first time. Called by all that tell people of it: the log,
//! `/-/ready` and the status page.

use std::time::{Duration, Instant};

use super::board::{TargetView, Views, average_first_contact};
use talkover_core::delivery::Timestamp;

/// Before this part is read, nobody can say how long the rest takes.
const LEAST_READ: f64 = 0.01;

/// The first contacts of an environment, all together.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstContact {
    /// Webhooks whose first contact is complete.
    pub read: usize,
    /// All webhooks that are listed.
    pub webhooks: usize,
    /// The part that is read, by time, of the average webhook.
    pub ratio: f64,
    /// Answers read of those under way.
    pub pages: u64,
    /// Entries read of those under way.
    pub entries: u64,
    /// How far back the only one that is under way has come: the time reached, and the time wanted.
    pub reached: Option<(Timestamp, Timestamp)>,
    /// How long it will still take; `None` if that cannot be told yet.
    pub remaining: Option<Duration>,
}

impl FirstContact {
    /// How far back it has come, if one webhook alone is being read: a clause for a sentence.
    pub fn reached_text(&self) -> String {
        let text = |(reached, until)| format!(", read back to {} of {}", date_time(reached), date_time(until));
        self.reached.map(text).unwrap_or_default()
    }
}

/// Returns how far the first contacts of an environment have come at `now`; `None` if all are complete.
pub fn first_contact(views: &Views, environment: &str, now: Instant) -> Option<FirstContact> {
    let own: Vec<&TargetView> = views.listed().filter(|view| &*view.target.environment == environment).collect();
    let read = own.iter().filter(|view| view.marks.contacted).count();
    if read == own.len() {
        return None;
    }
    let ratio = average_first_contact(own.iter().copied());
    let under_way: Vec<_> = own.iter().filter(|view| !view.marks.contacted).filter_map(|view| view.progress).collect();
    let began = views.environments.get(environment).and_then(|view| view.began);
    Some(FirstContact {
        read,
        webhooks: own.len(),
        ratio,
        pages: under_way.iter().map(|walk| walk.pages).sum(),
        entries: under_way.iter().map(|walk| walk.entries).sum(),
        reached: match &under_way[..] {
            [walk] if own.len() - read == 1 => Some((walk.reached, walk.until)),
            _ => None,
        },
        remaining: began.and_then(|(at, before)| remaining(now.saturating_duration_since(at), before, ratio)),
    })
}

fn remaining(elapsed: Duration, before: f64, ratio: f64) -> Option<Duration> {
    let read = ratio - before;
    let seconds = elapsed.as_secs_f64() * (1.0 - ratio) / read;
    (read >= LEAST_READ).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

/// A length of time for people who need not know it exactly.
pub fn approximately(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..90 => format!("{seconds} s"),
        seconds @ 90..5_400 => format!("{} min", (seconds + 30) / 60),
        seconds @ 5_400..172_800 => format!("{} h", (seconds + 1_800) / 3_600),
        seconds => format!("{} d", (seconds + 43_200) / 86_400),
    }
}

/// A moment as people read it: date and time in UTC, to the second.
pub fn date_time(moment: Timestamp) -> String {
    let time = jiff::Timestamp::from_microsecond(moment.as_micros());
    time.map_or_else(|_| "?".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn the_rest_takes_in_proportion() {
        assert_eq!(remaining(S(100), 0.0, 0.25), Some(S(300)));
        assert_eq!(remaining(S(100), 0.5, 0.75), Some(S(100)), "half of it was read before the start");
        assert_eq!(remaining(S(100), 0.5, 0.505), None, "too early to tell");
        assert_eq!(remaining(S(100), 0.5, 0.4), None, "webhooks were added meanwhile");
    }

    #[test]
    fn times_are_told_in_the_unit_that_suits_them() {
        for (seconds, expected) in [
            (0, "0 s"),
            (89, "89 s"),
            (90, "2 min"),
            (1_030, "17 min"),
            (5_400, "2 h"),
            (90_000, "25 h"),
            (172_800, "2 d"),
        ] {
            assert_eq!(approximately(S(seconds)), expected);
        }
        assert_eq!(date_time(Timestamp::from_seconds(1_767_268_800)), "2026-01-01 12:00:00 UTC");
    }
}
