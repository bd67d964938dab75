//! Rules that choose a routing table.

use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::packet_route::rule::{
    RuleAction, RuleAttribute, RuleFlags, RuleMessage, RulePortRange,
};
use rtnetlink::packet_route::{AddressFamily, IpProtocol, RouteNetlinkMessage};

use super::{Kernel, KernelError, PROTOCOL, is_absent, is_ours};
use crate::config::Cidr;
use crate::desired::{IpFamily, Rule};

mod print;

pub use print::print;

/// A rule of ours as observed.
#[derive(Debug, Clone)]
pub struct ObservedRule {
    /// What it says; `None` where it is of a kind that we never make.
    pub rule: Option<Rule>,
    /// As the kernel reported it, to be removed exactly.
    pub message: RuleMessage,
}

/// The rules of both families, in the order in which they are asked.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Those with our protocol number.
    pub ours: Vec<ObservedRule>,
    /// Everybody else's, the kernel's own among them.
    pub others: Vec<RuleMessage>,
}

impl Rules {
    /// Adds those that were listed.
    pub(super) fn add(&mut self, listed: Vec<RuleMessage>) {
        for message in listed {
            if has_our_protocol(&message) {
                self.ours.push(ObservedRule {
                    rule: parse(&message),
                    message,
                });
            } else {
                self.others.push(message);
            }
        }
    }
}

impl Kernel {
    /// All rules.
    pub async fn rules(&self) -> Result<Rules, KernelError> {
        let mut found = Rules::default();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RuleMessage::default();
            request.header.family = family;
            let request = RouteNetlinkMessage::GetRule(request);
            let listing = self.dump("listing the rules", request, |reply| match reply {
                RouteNetlinkMessage::NewRule(message) => Some(message),
                _ => None,
            });
            match listing.await {
                Err(error) if is_absent(&error) => {}
                listing => found.add(listing?),
            }
        }
        Ok(found)
    }

    /// Adds a rule.
    pub async fn add_rule(&self, rule: &Rule) -> Result<(), KernelError> {
        let mut request = self.handle().rule().add();
        *request.message_mut() = message(rule);
        self.with_deadline(request.execute(), format!("adding {rule}"))
            .await
    }

    /// Removes a rule that was found.
    pub async fn remove_rule(&self, found: &RuleMessage, text: &str) -> Result<(), KernelError> {
        self.with_deadline(
            self.handle().rule().del(found.clone()).execute(),
            format!("removing {text}"),
        )
        .await
    }
}

fn has_our_protocol(message: &RuleMessage) -> bool {
    message
        .attributes
        .iter()
        .any(|attribute| matches!(attribute, RuleAttribute::Protocol(p) if is_ours(*p)))
}

/// The message that adds a rule.
pub(super) fn message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match rule.family {
        IpFamily::V4 => AddressFamily::Inet,
        IpFamily::V6 => AddressFamily::Inet6,
    };
    message.header.action = RuleAction::ToTable;
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(rule.priority));
    attributes.push(RuleAttribute::Table(rule.table));
    attributes.push(RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)));
    if rule.local {
        attributes.push(RuleAttribute::Iifname("lo".to_owned()));
    }
    if let Some(source) = rule.source {
        message.header.src_len = source.prefix_len;
        attributes.push(RuleAttribute::Source(source.address));
    }
    if let Some(port) = rule.udp_source_port {
        attributes.push(RuleAttribute::IpProtocol(IpProtocol::Udp));
        attributes.push(RuleAttribute::SourcePortRange(RulePortRange {
            start: port,
            end: port,
        }));
    }
    if let Some((mark, mask)) = rule.mark {
        attributes.push(RuleAttribute::FwMark(mark));
        attributes.push(RuleAttribute::FwMask(mask));
    }
    message
}

