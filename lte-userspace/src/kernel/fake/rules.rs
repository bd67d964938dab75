//! Rules, as the messages by which the running kernel reports them.

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

use super::{Answer, State};
use crate::kernel::rule::{priority, table};
use crate::kernel::{LOCAL_TABLE, MAIN_TABLE};

/// The table that is asked when no other has an answer.
const DEFAULT_TABLE: u32 = 253;
/// What stands for a table whose number does not fit the header (`RT_TABLE_COMPAT`).
const COMPAT_TABLE: u8 = 252;

pub(super) fn is_ipv4(message: &RuleMessage) -> bool {
    message.header.family == AddressFamily::Inet
}

/// The rules of a kernel that has just started.
pub(super) fn of_the_kernel() -> Vec<RuleMessage> {
    [
        (AddressFamily::Inet, 0, LOCAL_TABLE),
        (AddressFamily::Inet, 32766, MAIN_TABLE),
        (AddressFamily::Inet, 32767, DEFAULT_TABLE),
        (AddressFamily::Inet6, 0, LOCAL_TABLE),
        (AddressFamily::Inet6, 32766, MAIN_TABLE),
    ]
    .map(|(family, priority, table)| {
        let mut message = RuleMessage::default();
        message.header.family = family;
        message.header.action = RuleAction::ToTable;
        message.attributes.extend([
            RuleAttribute::Priority(priority),
            RuleAttribute::Table(table),
            RuleAttribute::Protocol(RouteProtocol::Kernel),
        ]);
        normalised(message)
    })
    .into()
}

/// The place of an attribute in what the kernel reports.
fn rank(attribute: &RuleAttribute) -> u8 {
    match attribute {
        RuleAttribute::Table(_) => 0,
        RuleAttribute::SuppressPrefixLen(_) => 1,
        RuleAttribute::Protocol(_) => 2,
        RuleAttribute::Iifname(_) => 3,
        RuleAttribute::Oifname(_) => 4,
        RuleAttribute::Priority(_) => 5,
        RuleAttribute::FwMark(_) => 6,
        RuleAttribute::FwMask(_) => 7,
        RuleAttribute::SourcePortRange(_) => 9,
        RuleAttribute::DestinationPortRange(_) => 10,
        RuleAttribute::IpProtocol(_) => 11,
        RuleAttribute::Destination(_) => 12,
        RuleAttribute::Source(_) => 13,
        _ => 8,
    }
}

/// As the kernel will report it.
fn normalised(mut message: RuleMessage) -> RuleMessage {
    message.header.table = u8::try_from(table(&message)).unwrap_or(COMPAT_TABLE);
    let attributes = &mut message.attributes;
    let has =
        |attributes: &[RuleAttribute], is: fn(&RuleAttribute) -> bool| attributes.iter().any(is);
    if has(attributes, |a| matches!(a, RuleAttribute::FwMark(_)))
        && !has(attributes, |a| matches!(a, RuleAttribute::FwMask(_)))
    {
        attributes.push(RuleAttribute::FwMask(u32::MAX));
    }
    if !has(attributes, |a| {
        matches!(a, RuleAttribute::SuppressPrefixLen(_))
    }) {
        attributes.push(RuleAttribute::SuppressPrefixLen(u32::MAX));
    }
    attributes.sort_by_key(rank);
    message
}

impl State {
    pub(super) fn add_rule(&mut self, message: RuleMessage) -> Answer<()> {
        if !self.ipv6 && !is_ipv4(&message) {
            return Err(libc::EAFNOSUPPORT);
        }
        let message = normalised(message);
        if self.rules.contains(&message) {
            return Err(libc::EEXIST);
        }
        // Behind those of its priority.
        let after = |found: &RuleMessage| priority(found) > priority(&message);
        let at = self.rules.iter().position(after);
        self.rules.insert(at.unwrap_or(self.rules.len()), message);
        Ok(())
    }

    /// Removes the rule that a message names.
    pub(super) fn remove_rule(&mut self, named: &RuleMessage) -> Answer<()> {
        let named = normalised(named.clone());
        let at = self.rules.iter().position(|found| *found == named);
        self.rules.remove(at.ok_or(libc::ENOENT)?);
        Ok(())
    }

    /// In the order in which the real kernel lists them.
    pub(super) fn list_rules(&self, family: AddressFamily) -> Vec<RuleMessage> {
        let of_it = self
            .rules
            .iter()
            .filter(|rule| rule.header.family == family);
        of_it.cloned().collect()
    }
}
