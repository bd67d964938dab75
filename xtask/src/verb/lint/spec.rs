//! `docs/spec.md`: all that it promises is kept by tests that exist, and who cites it cites what it has.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::files::File;

/// The specification.
const SPEC: &str = "docs/spec.md";
/// What the specification's rules are cited by; the name of one follows, and a backquote; and maybe more of
/// them, behind commas.
const CITED: &str = concat!("spec", ": `");
/// What links to one of its headings; the anchor follows.
const LINKED: &str = concat!("spec.md", "#");
/// The heading of a table's column of tests, and what a list of them begins with.
const KEPT_BY: &str = "kept by";

/// Judges the specification, and all that cites it, against the tests of the tree.
pub(super) fn hold(files: &[File], tests: &[String]) -> Result<()> {
    let spec = files
        .iter()
        .find(|file| file.path == Path::new(SPEC))
        .with_context(|| format!("there is no {SPEC}"))?;
    let rules = rules(&spec.text);
    let mut found = judge(&rules, tests);
    let names: BTreeSet<&str> = rules.iter().map(|rule| rule.name).collect();
    let anchors = anchors(&spec.text);
    for file in files {
        found.extend(citations(file, &names, &anchors));
    }
    super::report(&found)
}

/// Something that the specification says under a name.
#[derive(Debug, PartialEq, Eq)]
struct Rule<'a> {
    name: &'a str,
    /// From 1.
    line: usize,
    /// The tests that keep it; `None`: it stands in a table without such a column, and promises nothing.
    kept_by: Option<Vec<&'a str>>,
}

/// A rule is a heading that is a name in backquotes, with a paragraph that begins with "Kept by:"; or a row
/// of a table: each where a column has the tests, else one that begins with such a name.
fn rules(text: &str) -> Vec<Rule<'_>> {
    let mut rules: Vec<Rule<'_>> = Vec::new();
    // The rule whose heading was last, and whether the paragraph is its list of tests.
    let mut last: Option<usize> = None;
    let mut in_list = false;
    // The columns of the table that is being read.
    let mut columns: Option<Vec<String>> = None;
    for (number, line) in text.lines().enumerate().map(|(n, line)| (n + 1, line)) {
        if let Some(heading) = line.strip_prefix('#') {
            let name = only_quoted(heading.trim_start_matches('#').trim());
            last = name.map(|name| {
                rules.push(Rule {
                    name,
                    line: number,
                    kept_by: Some(Vec::new()),
                });
                rules.len() - 1
            });
        }
        let cells = cells(line);
        match (&columns, cells.is_empty()) {
            (_, true) => columns = None,
            (None, false) => {
                columns = Some(cells.iter().map(|cell| cell.to_lowercase()).collect());
            }
            (Some(columns), false) => {
                let kept_by = columns.iter().position(|column| column == KEPT_BY);
                let first = cells.first().copied().unwrap_or_default();
                // Where there are tests to be named, each row has to name some.
                let name = only_quoted(first).or(kept_by.is_some().then_some(first));
                if let Some(name) = name.filter(|name| !name.starts_with("---")) {
                    rules.push(Rule {
                        name,
                        line: number,
                        kept_by: kept_by
                            .map(|at| cells.get(at).map_or(Vec::new(), |cell| quoted(cell))),
                    });
                }
            }
        }
        in_list = (in_list || line.to_lowercase().starts_with(KEPT_BY)) && !line.trim().is_empty();
        if let Some(kept_by) = last
            .filter(|_| in_list)
            .and_then(|at| rules.get_mut(at))
            .and_then(|rule| rule.kept_by.as_mut())
        {
            kept_by.extend(quoted(line));
        }
    }
    rules
}

/// The cells of a table's row; of any other line none.
fn cells(line: &str) -> Vec<&str> {
    line.strip_prefix('|')
        .and_then(|row| row.trim_end().strip_suffix('|'))
        .map_or(Vec::new(), |row| row.split('|').map(str::trim).collect())
}

/// What stands in backquotes, one after the other.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What stands in backquotes, where nothing else is there.
fn only_quoted(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('`')?.strip_suffix('`')?;
    (!inside.is_empty() && !inside.contains('`')).then_some(inside)
}

