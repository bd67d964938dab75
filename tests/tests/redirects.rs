//! Kernel WireGuard switches `send_redirects` off for the whole namespace when its interface goes up. An
//! agent that is cut off before it has given them back leaves that to the next.

use std::process::Command;

use anyhow::{Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::scene::Scene;
use lte_tests::seccomp::read_only;
use lte_tests::topology::Options;

// A sysctl, the same on the kernels between.
lte_tests::runs_on!(oldest, newest);
use lte_tests::{sysctl, wait};

const REDIRECTS: &str = "ipv4/conf/all/send_redirects";

fn cannot_give_them_back(command: &mut Command) {
    read_only(command, c"/proc/sys/net/ipv4/conf/all/send_redirects");
}

#[test]
fn the_next_agent_gives_them_back() -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    let before = scene.lab.snapshot()?;
    ensure!(
        sysctl::get(router, REDIRECTS)? == "1",
        "they are off already"
    );
    let installation = scene.installation()?;
    let agent = installation.launch_prepared(Some(Backend::Ebpf), cannot_give_them_back)?;
    agent.wait_logged("send_redirects")?;
    // Neither guard nor tunnel rest on them.
    let agent = agent.wait_ready(wait::TIMEOUT)?;
    agent.kill()?;
    ensure!(sysctl::get(router, REDIRECTS)? == "0", "nobody took them");

    let next = installation.start(Backend::Ebpf)?;
    wait::until(wait::TIMEOUT, "the redirects", || {
        Ok((sysctl::get(router, REDIRECTS)? == "1").then_some(()))
    })?;
    // What the owner makes of them from now on is the owner's.
    sysctl::set(router, &[(REDIRECTS, "0")])?;
    next.kill()?;
    let last = installation.start(Backend::Ebpf)?;
    let plan = installation.run(Some(Backend::Ebpf), &["plan"])?;
    ensure!(plan.stdout.contains("nothing to do"), "{plan:?}");
    ensure!(
        sysctl::get(router, REDIRECTS)? == "0",
        "it fights the owner"
    );
    last.interrupt()?;
    ensure!(
        sysctl::get(router, REDIRECTS)? == "0",
        "it undoes what the owner did"
    );
    sysctl::set(router, &[(REDIRECTS, "1")])?;
    before.assert_same(router)
}
