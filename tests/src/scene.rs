//! The lab with its observers in place: what a test starts from.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::addresses::{
    CARRIER, LISTEN_PORT, MODEM, MODEM6, PEER, PEER_PORT, PEER6, TUNNEL, TUNNEL_PEER, UPLINK,
    UPLINK6,
};
use crate::agent::Agent;
use crate::capture::{Capture, Direction, Seen};
use crate::drops;
use crate::installation::Installation;
use crate::keys;
use crate::netns::Netns;
use crate::packet::{Kind, Message};
use crate::ping::{PACE, Pinger};
use crate::topology::{Lab, Options};
use crate::wait::{self, TIMEOUT};

/// How soon after the start the tunnel has to be up.
const PROMPT: Duration = Duration::from_secs(3);

/// How much longer it may take where the processor is emulated: the agent and nft need seconds there for
/// what takes a tenth of one, and other machines run beside.
const EMULATED: u32 = 4;

/// How soon after the agent's start a handshake is to be there on this machine.
pub fn prompt() -> Result<Duration> {
    Ok(if is_emulated()? {
        PROMPT * EMULATED
    } else {
        PROMPT
    })
}

/// Whether this is QEMU without KVM, by what it calls its processor.
fn is_emulated() -> Result<bool> {
    let cpus = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
    Ok(cpus.contains("QEMU TCG CPU"))
}

/// The lab, and captures at the three places that show what left the router and what arrived.
#[derive(Debug)]
pub struct Scene {
    /// At the uplink's provider.
    pub at_isp: Capture,
    /// At the carrier.
    pub at_carrier: Capture,
    /// At the server.
    pub at_vps: Capture,
    /// The namespaces.
    pub lab: Lab,
    drops_before: u64,
}

impl Scene {
    /// Builds the lab and starts watching.
    pub fn open(options: &Options) -> Result<Self> {
        let lab = Lab::build(options)?;
        Ok(Self {
            at_isp: Capture::start(&lab.isp)?,
            at_carrier: Capture::start(&lab.carrier.netns)?,
            at_vps: Capture::start(&lab.vps.netns)?,
            drops_before: drops::reverse_path(&lab.router)?,
            lab,
        })
    }

    /// A place for the agent in the router. Where the lab has IPv6, the tunnel goes by it.
    pub fn installation(&self) -> Result<Installation> {
        let mut installation = Installation::new(&self.lab.router)?;
        if self.lab.ipv6 {
            installation.config = installation.config.over_ipv6()?;
        }
        Ok(installation)
    }

    /// Where the peer sees the router: behind the carrier's translation in IPv4, as it is in IPv6.
    fn seen_at(&self) -> IpAddr {
        if self.lab.ipv6 {
            MODEM6.into()
        } else {
            CARRIER.into()
        }
    }

    /// How long after `start` the peer had the first packet of an established session.
    pub fn handshake_after(&self, start: Instant) -> Result<Duration> {
        let first = self.at_vps.wait_for(TIMEOUT, "a handshake", |seen| {
            seen.direction == Direction::In
                && seen.packet.kind == Kind::WireGuard(Message::Data)
                && seen.at >= start
        })?;
        Ok(first.at.duration_since(start))
    }

    /// The same, and soon enough.
    pub fn prompt_handshake(&self, agent: &Agent) -> Result<Duration> {
        let took = self.handshake_after(agent.started())?;
        let limit = prompt()?;
        ensure!(
            took <= limit,
            "the handshake took {took:?}, more than {limit:?}"
        );
        Ok(took)
    }

    /// Starts pings through the tunnel, at the lab's pace.
    pub fn ping_tunnel(&self) -> Result<Pinger> {
        Pinger::start(&self.lab.router, TUNNEL_PEER, PACE)
    }

