//! What leaves by the modem (spec: `modem-out`, `only-the-tunnel`).

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use lte_tests::addresses::{ELSEWHERE, LISTEN_PORT, MODEM, MODEM_GATEWAY, PEER, PEER_PORT};
use lte_tests::capture::Direction::{In, Out};
use lte_tests::frame_socket::FrameSocket;
use lte_tests::packet::Kind;
use lte_tests::topology::{Options, Uplink};
use lte_tests::{drops, kernel_version, ping, traffic};
use nix::sys::socket::{setsockopt, sockopt};

use crate::rig::{FAR, Rig, is_from, keepalive, message, receive, udp};

#[test]
fn the_tunnel_passes_and_its_replies_too_with_a_strict_filter() {
    let rig = Rig::open();
    let before = drops::reverse_path(&rig.lab.router).unwrap();
    for _ in 0..20 {
        rig.round_trip(&keepalive());
    }
    rig.nothing_leaked();
    assert_eq!(drops::reverse_path(&rig.lab.router).unwrap(), before);
    assert_eq!(rig.counters()["modem-out/tunnel"], (20, 20 * 60));
    assert_eq!(rig.counters()["modem-in/reply"], (20, 20 * 60));
    assert_eq!(rig.counted("uplink-out/steered"), 0);
}

#[test]
fn it_needs_no_default_route_and_no_uplink() {
    let rig = Rig::open();
    rig.round_trip(&keepalive());
    rig.lab.lose_lease().unwrap();
    rig.round_trip(&keepalive());
    rig.lab.unplug_uplink().unwrap();
    rig.round_trip(&keepalive());
    let cold = Rig::with(
        &Options {
            uplink: Uplink::Down,
            ..Options::default()
        },
        |_| {},
    );
    cold.round_trip(&keepalive());
}

#[test]
fn wireguards_shapes_pass_and_nothing_else_of_its_port() {
    let rig = Rig::open();
    let shaped = [
        (1, 148),
        (2, 92),
        (3, 64),
        (4, 32),
        (4, 33),
        (4, 48),
        (4, 1440),
    ];
    for (kind, length) in shaped {
        rig.round_trip(&message(kind, length));
    }
    rig.round_trip(&[0xff]);
    assert_eq!(rig.counted("modem-out/tunnel"), shaped.len() as u64);
    assert_eq!(rig.counters()["modem-out/nat-keepalive"], (1, 29));

    let mut others = Vec::new();
    for (kind, length) in shaped {
        let mut reserved = message(kind, length);
        reserved[2] = 1;
        others.extend([message(kind + 4, length), reserved]);
        // Data is of any length from 32 bytes on.
        if kind != 4 {
            others.extend([message(kind, length - 1), message(kind, length + 1)]);
        }
    }
    others.extend([
        message(4, 31),
        message(4, 16),
        message(1, 92),
        vec![],
        vec![0xfe],
    ]);
    others.extend([vec![0xff, 0xff], vec![4, 0, 0]]);
    rig.at_carrier.clear();
    for payload in &others {
        rig.send(payload);
    }
    rig.round_trip(&keepalive());
    let left = rig.left_by_modem();
    assert_eq!(left.iter().filter(|s| s.packet.ports.is_some()).count(), 1);
    let dropped = rig.counted("modem-out/drop-not-wireguard");
    assert_eq!(dropped, others.len() as u64);
}

