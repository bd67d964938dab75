#![expect(
    clippy::unwrap_used,
    reason = "a wrong literal in a test is to fail it"
)]
//! Golden texts: the way from each state to the one that is wanted.

use std::time::Duration;

use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::rule::RuleMessage;

use super::super::restore::restored;
use super::*;
use crate::backend::Guard;
use crate::config::{PrivateKey, PublicKey};
use crate::desired::{
    Address, Backstop, IpFamily, Link, LinkState, Master, Offload, OffloadKey, Peer, Queue, Route,
    Rule, Sysctl, SysctlKey, WireguardDevice,
};
use crate::kernel::link::ALIAS;
use crate::kernel::qdisc::{BackstopState, QueueState, RootQdisc};
use crate::kernel::{address, link, route, rule, wireguard};
use crate::state::InterfaceBaseline;

const MODEM: u32 = 3;
const TUNNEL: u32 = 9;

fn want() -> Vec<Object> {
    vec![
        Object::Guard(Guard::default()),
        Object::Master(Master {
            interface: "modem".to_owned(),
            master: None,
        }),
        Object::Sysctl(Sysctl {
            interface: "modem".to_owned(),
            key: SysctlKey::SrcValidMark,
            value: "1".to_owned(),
        }),
        Object::Offload(Offload {
            interface: "modem".to_owned(),
            key: OffloadKey::Gro,
            value: 0,
        }),
        Object::Link(Link {
            name: "wg-lte".to_owned(),
            mtu: 1380,
        }),
        Object::WireguardDevice(WireguardDevice {
            interface: "wg-lte".to_owned(),
            private_key: PrivateKey::new(&[0x40; 32]),
            listen_port: 51820,
        }),
        Object::Peer(peer()),
        Object::Address(Address {
            interface: "modem".to_owned(),
            cidr: "192.168.0.2/24".parse().unwrap(),
            prefix_route: false,
        }),
        Object::Backstop(Backstop {
            interface: "modem".to_owned(),
            mark: 0x7b,
            mask: 0xff,
            queue: Queue::FqCodel,
        }),
        Object::LinkState(LinkState {
            interface: "modem".to_owned(),
            up: true,
        }),
        Object::Route(route()),
        Object::Rule(rule()),
        Object::LinkState(LinkState {
            interface: "wg-lte".to_owned(),
            up: true,
        }),
    ]
}

fn net(passes: (u32, u32), queue: QueueState) -> RootQdisc {
    RootQdisc::Backstop(Some(BackstopState { passes, queue }))
}

fn peer() -> Peer {
    Peer {
        interface: "wg-lte".to_owned(),
        public_key: PublicKey([2; 32]),
        endpoint: Some("203.0.113.10:51820".parse().unwrap()),
        allowed_ips: vec!["10.88.88.2/32".parse().unwrap()],
        keepalive: Duration::from_secs(80),
    }
}

fn route() -> Route {
    Route {
        destination: "0.0.0.0/0".parse().unwrap(),
        gateway: Some("192.168.0.1".parse().unwrap()),
        interface: "modem".to_owned(),
        source: Some("192.168.0.2".parse().unwrap()),
        table: 123,
    }
}

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

/// The machine before anything was done.
fn bare() -> Snapshot {
    Snapshot {
        links: vec![link::ObservedLink::ethernet(MODEM, "modem")],
        sysctls: [((MODEM, SysctlKey::SrcValidMark), "0".to_owned())].into(),
        offloads: [((MODEM, OffloadKey::Gro), 1)].into(),
        send_redirects: Some("1".to_owned()),
        roots: [(MODEM, RootQdisc::Default)].into(),
        ..Snapshot::default()
    }
}

