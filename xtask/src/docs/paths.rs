//! The documents' links and paths, held to the tree.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{files, markdown};
use crate::host::workspace;

/// What the tree's directories are called: a path that begins so is one of the tree, and not of the kernel's
/// source or of a machine.
const DIRECTORIES: [&str; 7] = [
    "docs/",
    "lte-common/",
    "lte-ebpf/",
    "lte-userspace/",
    "packaging/",
    "tests/",
    "xtask/",
];

/// Where a link's target would be, for those that lead to a file.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).flat_map(|(number, line)| {
        let targets = line.split("](").skip(1);
        let targets = targets.filter_map(|rest| rest.split_once(')'));
        targets
            .map(|(target, _)| target.split('#').next().unwrap_or_default())
            .filter(|target| !target.is_empty() && !target.contains("://"))
            .map(move |target| (number, target))
    })
}

/// What is not there, a line each.
fn missing(name: &str, text: &str, is_there: impl Fn(&Path) -> bool) -> Vec<String> {
    let own = Path::new(name).parent().unwrap_or(Path::new(""));
    let linked = links(text).map(|(line, target)| (line, own.join(target)));
    let spans = markdown::code(text).into_iter();
    let named = spans
        .filter(|code| code.language.is_none())
        .filter(|code| DIRECTORIES.iter().any(|one| code.text.starts_with(one)))
        .filter(|code| !code.text.contains([' ', '*', '…']))
        .map(|code| (code.line, PathBuf::from(code.text)));
    linked
        .chain(named)
        .filter(|(_, path)| !is_there(path))
        .map(|(line, path)| format!("{name}:{line}: there is no {}", path.display()))
        .collect()
}

#[test]
fn the_documents_paths_are_there() -> Result<()> {
    let root = std::fs::canonicalize(workspace::root()).context("the workspace is there")?;
    let is_there = |path: &Path| {
        // What is outside the tree is on this machine alone.
        std::fs::canonicalize(root.join(path)).is_ok_and(|path| path.starts_with(&root))
    };
    let wrong: Vec<String> = files("*.md")?
        .iter()
        .flat_map(|(name, text)| missing(name, text, is_there))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn a_path_that_is_not_there_is_told() {
    let there = ["docs/a.md", "docs/../tests/src", "tests/src"];
    let text = "[a](a.md#part), [b](b.md), [out](https://example.org/a.md), [here](#part)
`tests/src`, `tests/src/*.rs`, `tests/gone.rs`, `drivers/net/x.c`, [up](../tests/src)
";
    let told = missing("docs/x.md", text, |path| {
        there.iter().any(|one| path == Path::new(one))
    });
    assert_eq!(
        told,
        [
            "docs/x.md:1: there is no docs/b.md",
            "docs/x.md:2: there is no tests/gone.rs",
        ]
    );
}