#[test]
fn forwarded_packets_do_not_pass() {
    let rig = Rig::open();
    rig.lab.default_route_on_modem().unwrap();
    let targets = [(PEER, PEER_PORT), (ELSEWHERE, 53), (MODEM_GATEWAY, 80)];
    let targets = targets.map(|(address, port)| std::net::SocketAddrV4::new(address, port));
    let payloads = vec![keepalive(); 10];
    let sent = traffic::send_udp(&rig.lab.lan, LISTEN_PORT, &targets, &payloads).unwrap();
    assert_eq!(sent, 30);
    assert!(!ping::answers(&rig.lab.lan, ELSEWHERE).unwrap());
    rig.round_trip(&keepalive());
    let foreign = |s: &lte_tests::capture::Seen| {
        crate::rig::left_by_modem(s) && s.packet.source().is_some() && !is_from(s, MODEM)
    };
    rig.at_carrier.none("foreign packets", foreign).unwrap();
    assert_eq!(rig.counted("modem-out/tunnel"), 1);
    assert!(rig.counted("modem-out/drop-forwarded") >= 31);
}

#[test]
fn local_programs_do_not_pass() {
    let rig = Rig::open();
    rig.lab.default_route_on_modem().unwrap();
    let socket = udp(&rig.lab.router, (Ipv4Addr::UNSPECIFIED, 4711).into());
    for to in [(ELSEWHERE, 53), FAR, (MODEM_GATEWAY, 53)] {
        socket.send_to(&keepalive(), to).ok();
    }
    let bound = udp(&rig.lab.router, (MODEM, 0).into());
    setsockopt(&bound, sockopt::BindToDevice, &"modem".into()).unwrap();
    bound
        .send_to(b"mdns", (Ipv4Addr::new(224, 0, 0, 251), 5353))
        .ok();
    bound.set_broadcast(true).unwrap();
    bound.send_to(b"dhcp", (Ipv4Addr::BROADCAST, 67)).ok();
    // A program that sets the mark itself is no tunnel yet.
    setsockopt(&socket, sockopt::Mark, &0x7b).unwrap();
    socket.send_to(&keepalive(), FAR).ok();
    assert!(!ping::answers(&rig.lab.router, ELSEWHERE).unwrap());
    let page = std::net::SocketAddrV4::new(MODEM_GATEWAY, 8080);
    assert!(!traffic::connects(&rig.lab.router, page, Duration::from_millis(300)).unwrap());
    rig.round_trip(&keepalive());
    let left = rig.left_by_modem();
    let of_ip: Vec<_> = left
        .iter()
        .filter(|s| s.packet.source().is_some())
        .collect();
    assert_eq!(of_ip.len(), 1, "{of_ip:?}");
    assert!(
        rig.counted("modem-out/drop-local") >= 8,
        "{:?}",
        rig.counters()
    );
}

#[test]
fn the_admin_page_and_its_echo_pass_and_are_answered() {
    let rig = Rig::open();
    let carrier = &rig.lab.carrier.netns;
    let page = carrier
        .run(|| Ok(TcpListener::bind((MODEM_GATEWAY, 80))?))
        .unwrap();
    let address: SocketAddr = (MODEM_GATEWAY, 80).into();
    let client = rig
        .lab
        .router
        .run(|| {
            Ok(TcpStream::connect_timeout(
                &address,
                Duration::from_secs(5),
            )?)
        })
        .unwrap();
    page.accept().unwrap();
    drop(client);
    assert!(ping::answers(&rig.lab.router, MODEM_GATEWAY).unwrap());
    let counters = rig.counters();
    assert!(counters["modem-out/admin"].0 >= 4, "{counters:?}");
    assert!(counters["modem-in/admin"].0 >= 2, "{counters:?}");
    assert_eq!(rig.counted("modem-in/drop-unsolicited"), 0);
}

