//! The walks through the code in the documents: each function that they name is in the file that they name.

use anyhow::{Context as _, Result, ensure};

use super::files;
use crate::host::workspace;

const DOCUMENT: &str = "docs/architecture.md";

/// File and function of a row that names both.
fn step(line: &str) -> Option<(&str, &str)> {
    let mut cells = line.strip_prefix("| ")?.split(" | ");
    let mut code = || cells.next()?.strip_prefix('`')?.strip_suffix('`');
    let (file, function) = (code()?, code()?);
    file.contains('/').then_some((file, function))
}

fn has_function(source: &str, name: &str) -> bool {
    ["(", "<"]
        .iter()
        .any(|after| source.contains(&format!("fn {name}{after}")))
}

#[test]
fn the_functions_of_the_walks_are_there() -> Result<()> {
    let document = files(DOCUMENT)?;
    let (_, text) = document.first().context(DOCUMENT)?;
    let mut count = 0;
    for (file, function) in text.lines().filter_map(step) {
        count += 1;
        let path = workspace::root().join(file);
        let source = std::fs::read_to_string(&path).with_context(|| file.to_owned())?;
        ensure!(
            has_function(&source, function),
            "{file} has no function {function}"
        );
    }
    ensure!(count > 40, "{count} steps in {DOCUMENT}");
    Ok(())
}

#[test]
fn a_row_is_a_step_where_it_names_both() {
    assert_eq!(step("| `a/b.rs` | `f` | does it |"), Some(("a/b.rs", "f")));
    assert_eq!(step("| `a/b.rs` | text | does it |"), None);
    assert_eq!(step("| `file` | `f` | does it |"), None);
    assert!(has_function("pub(super) fn f<T>(t: T)", "f"));
    assert!(!has_function("fn ff()", "f"));
}
