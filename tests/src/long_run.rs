//! Long runs: random tests are repeated often enough for rare events.

/// Whether a long run is wanted: `cargo xtask test --long`, or `LTE_LONG=1` by hand.
pub fn is_requested() -> bool {
    std::env::var_os("LTE_LONG").is_some_and(|value| value != "0" && !value.is_empty())
}
