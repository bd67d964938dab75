#![expect(
    clippy::unwrap_used,
    reason = "a wrong literal in a test is to fail it"
)]
//! Golden texts: what each config comes to.

use super::*;
use crate::config::{
    self, BackendChoice, ModemIdentity, PrivateKey, PublicKey, Routing, Tunnel, Uplinks,
};

/// A usual home's.
pub(crate) fn config() -> Config {
    Config {
        backend: BackendChoice::Auto,
        modem: config::Modem {
            identity: ModemIdentity::Interface("modem".to_owned()),
            v4: Some(InterfaceAddr {
                address: "192.168.0.2/24".parse().unwrap(),
                gateway: Some("192.168.0.1".parse().unwrap()),
                admin: Some("192.168.0.1/32".parse().unwrap()),
            }),
            v6: None,
            admin_ports: vec![80, 443],
            name_servers: vec![],
        },
        tunnel: Tunnel {
            interface: "wg-lte".to_owned(),
            addresses: vec!["10.88.88.1/24".parse().unwrap()],
            private_key: PrivateKey::new(&[1; 32]),
            listen_port: Some(51820),
            mtu: 1380,
            handshake_retry_for: Duration::from_mins(5),
            handshake_retry_interval: Duration::from_mins(15),
            peers: vec![config::Peer {
                public_key: PublicKey([2; 32]),
                endpoint: "203.0.113.10:51820".parse().unwrap(),
                allowed_ips: vec!["10.88.88.2/32".parse().unwrap()],
                persistent_keepalive: Duration::from_secs(80),
            }],
        },
        routing: Routing {
            table: 123,
            mark: 0x7b,
            mask: 0xff,
            rule_priority: 10,
        },
        uplinks: Uplinks::DefaultRoutes,
        budget: None,
    }
}

/// What is found in a usual home.
pub(crate) fn facts() -> Facts {
    Facts {
        modem: Some(ModemFacts {
            index: 3,
            name: "modem".to_owned(),
            header: LinkHeader::Ethernet,
            ipv6: true,
            backstop: Some(Queue::FqCodel),
            joining: BTreeSet::new(),
        }),
        closed: BTreeMap::new(),
        uplinks: [(
            2,
            Uplink {
                name: "wan".to_owned(),
                header: LinkHeader::Ethernet,
            },
        )]
        .into(),
        first_rule: 10,
        listen_port: 51820,
        resolved: BTreeMap::new(),
        backed_off: BTreeSet::new(),
    }
}

fn text(config: &Config, facts: &Facts) -> String {
    let mut text = String::new();
    for object in desired(config, facts) {
        text.push_str(&object.to_string());
        text.push('\n');
    }
    text
}

#[test]
fn the_usual_home() {
    assert_eq!(
        text(&config(), &facts()),
        "\
guard on modem modem, other ways out wan, peers 203.0.113.10:51820, port 51820, mark 0x7b/0xff, admin ports [80, 443], flow time-out 250 s
link modem nomaster
sysctl net.ipv4.conf.modem.src_valid_mark = 1
sysctl net.ipv4.conf.modem.arp_ignore = 1
sysctl net.ipv4.conf.modem.arp_announce = 2
sysctl net.ipv4.conf.modem.disable_xfrm = 1
sysctl net.ipv4.conf.modem.disable_policy = 1
sysctl net.ipv6.conf.modem.accept_ra = 0
link wg-lte type wireguard mtu 1380
wireguard wg-lte private-key (hidden) listen-port 51820 fwmark off
wireguard wg-lte peer AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI= endpoint 203.0.113.10:51820 allowed-ips 10.88.88.2/32 persistent-keepalive 80
address 192.168.0.2/32 dev modem noprefixroute
qdisc drr 7b: dev modem for fwmark 0x7b/0xff alone, fq_codel in it
link modem up
route 192.168.0.0/24 dev modem src 192.168.0.2 table 123
route default via 192.168.0.1 dev modem src 192.168.0.2 table 123
rule 10: iif lo ipproto udp sport 51820 lookup 123
rule 11: fwmark 0x7b/0xff lookup 123
rule 12: from 192.168.0.2/32 iif lo lookup 123
address 10.88.88.1/24 dev wg-lte
link wg-lte up
"
    );
}

