//! `cargo xtask run`: the agent, or the lab's story.

use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context as _, Result};

use super::{build, vm};
use crate::fetch::kernel::Series;
use crate::fetch::toolchain::Toolchain;
use crate::host::cache::Cache;
use crate::host::{command, say, tools};
use crate::image::guest::Extra;
use crate::vm::protocol::Job;

/// Where the agent looks for its config by default.
const CONFIG: &str = "/etc/lte-backup/config.toml";
/// Usage or config, as the agent itself says it.
const USAGE: u8 = 2;

/// Build and run the agent, or the lab's story
///
/// Without --lab everything after `run` goes to the agent. With --lab it goes to the story, which
/// needs no modem, no config and no router.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Arguments; --lab as the first one plays the story
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match args.arguments.split_first() {
        Some((first, rest)) if first == "--lab" => lab(rest),
        _ => agent(&args.arguments),
    }
}

fn agent(arguments: &[String]) -> Result<ExitCode> {
    if wants_config(arguments) && !Path::new(CONFIG).exists() {
        eprintln!(
            "There is no {CONFIG}, and no --config FILE was given.\n\
             To get one: copy packaging/config.toml there, and put in your modem, your key and your server.\n\
             To see it work first, with no modem, no config and no router: cargo xtask run --lab"
        );
        return Ok(ExitCode::from(USAGE));
    }
    let toolchain = Toolchain::ready(&Cache::open()?)?;
    let agent = build::agent(&toolchain, false)?;
    let mut command = tools::as_root(&agent)?;
    let status = command
        .args(arguments)
        .status()
        .with_context(|| format!("cannot run `{}`", command::line(&command)))?;
    Ok(exit_code(status))
}

/// Whether the agent would look for its config at the usual place.
fn wants_config(arguments: &[String]) -> bool {
    let names_own = |word: &String| word == "--config" || word.starts_with("--config=");
    let asks_only =
        |word: &String| ["--help", "-h", "--version", "-V", "help"].contains(&word.as_str());
    !arguments
        .iter()
        .any(|word| names_own(word) || asks_only(word))
}

fn lab(arguments: &[String]) -> Result<ExitCode> {
    let cache = Cache::open()?;
    let toolchain = Toolchain::ready(&cache)?;
    let mut to_build = vec!["build"];
    to_build.extend(build::HOST_PACKAGES);
    to_build.extend(["--bin", build::AGENT, "--bin", "lab"]);
    let built = build::artifacts(&toolchain, &to_build)?;
    let (agent, lab) = (
        build::program(&built, build::AGENT)?,
        build::program(&built, "lab")?,
    );
    if can_run_here() {
        tools::require(&tools::LAB, "the lab")?;
        say::step("playing the story on this machine's kernel, in network namespaces");
        let status = Command::new(&lab)
            .args(arguments)
            .env("LTE_USERSPACE", &agent)
            .status()
            .with_context(|| format!("cannot run {}", lab.display()))?;
        return Ok(exit_code(status));
    }
    let kernel = Series::newest();
    say::step(format_args!(
        "playing the story in a virtual machine with kernel {kernel}"
    ));
    in_vm(&lab, &agent, arguments, kernel)
}

fn in_vm(lab: &Path, agent: &Path, arguments: &[String], kernel: Series) -> Result<ExitCode> {
    let mut words = vec![text(lab)];
    words.extend_from_slice(arguments);
    let job = Job {
        words,
        environment: vec![("LTE_USERSPACE".to_owned(), text(agent))],
        deadline: 300,
    };
    let bring = |path: &Path| Extra {
        host: path.to_owned(),
        guest: path.to_owned(),
    };
    vm::one_job(job, &[bring(lab), bring(agent)], &vm::Choice::usual(kernel))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Whether we are root and the running kernel has WireGuard. Asked in a namespace of its own, so
/// that nothing of the machine's network changes.
fn can_run_here() -> bool {
    let probe = "ip link add lab-probe type wireguard";
    nix::unistd::geteuid().is_root()
        && command::output(Command::new("unshare").args(["--net", "--", "sh", "-c", probe])).is_ok()
}

fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(code.to_le_bytes()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_is_missed_only_where_it_would_be_read() {
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert!(wants_config(&words("")));
        assert!(wants_config(&words("--backend nft")));
        assert!(!wants_config(&words("check --config x.toml")));
        assert!(!wants_config(&words("--config=x.toml")));
        assert!(!wants_config(&words("--help")));
    }
}
