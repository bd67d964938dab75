//! `cargo xtask bench`: what the guard costs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::{build, vm};
use crate::fetch::kernel::Series;
use crate::fetch::toolchain::Toolchain;
use crate::host::cache::Cache;
use crate::host::{command, say, tools, workspace};
use crate::image::guest::Extra;
use crate::vm::protocol::Job;

/// The tunnel's rounds: each sets up and takes down a lab three times.
const TUNNEL_ROUNDS: &str = "5";
/// All of them, seconds.
const TUNNEL_DEADLINE: u64 = 900;

/// Measure what the guard costs, side by side with doing without
///
/// The programs and packets through veth on the running kernel; iperf3 through a whole tunnel in a
/// virtual machine of the newest one. Prints a table, and writes it with a plot and all figures to
/// target/xtask/bench.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each thing is measured on the running kernel
    #[arg(long, value_name = "N", default_value = "21")]
    rounds: u32,
    /// Leave the virtual machine out
    #[arg(long)]
    no_tunnel: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let toolchain = Toolchain::ready(&Cache::open()?)?;
    tools::require(&tools::LAB, "the benchmark")?;
    say::step("building the agent and the benchmark, optimised");
    let mut arguments = vec!["build", "--release"];
    arguments.extend(build::HOST_PACKAGES);
    arguments.extend(["--bin", build::AGENT, "--bin", "bench"]);
    let built = build::artifacts(&toolchain, &arguments)?;
    let bench = build::program(&built, "bench")?;
    let out = workspace::scratch("bench")?;
    let mut measure = tools::as_root(&bench)?;
    measure
        .args(["--rounds", &args.rounds.to_string(), "--out"])
        .arg(&out);
    if !args.no_tunnel {
        let agent = build::program(&built, build::AGENT)?;
        measure.arg("--also").arg(tunnel(&bench, &agent, &out)?);
    }
    say::step("measuring on this kernel, in network namespaces");
    let status = measure
        .status()
        .with_context(|| format!("cannot run `{}`", command::line(&measure)))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Measures a whole tunnel in a virtual machine; where its figures are.
fn tunnel(bench: &Path, agent: &Path, out: &Path) -> Result<PathBuf> {
    let kernel = Series::newest();
    say::step(format_args!(
        "measuring a whole tunnel in a virtual machine with kernel {kernel}"
    ));
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let bring = |path: &Path| Extra {
        host: path.to_owned(),
        guest: path.to_owned(),
    };
    let words = ["--tunnel", "--rounds", TUNNEL_ROUNDS].map(str::to_owned);
    let job = Job {
        words: std::iter::once(text(bench)).chain(words).collect(),
        environment: vec![("LTE_USERSPACE".to_owned(), text(agent))],
        deadline: TUNNEL_DEADLINE,
    };
    let extras = [bring(bench), bring(agent)];
    let (status, figures) = vm::gather(job, &extras, &vm::Choice::usual(kernel))?;
    if status != ExitCode::SUCCESS {
        bail!("the tunnel was not measured; --no-tunnel leaves it out");
    }
    let file = out.join("tunnel.json");
    std::fs::write(&file, figures).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}
