//! What was measured, as a table, as JSON, and as rows for the plot.

use std::fmt;
use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::plot;

/// What a figure is to be, compared with its baseline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// One thing that was measured in every round.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Median, least and most, in the chapter's unit.
    pub(crate) value: [f64; 3],
    /// The same of the comparison with the baseline, made within each round.
    pub(crate) compared: [f64; 3],
    pub(crate) goal: Option<Goal>,
}

/// Things that are compared with one baseline.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Chapter {
    pub(crate) title: String,
    pub(crate) unit: String,
    /// What the comparison is: a difference or a ratio, and to what.
    pub(crate) compared: String,
    pub(crate) rows: Vec<Row>,
}

/// Everything, and on what machine.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) chapters: Vec<Chapter>,
}

impl Row {
    /// `values` and `compared` have one figure a round.
    pub(crate) fn new(
        name: impl Into<String>,
        values: &[f64],
        compared: &[f64],
        goal: Option<Goal>,
    ) -> Self {
        Self {
            name: name.into(),
            value: summary(values),
            compared: summary(compared),
            goal,
        }
    }

    /// Whether the goal is met; `None` where there is none.
    pub(crate) fn met(&self) -> Option<bool> {
        let median = self.compared[0];
        self.goal.map(|goal| match goal {
            Goal::AtMost(most) => median <= most,
            Goal::AtLeast(least) => median >= least,
        })
    }
}

/// Median, least, most.
fn summary(figures: &[f64]) -> [f64; 3] {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.first(), sorted.last()) {
        (Some(least), Some(most)) => [sorted[sorted.len() / 2], *least, *most],
        _ => [f64::NAN; 3],
    }
}

impl Report {
    /// An empty one.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("which kernel")?;
        let cpus = fs::read_to_string("/proc/cpuinfo").context("which processor")?;
        let model = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            kernel: kernel.trim().to_owned(),
            processor: model.map_or("unknown", |(_, model)| model).to_owned(),
            chapters: Vec::new(),
        })
    }

    /// Writes the table, the plot and the figures into a directory.
    pub(crate) fn write(&self, out: &Path) -> Result<()> {
        fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
        let put = |name: &str, text: String| {
            let path = out.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        put("bench.md", self.to_string())?;
        put("bench.json", serde_json::to_string_pretty(self)?)?;
        put("bench.svg", plot::svg(&self.chapters)?)?;
        let out = out.display();
        eprintln!("written: {out}/bench.md, {out}/bench.svg, {out}/bench.json");
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Kernel {}, {}", self.kernel, self.processor)?;
        for chapter in &self.chapters {
            writeln!(f, "\n### {}\n", chapter.title)?;
            writeln!(
                f,
                "| {:<36} | {:>10} | {:>23} | {:>8} | {:>17} | {:<14} |",
                "",
                format!("median {}", chapter.unit),
                "least … most",
                "compared",
                "least … most",
                "goal"
            )?;
            writeln!(f, "| --- | ---: | ---: | ---: | ---: | --- |")?;
            for row in &chapter.rows {
                writeln!(f, "{row}")?;
            }
            writeln!(f, "\nCompared: {}, round by round.", chapter.compared)?;
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figure = |figure: f64| {
            if figure.abs() < 10.0 {
                format!("{figure:.3}")
            } else if figure.abs() < 1000.0 {
                format!("{figure:.1}")
            } else {
                format!("{figure:.0}")
            }
        };
        let range = |figures: &[f64; 3]| format!("{} … {}", figure(figures[1]), figure(figures[2]));
        let goal = match (self.goal, self.met()) {
            (Some(Goal::AtMost(most)), Some(true)) => format!("≤ {most}: met"),
            (Some(Goal::AtMost(most)), _) => format!("≤ {most}: NOT met"),
            (Some(Goal::AtLeast(least)), Some(true)) => format!("≥ {least}: met"),
            (Some(Goal::AtLeast(least)), _) => format!("≥ {least}: NOT met"),
            (None, _) => String::new(),
        };
        write!(
            f,
            "| {:<36} | {:>10} | {:>23} | {:>8} | {:>17} | {goal:<14} |",
            self.name,
            figure(self.value[0]),
            range(&self.value),
            figure(self.compared[0]),
            range(&self.compared),
        )
    }
}

/// Says on a terminal how far it is.
pub(crate) fn progress(what: &str, done: usize, of: usize) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // A line that cannot be shown is none that is missed.
        write!(stderr, "\r{what}: round {} of {of} ", done + 1).ok();
        if done + 1 == of {
            writeln!(stderr).ok();
        }
        stderr.flush().ok();
    } else if done == 0 {
        eprintln!("{what}: {of} rounds");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_judged_by_the_median_of_the_comparison() {
        let row = |compared: &[f64], goal| Row::new("x", &[1.0], compared, Some(goal));
        assert_eq!(row(&[1.0, 2.0, 99.0], Goal::AtMost(2.0)).met(), Some(true));
        assert_eq!(row(&[1.0, 3.0, 99.0], Goal::AtMost(2.0)).met(), Some(false));
        assert_eq!(
            row(&[0.5, 0.97, 1.0], Goal::AtLeast(0.98)).met(),
            Some(false)
        );
        assert!(
            row(&[0.97], Goal::AtLeast(0.98))
                .to_string()
                .contains("NOT met")
        );
        assert_eq!(Row::new("x", &[1.0], &[0.0], None).met(), None);
    }
}