    /// Of all datagrams since there were `before` ([`drops::udp_received`]), only those that carry answers to pings
    /// through the tunnel were given to sockets. The pings come after all else, which is decided by then.
    pub fn only_pings_get_in(&self, before: u64) -> Result<()> {
        let pinger = self.ping_tunnel()?;
        pinger.wait_for_answer(TIMEOUT)?;
        let pings = pinger.stop()?.sent() as u64;
        let given = drops::udp_received(&self.lab.router)? - before;
        ensure!(
            given <= pings,
            "{given} datagrams for sockets, of which {pings} are the tunnel's"
        );
        Ok(())
    }

    /// The tunnel carries, over the modem alone, with no other traffic on it, and the strict filter
    /// has had nothing to drop.
    pub fn tunnel_is_sound(&self) -> Result<()> {
        self.nothing_leaked()?;
        let endpoint = self.lab.vps.endpoint()?.map(|endpoint| endpoint.ip());
        ensure!(
            endpoint == Some(self.seen_at()),
            "the peer sees the router at {endpoint:?}, not at {}",
            self.seen_at()
        );
        let dropped = self.reverse_path_drops()?;
        ensure!(
            dropped == 0,
            "the reverse-path filter dropped {dropped} packets"
        );
        Ok(())
    }

    /// No outer packet went by the uplink, and nothing but the tunnel by the modem.
    pub fn nothing_leaked(&self) -> Result<()> {
        self.nothing_leaked_but(|_| false, |_| false)
    }

    /// The same, where others send by the uplink what looks like an outer packet, and the tunnel is not
    /// always recognised by its port.
    pub fn nothing_leaked_but(
        &self,
        others: impl Fn(&Seen) -> bool,
        tunnel: impl Fn(&Seen) -> bool,
    ) -> Result<()> {
        self.at_isp.none("outer packets on the uplink", |seen| {
            seen.packet.is_wireguard() && !others(seen)
        })?;
        self.at_vps
            .none("outer packets from the uplink's address", |seen| {
                let source = seen.packet.source();
                seen.packet.is_wireguard()
                    && !others(seen)
                    && (source == Some(UPLINK.into()) || source == Some(UPLINK6.into()))
            })?;
        self.nothing_foreign_but(tunnel)
    }

    /// Nothing came out of the modem but the tunnel, and what finds its neighbours.
    pub fn nothing_foreign(&self) -> Result<()> {
        self.nothing_foreign_but(|_| false)
    }

    fn nothing_foreign_but(&self, tunnel: impl Fn(&Seen) -> bool) -> Result<()> {
        self.at_carrier
            .none("foreign packets on the modem", |seen| {
                foreign(seen) && !tunnel(seen) && !(self.lab.ipv6 && is_neighbour_discovery(seen))
            })
    }

    /// The session of `since` goes on: the router has asked for no other since then, but where one had
    /// come of age (`REKEY_AFTER_TIME`, 120 s). The lab has to be one with a delay, see [`Options::lte`]: without it 3
    /// of 60 handshakes in a busy guest were followed by another 5 s later, with 30 ms none.
    pub fn session_kept(&self, since: Instant) -> Result<()> {
        const AGE: Duration = Duration::from_secs(115);
        ensure!(
            !self.lab.delay.is_zero(),
            "a carrier without a delay: see Options::lte"
        );
        let initiations = self.at_carrier.packets(|seen| {
            seen.packet.kind == Kind::WireGuard(Message::Initiation) && from_modem(seen)
        })?;
        let early = initiations
            .windows(2)
            .filter(|pair| pair[1].at >= since && pair[1].at.duration_since(pair[0].at) < AGE)
            .count();
        ensure!(early == 0, "{early} new handshakes");
        ensure!(
            initiations.first().is_some_and(|first| first.at < since),
            "there was no session to be kept"
        );
        Ok(())
    }

