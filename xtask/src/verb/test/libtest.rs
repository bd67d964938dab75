//! What the standard test harness prints. Pure.

/// The counts of one harness run, and the tests it left out.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) ignored: usize,
}

/// The sum of all summaries in a text; `None` where there is none, as
/// when a test takes the whole harness down with it.
pub(crate) fn summary(text: &str) -> Option<Summary> {
    let mut found: Option<Summary> = None;
    for line in text
        .lines()
        .filter_map(|line| line.strip_prefix("test result: "))
    {
        let one = parse_counts(line)?;
        let sum = found.get_or_insert_default();
        sum.passed += one.passed;
        sum.failed += one.failed;
        sum.ignored += one.ignored;
    }
    found
}

/// `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
fn parse_counts(line: &str) -> Option<Summary> {
    let (_, counts) = line.split_once(". ")?;
    let count = |what: &str| -> Option<usize> {
        counts
            .split(';')
            .filter_map(|part| part.trim().split_once(' '))
            .find(|(_, name)| *name == what)?
            .0
            .parse()
            .ok()
    };
    Some(Summary {
        passed: count("passed")?,
        failed: count("failed")?,
        ignored: count("ignored")?,
    })
}

/// The names that `--list --format terse` prints.
pub(crate) fn list(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect()
}

/// The names after which the harness printed `ignored`.
pub(crate) fn ignored(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("test "))
        .filter_map(|line| line.split_once(" ... "))
        .filter(|(_, result)| result.starts_with("ignored"))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
running 3 tests
test a::one ... ok
test a::two ... ignored, needs a modem
test three ... some child said this
FAILED

failures:

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s

running 0 tests

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn summaries_add_up() {
        let expected = Summary {
            passed: 3,
            failed: 1,
            ignored: 1,
        };
        assert_eq!(summary(TEXT), Some(expected));
    }

    #[test]
    fn a_missing_or_cut_summary_is_none() {
        assert_eq!(summary("running 3 tests\ntest a ... ok\n"), None);
        assert_eq!(summary("test result: ok. 3 pas"), None);
        assert_eq!(summary(&format!("{TEXT}test result: ok. 3 passed; ")), None);
    }

    #[test]
    fn names_are_listed() {
        assert_eq!(
            list("a::one: test\nbench: benchmark\n\n1 test\n"),
            ["a::one"]
        );
        assert_eq!(ignored(TEXT), ["a::two"]);
    }
}