#[test]
fn the_modem_is_unplugged() {
    let facts = Facts {
        modem: None,
        closed: BTreeMap::new(),
        uplinks: BTreeMap::new(),
        ..facts()
    };
    assert_eq!(
        text(&config(), &facts),
        "\
guard without a modem, other ways out none, peers 203.0.113.10:51820, port 51820, mark 0x7b/0xff, admin ports [80, 443], flow time-out 250 s
link wg-lte type wireguard mtu 1380
wireguard wg-lte private-key (hidden) listen-port 51820 fwmark off
wireguard wg-lte peer AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI= endpoint 203.0.113.10:51820 allowed-ips 10.88.88.2/32 persistent-keepalive 80
rule 10: iif lo ipproto udp sport 51820 lookup 123
rule 11: fwmark 0x7b/0xff lookup 123
rule 12: from 192.168.0.2/32 iif lo lookup 123
address 10.88.88.1/24 dev wg-lte
link wg-lte up
"
    );
}

/// Both families on the modem, and the peer's outer packets in IPv6.
#[test]
fn the_home_with_ipv6() {
    let mut config = config();
    config.modem.v6 = Some(InterfaceAddr {
        address: "2001:db8:2::2/64".parse().unwrap(),
        gateway: Some("fe80::1".parse().unwrap()),
        admin: Some("2001:db8:2::/64".parse().unwrap()),
    });
    config.tunnel.peers[0].endpoint = "[2001:db8:99::10]:51820".parse().unwrap();
    let text_of_both = text(&config, &facts());
    assert_eq!(
        text_of_both,
        "\
guard on modem modem, other ways out wan, peers [2001:db8:99::10]:51820, port 51820, mark 0x7b/0xff, admin ports [80, 443], flow time-out 250 s
link modem nomaster
sysctl net.ipv4.conf.modem.src_valid_mark = 1
sysctl net.ipv4.conf.modem.arp_ignore = 1
sysctl net.ipv4.conf.modem.arp_announce = 2
sysctl net.ipv4.conf.modem.disable_xfrm = 1
sysctl net.ipv4.conf.modem.disable_policy = 1
sysctl net.ipv6.conf.modem.disable_ipv6 = 0
sysctl net.ipv6.conf.modem.accept_ra = 0
link wg-lte type wireguard mtu 1380
wireguard wg-lte private-key (hidden) listen-port 51820 fwmark off
wireguard wg-lte peer AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI= endpoint [2001:db8:99::10]:51820 allowed-ips 10.88.88.2/32 persistent-keepalive 80
address 192.168.0.2/32 dev modem noprefixroute
address 2001:db8:2::2/64 dev modem noprefixroute
qdisc drr 7b: dev modem for fwmark 0x7b/0xff alone, fq_codel in it
link modem up
route 192.168.0.0/24 dev modem src 192.168.0.2 table 123
route default via 192.168.0.1 dev modem src 192.168.0.2 table 123
route 2001:db8:2::/64 dev modem src 2001:db8:2::2 table 123
route default via fe80::1 dev modem src 2001:db8:2::2 table 123
rule 10: iif lo ipproto udp sport 51820 lookup 123
rule 11: fwmark 0x7b/0xff lookup 123
rule 12: from 192.168.0.2/32 iif lo lookup 123
rule inet6 10: iif lo ipproto udp sport 51820 lookup 123
rule inet6 11: fwmark 0x7b/0xff lookup 123
rule inet6 12: from 2001:db8:2::2/128 iif lo lookup 123
address 10.88.88.1/24 dev wg-lte
link wg-lte up
"
    );
    let v6 = guard(&config, &facts()).modem.unwrap().v6.unwrap();
    assert_eq!(v6.gateway, Some("fe80::1".parse().unwrap()));
    let admin = Network {
        address: "2001:db8:2::".parse().unwrap(),
        prefix_len: 64,
    };
    assert_eq!(v6.admin, Some(admin));

    // Alone it is the same without what is IPv4's.
    config.modem.v4 = None;
    let alone: Vec<&str> = text_of_both
        .lines()
        .filter(|line| {
            !line.contains("192.168.0.")
                && !line.starts_with("sysctl net.ipv4")
                && !line.starts_with("rule 1")
        })
        .collect();
    assert_eq!(text(&config, &facts()).lines().collect::<Vec<_>>(), alone);
    assert_eq!(guard(&config, &facts()).modem.unwrap().v4, None);
}

