//! Which backend keeps the guard, and what is said where one cannot: a line that names what is
//! missing, and nothing has been touched.

use std::ffi::CStr;
use std::process::Command;

use anyhow::{Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::fallback::falls_back;
use lte_tests::installation::Installation;
use lte_tests::kernel_version;
use lte_tests::scene::Scene;
use lte_tests::seccomp::{hidden, without_bpf, without_netfilter};
use lte_tests::topology::{Lab, Options};
use lte_tests::wait::TIMEOUT;

// About the agent more than about the kernel.
lte_tests::runs_on!(newest);

/// Where Debian's nft is.
const NFT: &CStr = c"/usr/sbin/nft";

fn no_bpf(command: &mut Command) {
    without_bpf(command);
}

fn no_bpf_file_system(command: &mut Command) {
    hidden(command, c"/sys/fs/bpf", c"/dev");
}

fn no_nft(command: &mut Command) {
    hidden(command, NFT, c"/dev/null");
}

fn no_nf_tables(command: &mut Command) {
    without_netfilter(command);
}

/// The agent is given a backend, cannot use it, says so in one line, and touches nothing.
fn refused(
    backend: Option<Backend>,
    lack: impl FnOnce(&Installation, &mut Command),
    words: &[&str],
) -> Result<()> {
    let lab = Lab::build(&Options {
        server: false,
        ..Options::default()
    })?;
    let installation = Installation::new(&lab.router)?;
    let before = lab.snapshot()?;
    let mut command = installation.command(backend, &[])?;
    lack(&installation, &mut command);
    let ended = installation.run_command(&mut command)?;
    ensure!(
        ended.status.code() == Some(1),
        "not exit status 1: {ended:?}"
    );
    ensure!(
        ended.stderr.trim_end().lines().count() == 1,
        "not one line: {ended:?}"
    );
    for word in words {
        ensure!(ended.stderr.contains(word), "no `{word}` in it: {ended:?}");
    }
    before.assert_same(&lab.router)
}

#[test]
fn auto_takes_ebpf_where_it_can() -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let agent = scene
        .installation()?
        .launch_prepared(None, |_| {})?
        .wait_ready(TIMEOUT)?;
    scene.handshake_after(agent.started())?;
    let tables = scene.lab.router.tool("nft", &["list", "tables"])?;
    ensure!(!tables.contains("lte_backup"), "{tables}");
    let log = agent.log();
    ensure!(
        !log.iter().any(|line| line.contains("cannot run")),
        "{log:?}"
    );
    agent.interrupt()
}

#[test]
fn auto_without_bpf() -> Result<()> {
    falls_back(no_bpf, &["eBPF"])
}

#[test]
fn auto_without_the_bpf_file_system() -> Result<()> {
    let reason = "/sys/fs/bpf is not the BPF file system";
    falls_back(no_bpf_file_system, &[reason])
}

#[test]
fn ebpf_without_bpf() -> Result<()> {
    refused(
        Some(Backend::Ebpf),
        |_, command| no_bpf(command),
        &["eBPF", "--backend nft"],
    )
}

#[test]
fn ebpf_without_the_bpf_file_system() -> Result<()> {
    let words = ["/sys/fs/bpf is not the BPF file system", "mount -t bpf"];
    refused(
        Some(Backend::Ebpf),
        |_, command| no_bpf_file_system(command),
        &words,
    )
}

#[test]
fn neither_backend() -> Result<()> {
    let lack = |_: &Installation, command: &mut Command| {
        no_bpf(command);
        no_nft(command);
    };
    refused(None, lack, &["neither backend", "eBPF", "nftables"])
}

#[test]
fn nft_without_nft() -> Result<()> {
    let words = ["no nft in PATH", "install the package nftables"];
    refused(Some(Backend::Nft), |_, command| no_nft(command), &words)
}

#[test]
fn nft_that_is_too_old() -> Result<()> {
    let old = |installation: &Installation, command: &mut Command| {
        let script = "#!/bin/sh\necho 'nftables v0.9.8 (E.D.S.)'\n";
        let files = installation.files();
        files
            .write("nft", 0o755, script)
            .unwrap_or_else(|error| panic!("{error:#}"));
        command.env("PATH", files.path());
    };
    refused(Some(Backend::Nft), old, &["nft 0.9.8 is too old", "1.0.6"])
}

#[test]
fn nft_without_nf_tables_in_the_kernel() -> Result<()> {
    let words = ["no nf_tables", "load the module nf_tables"];
    refused(
        Some(Backend::Nft),
        |_, command| no_nf_tables(command),
        &words,
    )
}

/// What nftables cannot guard before 5.16 is in the log, and in `status`; and no more than that.
#[test]
fn what_is_not_guarded_is_reported() -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let installation = scene.installation()?;
    let agent = installation.start(Backend::Nft)?;
    let version = kernel_version::running()?;
    let expected = usize::from(version < (5, 16));
    let words = "packet sockets";
    let log = agent.log();
    let said = log.iter().filter(|line| line.contains(words)).count();
    ensure!(said == expected, "{version:?}: said {said} times: {log:?}");
    let status = installation.run(None, &["status"])?;
    let shown = status
        .stdout
        .lines()
        .filter(|line| line.contains(words))
        .count();
    ensure!(shown == expected, "{version:?}: {status:?}");
    agent.interrupt()
}
