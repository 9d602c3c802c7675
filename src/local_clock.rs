//! The only place that reads this machine's clocks.
//!
//! Only the server's clock decides what to do with the log ([`crate::server_clock`]); it starts from the local one.
//! Otherwise the local clock dates what this machine does. The request budget uses the machine's uptime, which cannot
//! be set.

use std::time::{SystemTime, UNIX_EPOCH};

use talkover_core::delivery::Timestamp;
use talkover_core::server_time::LocalTime;

/// The local time.
pub fn now() -> LocalTime {
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    LocalTime::new(Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)))
}

/// Nanoseconds since the machine was started, the same for all its processes.
pub fn uptime_ns() -> u64 {
    #[cfg(target_os = "linux")]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(CLOCK);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// A text that differs after each start of the machine; empty if the system provides none.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on() {
        assert!(now().timestamp() > Timestamp::from_seconds(1_700_000_000));
        let before = uptime_ns();
        assert!(uptime_ns() >= before);
        assert_eq!(boot_id(), boot_id());
    }
}
