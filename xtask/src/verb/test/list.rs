//! Which test runs on which kernel, without running any.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;

use super::Args;
use super::guest;
use crate::declared::{self, RunsOn};
use crate::fetch::kernel::Series;

/// Prints the table to standard output.
pub(super) fn print(args: &Args) -> Result<()> {
    let kernels: Vec<Series> = Series::all().collect();
    let tests = declared::tests()?;
    let wanted = |(name, runs_on): &(&String, &RunsOn)| {
        guest::is_for_a_kernel(name) && args.wants(name, runs_on)
    };
    let table = table(&tests.iter().filter(wanted).collect(), &kernels);
    // A pager that is closed early is no failure.
    std::io::stdout().write_all(table.as_bytes()).ok();
    Ok(())
}

/// A row a test, a column a kernel, and how many run on each.
fn table(tests: &BTreeMap<&String, &RunsOn>, kernels: &[Series]) -> String {
    let width = tests.keys().map(|name| name.len()).max().unwrap_or(0);
    let mut counts = vec![0; kernels.len()];
    let mut text = format!("{:width$}", "test");
    for kernel in kernels {
        write!(text, "  {:>5}", kernel.name()).ok();
    }
    text.push('\n');
    for (name, runs_on) in tests {
        write!(text, "{name:width$}").ok();
        for (index, count) in counts.iter_mut().enumerate() {
            let has = runs_on.has(index, kernels.len());
            *count += usize::from(has);
            write!(text, "  {:>5}", if has { "yes" } else { "-" }).ok();
        }
        text.push('\n');
    }
    write!(text, "{:width$}", "in all").ok();
    for count in counts {
        write!(text, "  {count:>5}").ok();
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_counts_by_kernel() {
        let kernels: Vec<Series> = Series::all().collect();
        let (name, on) = ("tunnel::up".to_owned(), RunsOn::default());
        let text = table(&BTreeMap::from([(&name, &on)]), &kernels);
        let last: Vec<_> = text
            .lines()
            .last()
            .into_iter()
            .flat_map(str::split_whitespace)
            .collect();
        assert_eq!(last, ["in", "all", "1", "1", "1", "1"]);
        assert_eq!(text.matches("yes").count(), kernels.len());
    }

    #[test]
    fn tests_of_the_host_are_left_out() {
        assert!(guest::is_for_a_kernel("tunnel::ebpf::up"));
        assert!(guest::is_for_a_kernel("tests (lib)::packet::x"));
        assert!(guest::is_for_a_kernel(
            "lte-userspace (lib)::a::on_the_kernel::b"
        ));
        assert!(!guest::is_for_a_kernel("lte-userspace (lib)::a::b"));
        assert!(!guest::is_for_a_kernel("xtask (bin)::c"));
    }
}