#[test]
fn large_messages_pass_in_fragments_and_each_is_counted_once() {
    let rig = Rig::open();
    rig.round_trip(&keepalive());
    rig.at_carrier.clear();
    let before = rig.counters();
    rig.round_trip(&message(4, 32 + 16 * 250));
    rig.nothing_leaked();
    let after = rig.counters();
    let moved = |name: &str| {
        let (packets, bytes) = after.get(name).copied().unwrap_or_default();
        let old = before.get(name).copied().unwrap_or_default();
        (packets - old.0, bytes - old.1)
    };
    let sum = |names: &[&str]| {
        let all = names.iter().map(|name| moved(name));
        all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    let seen = |direction| {
        let wanted = move |s: &lte_tests::capture::Seen| {
            &*s.interface == "modem0"
                && s.direction == direction
                && s.packet.source().is_some_and(|from| from.is_ipv4())
        };
        let packets = rig.at_carrier.packets(wanted).unwrap();
        let bytes = packets.iter().map(|s| s.packet.bytes as u64).sum::<u64>();
        (packets.len() as u64, bytes)
    };
    assert_eq!(seen(In).0, 3);
    assert_eq!(sum(&["modem-in/fragment", "modem-in/reply"]), seen(Out));
    if rig.has_egress() {
        assert_eq!(moved("modem-out/tunnel").0, 1);
        assert_eq!(sum(&["modem-out/tunnel", "modem-out/fragment"]), seen(In));
    } else {
        // Before it is cut: one header, where there are three.
        assert_eq!(moved("modem-out/tunnel"), (1, seen(In).1 - 2 * 20));
    }
}

/// A frame of a program that writes it itself: 60 bytes of IPv4, of UDP that is not the tunnel's.
fn programs_frame() -> Vec<u8> {
    let mut frame = vec![0xff; 12];
    frame.extend([0x08, 0x00, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend(MODEM.octets());
    frame.extend(ELSEWHERE.octets());
    frame.extend(4711_u16.to_be_bytes());
    frame.extend(53_u16.to_be_bytes());
    frame.extend([0, 40, 0, 0]);
    frame.extend([0; 32]);
    frame
}

#[test]
fn packet_sockets_do_not_go_round_where_the_kernel_has_the_egress_hook() {
    let rig = Rig::open();
    rig.round_trip(&keepalive());
    let frame = programs_frame();
    let mut lldp = frame.clone();
    lldp[12..14].copy_from_slice(&[0x88, 0xcc]);
    let mut look_alike = frame.clone();
    look_alike[34..36].copy_from_slice(&(LISTEN_PORT + 1).to_be_bytes());
    look_alike[42] = 4;
    for frame in [&frame, &lldp, &look_alike] {
        crate::rig::send_frame(&rig.lab.router, "modem", frame);
    }
    rig.round_trip(&keepalive());
    let stray = rig
        .left_by_modem()
        .into_iter()
        .filter(|s| s.packet.kind != Kind::Arp && !s.packet.is_wireguard())
        .count();
    if rig.has_egress() {
        assert_eq!(stray, 0);
        assert_eq!(rig.counters()["modem-out/drop-local"], (2, 120));
        assert_eq!(rig.counters()["modem-out/drop-not-ip"], (1, 60));
        assert!(rig.counted("modem-out/neighbour") > 0);
    } else {
        assert!(stray > 0, "this kernel guards more than is said");
    }
    assert!(receive(&rig.tunnel, Duration::from_millis(50)).is_none());
}

/// What is out of reach for programs at TC: `PACKET_QDISC_BYPASS` hands frames to the driver. Since 5.17
/// netfilter is asked on that way, too.
#[test]
fn packet_sockets_do_not_go_past_the_qdisc_since_5_17() {
    let rig = Rig::open();
    rig.round_trip(&keepalive());
    let frame = programs_frame();
    let socket = FrameSocket::open(&rig.lab.router, "modem").unwrap();
    socket.bypass_qdisc().unwrap();
    for _ in 0..5 {
        socket.send(&frame).unwrap();
    }
    rig.round_trip(&keepalive());
    let stray = rig
        .left_by_modem()
        .into_iter()
        .filter(|s| s.packet.kind != Kind::Arp && !s.packet.is_wireguard())
        .count();
    if kernel_version::running().unwrap() >= (5, 17) {
        assert_eq!(stray, 0);
    } else {
        assert_eq!(stray, 5, "this kernel guards more than is said");
    }
}
