//! Rules of third parties that precede ours. The first rule that matches and has a route decides, for the
//! tunnel's packets and for the strict reverse-path check.

use std::net::{IpAddr, SocketAddr};

use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, IpProtocol};

use super::snapshot::Snapshot;
use crate::config::{Cidr, Config};
use crate::desired::{IpFamily, RULE_COUNT};
use crate::kernel::{LOCAL_TABLE, rule};

/// What routing is asked about for the tunnel's sake: its own packets, before and after they have the
/// mark; the way back to whom an answer came from; the way back to who asks for the modem's address by
/// ARP. All of it is asked as if for this machine's own packets (`iif lo`), without an interface to leave
/// by, and for root.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    /// The modem's addresses, with their subnets.
    pub(crate) modem: Vec<Cidr>,
    /// The tunnel's port on this side, host byte order.
    pub(crate) listen_port: u16,
    /// The remotes; `None`: not all of them are known.
    pub(crate) peers: Option<Vec<SocketAddr>>,
    /// The mark, host byte order.
    pub(crate) mark: u32,
    /// Its bits.
    pub(crate) mask: u32,
    /// Our table: a rule that leads there is harmless.
    pub(crate) table: u32,
}

/// The place of our rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulePlacement {
    /// The priority of the first.
    pub first: u32,
    /// The rule that ours are moved before, if they are not where the config says, as `ip rule` prints it.
    pub moved_for: Option<String>,
    /// Rules that precede ours nevertheless, as `ip rule` prints them.
    pub before_ours: Vec<String>,
}

impl RulePlacement {
    /// What the owner has to know, one line each.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.before_ours.iter().map(|text| warning(text))
    }
}

fn warning(text: &str) -> String {
    format!(
        "the rule `{text}` precedes the agent's and matches the tunnel's packets, or the reverse-path check of incoming ones: the tunnel may have no route; give that rule a priority after the agent's (ip rule shows them)"
    )
}

impl Traffic {
    /// Of a config, with what is known of the peers' addresses.
    pub(super) fn new(config: &Config, listen_port: u16, peers: Vec<Option<SocketAddr>>) -> Self {
        Self {
            modem: config
                .modem
                .interface_addrs()
                .map(|address| address.address)
                .collect(),
            listen_port,
            peers: peers.into_iter().collect(),
            mark: config.routing.mark,
            mask: config.routing.mask,
            table: config.routing.table,
        }
    }

    /// Where our rules have to stand to be asked before all that would catch this: where the config
    /// says, or as far before that as it takes and the local table's rule lets them.
    pub(super) fn placement(&self, configured: u32, others: &[RuleMessage]) -> RulePlacement {
        let floor = others
            .iter()
            .filter(|rule| self.has_family_of(rule) && leads_to_local(rule))
            .map(|rule| rule::priority(rule) + 1)
            .max()
            .unwrap_or(1);
        let catching = || others.iter().filter(|rule| self.is_caught_by(rule));
        let preferred = configured.max(floor);
        let lowest = catching()
            .map(|rule| (rule::priority(rule), rule))
            .filter(|(priority, _)| *priority >= floor + RULE_COUNT)
            .min_by_key(|(priority, _)| *priority)
            .filter(|(priority, _)| *priority < preferred + RULE_COUNT);
        let first = lowest.map_or(preferred, |(priority, _)| priority - RULE_COUNT);
        RulePlacement {
            first,
            moved_for: lowest.map(|(_, message)| rule::print(message)),
            before_ours: catching()
                .filter(|rule| rule::priority(rule) < first + RULE_COUNT)
                .map(rule::print)
                .collect(),
        }
    }

    fn modem_addresses(&self, family: AddressFamily) -> impl Iterator<Item = &Cidr> {
        self.modem.iter().filter(move |address| {
            family
                == match IpFamily::of(address.address) {
                    IpFamily::V4 => AddressFamily::Inet,
                    IpFamily::V6 => AddressFamily::Inet6,
                }
        })
    }

    fn has_family_of(&self, rule: &RuleMessage) -> bool {
        self.modem_addresses(rule.header.family).next().is_some()
    }

