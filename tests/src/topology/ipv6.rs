//! IPv6 in the lab: as the LAN, the provider and the carrier give it, without translation.

use anyhow::Result;

use crate::addresses::{
    ELSEWHERE6, LAN_HOST6, MODEM_GATEWAY6, MODEM_GATEWAY6_IN_SUBNET, PEER6, ROUTER_LAN6,
    UPLINK_GATEWAY6, UPLINK6,
};
use crate::netns::Netns;
use crate::sysctl;

/// Addresses and routes of all but the router's own links, which come and go with a lease. The
/// cables are there and not all of them up.
pub(super) fn lay(
    lan: &Netns,
    router: &Netns,
    isp: &Netns,
    carrier: &Netns,
    vps: &Netns,
) -> Result<()> {
    for netns in [router, isp, carrier] {
        sysctl::set(netns, &[("ipv6/conf/all/forwarding", "1")])?;
    }
    // What the tunnel's cold start must not wait for.
    sysctl::set(router, &[("ipv6/conf/modem/accept_dad", "1")])?;
    lan.ip(&format!(
        "addr add {LAN_HOST6}/64 dev eth0
         link set eth0 up
         route add default via {ROUTER_LAN6} dev eth0\n"
    ))?;
    isp.ip(&format!(
        "addr add {UPLINK_GATEWAY6}/64 dev cust0
         addr add 2001:db8:4::1/64 dev core0
         route add default via 2001:db8:4::2
         route add 2001:db8:5::/64 via {UPLINK6}\n"
    ))?;
    carrier.ip(&format!(
        "addr add {MODEM_GATEWAY6}/64 dev modem0
         addr add {MODEM_GATEWAY6_IN_SUBNET}/64 dev modem0
         addr add 2001:db8:3::7/64 dev core0
         route add default via 2001:db8:3::1\n"
    ))?;
    vps.ip(&format!(
        "addr add 2001:db8:4::2/64 dev isp0
         addr add 2001:db8:3::1/64 dev carrier0
         addr add {PEER6}/128 dev lo
         addr add {ELSEWHERE6}/128 dev lo
         route add 2001:db8:1::/64 via 2001:db8:4::1
         route add 2001:db8:5::/64 via 2001:db8:4::1
         route add 2001:db8:2::/64 via 2001:db8:3::7\n"
    ))
    .map(drop)
}
