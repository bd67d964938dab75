//! Snapshots for tests: a text that is printed, held against a file of the tree.
//!
//! A file a snapshot, written anew with `LTE_BLESS=1`, and read in the diff of the change that has caused
//! it. This is all that is needed of insta (its review program is one more tool to install) and of
//! expect-test (its texts stand in the source, and a help text is half a source file long).

use std::path::Path;

/// Compares with a file, whose path is from the package's directory; with `LTE_BLESS` writes it.
#[track_caller]
pub(crate) fn assert(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("LTE_BLESS").is_some() {
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("cannot write {file}: {error}"));
    }
    let golden = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {file} ({error}): LTE_BLESS=1 makes it"));
    if let Some(difference) = difference(text, &golden) {
        panic!("{file}:{difference}\nif it is meant, run this test with LTE_BLESS=1");
    }
}

/// The first line that differs.
fn difference(is: &str, golden: &str) -> Option<String> {
    if is == golden {
        return None;
    }
    let (mut left, mut right) = (is.split('\n'), golden.split('\n'));
    let mut number = 0;
    loop {
        number += 1;
        let (is, was) = (left.next(), right.next());
        if is != was {
            let text = |line: Option<&str>| line.map_or("nothing".to_owned(), |l| format!("{l:?}"));
            return Some(format!("{number}: is {}, was {}", text(is), text(was)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_told() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        let told = |is, golden| difference(is, golden).unwrap_or_default();
        assert_eq!(told("a\nb\n", "a\nc\n"), "2: is \"b\", was \"c\"");
        assert_eq!(told("a\n", "a\nb\n"), "2: is \"\", was \"b\"");
        assert_eq!(told("a\nb", "a"), "2: is \"b\", was nothing");
    }
}
