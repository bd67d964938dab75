//! The unit that is shipped, run by systemd: ready, limits, sandbox, reload, watchdog, stop.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::TUNNEL;
use lte_tests::config::Config;
use lte_tests::keys;
use lte_tests::scene::Scene;
use lte_tests::systemd::Systemd;
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use serde_json::Value;

// Locked memory is accounted in two ways: by limit, and by cgroup since 5.11.
lte_tests::runs_on!(oldest, newest);

/// A watchdog that bites within the test's patience, and a place for what the agent says.
const MORE: &str = "[Service]
WatchdogSec=20
StandardError=append:/run/agent.log
";

const CONFIG: &str = "/etc/lte-backup/config.toml";

/// Which backend's guard is there, by the agent's own command, as the unit's user would run it.
fn guard(systemd: &Systemd) -> Result<String> {
    let said = systemd.inside("/usr/sbin/lte-userspace", &["status", "--json"])?;
    let said: Value = serde_json::from_str(&said)?;
    let guards = said["guards"].as_array().context("no guards")?;
    ensure!(guards.len() == 1, "not one guard: {guards:?}");
    Ok(guards[0]["backend"].as_str().unwrap_or_default().to_owned())
}

fn limit(limits: &str, name: &str) -> Option<String> {
    let line = limits.lines().find(|line| line.starts_with(name))?;
    line[name.len()..]
        .split_whitespace()
        .next()
        .map(str::to_owned)
}

/// Replaces a passage of the config, and has systemd reload the agent.
fn reload(systemd: &Systemd, passage: &str, instead: &str) -> Result<()> {
    let edit = format!("s|{passage}|{instead}|");
    systemd.inside("sed", &["-i", &edit, CONFIG])?;
    systemd.unit("reload")
}

#[test]
fn the_unit_keeps_the_tunnel() -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    // Its pins go with it.
    let installation = scene.installation()?;
    let before = scene.lab.snapshot()?;
    let config = Config::new(
        Path::new("/etc/lte-backup/private.key"),
        keys::SERVER.public,
    );
    let systemd = Systemd::boot(
        router,
        installation.binary(),
        &config.0,
        keys::ROUTER.private(),
        MORE,
    )?;
    let outcome = lives(&scene, &systemd);
    let log = systemd.inside("cat", &["/run/agent.log"]);
    outcome.with_context(|| format!("the agent said: {log:?}"))?;
    systemd.inside("/usr/sbin/lte-userspace", &["down"])?;
    before.assert_same(router)
}

fn lives(scene: &Scene, systemd: &Systemd) -> Result<()> {
    let router = &scene.lab.router;
    let begun = Instant::now();
    // It returns when the agent has said that it is ready.
    systemd.unit("start")?;
    scene.handshake_after(begun)?;
    systemd.wait_property(TIMEOUT, "ActiveState", "active")?;
    ensure!(
        guard(systemd)? == "ebpf",
        "the guard is {}'s",
        guard(systemd)?
    );
    let pid = systemd.property("MainPID")?;
    let limits = systemd.inside("cat", &[&format!("/proc/{pid}/limits")])?;
    for (name, wanted) in [
        ("Max locked memory", "unlimited"),
        ("Max core file size", "0"),
    ] {
        let found = limit(&limits, name);
        ensure!(found.as_deref() == Some(wanted), "{name}: {found:?}");
    }

    reload(
        systemd,
        "persistent_keepalive = 80",
        "persistent_keepalive = 25",
    )?;
    wait::until(TIMEOUT, "the new keepalive", || {
        let shown = router.tool("wg", &["show", TUNNEL, "persistent-keepalive"])?;
        Ok(shown.trim().ends_with("\t25").then_some(()))
    })?;
    // The other backend: nft has to run in the sandbox, too.
    reload(systemd, "^\\[modem\\]", "backend = \"nft\"\\n[modem]")?;
    wait::until(TIMEOUT, "nftables to keep the guard", || {
        let guard = guard(systemd).unwrap_or_default();
        Ok((guard == "nft").then_some(()))
    })?;

    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_answer(TIMEOUT)?;
    // An agent that stands still is started anew.
    systemd.inside("kill", &["-STOP", &systemd.property("MainPID")?])?;
    systemd.wait_property(TIMEOUT, "NRestarts", "1")?;
    systemd.wait_property(TIMEOUT, "ActiveState", "active")?;
    ensure!(
        systemd.property("MainPID")? != pid,
        "it is the same process"
    );
    pinger.wait_for_more(3)?;

    systemd.unit("stop")?;
    systemd.wait_property(TIMEOUT, "ActiveState", "inactive")?;
    pinger.wait_for_more(5)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    let result = systemd.property("Result")?;
    ensure!(result == "success", "{result}");
    scene.tunnel_is_sound()
}