    /// Whether a rule can match and lead elsewhere; where that is not certain, it can.
    fn is_caught_by(&self, rule: &RuleMessage) -> bool {
        let table = rule::table(rule);
        let harmless = match rule.header.action {
            RuleAction::Nop => true,
            RuleAction::ToTable => table == self.table || table == LOCAL_TABLE,
            _ => false,
        };
        if harmless || !self.has_family_of(rule) {
            return false;
        }
        rule.header.flags.contains(RuleFlags::Invert)
            || self.mark_matches(rule)
                && rule
                    .attributes
                    .iter()
                    .all(|attribute| self.matches(attribute, rule))
    }

    /// Whether something has no mark, or ours and any other bits beside it, as the rule wants.
    fn mark_matches(&self, rule: &RuleMessage) -> bool {
        let (mut value, mut under) = (0, u32::MAX);
        for attribute in &rule.attributes {
            match attribute {
                RuleAttribute::FwMark(mark) => value = *mark,
                RuleAttribute::FwMask(mask) => under = *mask,
                _ => {}
            }
        }
        value & under == 0 || (value ^ self.mark) & under & self.mask == 0
    }

    fn matches(&self, attribute: &RuleAttribute, rule: &RuleMessage) -> bool {
        let peer = |test: &dyn Fn(&SocketAddr) -> bool| {
            self.peers
                .as_ref()
                .is_none_or(|peers| peers.iter().any(test))
        };
        let modem_addresses = || self.modem_addresses(rule.header.family);
        match attribute {
            RuleAttribute::Iifname(name) => name == "lo",
            RuleAttribute::Oifname(_) | RuleAttribute::L3MDev(true) => false,
            RuleAttribute::UidRange(range) => range.start == 0,
            RuleAttribute::TunId(id) => *id == 0,
            RuleAttribute::IpProtocol(protocol) => *protocol == IpProtocol::Udp,
            RuleAttribute::SourcePortRange(range) => {
                (range.start..=range.end).contains(&self.listen_port)
            }
            RuleAttribute::DestinationPortRange(range) => {
                peer(&|peer| (range.start..=range.end).contains(&peer.port()))
            }
            // WireGuard asks without an address while it has none that has proved itself.
            RuleAttribute::Source(from) => {
                let from = Cidr::new(*from, rule.header.src_len);
                from.contains(unspecified(from.address))
                    || modem_addresses().any(|address| from.contains(address.address))
            }
            RuleAttribute::Destination(to) => {
                let to = Cidr::new(*to, rule.header.dst_len);
                peer(&|peer| to.contains(peer.ip()))
                    || modem_addresses().any(|address| to.covers(address) || address.covers(&to))
            }
            _ => true,
        }
    }
}

const fn unspecified(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

/// Whether it is the rule by which this machine knows its own addresses: what stands before it would
/// lead our incoming packets out again.
fn leads_to_local(rule: &RuleMessage) -> bool {
    rule.header.action == RuleAction::ToTable
        && rule::table(rule) == LOCAL_TABLE
        && !rule.header.flags.contains(RuleFlags::Invert)
        && rule.attributes.iter().all(|attribute| {
            matches!(
                attribute,
                RuleAttribute::Priority(_)
                    | RuleAttribute::Table(_)
                    | RuleAttribute::Protocol(_)
                    | RuleAttribute::SuppressPrefixLen(_)
            )
        })
}

/// Rules that stand before ours as these are now, one line each; found without the config.
pub fn rules_before_ours(snapshot: &Snapshot) -> Vec<String> {
    let ours: Vec<_> = snapshot
        .rules
        .iter()
        .filter_map(|found| found.rule.as_ref())
        .collect();
    let (Some(device), Some(first)) = (
        &snapshot.device,
        ours.iter().map(|rule| rule.priority).min(),
    ) else {
        return Vec::new();
    };
    let mark = ours.iter().find_map(|rule| rule.mark).unwrap_or_default();
    let traffic = Traffic {
        modem: ours.iter().filter_map(|rule| rule.source).collect(),
        listen_port: device.listen_port,
        peers: device.peers.values().map(|peer| peer.endpoint).collect(),
        mark: mark.0,
        mask: mark.1,
        table: ours.first().map_or(0, |rule| rule.table),
    };
    let before_ours = snapshot
        .other_rules
        .iter()
        .filter(|rule| rule::priority(rule) < first + RULE_COUNT && traffic.is_caught_by(rule));
    before_ours
        .map(|rule| warning(&rule::print(rule)))
        .collect()
}

#[cfg(test)]
#[path = "precedence_tests.rs"]
mod tests;
