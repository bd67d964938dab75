//! What is wrong with a config file, and where.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One thing that is wrong: a place in the file, and a line that says what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Why a config file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error(
        "{}: no config there: write one (docs/config.md explains every key, packaging/config.toml is an example) or name it with --config FILE",
        .0.display()
    )]
    Missing(PathBuf),
    /// The file is there and cannot be read.
    #[error("{}: cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file's content is wrong; one line for each problem.
    #[error("{}", lines(path, problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All that was found, in the order of the file.
        problems: Vec<Problem>,
    },
}

fn lines(path: &Path, problems: &[Problem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|p| format!("{}:{}:{}: {}", path.display(), p.line, p.column, p.message))
        .collect();
    lines.join("\n")
}

/// Gathers the problems of one file.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    source: &'a str,
    found: Vec<(usize, Problem)>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self {
            source,
            found: Vec::new(),
        }
    }

    /// Notes a problem at a span of bytes.
    pub(super) fn add(&mut self, span: Range<usize>, message: impl fmt::Display) {
        let (line, column) = position(self.source, span.start);
        self.found.push((
            span.start,
            Problem {
                line,
                column,
                message: printable(&message.to_string()),
            },
        ));
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many problems there are so far.
    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    /// All problems, in the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|(start, _)| *start);
        self.found.into_iter().map(|(_, problem)| problem).collect()
    }
}

/// A message quotes what stands in the file. A line end in it would make two lines of one, and an
/// escape sequence would be for the terminal: TOML's own escapes put both into a value.
fn printable(message: &str) -> String {
    message
        .chars()
        .flat_map(|char| {
            let escaped = char.is_control().then(|| char.escape_default());
            let plain = escaped.is_none().then_some(char);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// Line and column, both from 1, of a byte offset.
fn position(source: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(source.len());
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    let before = &source[..end];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_not_bytes() {
        let source = "a = 1\nbö = 2\n";
        assert_eq!(position(source, 0), (1, 1));
        assert_eq!(
            position(source, source.find('=').map_or(0, |at| at)),
            (1, 3)
        );
        assert_eq!(
            position(source, source.rfind('=').map_or(0, |at| at)),
            (2, 4)
        );
        assert_eq!(position(source, 10_000), (3, 1));
    }
}
