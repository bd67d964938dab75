//! Long runs: what chance decides is tried often enough for what happens rarely.

/// Whether a long run is wanted: `cargo xtask test --long`, or `LTE_LONG=1` by hand.
pub fn is_wanted() -> bool {
    std::env::var_os("LTE_LONG").is_some_and(|value| value != "0" && !value.is_empty())
}
