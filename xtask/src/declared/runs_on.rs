//! On which kernels a test runs, as the statements `runs_on!` beside the tests say: see
//! `tests/src/runs_on.rs`. Pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

use super::tokens::Tree;

/// A place in the matrix of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Oldest,
    FirstBetween,
    LastBetween,
    Newest,
}

impl Place {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "oldest" => Self::Oldest,
            "first_between" => Self::FirstBetween,
            "last_between" => Self::LastBetween,
            "newest" => Self::Newest,
            _ => return None,
        })
    }

    /// Whether the kernel at an index among so many, the oldest first, has this place.
    const fn is(self, index: usize, kernels: usize) -> bool {
        let is_end = index == 0 || index + 1 == kernels;
        match self {
            Self::Oldest => index == 0,
            Self::FirstBetween => index == 1 && !is_end,
            Self::LastBetween => index + 2 == kernels && !is_end,
            Self::Newest => index + 1 == kernels,
        }
    }
}

/// On which kernels a test runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RunsOn {
    /// Empty: on every kernel.
    places: BTreeSet<Place>,
    /// In a long run only.
    pub(crate) is_long: bool,
}

impl RunsOn {
    pub(crate) fn every_kernel(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether the kernel at an index among so many, the oldest first, is one of them.
    pub(crate) fn has(&self, index: usize, kernels: usize) -> bool {
        self.every_kernel() || self.places.iter().any(|place| place.is(index, kernels))
    }
}

/// A call of `runs_on!`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// The path of its module: within the file while that is read, within the executable after.
    pub(super) within: Vec<String>,
    runs_on: RunsOn,
    /// Empty: for all tests of the module.
    names: Vec<String>,
}

impl Statement {
    /// What stands between the call's brackets.
    pub(super) fn read(within: &[String], inside: &[Tree<'_>]) -> Result<Self> {
        let mut statement = Self {
            within: within.to_vec(),
            runs_on: RunsOn::default(),
            names: Vec::new(),
        };
        let mut words = inside.split(|tree| *tree == Tree::Sign(';'));
        for word in list(words.next().unwrap_or_default())? {
            match (word, Place::parse(word)) {
                ("long", _) => statement.runs_on.is_long = true,
                (_, Some(place)) => {
                    statement.runs_on.places.insert(place);
                }
                (_, None) => bail!("`{word}` is no place in the matrix of kernels"),
            }
        }
        for name in list(words.next().unwrap_or_default())? {
            statement.names.push(name.to_owned());
        }
        ensure!(words.next().is_none(), "takes kernels; names");
        Ok(statement)
    }

    /// How near it is to a test of this path, where it decides for it.
    fn distance(&self, test: &[&str]) -> Option<(std::cmp::Reverse<usize>, bool)> {
        let below = test.get(self.within.len()..)?;
        let inside = self.within.iter().zip(test).all(|(a, b)| a == b);
        let named = self.names.is_empty() || below.iter().any(|part| self.has_name(part));
        let depth = std::cmp::Reverse(self.within.len());
        (inside && named).then_some((depth, self.names.is_empty()))
    }

    fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|one| one == name)
    }

    fn describe(&self) -> String {
        let names = if self.names.is_empty() {
            "all its tests".to_owned()
        } else {
            self.names.join(", ")
        };
        format!("runs_on! for {names} in `{}`", self.within.join("::"))
    }
}

/// Words with commas between them.
fn list<'a>(trees: &[Tree<'a>]) -> Result<Vec<&'a str>> {
    let mut words = Vec::new();
    for tree in trees {
        match tree {
            Tree::Word(word) => words.push(*word),
            Tree::Sign(',') => {}
            _ => bail!("takes words, not {tree:?}"),
        }
    }
    Ok(words)
}

