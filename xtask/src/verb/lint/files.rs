//! The files of the tree.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::host::{command, workspace};

/// A text file of the tree.
#[derive(Debug)]
pub(super) struct File {
    /// Its path below the workspace's root.
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Every file that git knows or would take, and that this pattern of git's matches.
pub(super) fn of(pattern: &str) -> Result<Vec<File>> {
    let list = command::output(Command::new("git").current_dir(workspace::root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        pattern,
    ]))?;
    list.lines()
        .map(PathBuf::from)
        .map(|path| (workspace::root().join(&path), path))
        .filter(|(place, _)| place.exists())
        .map(|(place, path)| {
            let text = std::fs::read_to_string(&place)
                .with_context(|| format!("cannot read {}", place.display()))?;
            Ok(File { path, text })
        })
        .collect()
}
