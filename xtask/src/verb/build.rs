//! `cargo xtask build`: the agent with its eBPF object.

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{Artifact, Message};

use crate::fetch::toolchain::Toolchain;
use crate::host::cache::Cache;
use crate::host::say;

/// The agent's package and program.
pub(crate) const AGENT: &str = "lte-userspace";

/// All that is built for the host. One selection for whatever needs more than the agent: another
/// would give dependencies other features, and build them once more.
pub(crate) const HOST_PACKAGES: [&str; 3] = ["--workspace", "--exclude", "lte-ebpf"];

/// Build the agent with its eBPF object
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Optimised, as it is shipped
    #[arg(long)]
    release: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let toolchain = Toolchain::ready(&Cache::open()?)?;
    let agent = agent(&toolchain, args.release)?;
    say::step(format_args!("the agent is {}", agent.display()));
    Ok(ExitCode::SUCCESS)
}

/// Builds the agent; returns where it is.
pub(crate) fn agent(toolchain: &Toolchain, release: bool) -> Result<PathBuf> {
    let mut arguments = vec!["build", "--package", AGENT, "--bin", AGENT];
    if release {
        arguments.push("--release");
    }
    program(&artifacts(toolchain, &arguments)?, AGENT)
}

/// The program of this name among what cargo made.
pub(crate) fn program(artifacts: &[Artifact], name: &str) -> Result<PathBuf> {
    artifacts
        .iter()
        .filter(|artifact| artifact.target.name == name && !artifact.profile.test)
        .find_map(|artifact| artifact.executable.clone())
        .map(cargo_metadata::camino::Utf8PathBuf::into_std_path_buf)
        .with_context(|| format!("cargo built no program {name}"))
}

/// Calls cargo with its messages as JSON, and returns what it made or found made.
pub(crate) fn artifacts(toolchain: &Toolchain, arguments: &[&str]) -> Result<Vec<Artifact>> {
    let mut cargo = toolchain.cargo()?;
    cargo
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = cargo.spawn().context("cannot run cargo")?;
    let from = child.stdout.take().context("cargo has no stdout")?;
    let mut found = Vec::new();
    for message in Message::parse_stream(std::io::BufReader::new(from)) {
        if let Message::CompilerArtifact(artifact) =
            message.context("cannot read cargo's messages")?
        {
            found.push(artifact);
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed ({status})", arguments.join(" "));
    }
    Ok(found)
}
