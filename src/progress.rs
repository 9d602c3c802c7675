//! The progress of a long command: a bar on a terminal, else a log line every minute.
//!
//! Progress is counted in pages, because the request budget limits pages. Used by the commands that read logs:
//! `verify`, `history` and `check --online`. Everything else that is written to the terminal meanwhile goes through
//! [`beside_bar`], so that it does not break the bar.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tracing::info;

use talkover_core::delivery::Timestamp;

/// How often progress is logged.
const INTERVAL: Duration = Duration::from_secs(60);
/// How often the bar is redrawn while nothing happens: it shows the elapsed seconds.
const TICK: Duration = Duration::from_secs(1);
/// After this long the actual pace is a better estimate than the configured one. Before, the initial burst distorts it.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// The bar on the terminal, if there is one. Global, because there is one terminal.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// How much there is to read, and how fast the request budget lets it be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// How many pages; each is one request.
    pub pages: u64,
    /// At how many requests a minute.
    pub per_minute: f64,
}

impl Estimate {
    /// Returns how long the reading takes.
    pub fn duration(&self) -> Duration {
        time_for(self.pages, self.per_minute / 60.0)
    }
}

/// Formats as in "about 510 pages, 17 min at 30 a minute".
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pages, per_minute } = self;
        let noun = if *pages == 1 { "page" } else { "pages" };
        let per_minute = (per_minute * 10.0).round() / 10.0;
        write!(f, "about {pages} {noun}, {} at {per_minute} a minute", rough(self.duration()))
    }
}

/// How many pages have been read, of about how many.
#[derive(Debug)]
pub struct WorkProgress {
    title: String,
    estimate: Estimate,
    pages: u64,
    reached: Option<Timestamp>,
    began: Instant,
    /// When progress was last logged.
    told: Instant,
    /// The bar; `None` if stderr is not a terminal.
    bar: Option<ProgressBar>,
}

impl WorkProgress {
    /// Begins work named `title`, and logs the estimate.
    pub fn begin(title: &str, estimate: Estimate) -> Self {
        info!("{title}: {estimate}");
        let bar = io::stderr().is_terminal().then(|| draw(title, estimate.pages));
        let began = Instant::now();
        Self { title: title.to_owned(), estimate, pages: 0, reached: None, began, told: began, bar }
    }

    /// Corrects the total number of pages, including those read.
    pub fn expect(&mut self, pages: u64) {
        self.estimate.pages = pages.max(self.pages);
        if let Some(bar) = &self.bar {
            bar.set_length(self.estimate.pages);
        }
    }

    /// Records that another page was read, whose oldest entry is from `reached`.
    pub fn advance(&mut self, reached: Option<Timestamp>) {
        self.pages += 1;
        self.reached = reached.or(self.reached);
        self.expect(self.estimate.pages);
        if let Some(bar) = &self.bar {
            bar.set_position(self.pages);
            bar.set_message(self.message());
        } else if self.told.elapsed() >= INTERVAL {
            self.told = Instant::now();
            info!("{}: {} of about {} pages{}", self.title, self.pages, self.estimate.pages, self.message());
        }
    }

    fn message(&self) -> String {
        let reached = self.reached.map(|reached| format!(", read back to {}", minute_of(reached))).unwrap_or_default();
        format!("{reached}, {} left", rough(self.left()))
    }

    fn left(&self) -> Duration {
        let elapsed = self.began.elapsed();
        let configured = self.estimate.per_minute / 60.0;
        let measured = self.pages as f64 / elapsed.as_secs_f64();
        let pace = if elapsed > SETTLED_AFTER && self.pages > 0 { measured } else { configured };
        time_for(self.estimate.pages.saturating_sub(self.pages), pace)
    }
}

/// Removes the bar from the terminal.
impl Drop for WorkProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            *current() = None;
        }
    }
}

fn draw(title: &str, pages: u64) -> ProgressBar {
    let bar = ProgressBar::new(pages);
    let style = ProgressStyle::with_template("{prefix} [{bar:24}] {pos} of about {len} pages{wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_prefix(title.to_owned());
    bar.enable_steady_tick(TICK);
    *current() = Some(bar.clone());
    bar
}

fn current() -> MutexGuard<'static, Option<ProgressBar>> {
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `write`, which may write to the terminal, while the bar is hidden.
pub fn beside_bar<T>(write: impl FnOnce() -> T) -> T {
    let bar = current().clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// A writer to a terminal that may show a bar.
#[derive(Debug)]
pub struct BesideBar<W>(pub W);

impl<W: Write> Write for BesideBar<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        beside_bar(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn time_for(pages: u64, per_second: f64) -> Duration {
    Duration::try_from_secs_f64(pages as f64 / per_second).unwrap_or(Duration::MAX)
}

/// Formats an estimated duration: `40 s`, `17 min`, `2 h 50 min`, `3 d 4 h`.
fn rough(time: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = time.as_secs_f64().ceil() as u64;
    let minutes = seconds.div_ceil(MINUTE);
    if seconds <= MINUTE {
        format!("{seconds} s")
    } else if seconds < HOUR {
        format!("{minutes} min")
    } else if seconds < DAY {
        format!("{} h {} min", minutes / 60, minutes % 60)
    } else {
        format!("{} d {} h", seconds / DAY, seconds % DAY / HOUR)
    }
}

/// Formats a time to the minute, in UTC: `2026-11-29 16:41`.
fn minute_of(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_microsecond(time.as_micros()).unwrap_or_default();
    time.to_string().chars().take(16).map(|character| if character == 'T' { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_says_pages_and_time() {
        let text = |pages, per_minute| Estimate { pages, per_minute }.to_string();
        assert_eq!(text(510, 30.0), "about 510 pages, 17 min at 30 a minute");
        assert_eq!(text(1, 30.0), "about 1 page, 2 s at 30 a minute");
        assert_eq!(text(10_000, 60.0), "about 10000 pages, 2 h 47 min at 60 a minute");
        assert_eq!(text(200_000, 7.25), "about 200000 pages, 19 d 3 h at 7.3 a minute");
        assert_eq!(Estimate { pages: 1, per_minute: 0.0 }.duration(), Duration::MAX);
    }

    #[test]
    fn times_are_rough() {
        for (seconds, text) in [(0, "0 s"), (60, "60 s"), (61, "2 min"), (3_600, "1 h 0 min"), (90_000, "1 d 1 h")] {
            assert_eq!(rough(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn progress_never_exceeds_what_is_expected() {
        let mut progress = WorkProgress::begin("test", Estimate { pages: 2, per_minute: 30.0 });
        for _ in 0..3 {
            progress.advance(Some(Timestamp::from_seconds(1_700_000_000)));
        }
        assert_eq!(progress.estimate.pages, 3);
        assert_eq!(progress.message(), ", read back to 2023-11-14 22:13, 0 s left");
        progress.expect(33);
        assert_eq!(progress.left(), Duration::from_secs(60));
    }
}
