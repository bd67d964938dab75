//! Kernels before 5.11 count eBPF maps and programs as locked memory, of which a process has little, and where
//! the programs do not load for whatever reason.

use anyhow::{Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::fallback::falls_back;
use lte_tests::kernel_version;
use lte_tests::scene::Scene;
use lte_tests::seccomp::{little_locked_memory, without_pins};
use lte_tests::topology::Options;
use lte_tests::wait::TIMEOUT;

// Since 5.11 the memory of programs and maps is not locked.
lte_tests::runs_on!(oldest);

fn counts_locked_memory() -> Result<bool> {
    Ok(kernel_version::running()? < (5, 11))
}

const REASONS: [&str; 2] = ["64 KiB", "LimitMEMLOCK=infinity"];

#[test]
fn auto_with_little_locked_memory() -> Result<()> {
    if counts_locked_memory()? {
        return falls_back(little_locked_memory, &REASONS);
    }
    let scene = Scene::open(&Options::default())?;
    let agent = scene
        .installation()?
        .launch_prepared(None, little_locked_memory)?
        .wait_ready(TIMEOUT)?;
    let log = agent.log();
    ensure!(
        !log.iter().any(|line| line.contains("cannot run")),
        "{log:?}"
    );
    agent.interrupt()
}

#[test]
fn ebpf_with_little_locked_memory() -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let installation = scene.installation()?;
    if !counts_locked_memory()? {
        let agent = installation
            .launch_prepared(Some(Backend::Ebpf), little_locked_memory)?
            .wait_ready(TIMEOUT)?;
        return agent.interrupt();
    }
    let before = scene.lab.snapshot()?;
    let mut command = installation.command(Some(Backend::Ebpf), &[])?;
    little_locked_memory(&mut command);
    let ended = installation.run_command(&mut command)?;
    ensure!(ended.status.code() == Some(1), "{ended:?}");
    ensure!(ended.stderr.trim_end().lines().count() == 1, "{ended:?}");
    for word in REASONS.into_iter().chain(["--backend nft"]) {
        ensure!(ended.stderr.contains(word), "no `{word}`: {ended:?}");
    }
    before.assert_same(&scene.lab.router)
}

/// Nothing that is asked beforehand shows it: the maps are made, and cannot be pinned.
#[test]
fn auto_where_the_programs_do_not_load() -> Result<()> {
    falls_back(without_pins, &["pin"])
}
