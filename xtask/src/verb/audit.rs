//! `cargo xtask audit`: what others know of the packages that this depends on.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::fetch::checkers;
use crate::host::cache::Cache;
use crate::host::{command, workspace};

/// Ask for security advisories about dependencies, by cargo-deny
///
/// Licences, doubles and sources are checked as well, by the same deny.toml that `lint` reads. It needs
/// the RustSec database, from GitHub: that is why this is no part of `lint`, which has to run where there
/// is nothing but the package registries. Part of every release.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    let program = checkers::cargo_deny(&Cache::open()?)?;
    command::run(
        Command::new(program)
            .current_dir(workspace::root())
            .arg("check"),
    )?;
    Ok(ExitCode::SUCCESS)
}
