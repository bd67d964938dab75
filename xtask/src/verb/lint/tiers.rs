//! The lists of which test runs on which kernel name tests that exist.

use anyhow::Result;

use crate::verb::test::tiers;

/// Judges each pattern of the lists.
pub(super) fn hold(tests: &[String]) -> Result<()> {
    let found: Vec<String> = tiers::idle(tests)
        .map(|pattern| format!("xtask/src/verb/test/tiers.rs: `{pattern}` matches no test"))
        .collect();
    super::report(&found)
}