/// What is wrong with the specification itself.
fn judge(rules: &[Rule<'_>], tests: &[String]) -> Vec<String> {
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    if rules.is_empty() {
        found.push(format!("{SPEC}: it has no rule"));
    }
    for Rule {
        name,
        line,
        kept_by,
    } in rules
    {
        if !names.insert(name) {
            found.push(format!("{SPEC}:{line}: `{name}` is there twice"));
        }
        let Some(kept_by) = kept_by else {
            continue;
        };
        if kept_by.is_empty() {
            found.push(format!(
                "{SPEC}:{line}: `{name}` names no test that keeps it"
            ));
        }
        for pattern in kept_by {
            if !tests.iter().any(|test| is_like(pattern, test)) {
                found.push(format!(
                    "{SPEC}:{line}: `{name}` is to be kept by `{pattern}`, and no test is called so"
                ));
            }
        }
    }
    found
}

/// Whether a name is as a pattern says, in which a star stands for anything.
fn is_like(pattern: &str, name: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    name.strip_prefix(begin).is_some_and(|name| {
        let ends = (0..=name.len()).filter(|end| name.is_char_boundary(*end));
        ends.map(|end| &name[end..]).any(|name| is_like(rest, name))
    })
}

/// The anchors that a text's headings make (GitHub's rule, as far as it is needed).
fn anchors(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|heading| {
            heading
                .trim_start_matches('#')
                .trim()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '))
                .map(|c| {
                    if c == ' ' {
                        '-'
                    } else {
                        c.to_ascii_lowercase()
                    }
                })
                .collect()
        })
        .collect()
}

/// What a file cites of the specification, and that has it not.
fn citations(file: &File, names: &BTreeSet<&str>, anchors: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let place = format!("{}:{}", file.path.display(), number + 1);
        for cited in line.split(CITED).skip(1) {
            let mut rest = Some(cited);
            while let Some((name, after)) = rest.and_then(|rest| rest.split_once('`')) {
                if !names.contains(name) {
                    found.push(format!("{place}: {SPEC} has no rule `{name}`"));
                }
                rest = after.strip_prefix(", `");
            }
        }
        for linked in line.split(LINKED).skip(1) {
            let end = linked.find(|c: char| !c.is_alphanumeric() && !matches!(c, '-' | '_'));
            let anchor = &linked[..end.unwrap_or(linked.len())];
            if !anchors.contains(anchor) {
                found.push(format!("{place}: {SPEC} has no heading for #{anchor}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const TEXT: &str = "\
# Specification
## Invariants
### `a-rule`
It holds.

Kept by: `tunnel::*::up`,
`senders::ebpf::x`.

Not `this`.

## What passes
| packet | verdict | kept by |
| --- | --- | --- |
| `out/a` | `pass` | `flood::*` |
| another | | `flood::nft::a` |

## Out of reach
| who | what |
| --- | --- |
| `raw-sockets` | `everything` |
";

    fn tests() -> Vec<String> {
        ["tunnel::ebpf::up", "senders::ebpf::x", "flood::nft::a"]
            .map(str::to_owned)
            .into()
    }

    #[test]
    fn rules_are_headings_and_rows() {
        let rule = |name, line, kept_by| Rule {
            name,
            line,
            kept_by,
        };
        let expected = [
            rule("a-rule", 3, Some(vec!["tunnel::*::up", "senders::ebpf::x"])),
            rule("out/a", 14, Some(vec!["flood::*"])),
            rule("another", 15, Some(vec!["flood::nft::a"])),
            rule("raw-sockets", 20, None),
        ];
        assert_eq!(rules(TEXT), expected);
        assert!(judge(&rules(TEXT), &tests()).is_empty());
    }

    #[test]
    fn a_test_that_is_not_there_is_found() {
        for (old, new, line) in [
            ("::up", "::upp", 3),
            ("flood::*", "flood::*::b", 14),
            ("`flood::*`", "", 14),
            ("`flood::nft::a`", "flood", 15),
            ("Kept by: ", "By: ", 3),
            ("out/a", "a-rule", 14),
        ] {
            let text = TEXT.replace(old, new);
            let found = judge(&rules(&text), &tests());
            assert_eq!(found.len(), 1, "{new}: {found:?}");
            assert!(
                found[0].starts_with(&format!("{SPEC}:{line}: ")),
                "{found:?}"
            );
        }
        assert_eq!(judge(&[], &tests()).len(), 1);
    }

    #[test]
    fn a_star_stands_for_anything() {
        assert!(is_like("a::*::c", "a::b::c") && is_like("*", "a") && is_like("a*", "a"));
        assert!(!is_like("a::*::c", "a::c") && !is_like("a", "ab") && !is_like("a*c", "abcd"));
    }

    #[test]
    fn a_rule_that_is_cited_has_to_be_there() {
        let names = BTreeSet::from(["a-rule", "out/a"]);
        let anchors = anchors(TEXT);
        let cited = |text: &str| {
            let file = File {
                path: PathBuf::from("a.rs"),
                text: text.replace('!', CITED).replace('@', LINKED),
            };
            citations(&file, &names, &anchors)
        };
        assert!(cited("// (!a-rule`, !out/a`)\n// docs/@what-passes, @a-rule)").is_empty());
        assert_eq!(cited("\n// !a-rul`").len(), 1);
        assert_eq!(cited("// !a-rule`, `out/a`, `out/b`, and `out/c`").len(), 1);
        assert!(cited("\n// !a-rul`")[0].starts_with("a.rs:2: "));
        assert_eq!(cited("[x](@what-passed)").len(), 1);
    }
}
