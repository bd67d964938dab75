//! Random numbers for tests, by a seed that repeats them.

/// xorshift64 (Marsaglia, 2003). The seed must not be 0.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    /// A number below a limit.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
