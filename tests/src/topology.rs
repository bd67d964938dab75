//! The lab itself: five namespaces, their cables, addresses and routes.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::addresses::{
    CARRIER, LAN_HOST, MODEM_GATEWAY, MODEM_GATEWAY6, MODEM_MAC, ROUTER_LAN, ROUTER_LAN6, UPLINK,
    UPLINK_GATEWAY, UPLINK_GATEWAY6, UPLINK6,
};
use crate::carrier::Carrier;
use crate::netns::Netns;
use crate::snapshot::Snapshot;
use crate::sysctl;
use crate::vps::Vps;
use crate::wait;

mod ipv6;
mod modem;

/// The uplink's state when the lab opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uplink {
    /// As a DHCP client leaves it: address, default route of metric 100.
    Up,
    /// Link up, no lease: no address and no default route.
    NoLease,
    /// Link down.
    Down,
}

/// What a test may want otherwise.
#[derive(Debug, Clone)]
pub struct Options {
    /// The uplink's state.
    pub uplink: Uplink,
    /// Whether the router masquerades what leaves by `wan`, as home routers do.
    pub masquerade: bool,
    /// Delay in the carrier's network, one way.
    pub delay: Duration,
    /// Loss in the carrier's network, per cent, each way.
    pub loss: f32,
    /// Seconds after which the carrier forgets a UDP flow.
    pub udp_timeout: Option<u32>,
    /// Whether there is IPv6, too: in the LAN, on the uplink, at the carrier, inside the tunnel.
    /// No host translates it. The modem looks for duplicate addresses, as it does by default.
    pub ipv6: bool,
    /// Whether the server runs WireGuard. Without it the lab needs none in the kernel.
    pub server: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            uplink: Uplink::Up,
            masquerade: true,
            delay: Duration::ZERO,
            loss: 0.0,
            udp_timeout: None,
            ipv6: false,
            server: true,
        }
    }
}

impl Options {
    /// As over LTE, so that what is under way when something changes is not nothing. Where it
    /// takes no time at all, WireGuard can have its peer's answer before it has set its clock to
    /// wait for it (`wg_packet_send_handshake_initiation`), and asks again 5 s later.
    pub fn lte() -> Self {
        Self {
            delay: Duration::from_millis(20),
            ..Self::default()
        }
    }
}

/// The namespaces, set up. All go when it goes.
#[derive(Debug)]
pub struct Lab {
    /// A host at home, whose default gateway is the router.
    pub lan: Netns,
    /// Where the agent runs: `lan0`, `wan`, `modem`.
    pub router: Netns,
    /// Behind `wan`: routes, hides nothing. Its side of the link is `cust0`.
    pub isp: Netns,
    /// Behind `modem`.
    pub carrier: Carrier,
    /// The server.
    pub vps: Vps,
    /// Whether there is IPv6.
    pub ipv6: bool,
    /// Delay in the carrier's network when the lab opened, one way.
    pub delay: Duration,
}

impl Lab {
    /// Builds it.
    pub fn build(options: &Options) -> Result<Self> {
        let [lan, router, isp, carrier, vps] =
            ["lan", "router", "isp", "carrier", "vps"].map(Netns::create);
        let (lan, router, isp, carrier, vps) = (lan?, router?, isp?, carrier?, vps?);
        for netns in [&lan, &router, &isp, &carrier, &vps] {
            strict(netns)?;
        }
        for netns in [&router, &isp, &carrier] {
            sysctl::set(netns, &[("ipv4/ip_forward", "1")])?;
        }
        cables(&lan, &router, &isp, &carrier, &vps).context("laying the cables")?;
        lan.ip(&format!(
            "link set lo up
             addr add {LAN_HOST}/24 dev eth0
             link set eth0 up
             route add default via {ROUTER_LAN}\n"
        ))?;
        isp.ip(&format!(
            "link set lo up
             addr add {UPLINK_GATEWAY}/24 dev cust0
             addr add 192.0.2.1/30 dev core0
             link set cust0 up
             link set core0 up
             route add default via 192.0.2.2\n"
        ))?;
        if options.ipv6 {
            ipv6::lay(&lan, &router, &isp, &carrier, &vps).context("laying IPv6")?;
        }
        let carrier = Carrier::open(carrier, options)?;
        let vps = Vps::open(vps, options.server)?;
        let lab = Self {
            lan,
            router,
            isp,
            carrier,
            vps,
            ipv6: options.ipv6,
            delay: options.delay,
        };
        if options.masquerade {
            lab.masquerade()?;
        }
        let mut lines = vec![format!(
            "link set lo up
             addr add {ROUTER_LAN}/24 dev lan0
             link set lan0 up\n"
        )];
        if options.ipv6 {
            lines.push(format!("addr add {ROUTER_LAN6}/64 dev lan0\n"));
        }
        if options.uplink != Uplink::Down {
            lines.push(PLUG_UPLINK.to_owned());
        }
        if options.uplink == Uplink::Up {
            lines.push(lab.lease());
        }
        lab.router.ip(&lines.concat())?;
        lab.wait_settled(options)?;
        Ok(lab)
    }