/// A name's address of a family that the modem has not is no address.
#[test]
fn a_name_is_where_the_modem_can_reach_it() {
    let mut config = config();
    let name: Endpoint = "vps.example.org:51820".parse().unwrap();
    config.tunnel.peers[0].endpoint = name.clone();
    let mut facts = facts();
    facts
        .resolved
        .insert(name, "[2001:db8:99::10]:51820".parse().unwrap());
    assert!(guard(&config, &facts).peers.is_empty());
    assert!(!text(&config, &facts).contains("endpoint"));
    config.modem.v6 = Some(InterfaceAddr {
        address: "2001:db8:2::2/128".parse().unwrap(),
        gateway: None,
        admin: None,
    });
    assert_eq!(guard(&config, &facts).peers.len(), 1);
    assert!(text(&config, &facts).contains("endpoint [2001:db8:99::10]:51820"));
}

/// A point-to-point modem without IPv6, a name that has not been looked up, networks behind the peer.
#[test]
fn the_unusual_home() {
    let mut config = config();
    config.modem.v4 = Some(InterfaceAddr {
        address: "100.64.1.1/32".parse().unwrap(),
        gateway: None,
        admin: None,
    });
    config.tunnel.addresses.push("fd88::1/64".parse().unwrap());
    let peer = &mut config.tunnel.peers[0];
    peer.endpoint = "vps.example.org:51820".parse().unwrap();
    peer.allowed_ips = ["fd88::2/128", "10.99.0.0/16", "10.88.88.0/25", "fd99::/64"]
        .map(|net| net.parse().unwrap())
        .into();
    config.routing = Routing {
        table: 1000,
        mark: 0x100,
        mask: 0xff00,
        rule_priority: 10,
    };
    let mut facts = facts();
    facts.modem.as_mut().unwrap().ipv6 = false;
    facts.modem.as_mut().unwrap().header = LinkHeader::None;
    assert_eq!(
        text(&config, &facts),
        "\
guard on modem modem, other ways out wan, peers unknown, port 51820, mark 0x100/0xff00, admin ports [80, 443], flow time-out 250 s
link modem nomaster
sysctl net.ipv4.conf.modem.src_valid_mark = 1
sysctl net.ipv4.conf.modem.arp_ignore = 1
sysctl net.ipv4.conf.modem.arp_announce = 2
sysctl net.ipv4.conf.modem.disable_xfrm = 1
sysctl net.ipv4.conf.modem.disable_policy = 1
link wg-lte type wireguard mtu 1380
wireguard wg-lte private-key (hidden) listen-port 51820 fwmark off
wireguard wg-lte peer AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI= allowed-ips 10.88.88.0/25,10.99.0.0/16,fd88::2/128,fd99::/64 persistent-keepalive off
address 100.64.1.1/32 dev modem noprefixroute
qdisc drr 7b: dev modem for fwmark 0x100/0xff00 alone, fq_codel in it
link modem up
route default dev modem src 100.64.1.1 table 1000
rule 10: iif lo ipproto udp sport 51820 lookup 1000
rule 11: fwmark 0x100/0xff00 lookup 1000
rule 12: from 100.64.1.1/32 iif lo lookup 1000
address 10.88.88.1/24 dev wg-lte
address fd88::1/64 dev wg-lte
link wg-lte up
route 10.99.0.0/16 dev wg-lte table main
route fd99::/64 dev wg-lte table main
"
    );
    facts.resolved.insert(
        config.tunnel.peers[0].endpoint.clone(),
        "198.51.100.7:51820".parse().unwrap(),
    );
    assert!(text(&config, &facts).contains(
        " endpoint 198.51.100.7:51820 allowed-ips 10.88.88.0/25,10.99.0.0/16,fd88::2/128,fd99::/64 persistent-keepalive 80\n"
    ));
}
