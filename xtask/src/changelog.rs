//! CHANGELOG.md, in the form of Keep a Changelog: what a release says of itself. Pure.

use std::collections::BTreeMap;

use cargo_metadata::semver::Version;

/// The file, from the workspace's root.
pub(crate) const FILE: &str = "CHANGELOG.md";

/// The kinds of change that there are.
const KINDS: [&str; 6] = [
    "Added",
    "Changed",
    "Deprecated",
    "Removed",
    "Fixed",
    "Security",
];

/// A version's part, or that of what is not released yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// `None`: not released yet.
    pub(crate) version: Option<Version>,
    /// What stands below its heading, without empty lines around it.
    pub(crate) notes: String,
}

/// The file, read.
#[derive(Debug, Default)]
pub(crate) struct Changelog {
    /// The newest first.
    pub(crate) sections: Vec<Section>,
    /// What is not as it should be, a line each.
    pub(crate) problems: Vec<String>,
}

/// Reads the whole file, whatever is wrong in it.
pub(crate) fn read(text: &str) -> Changelog {
    let mut reader = Reader::default();
    if text.lines().next() != Some("# Changelog") {
        reader.problem(1, "the first line is `# Changelog`");
    }
    for (number, line) in (1..).zip(text.lines()).skip(1) {
        reader.line(number, line.trim_end());
    }
    reader.end_of_section();
    let first = reader.found.sections.first();
    if first.is_none_or(|section| section.version.is_some()) {
        reader.problem(1, "the first section is `## [Unreleased]`");
    }
    reader.found
}

#[derive(Debug, Default)]
struct Reader {
    found: Changelog,
    /// The section's kinds of change that were met, each with its line.
    kinds: BTreeMap<String, usize>,
    /// Its entries, with the line on which each begins.
    entries: Vec<(usize, String)>,
    notes: Vec<String>,
}

impl Reader {
    fn problem(&mut self, line: usize, what: &str) {
        self.found.problems.push(format!("{FILE}:{line}: {what}"));
    }

    fn line(&mut self, number: usize, line: &str) {
        if let Some(title) = line.strip_prefix("## ") {
            self.end_of_section();
            self.section(number, title);
            return;
        }
        if self.found.sections.is_empty() {
            return;
        }
        self.notes.push(line.to_owned());
        if let Some(kind) = line.strip_prefix("### ") {
            self.kind(number, kind);
        } else if let Some(entry) = line.strip_prefix("- ") {
            if self.kinds.is_empty() {
                self.problem(number, "an entry stands under `### Added` or the like");
            }
            self.entries.push((number, entry.to_owned()));
        } else if let Some(more) = line.strip_prefix("  ")
            && let Some((_, entry)) = self.entries.last_mut()
        {
            entry.push(' ');
            entry.push_str(more);
        } else if !line.is_empty() {
            self.problem(
                number,
                "an entry begins with `- ` and goes on two columns in",
            );
        }
    }

    fn section(&mut self, number: usize, title: &str) {
        let version = if title == "[Unreleased]" {
            None
        } else if let Some(version) = released(title) {
            Some(version)
        } else {
            self.problem(
                number,
                "a section is `## [Unreleased]` or `## [1.2.3] - 2006-01-02`",
            );
            return;
        };
        let before = self.found.sections.last().map(|one| one.version.as_ref());
        let falls = match (before, &version) {
            (None, _) | (Some(None), Some(_)) => true,
            (Some(Some(before)), Some(version)) => version < before,
            (Some(_), None) => false,
        };
        if !falls {
            self.problem(number, "the newest version comes first, and each once");
        }
        self.found.sections.push(Section {
            version,
            notes: String::new(),
        });
    }

    fn kind(&mut self, number: usize, kind: &str) {
        if !KINDS.contains(&kind) {
            self.problem(number, &format!("`{kind}` is none of {}", KINDS.join(", ")));
        }
        if let Some(first) = self.kinds.insert(kind.to_owned(), number) {
            self.problem(number, &format!("`{kind}` is on line {first} already"));
        }
    }

