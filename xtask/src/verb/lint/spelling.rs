//! Words that are no words, by typos.

use std::process::Command;

use anyhow::Result;

use crate::fetch::checkers;
use crate::host::cache::Cache;
use crate::host::{command, workspace};

/// Checks names and texts of all files that git would take; typos.toml says what else is a word.
pub(super) fn check(cache: &Cache) -> Result<()> {
    command::run(
        Command::new(checkers::typos(cache)?)
            .current_dir(workspace::root())
            .args(["--format", "brief"]),
    )
}