    /// WireGuard keeps to the source address at which it last had an answer. Given the endpoint
    /// anew, it asks the routing again.
    pub fn forget_source(&self) -> Result<()> {
        let peer: IpAddr = if self.lab.ipv6 {
            PEER6.into()
        } else {
            PEER.into()
        };
        let endpoint = SocketAddr::new(peer, PEER_PORT).to_string();
        let key = keys::SERVER.public;
        // Again and again: an answer that is under way sets the old address once more.
        for _ in 0..5 {
            let words = ["set", TUNNEL, "peer", key, "endpoint", &endpoint];
            self.lab.router.tool("wg", &words)?;
            std::thread::sleep(Duration::from_millis(70));
        }
        Ok(())
    }

    /// Packets that the router's reverse-path filter has dropped since the scene opened.
    pub fn reverse_path_drops(&self) -> Result<u64> {
        Ok(drops::reverse_path(&self.lab.router)? - self.drops_before)
    }
}

/// How many of the router's rules lead to table 123, of both families.
pub fn rules(router: &Netns) -> Result<usize> {
    let mut count = 0;
    for family in ["-4", "-6"] {
        let shown = router.tool("ip", &[family, "rule", "show"])?;
        count += shown.matches("lookup 123").count();
    }
    Ok(count)
}

/// Another program flushes them, all of a family at one blow.
pub fn flush_rules(router: &Netns) -> Result<()> {
    for family in ["-4", "-6"] {
        router.tool("ip", &[family, "rule", "flush", "table", "123"])?;
    }
    Ok(())
}

/// Waits until there are as many again.
pub fn rules_back(router: &Netns, count: usize) -> Result<()> {
    wait::until(TIMEOUT, "the rules to be back", || {
        Ok((rules(router)? == count).then_some(()))
    })
}

/// Whether it came from the router, on the carrier's side of the modem.
pub fn from_modem(seen: &Seen) -> bool {
    &*seen.interface == "modem0" && seen.direction == Direction::In
}

/// Whether it came from the router, on the provider's side of the uplink.
pub fn from_wan(seen: &Seen) -> bool {
    &*seen.interface == "cust0" && seen.direction == Direction::In
}

/// An outer packet on its proper way out.
pub fn tunnel_out(seen: &Seen) -> bool {
    steered(seen) && seen.packet.ports == Some((LISTEN_PORT, PEER_PORT))
}

/// What a guard on an uplink may take for an outer packet and steer to the modem: from whatever port, it
/// goes to where the tunnel's go.
pub fn steered(seen: &Seen) -> bool {
    from_modem(seen)
        && seen.packet.is_wireguard()
        && [
            Some((MODEM.into(), PEER.into())),
            Some((MODEM6.into(), PEER6.into())),
        ]
        .contains(&seen.packet.addresses)
        && seen.packet.ports.is_some_and(|(_, to)| to == PEER_PORT)
}

/// What came out of the modem and may not: neither the tunnel's nor ARP.
pub fn foreign(seen: &Seen) -> bool {
    from_modem(seen) && !tunnel_out(seen) && seen.packet.kind != Kind::Arp
}

/// A neighbour's solicitation or advertisement.
pub fn is_neighbour_discovery(seen: &Seen) -> bool {
    matches!(seen.packet.kind, Kind::Icmp6(135 | 136))
}

/// Whether a snapshot's line is about what is not the agent's: another interface, its sysctls,
/// the main table, another's rule, the resolver. The tunnel's own subnet and the modem's are
/// routes that the kernel makes of their addresses.
pub fn others(line: &str) -> bool {
    let own = |name: &str| name == "modem" || name == TUNNEL;
    let mut words = line.split_whitespace();
    match words.next() {
        Some("sysctl") => !line.contains("/modem/") && !line.contains(&format!("/{TUNNEL}/")),
        Some("link" | "address") => !words.next().is_some_and(own),
        Some("route") => {
            line.contains("dst default") && !line.contains("table ")
                || ![" modem,", " wg-lte,"]
                    .iter()
                    .any(|device| line.contains(&format!("dev{device}")))
                    && !line.contains("table 123")
        }
        Some("resolver") => true,
        _ => false,
    }
}