    fn end_of_section(&mut self) {
        let mut subjects = BTreeMap::new();
        for (line, entry) in std::mem::take(&mut self.entries) {
            let subject = subject(&entry);
            if let Some(first) = subjects.insert(subject.clone(), line) {
                self.problem(
                    line,
                    &format!("`{subject}` has an entry on line {first} already: one of both"),
                );
            }
        }
        self.kinds.clear();
        let notes = std::mem::take(&mut self.notes).join("\n");
        if let Some(section) = self.found.sections.last_mut() {
            notes.trim().clone_into(&mut section.notes);
        }
    }
}

/// The version in `[1.2.3] - 2006-01-02`.
fn released(title: &str) -> Option<Version> {
    let (version, date) = title.strip_prefix('[')?.split_once("] - ")?;
    let is_date = date.len() == "2006-01-02".len()
        && date.char_indices().all(|(at, c)| match at {
            4 | 7 => c == '-',
            _ => c.is_ascii_digit(),
        });
    Version::parse(version).ok().filter(|_| is_date)
}

/// What an entry is about: its words as far as the first mark between clauses.
fn subject(entry: &str) -> String {
    let clause = entry.split([',', ';', ':', '(']).next().unwrap_or(entry);
    let clause = clause.split(". ").next().unwrap_or(clause);
    let words = clause
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
# Changelog

What this is.

## [Unreleased]

## [0.2.0] - 2026-03-01

### Added
- One thing, that goes
  on here.

### Fixed
- Another.

## [0.1.0] - 2026-01-31

### Added
- One thing, to begin with.
";

    fn problems(from: &str, to: &str) -> Vec<String> {
        assert!(GOOD.contains(from), "{from}");
        read(&GOOD.replacen(from, to, 1)).problems
    }

    #[test]
    fn sections_have_their_notes() {
        let Changelog { sections, problems } = read(GOOD);
        assert_eq!(problems, [""; 0]);
        let versions: Vec<_> = sections
            .iter()
            .map(|one| one.version.as_ref().map(ToString::to_string))
            .collect();
        assert_eq!(
            versions,
            [None, Some("0.2.0".to_owned()), Some("0.1.0".to_owned())]
        );
        assert_eq!(sections[0].notes, "");
        assert_eq!(
            sections[1].notes,
            "### Added\n- One thing, that goes\n  on here.\n\n### Fixed\n- Another."
        );
    }

    #[test]
    fn what_is_not_in_form_is_told_with_its_line() {
        for (from, to, problem) in [
            ("# Changelog", "# Changes", "1: the first line is"),
            ("## [Unreleased]\n", "", "1: the first section is"),
            (
                "[0.2.0] - 2026-03-01",
                "0.2.0",
                "7: a section is `## [Unreleased]` or",
            ),
            (
                "2026-03-01",
                "1 March",
                "7: a section is `## [Unreleased]` or",
            ),
            (
                "[0.1.0]",
                "[0.2.0]",
                "16: the newest version comes first, and each once",
            ),
            ("### Fixed", "### Mended", "13: `Mended` is none of Added"),
            ("### Fixed", "### Added", "13: `Added` is on line 9 already"),
            ("  on here.", "on here.", "11: an entry begins with"),
            ("### Added\n- One", "- One", "9: an entry stands under"),
        ] {
            let told = problems(from, to);
            let wanted = format!("{FILE}:{problem}");
            assert!(
                told.iter().any(|one| one.starts_with(&wanted)),
                "{to}: {told:?}"
            );
        }
    }

    #[test]
    fn a_thing_has_one_entry_in_a_section() {
        let told = problems("- Another.", "- One *thing*: it goes on.");
        assert_eq!(
            told,
            [format!(
                "{FILE}:14: `one thing` has an entry on line 10 already: one of both"
            )]
        );
    }
}
