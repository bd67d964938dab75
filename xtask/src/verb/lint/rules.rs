//! Rules for a source file that neither rustfmt nor clippy knows.

use std::path::Path;

use anyhow::Result;

use super::files::File;

/// A file has one subject; one that is longer than this has two.
const MAX_LINES: usize = 600;

/// Judges all of these files.
pub(super) fn hold(files: &[File]) -> Result<()> {
    let found: Vec<String> = files
        .iter()
        .flat_map(|file| judge(&file.path, &file.text))
        .collect();
    super::report(&found)
}

/// What a source file does that it should not.
fn judge(path: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        found.push(format!(
            "{}: {lines} lines, of {MAX_LINES} at most: part it by subject",
            path.display()
        ));
    }
    // In two pieces, so that this line does not find itself.
    for unfinished in [concat!("to", "do!("), concat!("unimple", "mented!(")] {
        for (number, _) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.contains(unfinished))
        {
            found.push(format!(
                "{}:{}: {unfinished}) is unfinished work",
                path.display(),
                number + 1
            ));
        }
    }
    found.extend(examples(path, text));
    found
}

/// Code in a doc comment, which is not run: to build the packages once more for doctests costs half a
/// minute, and there are none.
fn examples(path: &Path, text: &str) -> Vec<String> {
    let mut open = false;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let doc = line.strip_prefix("///").or(line.strip_prefix("//!"));
        let Some(kind) = doc.and_then(|doc| doc.trim().strip_prefix("```")) else {
            continue;
        };
        if !open && kind != "text" {
            found.push(format!(
                "{}:{}: an example that is not run: make a test of it, or ```text",
                path.display(),
                number + 1
            ));
        }
        open = !open;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_text() {
        let path = Path::new("a.rs");
        assert!(judge(path, "/// ```text\n/// a b\n/// ```\n").is_empty());
        let found = judge(path, "fn a() {}\n    //! ```\n    //! a();\n    //! ```\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("a.rs:2: "), "{found:?}");
    }

    #[test]
    fn long_and_unfinished_files_are_found() {
        let path = Path::new("a.rs");
        assert!(judge(path, "fn main() {}\n").is_empty());
        assert_eq!(judge(path, &"\n".repeat(MAX_LINES + 1)).len(), 1);
        let unfinished = concat!("fn a() {}\nfn b() { to", "do!() }\n");
        let found = judge(path, unfinished);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("a.rs:2: "), "{found:?}");
    }
}
