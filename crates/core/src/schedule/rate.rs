//! How many entries a second a webhook's log gets, estimated from what polls bring.
//!
//! Five windows of memory, from two minutes to a day, are kept side by side. A long one is precise, a short one quick.
//! The longest window that no shorter one contradicts is believed (Lepski's rule for choosing a bandwidth): a webhook
//! that wakes up contradicts its past within one poll, the end of a burst is noticed within minutes, and the rate of a
//! steady webhook becomes ever more precise.

use std::time::Duration;

/// The time constants of the windows in seconds. The shortest spans several polls of a busy webhook; the longest is how
/// long a single entry is remembered; neighbours are so close that a change too small for one is seen by the next.
const MEMORY: [f64; 5] = [120.0, 720.0, 4_320.0, 21_600.0, 86_400.0];
/// By how many standard deviations windows must differ to contradict each other: one in a hundred does by chance.
const CONTRADICTION: f64 = 2.5;
/// And by how many entries at least: a single one proves nothing.
const SINGLE_ENTRY: f64 = 1.5;

/// What is known of the arrivals of one target.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    windows: [FadingWindow; MEMORY.len()],
}

/// Entries and the seconds in which they came, both fading with age.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct FadingWindow {
    entries: f64,
    seconds: f64,
}

impl FadingWindow {
    fn rate(self) -> f64 {
        if self.seconds > 0.0 { self.entries / self.seconds } else { 0.0 }
    }

    /// Whether this rate cannot have brought what came in this window.
    fn contradicts(self, rate: f64) -> bool {
        let expected = rate * self.seconds;
        (self.entries - expected).abs() > CONTRADICTION * expected.sqrt() + SINGLE_ENTRY
    }
}

impl Rate {
    /// The estimate from the ages of the entries that came within the last `observed`.
    pub fn from_ages(ages: impl IntoIterator<Item = Duration>, observed: Duration) -> Self {
        let mut rate = Self::default();
        for (window, memory) in rate.windows.iter_mut().zip(MEMORY) {
            window.seconds = memory * (1.0 - (-observed.as_secs_f64() / memory).exp());
        }
        for age in ages.into_iter().filter(|age| *age <= observed) {
            for (window, memory) in rate.windows.iter_mut().zip(MEMORY) {
                window.entries += (-age.as_secs_f64() / memory).exp();
            }
        }
        rate
    }

    /// A rate that is known as well as it can be.
    #[cfg(test)]
    pub(super) fn of(per_second: f64) -> Self {
        Self { windows: MEMORY.map(|seconds| FadingWindow { entries: per_second * seconds, seconds }) }
    }

    /// Records that `entries` came within `elapsed`, which begins where the last observation ended.
    pub fn observe(&mut self, entries: u64, elapsed: Duration) {
        let elapsed = elapsed.as_secs_f64();
        if elapsed <= 0.0 {
            return;
        }
        for (window, memory) in self.windows.iter_mut().zip(MEMORY) {
            let kept = (-elapsed / memory).exp();
            let seconds = memory * (1.0 - kept);
            window.seconds = window.seconds * kept + seconds;
            window.entries = window.entries * kept + entries as f64 * seconds / elapsed;
        }
    }

    /// Entries a second.
    pub fn per_second(&self) -> f64 {
        let believed = (0..self.windows.len()).rev().find(|longest| {
            let rate = self.windows[*longest].rate();
            !self.windows[..*longest].iter().any(|window| window.contradicts(rate))
        });
        self.windows[believed.unwrap_or(0)].rate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn a_steady_target_is_known_ever_better() {
        let mut rate = Rate::default();
        // Every minute two, one and three entries in turn.
        for minute in 0..600_u64 {
            rate.observe([2, 1, 3][minute as usize % 3], S(60));
        }
        assert!((rate.per_second() * 60.0 - 2.0).abs() < 0.02, "{}", rate.per_second() * 60.0);
    }

    #[test]
    fn a_sleeper_that_wakes_is_believed_at_the_first_poll() {
        let mut rate = Rate::from_ages([], S(86_400));
        assert_eq!(rate.per_second(), 0.0);
        rate.observe(30, S(300));
        assert!((4.0..=6.0).contains(&(rate.per_second() * 60.0)), "{}", rate.per_second() * 60.0);
    }

    #[test]
    fn a_single_entry_is_no_awakening() {
        let mut rate = Rate::from_ages([], S(86_400));
        rate.observe(1, S(300));
        assert!((1.0..2.0).contains(&(rate.per_second() * 86_400.0)), "one or two a day");
    }

    #[test]
    fn a_burst_that_ends_is_forgotten_within_a_quarter_of_an_hour() {
        let mut rate = Rate::from_ages([S(1800), S(5400), S(9000)], S(86_400));
        for _ in 0..20 {
            rate.observe(75, S(15));
        }
        assert!((rate.per_second() - 5.0).abs() < 0.5, "{}", rate.per_second());
        for _ in 0..60 {
            rate.observe(0, S(15));
        }
        assert!(rate.per_second() < 0.05, "{}", rate.per_second());
    }

    #[test]
    fn what_is_remembered_and_what_is_observed_agree() {
        let remembered = Rate::from_ages((0..1440).map(|minute| S(minute * 60 + 30)), S(86_400));
        let mut observed = Rate::default();
        (0..1440).for_each(|_| observed.observe(1, S(60)));
        assert!((remembered.per_second() / observed.per_second() - 1.0).abs() < 0.01);
    }
}