/// What the statements of an executable say of its tests.
///
/// # Errors
///
/// Where a statement, or a name in one, decides for no test, and where two decide for the same.
pub(super) fn resolve(
    tests: Vec<String>,
    statements: &[Statement],
) -> Result<BTreeMap<String, RunsOn>> {
    let mut found = BTreeMap::new();
    let mut idle: BTreeSet<(usize, &str)> = statements
        .iter()
        .enumerate()
        .flat_map(|(at, one)| match &one.names[..] {
            [] => vec![(at, "")],
            names => names.iter().map(|name| (at, name.as_str())).collect(),
        })
        .collect();
    for test in tests {
        let path: Vec<&str> = test.split("::").collect();
        let near = |one: &Statement| one.distance(&path);
        let nearest = statements.iter().filter_map(near).min();
        let mut deciding = statements
            .iter()
            .enumerate()
            .filter(|(_, one)| nearest.is_some() && one.distance(&path) == nearest);
        let runs_on = deciding.next().map(|(at, one)| {
            idle.retain(|(i, name)| *i != at || !(name.is_empty() || path.contains(name)));
            one.runs_on.clone()
        });
        if let Some((_, other)) = deciding.next() {
            bail!("{test}: {} and another decide", other.describe());
        }
        found.insert(test, runs_on.unwrap_or_default());
    }
    if let Some((at, name)) = idle.first() {
        let what = statements[*at].describe();
        bail!("{what}: `{name}` decides for no test");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::tokens::trees;
    use super::*;

    fn statement(within: &[&str], text: &str) -> Result<Statement> {
        let within: Vec<String> = within.iter().map(|&part| part.to_owned()).collect();
        Statement::read(&within, &trees(text)?)
    }

    fn kernels(runs_on: &RunsOn) -> Vec<usize> {
        (0..4).filter(|index| runs_on.has(*index, 4)).collect()
    }

    fn resolved(tests: &[&str], statements: &[(&[&str], &str)]) -> Result<Vec<Vec<usize>>> {
        let statements: Result<Vec<_>> = statements
            .iter()
            .map(|(within, text)| statement(within, text))
            .collect();
        let found = resolve(
            tests.iter().map(|&test| test.to_owned()).collect(),
            &statements?,
        )?;
        Ok(tests.iter().map(|test| kernels(&found[*test])).collect())
    }

    #[test]
    fn places_are_told_in_matrices_of_each_size() {
        let text = "oldest, first_between, last_between, newest";
        let all = statement(&[], text).expect("all are places").runs_on;
        assert_eq!(kernels(&all), [0, 1, 2, 3]);
        let between = statement(&[], "first_between, last_between").expect("places");
        for (kernels, expected) in [(1, 0), (2, 0), (3, 1), (4, 2), (5, 2)] {
            let count = (0..kernels)
                .filter(|index| between.runs_on.has(*index, kernels))
                .count();
            assert_eq!(count, expected, "of {kernels}");
        }
        assert!(all.has(0, 1) && !all.is_long && !all.every_kernel());
        assert!(RunsOn::default().has(2, 4));
        assert!(statement(&[], "newest, eldest").is_err());
        assert!(statement(&[], "newest; a; b").is_err());
        assert!(statement(&[], "newest; (a)").is_err());
        let long = statement(&[], "long, oldest; a").expect("it is one");
        assert!(long.runs_on.is_long && kernels(&long.runs_on) == [0]);
    }

    #[test]
    fn the_nearest_statement_decides() {
        let tests = ["a", "m::a", "m::b", "m::nft::c", "n::a"];
        let statements: [(&[&str], &str); 4] = [
            (&[], "oldest"),
            (&["m"], "newest"),
            (&["m"], "oldest, newest; b, nft"),
            (&[], "first_between; n"),
        ];
        let found = resolved(&tests, &statements).expect("each decides for one");
        assert_eq!(found, [vec![0], vec![3], vec![0, 3], vec![0, 3], vec![1]]);
        assert_eq!(
            resolved(&["a"], &[]).expect("it runs on all"),
            [[0, 1, 2, 3]]
        );
    }

    #[test]
    fn a_statement_that_decides_for_no_test_is_an_error() {
        let error = |tests: &[&str], statements: &[(&[&str], &str)]| {
            let error = resolved(tests, statements).expect_err("it is to be refused");
            error.to_string()
        };
        let no_test = error(&["a"], &[(&[], "oldest; a, b")]);
        assert!(no_test.contains("`b` decides for no test"), "{no_test}");
        error(&["a"], &[(&["m"], "oldest")]);
        error(&["m::a"], &[(&[], "oldest"), (&["m"], "newest")]);
        let both = error(&["nft::a"], &[(&[], "oldest; nft"), (&[], "newest; a")]);
        assert!(both.contains("and another decide"), "{both}");
    }
}
