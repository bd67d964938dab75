//! A container beside the router, on the uplink's link, with a WireGuard of its own to the same server.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{LISTEN_PORT, UPLINK_GATEWAY};
use lte_tests::another_wireguard::{self, OTHER_PEER};
use lte_tests::backend::Backend;
use lte_tests::netns::Netns;
use lte_tests::ping::Pinger;
use lte_tests::scene::{Scene, from_wan};
use lte_tests::topology::Options;
use lte_tests::wait::TIMEOUT;

use crate::tally::Tally;
use crate::{QUICK, answered};

/// The container's address on the uplink.
const CONTAINER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
/// A keepalive of the tunnel's, from its IP header on.
const KEEPALIVE: usize = 60;
/// Not the tunnel's port.
const ANOTHER_PORT: u16 = 51999;

/// From the tunnel's port number and from another it goes by the uplink, whole, and nothing of it by the modem.
pub(crate) fn goes_by_the_uplink(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    let container = Netns::create("container")?;
    router.ip(&format!(
        "link add link wan name mv0 type macvlan mode bridge
         link set mv0 netns {}\n",
        container.path()
    ))?;
    container.ip(&format!(
        "addr add {CONTAINER}/24 dev mv0
         link set lo up
         link set mv0 up
         route add default via {UPLINK_GATEWAY}\n"
    ))?;
    installation.wait_in_place(backend)?;
    answered(&scene)?;
    let tally = Tally::open(&scene)?;
    for port in [LISTEN_PORT, ANOTHER_PORT] {
        another_wireguard::set_up(&scene.lab, &container, port)?;
        let pinger = Pinger::start(&container, OTHER_PEER, QUICK)?;
        pinger
            .wait_for_answer(TIMEOUT)
            .with_context(|| format!("the container's from port {port}"))?;
        pinger.wait_for_more(10)?;
        let pings = pinger.stop()?;
        // The first ones wait for its handshake.
        let last = &pings.probes[pings.sent() - 10..];
        let unanswered = last.iter().filter(|ping| ping.answered.is_none()).count();
        ensure!(unanswered == 0, "the container's from port {port}: {pings}");
        let by_wan = scene.at_isp.count(|seen| {
            from_wan(seen)
                && seen.packet.is_wireguard()
                && seen.packet.source() == Some(CONTAINER.into())
                && seen.packet.ports.is_some_and(|(from, _)| from == port)
        })?;
        ensure!(by_wan >= 10, "from port {port} {by_wan} packets by wan");
        // The tunnel itself has nothing to carry meanwhile: what is of its shape is the container's.
        let mut left = tally.the_tunnel_alone()?;
        left.retain(|frame| frame.packet().bytes != KEEPALIVE);
        ensure!(
            left.is_empty(),
            "from port {port}: by the modem {} packets left, the first: {}",
            left.len(),
            left[0]
        );
    }
    answered(&scene)?;
    ensure!(!tally.the_tunnel_alone()?.is_empty(), "the tally is blind");
    scene.nothing_leaked_but(
        |seen| {
            seen.packet.source() == Some(CONTAINER.into())
                || seen.packet.destination() == Some(CONTAINER.into())
        },
        |_| false,
    )?;
    agent.interrupt()
}
