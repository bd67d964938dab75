//! `cargo xtask fuzz`: random packets and texts.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use cargo_metadata::TargetKind;

use super::build;
use crate::fetch::toolchain::Toolchain;
use crate::host::cache::Cache;
use crate::host::tools::Tool;
use crate::host::{command, say, tools, workspace};

/// The fuzzer's own package, from the workspace's root.
const PACKAGE: &str = "tests/fuzz";
/// The test that holds the programs to the policy.
const DIFFERENTIAL: &str = "differential";
/// A config to begin altering with.
const EXAMPLE: &str = "tests/src/properties/config.toml";
/// Builds libFuzzer.
const COMPILER: Tool = Tool {
    program: "c++",
    package: "g++",
};

/// What is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Target {
    /// Generated packets, to the pure policy and to the loaded programs: they must agree
    Packets,
    /// Any bytes, to the parser and the policy, under libFuzzer
    Headers,
    /// Any text, to the config, under libFuzzer
    Config,
}

/// Hunt for packets that policy and programs judge differently, or inputs that break a parser
///
/// What is found is printed with what reproduces it: a seed, or a file for
/// `cargo xtask fuzz headers --input FILE`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum, default_value = "packets")]
    target: Target,
    /// How many packets, with `packets`
    #[arg(long, value_name = "N", default_value = "1000000")]
    packets: u64,
    /// Begin from this seed, to see the same once more; else another each time
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
    /// How long, with `headers` and `config`
    #[arg(long, value_name = "S", default_value = "60")]
    seconds: u32,
    /// Try this one input only, with `headers` and `config`
    #[arg(long, value_name = "FILE")]
    input: Option<std::path::PathBuf>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let cache = Cache::open()?;
    let toolchain = Toolchain::ready(&cache)?;
    match args.target {
        Target::Packets => packets(&toolchain, args),
        Target::Headers => libfuzzer(&toolchain, &cache, "headers", args),
        Target::Config => libfuzzer(&toolchain, &cache, "config", args),
    }
}

fn packets(toolchain: &Toolchain, args: &Args) -> Result<ExitCode> {
    say::step("building the generator and the programs, optimised");
    let mut arguments = vec!["test", "--no-run", "--release"];
    arguments.extend(["--package", "lte-tests", "--test", DIFFERENTIAL]);
    let built = build::artifacts(toolchain, &arguments)?;
    let test = built
        .into_iter()
        .filter(|artifact| artifact.target.kind.contains(&TargetKind::Test))
        .find_map(|artifact| artifact.executable)
        .context("cargo built no test")?;
    let seed = args.seed.unwrap_or_else(seed_of_today);
    say::step(format_args!(
        "{} packets on this kernel; the same once more: cargo xtask fuzz --packets {} --seed {seed}",
        args.packets, args.packets
    ));
    // Through env, since sudo takes no environment along.
    let mut command = tools::as_root("/usr/bin/env")?;
    command
        .arg(format!("LTE_DIFF_PACKETS={}", args.packets))
        .arg(format!("LTE_DIFF_SEED={seed}"))
        .arg(test.as_std_path())
        .args(["--nocapture", "--test-threads=1"]);
    ended(&mut command)
}

fn libfuzzer(toolchain: &Toolchain, cache: &Cache, target: &str, args: &Args) -> Result<ExitCode> {
    tools::require(&[COMPILER], "libFuzzer")?;
    // What was found interesting is kept, and begun with the next time.
    let corpus = workspace::scratch(&format!("fuzz/{target}"))?;
    let found = workspace::scratch(&format!("fuzz/{target}-found"))?;
    if target == "config" {
        std::fs::copy(workspace::root().join(EXAMPLE), corpus.join("example"))
            .with_context(|| format!("cannot copy {EXAMPLE}"))?;
    }
    let builds = workspace::target_dir()?.join("fuzz");
    let mut command = toolchain.cargo_fuzz(cache)?;
    command
        .args(["run", "--fuzz-dir", PACKAGE, "--target-dir"])
        .arg(builds)
        .arg(target);
    match &args.input {
        Some(file) => {
            let file = std::path::absolute(file)?;
            command.arg(file).arg("--");
        }
        None => {
            command
                .arg(corpus)
                .args(["--", &format!("-max_total_time={}", args.seconds)]);
        }
    }
    command.arg(format!("-artifact_prefix={}/", found.display()));
    if let Some(seed) = args.seed {
        command.arg(format!("-seed={seed}"));
    }
    ended(&mut command)
}

fn ended(command: &mut Command) -> Result<ExitCode> {
    let status = command
        .status()
        .with_context(|| format!("cannot run `{}`", command::line(command)))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn seed_of_today() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |since| since.as_secs() as u32)
}