    /// The router hides the LAN behind the uplink's address.
    pub fn masquerade(&self) -> Result<()> {
        self.router
            .tool_with_input("nft", &["-f", "-"], MASQUERADE)
            .map(drop)
    }

    /// A link's state, and its own IPv6 address with it, come up to a second after the command.
    fn wait_settled(&self, options: &Options) -> Result<()> {
        let mut expected = vec!["lan0"];
        if options.uplink != Uplink::Down {
            expected.push("wan");
        }
        wait::until(wait::TIMEOUT, "the router's links to come up", || {
            let addresses = self
                .router
                .run(|| Ok(fs::read_to_string("/proc/thread-self/net/if_inet6")?))?;
            let is_own = |line: &str, link: &str| line.starts_with("fe80") && line.ends_with(link);
            let up = |link: &&str| addresses.lines().any(|line| is_own(line, link));
            Ok(expected.iter().all(up).then_some(()))
        })
    }

    /// What a DHCP client does with a lease.
    pub fn gain_lease(&self) -> Result<()> {
        self.router.ip(&self.lease()).map(drop)
    }

    /// Lines of `ip`.
    fn lease(&self) -> String {
        let v4 = format!(
            "addr add {UPLINK}/24 dev wan
             route add default via {UPLINK_GATEWAY} dev wan proto dhcp metric 100\n"
        );
        if !self.ipv6 {
            return v4;
        }
        format!(
            "{v4}addr add {UPLINK6}/64 dev wan
             route add default via {UPLINK_GATEWAY6} dev wan proto ra metric 100\n"
        )
    }

    /// What a DHCP client does when the lease has run out.
    pub fn lose_lease(&self) -> Result<()> {
        self.lose_default_route()?;
        self.router.ip(&format!("addr del {UPLINK}/24 dev wan\n"))?;
        if self.ipv6 {
            self.router
                .ip(&format!("addr del {UPLINK6}/64 dev wan\n"))?;
        }
        Ok(())
    }

    /// Takes away the default route alone, of each family.
    pub fn lose_default_route(&self) -> Result<()> {
        self.router.ip(&format!(
            "route del default via {UPLINK_GATEWAY} dev wan metric 100\n"
        ))?;
        if self.ipv6 {
            self.router.ip(&format!(
                "route del default via {UPLINK_GATEWAY6} dev wan metric 100\n"
            ))?;
        }
        Ok(())
    }

    /// Link `wan` up.
    pub fn plug_uplink(&self) -> Result<()> {
        self.router.ip(PLUG_UPLINK).map(drop)
    }

    /// Link `wan` down.
    pub fn unplug_uplink(&self) -> Result<()> {
        self.router.ip("link set wan down\n").map(drop)
    }

    /// A default route on the modem in the main table that wins over the uplink's: what a DHCP
    /// client on the modem, or a hurried hand, would do. (`onlink`: the modem's subnet need not be
    /// in the main table.)
    pub fn default_route_on_modem(&self) -> Result<()> {
        self.router
            .ip(&format!(
                "route add default via {MODEM_GATEWAY} dev modem metric 1 onlink\n"
            ))
            .map(drop)
    }

