//! Every kind of modem and of uplink, in real traffic: the tunnel goes by the modem alone.

use std::time::Duration;

use anyhow::{Result, ensure};
use lte_tests::addresses::{CARRIER, LAN_HOST, PEER, TUNNEL_PEER};
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::capture::{Direction, Seen};
use lte_tests::installation::Installation;
use lte_tests::netns::Netns;
use lte_tests::ping::Pinger;
use lte_tests::scene::{Scene, flush_rules, from_modem, rules, rules_back};
use lte_tests::topology::Options;
use lte_tests::traffic;
use lte_tests::wait::TIMEOUT;
use nix::sys::signal::Signal;

mod checksums;
mod gone;
mod headerless;
mod point_to_point;
mod uplinks;

// Programs know least of devices and packets on the oldest.
lte_tests::runs_on!(oldest; ebpf);
lte_tests::runs_on!(newest; nft);

/// Twenty a second.
pub(crate) const QUICK: Duration = Duration::from_millis(50);

/// No masquerade hides what leaks.
pub(crate) fn plain() -> Options {
    Options {
        masquerade: false,
        ..Options::default()
    }
}

/// The agent, stopped, without its rules, and pings under way: only the guard is left.
pub(crate) struct Alone {
    agent: Agent,
    rules: usize,
    left: usize,
    pub(crate) pinger: Pinger,
}

impl Alone {
    pub(crate) fn leave(scene: &Scene, agent: Agent) -> Result<Self> {
        Self::leave_with(scene, agent, 0, flush_rules)
    }

    /// With so many rules left by what takes them away.
    pub(crate) fn leave_with(
        scene: &Scene,
        agent: Agent,
        left: usize,
        flush: impl FnOnce(&Netns) -> Result<()>,
    ) -> Result<Self> {
        let router = &scene.lab.router;
        let count = rules(router)?;
        let pinger = Pinger::start(router, TUNNEL_PEER, QUICK)?;
        pinger.wait_for_more(3)?;
        agent.signal(Signal::SIGSTOP)?;
        flush(router)?;
        // So that the packets have the uplink's address, as far as routing is asked.
        scene.forget_source()?;
        Ok(Self {
            agent,
            rules: count,
            left,
            pinger,
        })
    }

    /// Twenty pings' packets: as many outer packets as the carrier has sent on to the server.
    pub(crate) fn steered(&self, scene: &Scene) -> Result<usize> {
        let before = scene.at_carrier.count(sent_on)?;
        self.pinger.wait_for_more(20)?;
        ensure!(
            rules(&scene.lab.router)? == self.left,
            "somebody put the rules back"
        );
        Ok(scene.at_carrier.count(sent_on)? - before)
    }

    /// The agent goes on, and the tunnel answers again.
    pub(crate) fn back(self, scene: &Scene) -> Result<Agent> {
        self.agent.signal(Signal::SIGCONT)?;
        rules_back(&scene.lab.router, self.rules)?;
        drop(self.pinger);
        Pinger::start(&scene.lab.router, TUNNEL_PEER, QUICK)?.wait_for_answer(TIMEOUT)?;
        Ok(self.agent)
    }
}

/// Without its rules the tunnel is steered, where the backend can without rule 11.
pub(crate) fn expect_steered(backend: Backend, steered: usize) -> Result<()> {
    match backend {
        Backend::Ebpf => ensure!(
            steered >= 15,
            "of 20 packets without a rule only {steered} went by the modem"
        ),
        Backend::Nft => ensure!(steered == 0, "{steered} packets without a rule"),
    }
    Ok(())
}

/// An outer packet, whatever its ports.
pub(crate) fn outer(seen: &Seen) -> bool {
    from_modem(seen) && seen.packet.is_wireguard()
}

/// Over the modem alone, and seen by the peer as the modem's. Without the rules the strict filter
/// has dropped what came back, so that its count says nothing.
pub(crate) fn by_the_modem_alone(scene: &Scene) -> Result<()> {
    scene.nothing_leaked()?;
    let endpoint = scene.lab.vps.endpoint()?.map(|endpoint| endpoint.ip());
    ensure!(
        endpoint == Some(CARRIER.into()),
        "the peer sees {endpoint:?}"
    );
    Ok(())
}

/// An outer packet that the carrier took and sent on.
fn sent_on(seen: &Seen) -> bool {
    &*seen.interface == "core0" && seen.direction == Direction::Out && seen.packet.is_wireguard()
}

/// No outer packet came to the uplink's provider, by whichever interface.
pub(crate) fn nothing_at_the_provider(scene: &Scene) -> Result<()> {
    scene.at_isp.none("outer packets on the uplink", |seen| {
        seen.packet.is_wireguard()
    })
}

/// That a packet of the tunnel's shape would have been seen there: the LAN sends one.
pub(crate) fn a_leak_would_be_seen(scene: &Scene) -> Result<()> {
    let to = std::net::SocketAddrV4::new(PEER, 9);
    let length = 28 + 32 + 16 * 37;
    let mut payload = traffic::shaped_as_data();
    payload.resize(length - 28, 0x5a);
    let sent = traffic::send_udp(&scene.lab.lan, 40000, &[to], &[payload])?;
    ensure!(sent == 1, "the LAN host could send nothing");
    scene
        .at_isp
        .wait_for(TIMEOUT, "the LAN's packet on the uplink", |seen| {
            seen.packet.is_wireguard()
                && seen.packet.bytes == length
                && seen.packet.source() == Some(LAN_HOST.into())
        })?;
    scene.at_isp.clear();
    Ok(())
}

pub(crate) fn start(scene: &Scene, installation: &Installation, backend: Backend) -> Result<Agent> {
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    Ok(agent)
}

/// Takes the rules away, and gives them back; the tunnel leaves by the modem or not at all.
pub(crate) fn without_rules(scene: &Scene, agent: Agent, backend: Backend) -> Result<Agent> {
    let alone = Alone::leave(scene, agent)?;
    let steered = alone.steered(scene)?;
    nothing_at_the_provider(scene)?;
    expect_steered(backend, steered)?;
    alone.back(scene)
}
