//! Uplinks that come, go, and change their names, while the rules are flushed now and then: the tunnel
//! goes by none of them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use lte_tests::backend::Backend;
use lte_tests::figure::figure;
use lte_tests::scene::flush_rules;
use lte_tests::wait::{self, PATIENCE};

use crate::eyes::Aspect;
use crate::house::House;

const TIMES: usize = 3;
const ROUTE: &str = "default via 198.51.101.1 dev wan2 metric 50";

pub(crate) fn come_and_go(backend: Backend) -> Result<()> {
    let house = House::open(backend)?;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        times.push(added(&house)?);
        flushed(&house)?;
        house.scene.lab.router.ip("link del wan2\n")?;
        house.all_in_place(PATIENCE)?;
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
        house.scene.lab.router.ip(&format!(
            "link set {old} down
             link set {old} name {new}
             link set {new} up
             route add default via 198.51.100.1 dev {new} proto dhcp metric 100\n"
        ))?;
        flushed(&house)?;
        guarded(&house, new)?;
    }
    house.close()
}

/// Returns after how many milliseconds it is guarded.
fn added(house: &House) -> Result<u128> {
    let lab = &house.scene.lab;
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
    guarded(house, "wan2")?;
    Ok(begun.elapsed().as_millis())
}

/// nftables' rules are about every interface but the modem, and name no uplink.
fn guarded(house: &House, uplink: &str) -> Result<()> {
    if house.backend == Backend::Nft {
        return Ok(());
    }
    let egress = format!("{uplink} egress ");
    wait::until(PATIENCE, "a guard on the uplink", || {
        let facts = house
            .scene
            .lab
            .router
            .run(|| house.eyes.see(Aspect::Guard))?;
        let there = facts.iter().any(|fact| fact.starts_with(&egress));
        Ok(there.then_some(()))
    })
}

/// With the rules gone for a moment, what is on its way goes to an uplink.
fn flushed(house: &House) -> Result<()> {
    for _ in 0..2 {
        flush_rules(&house.scene.lab.router)?;
        thread::sleep(Duration::from_millis(300));
    }
    house.nothing_leaked()
}
