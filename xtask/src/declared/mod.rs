//! The tests of the tree, read from its sources: what the harness of each executable would list,
//! without building it.

mod items;
mod runs_on;
mod tokens;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use cargo_metadata::{Metadata, MetadataCommand, Target, TargetKind};

use self::items::{Items, Module};
pub(crate) use self::runs_on::RunsOn;
use self::runs_on::Statement;
use crate::host::workspace;

/// All tests by name, `executable::path::of::test` as `cargo xtask test` has it, and on which kernels
/// they run.
pub(crate) fn tests() -> Result<BTreeMap<String, RunsOn>> {
    let mut all = BTreeMap::new();
    for (executable, root) in executables()? {
        let (tests, statements) = tests_of(&root, &|path| std::fs::read_to_string(path).ok())?;
        let tests = runs_on::resolve(tests, &statements)
            .with_context(|| format!("the tests of {executable}"))?;
        let named = |(test, on)| (format!("{executable}::{test}"), on);
        all.extend(tests.into_iter().map(named));
    }
    Ok(all)
}

/// What a test executable is called.
pub(crate) fn executable(package: &str, target: &Target) -> String {
    if target.kind.contains(&TargetKind::Test) {
        target.name.clone()
    } else {
        format!("{package} ({})", target.kind[0])
    }
}

/// The test executables, with their first files.
fn executables() -> Result<Vec<(String, PathBuf)>> {
    let metadata: Metadata = MetadataCommand::new()
        .current_dir(workspace::root())
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .context("cannot read the workspace's metadata")?;
    let mut found = Vec::new();
    for package in &metadata.packages {
        let dir = package
            .manifest_path
            .parent()
            .and_then(|dir| dir.file_name());
        for target in package.targets.iter().filter(|target| target.test) {
            let name = executable(dir.unwrap_or_default(), target);
            found.push((name, target.src_path.clone().into_std_path_buf()));
        }
    }
    Ok(found)
}

/// The tests of the executable whose first file this is, and what its files state of where they run.
fn tests_of(
    root: &Path,
    read: &dyn Fn(&Path) -> Option<String>,
) -> Result<(Vec<String>, Vec<Statement>)> {
    let dir = root.parent().context("a file lies in a directory")?;
    let (mut found, mut statements) = (Vec::new(), Vec::new());
    let mut files = vec![(String::new(), root.to_owned(), dir.to_owned())];
    while let Some((prefix, path, dir)) = files.pop() {
        let name = path.display();
        let text = read(&path).with_context(|| format!("cannot read {name}"))?;
        let mut items = Items::default();
        tokens::trees(&text)
            .and_then(|trees| items.read(&[], &trees))
            .with_context(|| format!("cannot tell the tests of {name}"))?;
        found.extend(items.tests.iter().map(|test| format!("{prefix}{test}")));
        for mut statement in items.statements {
            let outer = prefix.split_terminator("::").map(str::to_owned);
            statement.within = outer.chain(statement.within).collect();
            statements.push(statement);
        }
        for module in &items.modules {
            let (file, below) = place(module, &path, &dir, read)
                .with_context(|| format!("{name}: there is no file of mod {}", module.name))?;
            let mut prefix = prefix.clone();
            for part in module.within.iter().chain([&module.name]) {
                prefix.push_str(part);
                prefix.push_str("::");
            }
            files.push((prefix, file, below));
        }
    }
    Ok((found, statements))
}

/// The file of a module, and the directory of its own modules.
fn place(
    module: &Module,
    declared_in: &Path,
    dir: &Path,
    read: &dyn Fn(&Path) -> Option<String>,
) -> Option<(PathBuf, PathBuf)> {
    if let Some(path) = &module.path {
        let file = declared_in.parent()?.join(path);
        let below = file.parent()?.to_owned();
        return Some((file, below));
    }
    let below: PathBuf = module
        .within
        .iter()
        .fold(dir.to_owned(), |dir, part| dir.join(part));
    let below = below.join(&module.name);
    [below.with_extension("rs"), below.join("mod.rs")]
        .into_iter()
        .find(|file| read(file).is_some())
        .map(|file| (file, below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_followed_into_their_files() {
        let file = |path: &Path| {
            let text = match path.to_str()? {
                "p/src/lib.rs" => "mod a; mod b; mod in_place { mod c; }",
                "p/src/a.rs" => "mod d; #[test] fn one() {}",
                "p/src/a/d.rs" => "#[cfg(test)] #[path = \"d_tests.rs\"] mod tests;",
                "p/src/a/d_tests.rs" => "#[test] fn two() {}",
                "p/src/b/mod.rs" => "mod e;",
                "p/src/b/e.rs" => "runs_on!(oldest); for_each_backend!(three);",
                "p/src/in_place/c.rs" => "#[test] fn four() {}",
                _ => return None,
            };
            Some(text.to_owned())
        };
        let (mut found, statements) =
            tests_of(Path::new("p/src/lib.rs"), &file).expect("all are there");
        assert_eq!(statements.len(), 1);
        assert_eq!(statements[0].within, ["b", "e"]);
        found.sort_unstable();
        assert_eq!(
            found,
            [
                "a::d::tests::two",
                "a::one",
                "b::e::ebpf::three",
                "b::e::nft::three",
                "in_place::c::four"
            ]
        );
        let error = tests_of(Path::new("p/src/b/lib.rs"), &|_| {
            Some("mod gone".to_owned())
        });
        assert!(error.expect("it declares no file").0.is_empty());
        let none = |path: &Path| path.ends_with("lib.rs").then(|| "mod gone;".to_owned());
        let error = tests_of(Path::new("lib.rs"), &none).expect_err("there is no such file");
        assert!(format!("{error:#}").contains("mod gone"), "{error:#}");
    }

    /// Those of this executable are known to the process that runs it.
    #[test]
    fn this_test_is_among_the_trees() {
        let names = tests().expect("the tree can be read");
        let name = "xtask (bin)::declared::tests::this_test_is_among_the_trees";
        assert!(names.contains_key(name));
    }
}
