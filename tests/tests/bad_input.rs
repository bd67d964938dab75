//! What cannot work is refused in one line, and nothing has been touched.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::hidden_module::HiddenModule;
use lte_tests::installation::Installation;
use lte_tests::keys;
use lte_tests::process::Ended;
use lte_tests::seccomp::without_bpf;

// About the agent more than about the kernel.
lte_tests::runs_on!(newest);
use lte_tests::topology::{Lab, Options};

/// Exit status for usage and config.
const CONFIG: i32 = 2;
/// Exit status for what failed on this machine.
const FAILED: i32 = 1;

fn lab() -> Result<Lab> {
    Lab::build(&Options {
        server: false,
        ..Options::default()
    })
}

/// It said one line that names the matter, ended as it should, and changed nothing.
fn refused(
    prepare: impl FnOnce(&mut Installation) -> Result<Command>,
    status: i32,
    names: &[&str],
) -> Result<()> {
    let lab = lab()?;
    let mut installation = Installation::new(&lab.router)?;
    let before = lab.snapshot()?;
    let mut command = prepare(&mut installation)?;
    let ended = installation.run_command(&mut command)?;
    one_line(&ended, status, names)?;
    before.assert_same(&lab.router)
}

fn one_line(ended: &Ended, status: i32, names: &[&str]) -> Result<()> {
    ensure!(
        ended.status.code() == Some(status),
        "not exit status {status}: {ended:?}"
    );
    ensure!(
        ended.stderr.trim_end().lines().count() == 1,
        "not one line: {ended:?}"
    );
    for name in names {
        ensure!(ended.stderr.contains(name), "no `{name}` in it: {ended:?}");
    }
    ensure!(
        !ended.stderr.contains(keys::ROUTER.private()),
        "the private key is in it"
    );
    Ok(())
}

/// A config with one passage changed is refused by the agent and by `check`, with the line.
fn config_refused(passage: &str, instead: &str, names: &[&str]) -> Result<()> {
    refused(
        |installation| {
            installation.config = installation.config.clone().with(passage, instead)?;
            let checked = installation.run(None, &["check"])?;
            one_line(&checked, CONFIG, names).context("check")?;
            installation.command(Some(Backend::Ebpf), &[])
        },
        CONFIG,
        names,
    )
}

#[test]
fn the_labs_own_config_is_good() -> Result<()> {
    let lab = lab()?;
    let before = lab.snapshot()?;
    let ended = Installation::new(&lab.router)?.run(None, &["check"])?;
    ensure!(ended.status.success(), "{ended:?}");
    before.assert_same(&lab.router)
}

#[test]
fn unknown_key() -> Result<()> {
    config_refused("mtu = 1380", "mut = 1380", &["config.toml:11", "mut"])
}

#[test]
fn wrong_type() -> Result<()> {
    config_refused("mtu = 1380", "mtu = \"large\"", &["config.toml:11"])
}

#[test]
fn bad_cidr() -> Result<()> {
    config_refused(
        "192.168.0.2/24",
        "192.168.0.2/33",
        &["config.toml:3", "192.168.0.2/33"],
    )
}

#[test]
fn gateway_outside_the_subnet() -> Result<()> {
    config_refused(
        "192.168.0.1\"",
        "192.168.1.1\"",
        &["config.toml:4", "192.168.1.1"],
    )
}

#[test]
fn default_route_in_allowed_ips() -> Result<()> {
    for everything in ["0.0.0.0/0", "::/0"] {
        config_refused("10.88.88.2/32", everything, &["config.toml:16", everything])?;
    }
    Ok(())
}

#[test]
fn no_config() -> Result<()> {
    refused(
        |installation| {
            let command = installation.command(Some(Backend::Ebpf), &[])?;
            fs::remove_file(installation.path().join("config.toml"))?;
            Ok(command)
        },
        CONFIG,
        &["config.toml"],
    )
}

fn key_refused(mode: u32, key: &str, status: i32) -> Result<()> {
    refused(
        |installation| {
            installation.files().write("private.key", mode, key)?;
            installation.command(Some(Backend::Ebpf), &[])
        },
        status,
        &["private.key"],
    )
}

#[test]
fn key_file_readable_by_others() -> Result<()> {
    key_refused(0o644, keys::ROUTER.private(), CONFIG)
}

#[test]
fn key_of_another_length() -> Result<()> {
    // 31 bytes; and 32, of which the last was cut off; and nothing.
    for key in [
        "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ==",
        "not base64!",
        "",
    ] {
        key_refused(0o600, key, CONFIG)?;
    }
    Ok(())
}

#[test]
fn interface_does_not_exist() -> Result<()> {
    refused(
        |installation| {
            installation.config = installation
                .config
                .clone()
                .with("interface = \"modem\"", "interface = \"nomodem\"")?;
            installation.command(Some(Backend::Ebpf), &[])
        },
        FAILED,
        &["nomodem"],
    )
}

#[test]
fn not_root() -> Result<()> {
    const NOBODY: u32 = 65534;
    refused(
        |installation| {
            let mut command = installation.command(Some(Backend::Ebpf), &[])?;
            // It may read all it needs: only the right to change the network is missing.
            for file in fs::read_dir(installation.path())? {
                chown(file?.path(), Some(NOBODY), Some(NOBODY))?;
            }
            chown(installation.path(), Some(NOBODY), Some(NOBODY))?;
            command.uid(NOBODY).gid(NOBODY);
            Ok(command)
        },
        FAILED,
        &["root"],
    )
}

#[test]
fn no_bpf_in_the_kernel() -> Result<()> {
    refused(
        |installation| {
            let mut command = installation.command(Some(Backend::Ebpf), &[])?;
            without_bpf(&mut command);
            Ok(command)
        },
        FAILED,
        &["BPF"],
    )
}

#[test]
fn no_wireguard_in_the_kernel() -> Result<()> {
    let _hidden = HiddenModule::new("wireguard")?;
    refused(
        |installation| installation.command(Some(Backend::Ebpf), &[]),
        FAILED,
        &["WireGuard"],
    )
}
