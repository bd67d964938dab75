//! The results, and how they are shown. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::figures::Figures;
use crate::fetch::kernel::Series;

/// How a test went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    /// Marked with the attribute `ignore`.
    Skipped,
}

/// A row of what ran on this machine.
#[derive(Debug)]
struct HostRow {
    name: String,
    counts: [usize; 3],
    note: String,
}

/// A test on a kernel.
#[derive(Debug, Clone)]
struct Cell {
    verdict: Verdict,
    note: String,
}

/// All results.
#[derive(Debug)]
pub(crate) struct Report {
    kernels: Vec<Series>,
    host: Vec<HostRow>,
    tests: BTreeMap<String, BTreeMap<Series, Cell>>,
    /// The version of nft that a kernel's tests had.
    nft: BTreeMap<Series, String>,
    /// Tests that are not meant for a kernel: they run on others.
    elsewhere: BTreeSet<(String, Series)>,
    /// What the tests have measured.
    pub(crate) figures: Figures,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(kernels: &[Series]) -> Self {
        Self {
            kernels: kernels.to_owned(),
            host: Vec::new(),
            tests: BTreeMap::new(),
            nft: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            figures: Figures::default(),
        }
    }

    /// Something that ran on this machine, and how it went as a whole.
    pub(crate) fn host(&mut self, name: &str, verdict: Verdict, note: &str) {
        let mut counts = [0; 3];
        counts[verdict as usize] = 1;
        self.host.push(HostRow {
            name: name.to_owned(),
            counts,
            note: note.to_owned(),
        });
    }

    /// Counts of tests that ran on this machine: passed, failed, skipped.
    pub(crate) fn host_counts(&mut self, name: &str, counts: [usize; 3], note: &str) {
        self.host.push(HostRow {
            name: name.to_owned(),
            counts,
            note: note.to_owned(),
        });
    }

    /// A test on a kernel.
    pub(crate) fn kernel(&mut self, kernel: Series, test: &str, verdict: Verdict, note: &str) {
        let cell = Cell {
            verdict,
            note: note.to_owned(),
        };
        self.tests
            .entry(test.to_owned())
            .or_default()
            .insert(kernel, cell);
    }

    /// The version of nft that a kernel's tests have.
    pub(crate) fn nft(&mut self, kernel: Series, version: &str) {
        self.nft.insert(kernel, version.to_owned());
    }

    /// A test that runs on other kernels, and not on this one.
    pub(crate) fn elsewhere(&mut self, kernel: Series, test: &str) {
        self.elsewhere.insert((test.to_owned(), kernel));
    }

    fn is_elsewhere(&self, kernel: Series, test: &str) -> bool {
        self.elsewhere.contains(&(test.to_owned(), kernel))
    }

    /// Whether nothing was run.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts() == [0; 3]
    }

    /// Whether something was run, and nothing failed.
    pub(crate) fn passed(&self) -> bool {
        let [passed, failed, _] = self.counts();
        passed > 0 && failed == 0
    }

    /// Passed, failed, skipped. A test that has no result on a kernel it was to run on has failed.
    fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for row in &self.host {
            for (sum, one) in counts.iter_mut().zip(row.counts) {
                *sum += one;
            }
        }
        for (test, cells) in &self.tests {
            for kernel in &self.kernels {
                if self.is_elsewhere(*kernel, test) {
                    continue;
                }
                let verdict = cells
                    .get(kernel)
                    .map_or(Verdict::Failed, |cell| cell.verdict);
                counts[verdict as usize] += 1;
            }
        }
        counts
    }
}

