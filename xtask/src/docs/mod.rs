//! Tests of the documents: each command in them is one that there is, each config is one that is taken, each
//! link and path leads somewhere.
//!
//! Nothing is run: a command is given to the very parser that would read it. A renamed flag or key makes
//! the document red that still has the old one.

mod commands;
mod config;
mod json;
mod markdown;
mod paths;
mod walks;

use std::process::Command;

use anyhow::Result;

use crate::host::{command, workspace};

/// Files of the tree that git's pattern matches, each with its text.
fn files(pattern: &str) -> Result<Vec<(String, String)>> {
    let mut git = Command::new("git");
    git.current_dir(workspace::root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .arg(pattern);
    command::output(&mut git)?
        .lines()
        .map(|name| (name.to_owned(), workspace::root().join(name)))
        .filter(|(_, path)| path.exists())
        .map(|(name, path)| Ok((name, std::fs::read_to_string(path)?)))
        .collect()
}