/// The machine with everything in place.
fn complete() -> Snapshot {
    let mut have = bare();
    have.links[0].up = true;
    have.links.push(link::ObservedLink {
        wireguard: true,
        up: true,
        mtu: 1380,
        alias: Some(ALIAS.to_owned()),
        ..link::ObservedLink::ethernet(TUNNEL, "wg-lte")
    });
    have.sysctls
        .insert((MODEM, SysctlKey::SrcValidMark), "1".to_owned());
    have.offloads.insert((MODEM, OffloadKey::Gro), 0);
    have.send_redirects = Some("0".to_owned());
    have.addresses = vec![address::ObservedAddress {
        index: MODEM,
        cidr: "192.168.0.2/24".parse().unwrap(),
    }];
    have.routes.ours = vec![route::ObservedRoute {
        route: Some(route()),
        message: RouteMessage::default(),
    }];
    have.roots = [(MODEM, net((0x7b, 0xff), QueueState::Ours(Queue::FqCodel)))].into();
    have.rules = vec![rule::ObservedRule {
        rule: Some(rule()),
        message: RuleMessage::default(),
    }];
    have.device = Some(wireguard::ObservedDevice {
        public_key: Some(PrivateKey::new(&[0x40; 32]).public()),
        listen_port: 51820,
        fwmark: 0,
        peers: [(PublicKey([2; 32]), found_peer())].into(),
    });
    have
}

fn found_peer() -> wireguard::ObservedPeer {
    let Peer {
        endpoint,
        allowed_ips,
        keepalive,
        ..
    } = peer();
    wireguard::ObservedPeer {
        endpoint,
        allowed_ips,
        keepalive,
        handshake: None,
        received: 0,
        sent: 0,
    }
}

/// What is on record once everything is in place.
fn record() -> Baseline {
    let mut baseline = Baseline::default();
    baseline.tunnel = Some("wg-lte".to_owned());
    baseline.interfaces.insert(
        MODEM,
        InterfaceBaseline {
            name: "modem".to_owned(),
            up: false,
            master: None,
            sysctls: [("ipv4/src_valid_mark".to_owned(), "0".to_owned())].into(),
            offloads: [("rx-gro".to_owned(), 1)].into(),
            addresses: Vec::new(),
            added: vec!["192.168.0.2/24".to_owned()],
        },
    );
    baseline
}

fn text(plan: &Plan) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        text.push_str(&step.to_string());
        text.push('\n');
    }
    for line in &plan.blocked {
        text.extend(["blocked: ", line, "\n"]);
    }
    text
}

fn missing_guard() -> GuardState {
    GuardState {
        differences: vec![Difference("no program".to_owned())],
        stale_guards: Vec::new(),
    }
}

/// The plan of an agent that wants these.
fn up(want: &[Object], have: &Snapshot, baseline: &Baseline, guard: &GuardState) -> Plan {
    let goal = Goal {
        want: want.to_vec(),
        ..Goal::default()
    };
    plan(&goal, have, baseline, guard)
}

/// The plan of going down.
fn down(have: &Snapshot, baseline: &Baseline, guards: &[BackendKind]) -> Plan {
    let goal = Goal {
        restored: restored(have, baseline, None, &[]),
        ..Goal::default()
    };
    let guard = GuardState {
        stale_guards: guards.to_vec(),
        ..GuardState::default()
    };
    plan(&goal, have, baseline, &guard)
}

fn up_text(have: &Snapshot) -> String {
    text(&up(&want(), have, &record(), &GuardState::default()))
}

