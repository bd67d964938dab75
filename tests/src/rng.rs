//! Random numbers from a seed that is printed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

/// SplitMix64.
#[derive(Debug)]
pub struct Rng {
    seed: u64,
    state: u64,
}

impl Rng {
    /// From `LTE_SEED` where it is set, else from the clock. The seed is printed, for the next time.
    pub fn new() -> Result<Self> {
        let seed = match std::env::var("LTE_SEED") {
            Ok(text) => text.parse().context("LTE_SEED is to be a number")?,
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64,
        };
        eprintln!("seed: LTE_SEED={seed}");
        Ok(Self::from_seed(seed))
    }

    /// From a known seed.
    pub const fn from_seed(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    /// What it began with.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A time below the given one, each as likely as any other; none where that is none.
    pub fn time_below(&mut self, limit: Duration) -> Duration {
        let limit = limit.as_nanos() as u64;
        Duration::from_nanos(self.next().checked_rem(limit).unwrap_or_default())
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_all_of_them() {
        let draw = |seed| {
            let mut rng = Rng::from_seed(seed);
            (0..100).map(|_| rng.below(10)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!((0..10).all(|number| draw(7).contains(&number)));
    }
}
