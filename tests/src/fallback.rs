//! A machine on which eBPF does not do, and an agent that is left to choose.

use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::scene::Scene;
use crate::topology::Options;
use crate::wait::TIMEOUT;

/// It takes nftables, says why in one line, and the tunnel comes up.
pub fn falls_back(lack: impl FnOnce(&mut Command), reasons: &[&str]) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let before = scene.lab.snapshot()?;
    let agent = scene
        .installation()?
        .launch_prepared(None, lack)?
        .wait_ready(TIMEOUT)?;
    scene.handshake_after(agent.started())?;
    let log = agent.log();
    let said: Vec<_> = log
        .iter()
        .filter(|line| line.contains("ebpf cannot run here"))
        .collect();
    let [line] = &said[..] else {
        bail!("not one line says why: {log:?}");
    };
    for words in reasons.iter().copied().chain(["backend nft"]) {
        ensure!(line.contains(words), "no `{words}`: {line}");
    }
    let tables = scene.lab.router.tool("nft", &["list", "tables"])?;
    ensure!(tables.contains("lte_backup"), "no table: {tables}");
    scene.tunnel_is_sound()?;
    agent.interrupt()?;
    before.assert_same(&scene.lab.router)
}
