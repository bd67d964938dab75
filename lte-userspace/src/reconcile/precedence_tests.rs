#![expect(
    clippy::unwrap_used,
    reason = "a wrong literal in a test is to fail it"
)]

use rtnetlink::packet_route::rule::{RulePortRange, RuleUidRange};

use super::*;

fn traffic() -> Traffic {
    Traffic {
        modem: vec!["192.168.0.2/24".parse().unwrap()],
        listen_port: 51820,
        peers: Some(vec!["203.0.113.10:51821".parse().unwrap()]),
        mark: 0x7b,
        mask: 0xff,
        table: 123,
    }
}

fn rule(priority: u32, table: u32, selectors: &[RuleAttribute]) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Priority(priority),
        RuleAttribute::Table(table),
    ];
    for selector in selectors {
        match selector {
            RuleAttribute::Source(_) => message.header.src_len = 24,
            RuleAttribute::Destination(_) => message.header.dst_len = 24,
            _ => {}
        }
        message.attributes.push(selector.clone());
    }
    message
}

/// The kernel's own, as far as they concern, and these.
fn with(others: &[RuleMessage]) -> RulePlacement {
    let mut all = vec![rule(0, 255, &[])];
    all.extend_from_slice(others);
    all.push(rule(32766, 254, &[]));
    traffic().placement(10, &all)
}

fn first(others: &[RuleMessage]) -> (u32, usize) {
    let placement = with(others);
    (placement.first, placement.before_ours.len())
}

#[test]
fn ours_are_where_the_config_says_unless_somebody_is_in_front() {
    assert_eq!(first(&[]), (10, 0));
    assert_eq!(first(&[rule(13, 254, &[])]), (10, 0));
    assert_eq!(first(&[rule(12, 254, &[])]), (9, 0), "among ours");
    assert_eq!(first(&[rule(10, 254, &[])]), (7, 0));
    assert_eq!(first(&[rule(9, 254, &[]), rule(5, 254, &[])]), (2, 0));
    let placement = with(&[rule(4, 254, &[])]);
    assert_eq!(placement.first, 1);
    assert_eq!(
        placement.moved_for.as_deref(),
        Some("4: from all lookup main")
    );
}

#[test]
fn what_cannot_be_overtaken_is_told() {
    let placement = with(&[rule(3, 254, &[])]);
    assert_eq!(placement.first, 10);
    assert_eq!(placement.before_ours, ["3: from all lookup main"]);
    let placement = with(&[rule(0, 254, &[]), rule(7, 254, &[])]);
    assert_eq!(placement.first, 4, "before the one that can be overtaken");
    assert_eq!(placement.before_ours, ["0: from all lookup main"]);
}

/// Some move the local table's rule: what stood before it would send our incoming packets out again.
#[test]
fn ours_stay_behind_the_local_table() {
    let traffic = traffic();
    let others = [rule(100, 255, &[]), rule(150, 254, &[])];
    let placement = traffic.placement(10, &others);
    assert_eq!((placement.first, placement.before_ours.len()), (101, 0));
    let others = [rule(100, 255, &[]), rule(102, 254, &[])];
    let placement = traffic.placement(10, &others);
    assert_eq!((placement.first, placement.before_ours.len()), (101, 1));
}

#[test]
fn what_cannot_match_or_leads_nowhere_else_is_let_be() {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let ports = |start, end| RulePortRange { start, end };
    let harmless = [
        vec![RuleAttribute::Iifname("lan".to_owned())],
        vec![RuleAttribute::Oifname("wan".to_owned())],
        vec![RuleAttribute::L3MDev(true)],
        vec![RuleAttribute::UidRange(RuleUidRange {
            start: 1000,
            end: 1999,
        })],
        vec![RuleAttribute::IpProtocol(IpProtocol::Tcp)],
        vec![RuleAttribute::SourcePortRange(ports(1, 51819))],
        vec![RuleAttribute::DestinationPortRange(ports(53, 53))],
        vec![RuleAttribute::Source(address("192.168.1.0"))],
        vec![RuleAttribute::Destination(address("198.51.100.0"))],
        vec![RuleAttribute::FwMark(0x7c)],
        vec![RuleAttribute::FwMark(0x1), RuleAttribute::FwMask(0xf)],
    ];
    for selectors in &harmless {
        assert_eq!(first(&[rule(5, 254, selectors)]), (10, 0), "{selectors:?}");
    }
    let catching = [
        vec![RuleAttribute::Iifname("lo".to_owned())],
        vec![RuleAttribute::UidRange(RuleUidRange { start: 0, end: 0 })],
        vec![RuleAttribute::IpProtocol(IpProtocol::Udp)],
        vec![RuleAttribute::SourcePortRange(ports(50000, 60000))],
        vec![RuleAttribute::DestinationPortRange(ports(51821, 51821))],
        vec![RuleAttribute::Source(address("192.168.0.0"))],
        vec![RuleAttribute::Destination(address("203.0.113.0"))],
        // Where who asks by ARP is.
        vec![RuleAttribute::Destination(address("192.168.0.0"))],
        vec![RuleAttribute::FwMark(0x7b)],
        vec![RuleAttribute::FwMark(0x100), RuleAttribute::FwMask(0x3f00)],
        vec![RuleAttribute::FwMask(0xff00)],
        vec![RuleAttribute::SuppressPrefixLen(0)],
    ];
    for selectors in &catching {
        assert_eq!(first(&[rule(5, 254, selectors)]), (2, 0), "{selectors:?}");
    }
    assert_eq!(first(&[rule(5, 123, &[])]), (10, 0), "leads to our table");
    assert_eq!(
        first(&[rule(5, 255, &[])]),
        (10, 0),
        "the local table again"
    );
    let mut inverted = rule(5, 51820, &[RuleAttribute::FwMark(0x7b)]);
    inverted.header.flags |= RuleFlags::Invert;
    assert_eq!(first(&[inverted]), (2, 0));
    let mut refused = rule(5, 0, &[]);
    refused.header.action = RuleAction::Prohibit;
    assert_eq!(first(&[refused]), (2, 0));
    let mut of_another_family = rule(5, 254, &[]);
    of_another_family.header.family = AddressFamily::Inet6;
    assert_eq!(first(&[of_another_family]), (10, 0));
}

/// Where a peer's address is still asked for, any may be its own.
#[test]
fn an_unknown_peer_may_be_anywhere() {
    let traffic = Traffic {
        peers: None,
        ..traffic()
    };
    let to = RuleAttribute::Destination("198.51.100.0".parse().unwrap());
    let placement = traffic.placement(10, &[rule(0, 255, &[]), rule(5, 254, &[to])]);
    assert_eq!(placement.first, 2);
    assert_eq!(
        placement.moved_for.as_deref(),
        Some("5: from all to 198.51.100.0/24 lookup main")
    );
}
