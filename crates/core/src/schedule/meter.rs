//! Measures the recent rate of events, per second.

use std::time::Duration;

/// How long an event is remembered, in seconds: as long as the default `sweep_interval`, so that many sweeps at once do
/// not look like a flood.
const MEMORY: f64 = 300.0;

/// Counts events with a weight that fades with age.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    events: f64,
    /// The seconds that they represent: fewer than the memory at first.
    seconds: f64,
    at: Duration,
}

impl Meter {
    pub(super) fn add(&mut self, now: Duration) {
        self.fade(now);
        self.events += 1.0;
    }

    /// Events a second.
    pub(super) fn rate(&mut self, now: Duration) -> f64 {
        self.fade(now);
        if self.seconds > 0.0 { self.events / self.seconds } else { 0.0 }
    }

    fn fade(&mut self, now: Duration) {
        let kept = (-now.saturating_sub(self.at).as_secs_f64() / MEMORY).exp();
        self.events *= kept;
        self.seconds = self.seconds * kept + MEMORY * (1.0 - kept);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_is_measured_and_its_end_too() {
        let mut meter = Meter::default();
        for second in 1..=600 {
            meter.add(Duration::from_secs(second));
        }
        assert!((meter.rate(Duration::from_secs(600)) - 1.0).abs() < 0.01);
        assert!(meter.rate(Duration::from_secs(1800)) < 0.02);
    }
}
