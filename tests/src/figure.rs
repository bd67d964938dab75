//! Figures that tests measure.

use std::fmt::Display;

/// Prints a figure so that `cargo xtask test` finds it: it shows one table of each name, with the
/// rows' values by kernel.
pub fn figure(table: &str, row: &str, value: impl Display) {
    // The harness has begun a line that the test's own output goes on with.
    println!("\nfigure\t{table}\t{row}\t{value}");
}