#[test]
fn from_nothing_the_guard_comes_first_and_the_tunnel_speaks_last() {
    let plan = up(&want(), &bare(), &Baseline::default(), &missing_guard());
    assert_eq!(
        text(&plan),
        "\
set guard without a modem, other ways out none, peers unknown, port 51820, mark 0x7b/0xff, admin ports [80, 443], flow time-out 180 s (no program)
set sysctl net.ipv4.conf.modem.src_valid_mark = 1
set offload rx-gro 0 dev modem
set link wg-lte type wireguard mtu 1380
set wireguard wg-lte private-key (hidden) listen-port 51820 fwmark off
set wireguard wg-lte peer AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI= endpoint 203.0.113.10:51820 allowed-ips 10.88.88.2/32 persistent-keepalive 80
set address 192.168.0.2/24 dev modem noprefixroute
set qdisc drr 7b: dev modem for fwmark 0x7b/0xff alone, fq_codel in it
set link modem up
set route default via 192.168.0.1 dev modem src 192.168.0.2 table 123
set rule 10: iif lo ipproto udp sport 51820 lookup 123
set link wg-lte up
"
    );
}

/// A program that waits for it, a DHCP client above all, finds it closed.
#[test]
fn a_modem_that_anybody_may_set_up_is_closed_before_all_else() {
    let closes = "set qdisc drr 7b: dev modem for fwmark 0x7b/0xff alone, fq_codel in it";
    let first = |have: &Snapshot| {
        let plan = up(&want(), have, &Baseline::default(), &missing_guard());
        plan.steps[0].to_string()
    };
    let mut have = bare();
    assert!(first(&have).starts_with("set guard "), "it was up once");
    have.roots.clear();
    assert_eq!(first(&have), closes);
    have = bare();
    have.links[0].up = true;
    assert_eq!(first(&have), closes);
}

/// It is given back what it was a part of, where that is still there.
#[test]
fn down_leaves_the_modem_with_the_master_that_it_had() {
    let mut have = complete();
    have.links.push(link::ObservedLink::ethernet(77, "br0"));
    let mut baseline = record();
    if let Some(before) = baseline.interfaces.get_mut(&MODEM) {
        before.master = Some(77);
    }
    let back = "set link modem master br0\n";
    let plan = text(&down(&have, &baseline, &[]));
    assert!(plan.contains(back), "{plan}");
    have.links.pop();
    let plan = text(&down(&have, &baseline, &[]));
    assert!(!plan.contains("master"), "{plan}");
    let plan = up_text(&have);
    assert!(!plan.contains("master"), "{plan}");
}

#[test]
fn where_all_is_in_place_there_is_nothing_to_do() {
    assert_eq!(up_text(&complete()), "");
}

/// A change by others to what is in place.
type Damage = fn(&mut Snapshot);

fn are_mended(cases: &[(Damage, &str)]) {
    for (damage, expected) in cases {
        let mut have = complete();
        damage(&mut have);
        assert_eq!(up_text(&have), *expected);
    }
}

#[test]
fn a_damaged_backstop_is_rebuilt() {
    let root = "set qdisc drr 7b: dev modem for fwmark 0x7b/0xff alone, fq_codel in it\n";
    are_mended(&[
        (|have| have.roots.clear(), root),
        (
            |have| have.roots = [(MODEM, RootQdisc::Backstop(None))].into(),
            root,
        ),
        (
            |have| {
                have.roots = [(
                    MODEM,
                    net((0x7b, u32::MAX), QueueState::Ours(Queue::FqCodel)),
                )]
                .into();
            },
            root,
        ),
        (
            |have| have.roots = [(MODEM, net((0x7b, 0xff), QueueState::Missing))].into(),
            root,
        ),
        (
            |have| {
                have.roots = [(MODEM, net((0x7b, 0xff), QueueState::Ours(Queue::Fifo)))].into();
            },
            root,
        ),
    ]);
}

