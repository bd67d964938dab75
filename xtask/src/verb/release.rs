//! `cargo xtask release`: a tag, with the changelog's notes.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::semver::Version;

use crate::changelog;
use crate::host::{command, say, workspace};

/// Tag a release with the changelog's notes
///
/// The tree has to be clean, and VERSION that of Cargo.toml, of Cargo.lock and of the changelog's newest
/// section. Nothing is pushed. What else a release needs stands in CONTRIBUTING.md.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The version, as 1.2.3
    version: Version,
    /// Check, and print the tag instead of making it
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let root = workspace::root();
    let release = Release::prepare(&root, &args.version)?;
    if args.dry_run {
        println!("{}\n\n{}", release.tag, release.message);
        return Ok(ExitCode::SUCCESS);
    }
    release.make(&root)?;
    say::step(format_args!(
        "{0} is tagged; to publish it: git push origin {0}",
        release.tag
    ));
    Ok(ExitCode::SUCCESS)
}

/// A tag that can be made.
#[derive(Debug, PartialEq, Eq)]
struct Release {
    tag: String,
    message: String,
}

impl Release {
    /// Checks everything, so that one call shows all that is wrong.
    fn prepare(root: &Path, version: &Version) -> Result<Self> {
        let tag = format!("v{version}");
        let read = |name: &str| {
            std::fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"))
        };
        let mut problems = Vec::new();
        let changed = git(root, &["status", "--porcelain"])?;
        if let Some(first) = changed.lines().next() {
            problems.push(format!(
                "the tree is not clean ({}): commit or stash",
                first.trim()
            ));
        }
        if !git(root, &["tag", "--list", &tag])?.is_empty() {
            problems.push(format!("there is a tag {tag} already"));
        }
        problems.extend(manifest(&read("Cargo.toml")?, version)?);
        problems.extend(lock(&read("Cargo.lock")?, version)?);
        let notes = notes(&read(changelog::FILE)?, version, &mut problems);
        if !problems.is_empty() {
            for problem in &problems {
                eprintln!("{problem}");
            }
            bail!("{version} cannot be released: {} to mend", problems.len());
        }
        Ok(Self {
            tag,
            message: format!("lte-backup {version}\n\n{notes}"),
        })
    }

    fn make(&self, root: &Path) -> Result<()> {
        // Git would take the notes' headings for comments.
        let message = self.message.as_str();
        git(
            root,
            &[
                "tag",
                "--annotate",
                "--cleanup=whitespace",
                "--message",
                message,
                &self.tag,
            ],
        )
        .map(drop)
    }
}

fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    command::output(Command::new("git").current_dir(root).args(arguments))
}

/// Whether the workspace's manifest has another version.
fn manifest(text: &str, version: &Version) -> Result<Option<String>> {
    let manifest: toml::Table = text.parse().context("Cargo.toml")?;
    let found = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("package")?.get("version")?.as_str())
        .context("Cargo.toml has no workspace.package.version")?;
    Ok((found != version.to_string()).then(|| {
        format!("Cargo.toml: workspace.package.version is {found}: write {version}, and build")
    }))
}

/// Packages of ours that the lock file has with another version: such a tree changes when it is built.
fn lock(text: &str, version: &Version) -> Result<Vec<String>> {
    let lock: toml::Table = text.parse().context("Cargo.lock")?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let text = |package: &toml::Value, key: &str| {
        let text = package.get(key).and_then(toml::Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    Ok(packages
        .into_iter()
        .flatten()
        .filter(|package| package.get("source").is_none())
        .map(|package| (text(package, "name"), text(package, "version")))
        .filter(|(_, found)| *found != version.to_string())
        .map(|(name, found)| format!("Cargo.lock: {name} is {found}: build, and commit it"))
        .collect())
}

/// The notes of this version; what is wrong is added to the problems.
fn notes(text: &str, version: &Version, problems: &mut Vec<String>) -> String {
    let changelog = changelog::read(text);
    problems.extend(changelog.problems);
    let mut sections = changelog.sections.into_iter();
    let file = changelog::FILE;
    if sections.next().is_some_and(|first| !first.notes.is_empty()) {
        problems.push(format!(
            "{file}: [Unreleased] has entries: put them under [{version}], or they are released without a word"
        ));
    }
    let Some(section) = sections.next() else {
        problems.push(format!("{file}: no section [{version}]"));
        return String::new();
    };
    if section.version.as_ref() != Some(version) {
        problems.push(format!("{file}: the newest section is not [{version}]"));
    }
    if section.notes.is_empty() {
        problems.push(format!("{file}: [{version}] says nothing"));
    }
    section.notes
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
