//! Anybody's rule in the words of `ip rule`, by which its owner knows it.

use rtnetlink::packet_route::rule::{
    RuleAction, RuleAttribute, RuleFlags, RuleMessage, RulePortRange,
};

use super::{priority, table};
use crate::kernel::{LOCAL_TABLE, MAIN_TABLE};

/// The table that is asked when no other has an answer.
const DEFAULT_TABLE: u32 = 253;

/// As in `100: from all fwmark 0x1/0xff lookup main`.
pub fn print(rule: &RuleMessage) -> String {
    let header = &rule.header;
    let mut text = format!("{}:", priority(rule));
    if header.flags.contains(RuleFlags::Invert) {
        text.push_str(" not");
    }
    let source = rule.attributes.iter().find_map(|a| match a {
        RuleAttribute::Source(from) => Some(format!("{from}/{}", header.src_len)),
        _ => None,
    });
    text.push_str(" from ");
    text.push_str(source.as_deref().unwrap_or("all"));
    let (mut mark, mut under) = (None, None);
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(value) => under = Some(*value),
            _ => {}
        }
    }
    if mark.is_some() || under.is_some() {
        add(&mut text, format_args!(" fwmark {:#x}", mark.unwrap_or(0)));
    }
    if let Some(mask) = under.filter(|mask| *mask != u32::MAX) {
        add(&mut text, format_args!("/{mask:#x}"));
    }
    for attribute in &rule.attributes {
        selector(&mut text, attribute, header.dst_len);
    }
    if header.tos != 0 {
        add(&mut text, format_args!(" tos {:#04x}", header.tos));
    }
    match header.action {
        RuleAction::ToTable => match table(rule) {
            _ if rule.attributes.contains(&RuleAttribute::L3MDev(true)) => {
                text.push_str(" lookup [l3mdev-table]");
            }
            LOCAL_TABLE => text.push_str(" lookup local"),
            MAIN_TABLE => text.push_str(" lookup main"),
            DEFAULT_TABLE => text.push_str(" lookup default"),
            table => add(&mut text, format_args!(" lookup {table}")),
        },
        RuleAction::Goto => {
            for attribute in &rule.attributes {
                if let RuleAttribute::Goto(to) = attribute {
                    add(&mut text, format_args!(" goto {to}"));
                }
            }
        }
        RuleAction::Nop => text.push_str(" nop"),
        RuleAction::Blackhole => text.push_str(" blackhole"),
        RuleAction::Unreachable => text.push_str(" unreachable"),
        RuleAction::Prohibit => text.push_str(" prohibit"),
        action => add(&mut text, format_args!(" action {action:?}")),
    }
    for attribute in &rule.attributes {
        if let RuleAttribute::SuppressPrefixLen(length) = attribute
            && *length != u32::MAX
        {
            add(&mut text, format_args!(" suppress_prefixlength {length}"));
        }
    }
    text
}

fn selector(text: &mut String, attribute: &RuleAttribute, to_length: u8) {
    let range = |range: &RulePortRange| match range {
        RulePortRange { start, end } if start == end => start.to_string(),
        RulePortRange { start, end } => format!("{start}-{end}"),
    };
    match attribute {
        RuleAttribute::Destination(to) => add(text, format_args!(" to {to}/{to_length}")),
        RuleAttribute::Iifname(name) => add(text, format_args!(" iif {name}")),
        RuleAttribute::Oifname(name) => add(text, format_args!(" oif {name}")),
        RuleAttribute::UidRange(uids) => {
            add(text, format_args!(" uidrange {}-{}", uids.start, uids.end));
        }
        RuleAttribute::IpProtocol(protocol) => {
            let name = format!("{protocol:?}").to_lowercase();
            add(text, format_args!(" ipproto {name}"));
        }
        RuleAttribute::SourcePortRange(ports) => {
            add(text, format_args!(" sport {}", range(ports)));
        }
        RuleAttribute::DestinationPortRange(ports) => {
            add(text, format_args!(" dport {}", range(ports)));
        }
        _ => {}
    }
}

fn add(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.push_str(&words.to_string());
}