/// Reads a rule of the kind that we make.
fn parse(message: &RuleMessage) -> Option<Rule> {
    let header = &message.header;
    if header.action != RuleAction::ToTable
        || header.flags.contains(RuleFlags::Invert)
        || header.dst_len != 0
        || header.tos != 0
    {
        return None;
    }
    let mut rule = Rule {
        family: match header.family {
            AddressFamily::Inet => IpFamily::V4,
            AddressFamily::Inet6 => IpFamily::V6,
            _ => return None,
        },
        priority: 0,
        local: false,
        source: None,
        udp_source_port: None,
        mark: None,
        table: u32::from(header.table),
    };
    let mut udp = false;
    let mut port = None;
    let mut value = None;
    let mut under = u32::MAX;
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Iifname(name) if name == "lo" => rule.local = true,
            RuleAttribute::Source(source) => rule.source = Some(Cidr::new(*source, header.src_len)),
            RuleAttribute::IpProtocol(IpProtocol::Udp) => udp = true,
            RuleAttribute::SourcePortRange(range) if range.start == range.end => {
                port = Some(range.start);
            }
            RuleAttribute::FwMark(mark) => value = Some(*mark),
            RuleAttribute::FwMask(mask) => under = *mask,
            RuleAttribute::Protocol(_) | RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
            // Whatever else narrows a rule makes it another one.
            RuleAttribute::Iifname(_)
            | RuleAttribute::Oifname(_)
            | RuleAttribute::Destination(_)
            | RuleAttribute::UidRange(_)
            | RuleAttribute::DestinationPortRange(_)
            | RuleAttribute::SourcePortRange(_)
            | RuleAttribute::IpProtocol(_)
            | RuleAttribute::SuppressPrefixLen(_)
            | RuleAttribute::SuppressIfGroup(_)
            | RuleAttribute::TunId(_)
            | RuleAttribute::L3MDev(true) => return None,
            _ => {}
        }
    }
    if udp != port.is_some() {
        return None;
    }
    rule.udp_source_port = port;
    rule.mark = value.map(|mark| (mark, under));
    Some(rule)
}

/// Words for a rule that was found.
pub fn describe(found: &ObservedRule) -> String {
    if let Some(rule) = &found.rule {
        return rule.to_string();
    }
    let priority = priority(&found.message);
    format!("rule {priority}: of protocol {PROTOCOL}")
}

/// A rule's place among the others; lower is asked first.
pub fn priority(rule: &RuleMessage) -> u32 {
    let priority = rule.attributes.iter().find_map(|a| match a {
        RuleAttribute::Priority(priority) => Some(*priority),
        _ => None,
    });
    priority.unwrap_or(0)
}

/// The table that a rule leads to.
pub fn table(rule: &RuleMessage) -> u32 {
    let table = rule.attributes.iter().find_map(|a| match a {
        RuleAttribute::Table(table) => Some(*table),
        _ => None,
    });
    table.unwrap_or_else(|| u32::from(rule.header.table))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn rule() -> Rule {
        Rule {
            family: IpFamily::V4,
            priority: 10,
            local: true,
            source: None,
            udp_source_port: Some(51820),
            mark: None,
            table: 123,
        }
    }

    #[test]
    fn what_is_sent_is_understood_when_it_comes_back() {
        let marked = Rule {
            local: false,
            udp_source_port: None,
            mark: Some((0x7b, 0xff)),
            table: 70_000,
            ..rule()
        };
        let from = Rule {
            udp_source_port: None,
            source: Some(Cidr::new(IpAddr::from([192, 168, 0, 2]), 32)),
            ..rule()
        };
        for rule in [rule(), marked, from] {
            assert_eq!(parse(&message(&rule)), Some(rule));
        }
    }

    #[test]
    fn a_narrower_rule_is_another_rule() {
        let mut narrower = message(&rule());
        narrower
            .attributes
            .push(RuleAttribute::Oifname("wan".to_owned()));
        assert_eq!(parse(&narrower), None);
        let mut inverted = message(&rule());
        inverted.header.flags |= RuleFlags::Invert;
        assert_eq!(parse(&inverted), None);
    }
}
