//! Programs of this machine, and the distribution's packages that bring them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::{command, say};

/// A program we need, and the Debian or Ubuntu package that has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    /// Its name, or its path where it is on no user's `PATH`.
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// The emulator.
pub(crate) const QEMU: Tool = tool("qemu-system-x86_64", "qemu-system-x86");

/// Needed to make a kernel's modules ready.
pub(crate) const MODULES: [Tool; 2] = [tool("depmod", "kmod"), tool("xz", "xz-utils")];

/// What the lab calls on when it runs on this machine itself.
pub(crate) const LAB: [Tool; 5] = [
    tool("ip", "iproute2"),
    tool("tc", "iproute2"),
    tool("nft", "nftables"),
    tool("wg", "wireguard-tools"),
    tool("sysctl", "procps"),
];

/// What the guest has besides a shell and busybox's small tools.
pub(crate) const GUEST: [Tool; 22] = [
    tool("bash", "bash"),
    tool("busybox", "busybox-static"),
    tool("modprobe", "kmod"),
    tool("ip", "iproute2"),
    tool("tc", "iproute2"),
    tool("ss", "iproute2"),
    tool("bridge", "iproute2"),
    tool("nft", "nftables"),
    tool("wg", "wireguard-tools"),
    tool("ping", "iputils-ping"),
    tool("tcpdump", "tcpdump"),
    tool("iperf3", "iperf3"),
    tool("conntrack", "conntrack"),
    tool("sysctl", "procps"),
    tool("ethtool", "ethtool"),
    tool("nsenter", "util-linux"),
    tool("unshare", "util-linux"),
    tool("dmsetup", "dmsetup"),
    tool("mkfs.ext4", "e2fsprogs"),
    tool("/usr/lib/systemd/systemd-networkd", "systemd"),
    tool("/usr/lib/systemd/systemd", "systemd"),
    tool("/usr/bin/systemctl", "systemd"),
];

/// Finds every tool; installs the packages of those that are missing.
pub(crate) fn require(tools: &[Tool], what_for: &str) -> Result<()> {
    let missing = missing(tools);
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    packages.dedup();
    let programs: Vec<&str> = missing.iter().map(|tool| tool.program).collect();
    say::step(format_args!(
        "{what_for} needs {}: installing {}",
        programs.join(", "),
        packages.join(", ")
    ));
    install(&packages)?;
    if let Some(tool) = self::missing(tools).first() {
        bail!(
            "{what_for} needs {}, and package {} did not bring it",
            tool.program,
            tool.package
        );
    }
    Ok(())
}

fn missing(tools: &[Tool]) -> Vec<Tool> {
    tools
        .iter()
        .filter(|tool| command::which(tool.program).is_none())
        .copied()
        .collect()
}

/// Where a tool is that [`require`] has found.
pub(crate) fn path(program: &str) -> Result<PathBuf> {
    command::which(program).with_context(|| format!("{program} is not on PATH"))
}

/// A command as root: through sudo where we are not.
pub(crate) fn as_root(program: impl AsRef<Path>) -> Result<Command> {
    if nix::unistd::geteuid().is_root() {
        return Ok(Command::new(program.as_ref()));
    }
    let Some(sudo) = command::which("sudo") else {
        bail!(
            "{} needs root, and there is no sudo: run it as root",
            program.as_ref().display()
        );
    };
    let mut command = Command::new(sudo);
    command.arg("--").arg(program.as_ref());
    Ok(command)
}

/// Installs packages of this machine's own suite.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let by_hand = || {
        format!(
            "cannot install {0}: run `apt-get install {0}` as root",
            packages.join(" ")
        )
    };
    let Some(apt) = command::which("apt-get") else {
        bail!(
            "{} missing, and this machine has no apt-get to install it with",
            packages.join(", ")
        );
    };
    update().with_context(by_hand)?;
    command::output(
        apt_get(&apt)?
            .args(["install", "--no-install-recommends"])
            .args(packages),
    )
    .with_context(by_hand)?;
    Ok(())
}

/// Fetches the package lists of this machine's own suite.
pub(crate) fn update() -> Result<()> {
    let apt = path("apt-get")?;
    let mut update = apt_get(&apt)?;
    update
        .arg("update")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = update
        .status()
        .with_context(|| format!("cannot run `{}`", command::line(&update)))?;
    // A foreign repository that does not answer fails the whole update; what follows shows
    // whether the lists suffice.
    if !status.success() {
        say::warn("apt-get update failed; going on with the lists there are");
    }
    Ok(())
}

fn apt_get(apt: &Path) -> Result<Command> {
    let mut command = as_root("/usr/bin/env")?;
    command
        .arg("DEBIAN_FRONTEND=noninteractive")
        .arg(apt)
        .args(["-q", "-y", "-o", "DPkg::Lock::Timeout=300"]);
    Ok(command)
}
