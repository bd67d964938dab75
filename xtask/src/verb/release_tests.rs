//! Releases of a repository that is made for the purpose.

use std::fs;

use tempfile::TempDir;

use super::*;

const CHANGELOG: &str = "\
# Changelog

## [Unreleased]

## [1.2.3] - 2026-01-31

### Added
- One thing.

### Security
- Another.
";

/// A clean repository that is ready for 1.2.3.
fn repository() -> Result<TempDir> {
    let dir = TempDir::new()?;
    let root = dir.path();
    fs::write(
        root.join("Cargo.toml"),
        "[workspace.package]\nversion = \"1.2.3\"\n",
    )?;
    fs::write(
        root.join("Cargo.lock"),
        "[[package]]\nname = \"ours\"\nversion = \"1.2.3\"\n[[package]]\nname = \"theirs\"\nversion = \"9.9.9\"\nsource = \"registry\"\n",
    )?;
    fs::write(root.join(changelog::FILE), CHANGELOG)?;
    git(root, &["init", "--quiet"])?;
    git(root, &["config", "user.name", "Nobody"])?;
    git(root, &["config", "user.email", "nobody@example.org"])?;
    // Whatever the one who runs the tests has set for all repositories.
    for key in ["tag.gpgSign", "commit.gpgSign"] {
        git(root, &["config", key, "false"])?;
    }
    commit(root)?;
    Ok(dir)
}

fn commit(root: &Path) -> Result<()> {
    git(root, &["add", "--all"])?;
    git(root, &["commit", "--quiet", "--message", "all"]).map(drop)
}

fn version() -> Version {
    Version::new(1, 2, 3)
}

#[test]
fn a_release_is_a_tag_with_the_notes() -> Result<()> {
    let dir = repository()?;
    let root = dir.path();
    let release = Release::prepare(root, &version())?;
    assert_eq!(release.tag, "v1.2.3");
    assert_eq!(git(root, &["tag"])?, "", "preparing makes no tag");
    release.make(root)?;
    assert_eq!(git(root, &["cat-file", "-t", "v1.2.3"])?, "tag\n");
    let said = git(root, &["tag", "--list", "--format=%(contents)", "v1.2.3"])?;
    let notes = CHANGELOG.split_once("01-31\n\n").context("it is there")?.1;
    assert_eq!(
        said.trim_end(),
        format!("lte-backup 1.2.3\n\n{}", notes.trim_end())
    );
    // Once.
    assert!(Release::prepare(root, &version()).is_err());
    Ok(())
}

#[test]
fn what_is_not_ready_is_refused() -> Result<()> {
    // A file, what it has in place of what, and whether that is committed.
    for (name, from, to, committed) in [
        ("Cargo.toml", "1.2.3", "1.2.4", true),
        ("Cargo.lock", "1.2.3", "1.2.2", true),
        (changelog::FILE, "[1.2.3]", "[1.2.4]", true),
        (
            changelog::FILE,
            "[Unreleased]\n",
            "[Unreleased]\n\n### Fixed\n- More.\n",
            true,
        ),
        (changelog::FILE, "- One", "One", true),
        (
            changelog::FILE,
            "### Added\n- One thing.\n\n### Security\n- Another.\n",
            "",
            true,
        ),
        ("Cargo.lock", "9.9.9", "9.9.8", false),
    ] {
        let dir = repository()?;
        let root = dir.path();
        Release::prepare(root, &version()).context("before the change")?;
        let text = fs::read_to_string(root.join(name))?;
        assert!(text.contains(from), "{name}: {from}");
        fs::write(root.join(name), text.replacen(from, to, 1))?;
        if committed {
            commit(root)?;
        }
        let error = Release::prepare(root, &version()).expect_err(to);
        assert_eq!(
            error.to_string(),
            "1.2.3 cannot be released: 1 to mend",
            "{to}"
        );
    }
    Ok(())
}

#[test]
fn a_file_that_git_does_not_know_is_refused() -> Result<()> {
    let dir = repository()?;
    fs::write(dir.path().join("new"), "")?;
    assert!(Release::prepare(dir.path(), &version()).is_err());
    Ok(())
}