#[test]
fn each_damage_is_mended_by_itself() {
    are_mended(&[
        (
            |have| have.links[0].master = Some(77),
            "set link modem nomaster\n",
        ),
        (
            |have| have.rules.clear(),
            "set rule 10: iif lo ipproto udp sport 51820 lookup 123\n",
        ),
        (
            |have| have.routes.ours.clear(),
            "set route default via 192.168.0.1 dev modem src 192.168.0.2 table 123\n",
        ),
        (
            |have| have.addresses.clear(),
            "set address 192.168.0.2/24 dev modem noprefixroute\n",
        ),
        (|have| have.links[0].up = false, "set link modem up\n"),
        (|have| have.links[1].up = false, "set link wg-lte up\n"),
        (
            |have| have.links[1].mtu = 1420,
            "set link wg-lte type wireguard mtu 1380\n",
        ),
        (
            |have| {
                drop(
                    have.sysctls
                        .insert((MODEM, SysctlKey::SrcValidMark), "0".to_owned()),
                );
            },
            "set sysctl net.ipv4.conf.modem.src_valid_mark = 1\n",
        ),
        (
            |have| {
                have.offloads.insert((MODEM, OffloadKey::Gro), 1);
            },
            "set offload rx-gro 0 dev modem\n",
        ),
        (
            |have| have.device.as_mut().unwrap().listen_port = 1,
            "set wireguard wg-lte private-key (hidden) listen-port 51820 fwmark off\n",
        ),
        (
            |have| have.device.as_mut().unwrap().fwmark = 0x7b,
            "set wireguard wg-lte private-key (hidden) listen-port 51820 fwmark off\n",
        ),
        (
            |have| have.device.as_mut().unwrap().peers.clear(),
            "set wireguard wg-lte peer AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI= endpoint 203.0.113.10:51820 allowed-ips 10.88.88.2/32 persistent-keepalive 80\n",
        ),
        (
            |have| {
                drop(
                    have.device
                        .as_mut()
                        .unwrap()
                        .peers
                        .insert(PublicKey([3; 32]), found_peer()),
                );
            },
            "remove wireguard wg-lte peer AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n",
        ),
        (
            |have| {
                let mut stale = rule();
                stale.udp_source_port = Some(4711);
                have.rules.push(rule::ObservedRule {
                    rule: Some(stale),
                    message: RuleMessage::default(),
                });
            },
            "remove rule 10: iif lo ipproto udp sport 4711 lookup 123\n",
        ),
    ]);
}

/// Another's route to a network behind the tunnel is left alone, and ours is added when it has gone.
#[test]
fn a_network_that_is_taken_is_no_step() {
    use rtnetlink::packet_route::AddressFamily;
    use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute};

    let network = Route {
        destination: "10.99.0.0/24".parse().unwrap(),
        gateway: None,
        interface: "wg-lte".to_owned(),
        source: None,
        table: MAIN_TABLE,
    };
    let mut want = want();
    want.push(Object::Route(network));
    let theirs = |metric: Option<u32>| {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = 24;
        let to = RouteAddress::Inet([10, 99, 0, 0].into());
        message.attributes.push(RouteAttribute::Destination(to));
        message
            .attributes
            .extend(metric.map(RouteAttribute::Priority));
        message
    };
    let planned = |in_main: Vec<RouteMessage>| {
        let mut have = complete();
        have.routes.in_main = in_main;
        text(&up(&want, &have, &record(), &GuardState::default()))
    };
    let ours = "set route 10.99.0.0/24 dev wg-lte table main\n";
    assert_eq!(planned(Vec::new()), ours);
    assert_eq!(planned(vec![theirs(None)]), "");
    assert_eq!(planned(vec![theirs(Some(100))]), ours, "another metric");
}

/// The rules of an older agent go when the new ones are there.
#[test]
fn rules_are_moved_without_a_moment_without_them() {
    let mut have = complete();
    let mut old = rule();
    old.priority = 1230;
    have.rules[0].rule = Some(old);
    assert_eq!(
        up_text(&have),
        "\
set rule 10: iif lo ipproto udp sport 51820 lookup 123
remove rule 1230: iif lo ipproto udp sport 51820 lookup 123
"
    );
}

