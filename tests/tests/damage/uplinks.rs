//! Uplinks that come, go, and change their names, while the rules are flushed now and then: the tunnel
//! goes by none of them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use lte_tests::backend::Backend;
use lte_tests::figure::figure;
use lte_tests::scene::flush_rules;
use lte_tests::wait::{self, TIMEOUT};

use crate::fixture::Fixture;
use crate::probe::Aspect;

const TIMES: usize = 3;
const ROUTE: &str = "default via 198.51.101.1 dev wan2 metric 50";

pub(crate) fn come_and_go(backend: Backend) -> Result<()> {
    let fixture = Fixture::open(backend)?;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        times.push(added(&fixture)?);
        flushed(&fixture)?;
        fixture.scene.lab.router.ip("link del wan2\n")?;
        fixture.all_in_place(TIMEOUT)?;
    }
    times.sort_unstable();
    if backend == Backend::Ebpf {
        figure(
            "time to repair, ms",
            "uplink added (ebpf)",
            format!("{} / {}", times[TIMES / 2], times[TIMES - 1]),
        );
    }
    for (old, new) in [("wan", "wan9"), ("wan9", "wan")] {
        fixture.scene.lab.router.ip(&format!(
            "link set {old} down
             link set {old} name {new}
             link set {new} up
             route add default via 198.51.100.1 dev {new} proto dhcp metric 100\n"
        ))?;
        flushed(&fixture)?;
        guarded(&fixture, new)?;
    }
    fixture.close()
}

/// Returns after how many milliseconds it is guarded.
fn added(fixture: &Fixture) -> Result<u128> {
    let lab = &fixture.scene.lab;
    lab.router.ip(&format!(
        "link add wan2 type veth peer name cust2 netns {}
         addr add 198.51.101.2/24 dev wan2
         link set wan2 up\n",
        lab.isp.path()
    ))?;
    lab.isp
        .ip("addr add 198.51.101.1/24 dev cust2\nlink set cust2 up\n")?;
    let begun = Instant::now();
    lab.router.ip(&format!("route add {ROUTE}\n"))?;
    guarded(fixture, "wan2")?;
    Ok(begun.elapsed().as_millis())
}

/// nftables' rules are about every interface but the modem, and name no uplink.
fn guarded(fixture: &Fixture, uplink: &str) -> Result<()> {
    if fixture.backend == Backend::Nft {
        return Ok(());
    }
    let egress = format!("{uplink} egress ");
    wait::until(TIMEOUT, "a guard on the uplink", || {
        let facts = fixture
            .scene
            .lab
            .router
            .run(|| fixture.probe.read(Aspect::Guard))?;
        let there = facts.iter().any(|fact| fact.starts_with(&egress));
        Ok(there.then_some(()))
    })
}

/// With the rules gone for a moment, what is on its way goes to an uplink.
fn flushed(fixture: &Fixture) -> Result<()> {
    for _ in 0..2 {
        flush_rules(&fixture.scene.lab.router)?;
        thread::sleep(Duration::from_millis(300));
    }
    fixture.nothing_leaked()
}
