//! `cargo xtask bench`: what the guard costs on the running kernel.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::build;
use crate::fetch::toolchain::Toolchain;
use crate::host::cache::Cache;
use crate::host::{command, say, tools, workspace};

/// Measure what the guard costs on the running kernel, side by side with doing without
///
/// Prints a table, and writes it with a plot and all figures to target/xtask/bench. Other work on
/// the machine makes the figures wider, not other.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each thing is measured
    #[arg(long, value_name = "N", default_value = "21")]
    rounds: u32,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let toolchain = Toolchain::ready(&Cache::open()?)?;
    tools::require(&tools::LAB, "the benchmark")?;
    say::step("building the benchmark, optimised");
    let mut arguments = vec!["build", "--release"];
    arguments.extend(["--package", "lte-tests", "--bin", "bench"]);
    let bench = build::program(&build::artifacts(&toolchain, &arguments)?, "bench")?;
    let out = workspace::scratch("bench")?;
    say::step("measuring, in network namespaces of its own");
    let mut measure = tools::as_root(&bench)?;
    measure
        .args(["--rounds", &args.rounds.to_string(), "--out"])
        .arg(out);
    let status = measure
        .status()
        .with_context(|| format!("cannot run `{}`", command::line(&measure)))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