fn word(cell: Option<&Cell>) -> &'static str {
    match cell.map(|cell| cell.verdict) {
        Some(Verdict::Passed) => "ok",
        Some(Verdict::Failed) => "FAILED",
        Some(Verdict::Skipped) => "skipped",
        None => "NOT RUN",
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.host.is_empty() {
            writeln!(f, "\non this machine")?;
            let width = self
                .host
                .iter()
                .map(|row| row.name.len())
                .max()
                .unwrap_or(0);
            for row in &self.host {
                let [passed, failed, skipped] = row.counts;
                let counts = format!("{passed} passed, {failed} failed, {skipped} skipped");
                let line = format!("  {:width$}  {counts}  {}", row.name, row.note);
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        if !self.tests.is_empty() {
            let width = self.tests.keys().map(String::len).max().unwrap_or(0);
            write!(f, "\n{:width$}", "by kernel", width = width + 2)?;
            for kernel in &self.kernels {
                write!(f, "  {:>7}", kernel.name())?;
            }
            write!(f, "\n{:width$}", "with nft", width = width + 2)?;
            for kernel in &self.kernels {
                write!(
                    f,
                    "  {:>7}",
                    self.nft.get(kernel).map_or("-", String::as_str)
                )?;
            }
            writeln!(f)?;
            for (test, cells) in &self.tests {
                write!(f, "  {test:width$}")?;
                for kernel in &self.kernels {
                    let word = if self.is_elsewhere(*kernel, test) {
                        "-"
                    } else {
                        word(cells.get(kernel))
                    };
                    write!(f, "  {word:>7}")?;
                }
                writeln!(f)?;
            }
        }
        if !self.elsewhere.is_empty() {
            writeln!(
                f,
                "\n-: `runs_on!` beside the test says that it runs on other kernels; `cargo xtask test --everywhere` runs it on all"
            )?;
        }
        self.figures.show(f, &self.kernels)?;
        let noted = |wanted: Verdict| {
            self.tests.iter().flat_map(move |(test, cells)| {
                cells
                    .iter()
                    .filter(move |(_, cell)| cell.verdict == wanted)
                    .map(move |(kernel, cell)| (test, kernel, &cell.note))
            })
        };
        for (title, verdict) in [("failed", Verdict::Failed), ("skipped", Verdict::Skipped)] {
            if noted(verdict).next().is_some() {
                writeln!(f, "\n{title}")?;
            }
            for (test, kernel, note) in noted(verdict) {
                writeln!(f, "  {test} on {kernel}: {note}")?;
            }
        }
        let [passed, failed, skipped] = self.counts();
        writeln!(f, "\n{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str) -> Series {
        name.parse().expect("of the matrix")
    }

    #[test]
    fn a_test_without_a_result_has_failed() {
        let (old, new) = (series("5.10"), series("7.2"));
        let mut report = Report::new(&[old, new]);
        report.host_counts("lte-common", [5, 0, 1], "");
        report.kernel(old, "tunnel::up", Verdict::Passed, "");
        report.kernel(new, "tunnel::down", Verdict::Skipped, "needs a modem");
        report.nft(old, "1.0.6");
        let text = report.to_string();
        assert!(!report.passed());
        assert_eq!(text.lines().last(), Some("6 passed, 2 failed, 2 skipped"));
        assert!(text.contains("NOT RUN"), "{text}");
        let nft = text.lines().find(|line| line.starts_with("with nft"));
        let nft: Vec<_> = nft.into_iter().flat_map(str::split_whitespace).collect();
        assert_eq!(nft, ["with", "nft", "1.0.6", "-"]);
        assert!(
            text.contains("tunnel::down on 7.2: needs a modem"),
            "{text}"
        );
    }

    #[test]
    fn a_test_that_is_meant_for_other_kernels_is_not_missed_here() {
        let (old, new) = (series("5.10"), series("7.2"));
        let mut report = Report::new(&[old, new]);
        report.kernel(old, "bad_input::key", Verdict::Passed, "");
        report.elsewhere(new, "bad_input::key");
        let text = report.to_string();
        assert!(report.passed(), "{text}");
        assert_eq!(text.lines().last(), Some("1 passed, 0 failed, 0 skipped"));
        assert!(!text.contains("NOT RUN"), "{text}");
    }

    #[test]
    fn nothing_run_is_not_a_pass() {
        assert!(!Report::new(&[]).passed());
        let mut report = Report::new(&[]);
        report.host("lte-ebpf", Verdict::Skipped, "");
        assert!(!report.passed());
        report.host("lte-common", Verdict::Passed, "");
        assert!(report.passed());
    }
}
