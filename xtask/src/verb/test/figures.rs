//! Figures that the tests print, as tables with the kernels as columns. Pure.

use std::collections::BTreeMap;
use std::fmt;

use crate::fetch::kernel::Series;

/// All figures: by table, then by row in the order of printing.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<String, Vec<Row>>);

/// A row's name, and its values by kernel.
type Row = (String, BTreeMap<Series, String>);

impl Figures {
    /// Takes the figures out of what a test has printed: lines of `figure`, table, row and value,
    /// with tabs between.
    pub(crate) fn take(&mut self, kernel: Series, output: &str) {
        for line in output.lines() {
            let mut parts = line.split('\t');
            let (Some("figure"), Some(table), Some(row), Some(value), None) = (
                parts.next(),
                parts.next(),
                parts.next(),
                parts.next(),
                parts.next(),
            ) else {
                continue;
            };
            let rows = self.0.entry(table.to_owned()).or_default();
            let at = rows.iter().position(|(name, _)| name == row);
            let at = at.unwrap_or_else(|| {
                rows.push((row.to_owned(), BTreeMap::new()));
                rows.len() - 1
            });
            rows[at].1.insert(kernel, value.to_owned());
        }
    }

    /// Writes the tables.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>, kernels: &[Series]) -> fmt::Result {
        for (table, rows) in &self.0 {
            let cell = |cells: &BTreeMap<Series, String>, kernel: &Series| {
                cells.get(kernel).cloned().unwrap_or_else(|| "-".to_owned())
            };
            let names = rows.iter().map(|(name, _)| name.len());
            let width = names.max().unwrap_or(0).max(table.len());
            write!(f, "\n{table:width$}  ")?;
            let mut widths = Vec::new();
            for kernel in kernels {
                let values = rows.iter().map(|(_, cells)| cell(cells, kernel).len());
                let width = values.max().unwrap_or(0).max(kernel.name().len());
                write!(f, "  {:>width$}", kernel.name())?;
                widths.push(width);
            }
            writeln!(f)?;
            for (row, cells) in rows {
                write!(f, "  {row:width$}")?;
                for (kernel, width) in kernels.iter().zip(&widths) {
                    write!(f, "  {:>width$}", cell(cells, kernel))?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shown<'a>(&'a Figures, &'a [Series]);

    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.show(f, self.1)
        }
    }

    #[test]
    fn figures_become_tables_by_kernel() {
        let [old, new] = ["5.10", "7.2"].map(|name| name.parse().expect("of the matrix"));
        let mut figures = Figures::default();
        figures.take(
            old,
            "test x ... \nfigure\trepair\trules\t12 ms\nfigure\tno\n",
        );
        figures.take(
            new,
            "\nfigure\trepair\trules\t9 ms\nfigure\trepair\tlink\t100 ms\n",
        );
        assert_eq!(
            Shown(&figures, &[old, new]).to_string(),
            "\nrepair     5.10     7.2\n  rules   12 ms    9 ms\n  link        -  100 ms\n"
        );
    }
}