#[test]
fn an_interface_of_somebody_elses_is_left_alone() {
    let mut have = complete();
    have.links[1].alias = None;
    let plan = up(&want(), &have, &Baseline::default(), &GuardState::default());
    assert_eq!(
        text(&plan),
        "blocked: interface wg-lte is there and is not this agent's: remove it (ip link del wg-lte) or choose another tunnel.interface\n"
    );
    let plan = up(&want(), &have, &record(), &GuardState::default());
    assert_eq!(
        text(&plan),
        "set link wg-lte type wireguard mtu 1380\n",
        "made by us and not named yet"
    );
    have.links[1].alias = Some("mine".to_owned());
    assert!(text(&down(&have, &record(), &[])).starts_with("remove qdisc"));
}

#[test]
fn down_goes_the_other_way_round_and_the_guard_goes_last() {
    let mut baseline = record();
    // The agent was killed before it had given them back.
    baseline.send_redirects = Some("1".to_owned());
    let plan = down(&complete(), &baseline, &[BackendKind::Ebpf]);
    assert_eq!(
        text(&plan),
        "\
remove link wg-lte
remove qdisc drr 7b: dev modem
remove rule 10: iif lo ipproto udp sport 51820 lookup 123
remove route default via 192.168.0.1 dev modem src 192.168.0.2 table 123
set link modem down
remove address 192.168.0.2/24 dev modem
set sysctl net.ipv4.conf.modem.src_valid_mark = 0
set offload rx-gro 1 dev modem
set sysctl net.ipv4.conf.all.send_redirects = 1
remove guard (ebpf)
"
    );
    assert_eq!(text(&down(&bare(), &baseline, &[])), "");
}

#[test]
fn down_leaves_what_was_there_before() {
    let mut baseline = record();
    let before = baseline.interfaces.get_mut(&MODEM).unwrap();
    before.up = true;
    before.addresses = vec!["192.168.0.2/24".to_owned()];
    before.sysctls.clear();
    before.offloads.clear();
    assert_eq!(
        text(&down(&complete(), &baseline, &[])),
        "\
remove link wg-lte
remove qdisc drr 7b: dev modem
remove rule 10: iif lo ipproto udp sport 51820 lookup 123
remove route default via 192.168.0.1 dev modem src 192.168.0.2 table 123
"
    );
}

#[test]
fn a_guard_that_another_backend_left_goes_at_the_end() {
    let guard = GuardState {
        stale_guards: vec![BackendKind::Nft],
        ..missing_guard()
    };
    let plan = up(&want(), &bare(), &Baseline::default(), &guard);
    assert!(text(&plan).ends_with("set link wg-lte up\nremove guard (nft)\n"));
}

/// A config that no longer speaks of IPv6 leaves none of its traces on the modem.
#[test]
fn a_sysctl_that_is_no_longer_wanted_is_put_back_on_the_modem_too() {
    let mut baseline = record();
    let modem = baseline.interfaces.get_mut(&MODEM).unwrap();
    modem
        .sysctls
        .insert("ipv6/disable_ipv6".to_owned(), "1".to_owned());
    let restored = |modem| {
        let objects = restored(&complete(), &baseline, modem, &want());
        objects.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let traces = "sysctl net.ipv6.conf.modem.disable_ipv6 = 1";
    assert_eq!(restored(Some(MODEM)), [traces]);
    // Where it is the modem no more, it goes down as well.
    assert_eq!(restored(None), ["link modem down", traces]);
}

/// The other backend recognises joined packets, and wants none kept apart.
#[test]
fn with_another_guard_packets_are_joined_as_before() {
    let apart = |object: &Object| matches!(object, Object::Offload(_));
    let others: Vec<_> = want().into_iter().filter(|o| !apart(o)).collect();
    let objects = restored(&complete(), &record(), Some(MODEM), &others);
    let texts: Vec<_> = objects.iter().map(ToString::to_string).collect();
    assert!(
        texts.contains(&"offload rx-gro 1 dev modem".to_owned()),
        "{texts:?}"
    );
}