    /// The same in IPv6.
    pub fn default_route6_on_modem(&self) -> Result<()> {
        self.router
            .ip(&format!(
                "route add default via {MODEM_GATEWAY6} dev modem metric 1\n"
            ))
            .map(drop)
    }

    /// The router's state.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take(&self.router)
    }
}

const PLUG_UPLINK: &str = "link set wan up\n";

/// What a home router does on its uplink.
const MASQUERADE: &str = "table ip home {
    chain out { type nat hook postrouting priority 100; oifname \"wan\" masquerade; }
}
";

/// The strict filter, before any interface is there, so that each gets it as its own; and no wait
/// for duplicate addresses, which would change a snapshot under a test's hands.
fn strict(netns: &Netns) -> Result<()> {
    sysctl::set(
        netns,
        &[
            ("ipv4/conf/all/rp_filter", "1"),
            ("ipv4/conf/default/rp_filter", "1"),
            ("ipv4/conf/all/src_valid_mark", "0"),
            ("ipv4/conf/default/src_valid_mark", "0"),
            ("ipv6/conf/all/accept_dad", "0"),
            ("ipv6/conf/default/accept_dad", "0"),
        ],
    )
}

/// The modem has been up before, as a real one has: the first time gives a link its root qdisc,
/// which stays, and which cannot be removed again.
fn cables(lan: &Netns, router: &Netns, isp: &Netns, carrier: &Netns, vps: &Netns) -> Result<()> {
    let (lan, isp_end, carrier_end) = (lan.path(), isp.path(), carrier.path());
    router.ip(&format!(
        "link add lan0 type veth peer name eth0 netns {lan}
         link add wan type veth peer name cust0 netns {isp_end}
         link add modem address {MODEM_MAC} type veth peer name modem0 netns {carrier_end}
         link set modem up
         link set modem down\n"
    ))?;
    vps.ip(&format!(
        "link add isp0 type veth peer name core0 netns {isp_end}
         link add carrier0 type veth peer name core0 netns {carrier_end}
         link set lo up
         addr add 192.0.2.2/30 dev isp0
         addr add 203.0.113.1/24 dev carrier0
         addr add {peer}/32 dev lo
         addr add {elsewhere}/32 dev lo
         link set isp0 up
         link set carrier0 up
         route add 198.51.100.0/24 via 192.0.2.1\n",
        peer = crate::addresses::PEER,
        elsewhere = crate::addresses::ELSEWHERE,
    ))?;
    carrier.ip(&format!(
        "link set lo up
         addr add {MODEM_GATEWAY}/24 dev modem0
         addr add {CARRIER}/24 dev core0
         link set modem0 up
         link set core0 up
         route add default via 203.0.113.1\n"
    ))?;
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::addresses::ELSEWHERE;
    use crate::ping;

    fn lab() -> Lab {
        Lab::build(&Options {
            server: false,
            ..Options::default()
        })
        .unwrap()
    }

    #[test]
    fn the_lan_reaches_the_server_by_the_uplink() {
        let lab = lab();
        assert!(ping::answers(&lab.lan, ELSEWHERE).unwrap());
    }

    #[test]
    fn without_a_lease_it_does_not() {
        let lab = lab();
        lab.lose_lease().unwrap();
        assert!(!ping::answers(&lab.lan, ELSEWHERE).unwrap());
        lab.gain_lease().unwrap();
        assert!(ping::answers(&lab.lan, ELSEWHERE).unwrap());
    }

    #[test]
    fn the_modem_waits_as_the_agent_expects_it() {
        let lab = lab();
        let shown = lab
            .router
            .tool("ip", &["-br", "addr", "show", "modem"])
            .unwrap();
        assert!(shown.contains("DOWN"), "{shown}");
        assert!(!shown.contains('.'), "{shown}");
    }

    #[test]
    fn every_interface_is_strict() {
        let lab = lab();
        for netns in [&lab.router, &lab.isp, &lab.lan] {
            for (key, value) in sysctl::all(netns).unwrap() {
                if key.ends_with("/rp_filter") {
                    assert_eq!(value, "1", "{key} in {}", netns.name());
                }
            }
        }
    }
}
