//! The private key is in memory, and only root gets at that memory.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lte_tests::installation::Installation;
use lte_tests::netns::Netns;
use lte_tests::process;
use lte_tests::wait::{self, TIMEOUT};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

// About the agent more than about the kernel.
lte_tests::runs_on!(newest);

/// The user `nobody`.
const NOBODY: u32 = 65534;

/// A `check` of nobody's that is kept waiting by its config, which is a pipe.
#[test]
fn nobody_looks_into_a_process_of_his_own() -> Result<()> {
    let installation = Installation::new(&Netns::create("router")?)?;
    fs::set_permissions(installation.path(), Permissions::from_mode(0o755))?;
    let config = installation.path().join("pipe");
    mkfifo(&config, Mode::from_bits_truncate(0o644))?;
    let binary = installation.command(None, &[])?.get_program().to_owned();
    let mut check = Command::new(binary);
    check.arg("--config").arg(&config).arg("check");
    let mut check = check.uid(NOBODY).gid(NOBODY).spawn()?;
    let result = looked_into(check.id(), &config);
    check.kill()?;
    check.wait()?;
    result
}

fn looked_into(pid: u32, config: &Path) -> Result<()> {
    let of = |name: &str| format!("/proc/{pid}/{name}");
    wait::until(TIMEOUT, "the process to open its config", || {
        let at = fs::read_to_string(of("syscall"))?;
        // openat, and the pipe has no writer.
        Ok(at
            .starts_with(&format!("{} ", libc::SYS_openat))
            .then_some(()))
    })?;
    ensure!(config.exists());
    let owner = fs::metadata(of("environ"))?.uid();
    ensure!(owner == 0, "its files are user {owner}'s: it is dumpable");
    let limits = fs::read_to_string(of("limits"))?;
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core = core.context("no limit of cores")?;
    let figures: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    ensure!(figures == ["0", "0"], "{core}");
    let mut look = Command::new("cat");
    look.arg(of("maps")).uid(NOBODY).gid(NOBODY);
    look.stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let looked = process::end_of(look.spawn()?, TIMEOUT)?;
    ensure!(!looked.status.success(), "nobody sees: {looked:?}");
    Ok(())
}
