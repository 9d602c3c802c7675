//! How many entries to request: few if little is expected, but enough that one page nearly always reaches known ground.

/// How much more than expected may come, in standard deviations of a Poisson process: a page is too small one time in
/// 700, which costs a second request.
const DEVIATIONS: f64 = 3.0;
/// This many entries are always added: an entry beyond known ground has to be seen, and arrivals that were never seen
/// cannot be expected.
const SPARE: f64 = 5.0;
/// A page of at most this size may be enlarged to reach as far as a sweep, which saves the sweep.
const SMALL: u32 = 25;
/// The page sizes: only a few, so that caches between the API and here are of use.
const SIZES: [u32; 4] = [10, SMALL, 50, 100];

/// When the next sweep is due that a poll may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextSweep {
    /// Soon.
    Soon,
    /// Not for a while.
    Later,
}

/// The size of a poll's first page, at most `full`: room for `expected` new entries and for `known` ones that have to
/// be met again. `known_to_sweep` is the number of known entries within the reach of a sweep: the page is made large
/// enough for them if it stays small or if the sweep is due soon.
pub fn first_page(expected: f64, known: usize, known_to_sweep: usize, sweep: NextSweep, full: u32) -> u32 {
    let size = |known: usize| (expected + DEVIATIONS * expected.sqrt() + SPARE + known as f64).ceil();
    let largest = if sweep == NextSweep::Soon { full } else { SMALL };
    let as_far_as_sweep = size(known_to_sweep);
    let wanted = if as_far_as_sweep <= f64::from(largest) { as_far_as_sweep } else { size(known) };
    SIZES.into_iter().find(|size| f64::from(*size) >= wanted).unwrap_or(full).min(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_asked_for_where_little_is_expected() {
        for ((expected, known, to_sweep, sweep, full), size) in [
            ((0.0, 0, 0, NextSweep::Later, 100), 10),
            ((0.0, 1, 3, NextSweep::Later, 100), 10),
            ((1.0, 1, 15, NextSweep::Later, 100), 25),
            ((1.0, 1, 40, NextSweep::Later, 100), 10),
            ((1.0, 1, 40, NextSweep::Soon, 100), 50),
            ((1.0, 1, 400, NextSweep::Soon, 100), 10),
            ((30.0, 2, 400, NextSweep::Soon, 100), 100),
            ((500.0, 2, 400, NextSweep::Soon, 100), 100),
            ((0.0, 0, 0, NextSweep::Soon, 7), 7),
            ((60.0, 0, 0, NextSweep::Later, 70), 70),
        ] {
            assert_eq!(first_page(expected, known, to_sweep, sweep, full), size, "{expected} {known} {to_sweep}");
        }
    }
}
