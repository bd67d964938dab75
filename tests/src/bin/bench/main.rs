//! What the guard costs: side by side in one run, medians over rounds, as ratios and differences
//! to a baseline.

mod programs;

use anyhow::Result;

fn main() -> Result<()> {
    programs::run()
}
