//! Random numbers with a stream that never changes: SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom
//! Number Generators", 2014), twelve lines that no release of a dependency can change.
//!
//! A scenario and a seed must produce the same world on every machine and in every release, and every delivery must
//! have a stream of its own, so that nothing that is drawn elsewhere shifts it. Never for secrets. Used by the world
//! and by the choice of faults.

use std::time::Duration;

/// The odd constant of SplitMix64: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The stream of `seed` for one purpose; `path` distinguishes purposes.
    pub(super) fn stream(seed: u64, path: &[u64]) -> Self {
        let state =
            path.iter().fold(mix(seed.wrapping_add(GOLDEN)), |state, step| mix(state ^ mix(step.wrapping_add(GOLDEN))));
        Self(state)
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number from 0 to below 1.
    pub(super) fn unit(&mut self) -> f64 {
        // 53 bits are what an f64 holds exactly.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something of this probability happens. Always draws, so that a changed probability shifts nothing.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A number below `limit` (0 if that is 0).
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        // The bias of the remainder is below 2^-40 for every limit in use.
        self.next().checked_rem(limit).unwrap_or(0)
    }

    /// A duration from `min` to `max`.
    pub(super) fn between(&mut self, min: Duration, max: Duration) -> Duration {
        min + max.saturating_sub(min).mul_f64(self.unit())
    }

    /// The time to the next event of a Poisson process with `rate` events a second.
    pub(super) fn gap(&mut self, rate: f64) -> Duration {
        let seconds = -(1.0 - self.unit()).ln() / rate;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// A number of the standard normal distribution (Box and Muller, 1958).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// The position in `weights` that a draw by weight selects; 0 if all weights are zero.
    pub(super) fn weighted(&mut self, weights: impl Iterator<Item = f64> + Clone) -> usize {
        let mut left = self.unit() * weights.clone().sum::<f64>();
        for (place, weight) in weights.enumerate() {
            if left < weight {
                return place;
            }
            left -= weight;
        }
        0
    }

    /// The numbers from 0 to below `count` in random order (Fisher and Yates).
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_splitmix64() {
        // The first outputs for the state 0, as published with the reference implementation.
        let mut random = Random(0);
        let drawn = [random.next(), random.next(), random.next()];
        assert_eq!(drawn, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    #[test]
    fn streams_of_other_paths_differ() {
        let first = |path: &[u64]| Random::stream(1, path).next();
        assert_ne!(first(&[0, 1]), first(&[1, 0]));
        assert_ne!(first(&[0]), first(&[0, 0]));
        assert_eq!(first(&[3, 4]), first(&[3, 4]));
    }

    #[test]
    fn gaps_have_the_mean_of_their_rate() {
        let mut random = Random::stream(7, &[]);
        let total: f64 = (0..10_000).map(|_| random.gap(4.0).as_secs_f64()).sum();
        assert!((total / 10_000.0 - 0.25).abs() < 0.01, "mean gap {}", total / 10_000.0);
    }

    #[test]
    fn weights_decide_how_often_a_place_is_hit() {
        let mut random = Random::stream(7, &[]);
        let mut hits = [0_u32; 3];
        (0..9_000).for_each(|_| hits[random.weighted([1.0, 0.0, 2.0].into_iter())] += 1);
        assert_eq!(hits[1], 0);
        assert!((2_800..3_200).contains(&hits[0]), "{hits:?}");
    }
}
