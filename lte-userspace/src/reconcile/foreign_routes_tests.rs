#![expect(
    clippy::unwrap_used,
    reason = "a wrong literal in a test is to fail it"
)]

use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader};

use super::*;
use crate::desired::{Route, Rule};
use crate::kernel::{link, rule, wireguard};

const WAN: u32 = 2;
const MODEM: u32 = 3;
const TABLE: u32 = 123;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A route as the kernel reports it, in our table.
fn route(to: &str, index: u32) -> RouteMessage {
    let to: Cidr = to.parse().unwrap();
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: match to.address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        },
        destination_prefix_length: to.prefix_len,
        kind: RouteType::Unicast,
        table: 123,
        ..RouteHeader::default()
    };
    if to.prefix_len > 0 {
        let to = RouteAttribute::Destination(to.address.into());
        message.attributes.push(to);
    }
    message.attributes.push(RouteAttribute::Oif(index));
    message
}

fn with(mut message: RouteMessage, attribute: RouteAttribute) -> RouteMessage {
    message.attributes.push(attribute);
    message
}

/// Ours in place, and these of others.
fn seen(elsewhere: Vec<RouteMessage>) -> Snapshot {
    let ours = |to: &str, gateway: Option<&str>| route::ObservedRoute {
        route: Some(Route {
            destination: to.parse().unwrap(),
            gateway: gateway.map(address),
            interface: "modem".to_owned(),
            source: None,
            table: TABLE,
        }),
        message: match to {
            "::/0" => with(route(to, MODEM), RouteAttribute::Priority(1024)),
            to => route(to, MODEM),
        },
    };
    let mut snapshot = Snapshot {
        links: vec![
            link::ObservedLink::ethernet(WAN, "wan"),
            link::ObservedLink::ethernet(MODEM, "modem"),
        ],
        ..Snapshot::default()
    };
    snapshot.routes.ours = vec![
        ours("192.168.0.0/24", None),
        ours("0.0.0.0/0", Some("192.168.0.1")),
        ours("::/0", Some("fe80::1")),
    ];
    snapshot.routes.in_ours = elsewhere;
    snapshot
}

fn told(elsewhere: Vec<RouteMessage>) -> Vec<String> {
    let way = Way {
        table: TABLE,
        modem: MODEM,
        peers: Some(&[address("192.0.2.10"), address("2001:db8:99::10")]),
        gateways: &[address("192.168.0.1")],
    };
    way.warnings(&seen(elsewhere)).into_iter().collect()
}

#[test]
fn a_route_to_the_server_is_told_with_its_text() {
    let via = RouteAttribute::Gateway(address("198.51.100.1").into());
    let route = with(route("192.0.2.10/32", WAN), via);
    assert_eq!(
        told(vec![route]),
        [
            "somebody has put the route `192.0.2.10/32 dev wan via 198.51.100.1` into table 123: it leads the tunnel's packets, or the strict check of what comes in, away from the modem, and the tunnel may have no way until it is gone; whoever adds it should use another table (ip route show table 123 shows it)"
        ]
    );
}

#[test]
fn what_takes_the_servers_or_the_gateways_place_is_told() {
    let mut refused = route("192.0.2.0/24", 0);
    refused.header.kind = RouteType::Unreachable;
    refused
        .attributes
        .retain(|a| !matches!(a, RouteAttribute::Oif(_)));
    let taking = [
        route("192.0.2.10/32", WAN),
        route("192.0.2.0/24", WAN),
        route("128.0.0.0/1", WAN),
        route("192.168.0.1/32", WAN),
        route("2001:db8:99::/64", WAN),
        with(route("::/0", WAN), RouteAttribute::Priority(100)),
        refused,
    ];
    for route in taking {
        assert_eq!(told(vec![route.clone()]).len(), 1, "{route:?}");
    }
}

#[test]
fn what_leads_nobody_of_ours_astray_is_not_told() {
    let mut of_another_table = route("192.0.2.10/32", WAN);
    of_another_table.header.table = 100;
    let large = with(route("192.0.2.10/32", WAN), RouteAttribute::Table(1123));
    let harmless = [
        route("192.0.2.10/32", MODEM),
        route("198.51.100.0/24", WAN),
        route("192.168.0.0/24", WAN),
        with(route("0.0.0.0/0", WAN), RouteAttribute::Priority(5)),
        with(route("::/0", WAN), RouteAttribute::Priority(2000)),
        of_another_table,
        large,
    ];
    for route in harmless {
        assert_eq!(told(vec![route.clone()]), [""; 0], "{route:?}");
    }
}

/// Where a peer's address is still asked for, any may be its own.
#[test]
fn an_unknown_peer_may_be_anywhere() {
    let way = Way {
        table: TABLE,
        modem: MODEM,
        peers: None,
        gateways: &[],
    };
    let of = |to: &str| way.warnings(&seen(vec![route(to, WAN)])).len();
    assert_eq!(of("198.51.100.0/24"), 1);
    assert_eq!(of("0.0.0.0/0"), 0, "ours goes first");
}

/// `status` knows no config.
#[test]
fn without_the_config_it_is_told_by_what_is_there() {
    let mut snapshot = seen(vec![route("192.0.2.10/32", WAN)]);
    assert!(in_our_table(&snapshot).is_empty(), "nothing of ours is up");
    let peer = wireguard::ObservedPeer {
        endpoint: Some("192.0.2.10:51820".parse().unwrap()),
        allowed_ips: Vec::new(),
        keepalive: std::time::Duration::ZERO,
        handshake: None,
        received: 0,
        sent: 0,
    };
    snapshot.device = Some(wireguard::ObservedDevice {
        public_key: None,
        listen_port: 51821,
        fwmark: 0,
        peers: [(crate::config::PublicKey([2; 32]), peer)].into(),
    });
    snapshot.rules = vec![rule::ObservedRule {
        rule: Some(Rule {
            family: IpFamily::V4,
            priority: 10,
            local: true,
            source: None,
            udp_source_port: Some(51821),
            mark: None,
            table: TABLE,
        }),
        message: rtnetlink::packet_route::rule::RuleMessage::default(),
    }];
    let told = in_our_table(&snapshot);
    let first = told.first().unwrap();
    assert!(first.contains("`192.0.2.10/32 dev wan`"), "{first}");
    snapshot.routes.in_ours.clear();
    assert!(in_our_table(&snapshot).is_empty());
}
