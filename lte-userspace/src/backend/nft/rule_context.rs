//! What both tables say in the same words: the guard's terms as expressions and statements.

use super::expr::{
    Expr, RuleFamily, Stmt, and, any_of, any_subnet, at_least, clear_bits, count_named, eq, field,
    meta, number, set_bits, subnet, text, transport,
};
use super::ruleset::Features;
use super::table::counter_name;
use crate::backend::{FamilyAddr, Guard, Modem, Network};
use lte_common::headers::numbers::wireguard;
use lte_common::headers::{icmp_kind, protocol};
use lte_common::policy::{Class, Hook};
use nftables::expr::MetaKey;
use std::net::{IpAddr, Ipv6Addr};

/// A guard and what the kernel has to keep it with.
#[derive(Debug, Clone, Copy)]
pub(super) struct RuleContext<'a> {
    pub(super) guard: &'a Guard,
    pub(super) features: Features,
}

/// The modem's place in one family, family erased.
#[derive(Debug, Clone, Copy)]
pub(super) struct ErasedAddr {
    /// The modem interface's address.
    pub(super) address: IpAddr,
    /// Where the modem's own page and echo are; `None`: nowhere.
    admin: Option<Network<IpAddr>>,
}

impl<'a> RuleContext<'a> {
    /// The modem, where there is one.
    pub(super) fn modem(self) -> Option<&'a Modem> {
        self.guard.modem.as_ref()
    }

    /// Where the modem is, in one family; `None`: nothing of that family passes it.
    pub(super) fn addr(self, family: RuleFamily) -> Option<ErasedAddr> {
        fn erase<A: Copy + Into<IpAddr>>(inet: &FamilyAddr<A>) -> ErasedAddr {
            ErasedAddr {
                address: inet.address.into(),
                admin: inet.admin.map(|admin| Network {
                    address: admin.address.into(),
                    prefix_len: admin.prefix_len,
                }),
            }
        }
        let modem = self.modem()?;
        match family {
            RuleFamily::V4 => modem.v4.as_ref().map(erase),
            RuleFamily::V6 => modem.v6.as_ref().map(erase),
        }
    }

    /// The families that pass the modem, and where it is in each.
    pub(super) fn addrs(self) -> impl Iterator<Item = (RuleFamily, ErasedAddr)> {
        RuleFamily::BOTH
            .into_iter()
            .filter_map(move |family| Some((family, self.addr(family)?)))
    }

    /// The families of which nothing passes the modem.
    pub(super) fn closed_families(self) -> impl Iterator<Item = RuleFamily> {
        RuleFamily::BOTH
            .into_iter()
            .filter(move |family| self.addr(*family).is_none())
    }

    /// The bits that are ours, of the packet's mark or of its flow's, have our value.
    pub(super) fn is_marked(self, mark: Expr) -> Stmt {
        eq(and(mark, self.guard.mask), number(self.guard.mark))
    }

    /// Marks the packet.
    pub(super) fn mark_packet(self) -> Stmt {
        self.mark(meta(MetaKey::Mark))
    }

    /// Takes the mark off.
    pub(super) fn unmark_packet(self) -> Stmt {
        clear_bits(meta(MetaKey::Mark), self.guard.mask)
    }

    /// Gives the bits that are ours our value.
    pub(super) fn mark(self, mark: Expr) -> Stmt {
        set_bits(mark, self.guard.mark, self.guard.mask)
    }

    /// From the tunnel's port.
    pub(super) fn source_is_listen_port(self) -> Stmt {
        eq(field("udp", "sport"), number(self.guard.listen_port.into()))
    }

    /// To the tunnel's port.
    pub(super) fn destination_is_listen_port(self) -> Stmt {
        eq(field("udp", "dport"), number(self.guard.listen_port.into()))
    }

    /// What the modem itself may be asked: an echo, its page.
    pub(super) fn admin_requests(self, family: RuleFamily, addr: ErasedAddr) -> Vec<Vec<Stmt>> {
        // Behind options it could be a source route's, whose last hop is not the modem.
        let mut admin_requests = self.admin(family, addr, "daddr", "dport", "echo-request");
        let echo = match family {
            RuleFamily::V4 => protocol::ICMP,
            RuleFamily::V6 => protocol::ICMPV6,
        };
        for (request, protocol) in admin_requests.iter_mut().zip([echo, protocol::TCP]) {
            request.insert(0, family.is_bare(protocol));
        }
        admin_requests
    }

    /// What it answers.
    pub(super) fn admin_replies(self, family: RuleFamily, addr: ErasedAddr) -> Vec<Vec<Stmt>> {
        self.admin(family, addr, "saddr", "sport", "echo-reply")
    }

    fn admin(
        self,
        family: RuleFamily,
        addr: ErasedAddr,
        address: &'static str,
        port: &'static str,
        echo: &'static str,
    ) -> Vec<Vec<Stmt>> {
        let Some(admin) = addr.admin else {
            return Vec::new();
        };
        let there = || {
            let at = subnet(admin.address, admin.prefix_len);
            eq(field(family.header(), address), at)
        };
        let kind = eq(field(family.icmp(), "type"), text(echo));
        let mut rules = vec![vec![there(), kind]];
        let ports = &self.guard.admin_ports;
        if !ports.is_empty() {
            let page = any_of(ports.iter().map(|port| u32::from(*port)));
            rules.push(vec![there(), eq(field("tcp", port), page)]);
        }
        rules
    }
}

/// Counts a packet of a class.
pub(super) fn count(hook: Hook, class: Class) -> Stmt {
    count_named(&counter_name(hook, class))
}

/// Neighbour discovery, which never comes through a router (RFC 4861, 7.1).
pub(super) fn neighbour_discovery() -> [Stmt; 2] {
    let kinds = [
        icmp_kind::NEIGHBOUR_SOLICITATION,
        icmp_kind::NEIGHBOUR_ADVERTISEMENT,
    ]
    .map(u32::from);
    [
        eq(field("ip6", "hoplimit"), number(255)),
        eq(field("icmpv6", "type"), any_of(kinds)),
    ]
}

/// To an address of the link's scope, which no router forwards to (RFC 4291, 2.5.6 and 2.7).
pub(super) fn stays_on_link() -> Stmt {
    let link_local = subnet(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
    let groups = subnet(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0), 16);
    eq(field("ip6", "daddr"), any_subnet([link_local, groups]))
}

/// The shapes of what the tunnel sends, the commonest first; the UDP length counts its header's
/// eight bytes.
pub(super) fn payload_shapes() -> Vec<(Vec<Stmt>, Class)> {
    let length = || field("udp", "length");
    let of = |payload: u16| number(u32::from(payload) + 8);
    // What is little endian there, the transport header's bytes are not.
    let head = |kind: u32| eq(transport(64, 32), number(kind.swap_bytes()));
    let fixed = |(kind, payload)| vec![eq(length(), of(payload)), head(kind)];
    let (kind, least) = wireguard::DATA;
    let data = vec![at_least(length(), of(least)), head(kind)];
    let byte = number(wireguard::NAT_KEEPALIVE.into());
    let keepalive = vec![eq(length(), of(1)), eq(transport(64, 8), byte)];
    vec![
        (data, Class::Tunnel),
        (fixed(wireguard::INITIATION), Class::Tunnel),
        (fixed(wireguard::RESPONSE), Class::Tunnel),
        (fixed(wireguard::COOKIE), Class::Tunnel),
        (keepalive, Class::NatKeepalive),
    ]
}
