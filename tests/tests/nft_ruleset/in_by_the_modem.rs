//! What enters by the modem (spec: `modem-in`, `replies-only`).

use std::net::SocketAddrV4;
use std::time::Duration;

use lte_tests::addresses::{ELSEWHERE, LISTEN_PORT, MODEM, MODEM_GATEWAY, PEER, PEER_PORT};
use lte_tests::outside_host::{Services, forged_udp};
use lte_tests::topology::Options;
use lte_tests::wait::TIMEOUT;
use lte_tests::{ping, sysctl, traffic};

use crate::rig::{Rig, keepalive, receive};

const SOON: Duration = Duration::from_millis(300);

#[test]
fn unknown_senders_do_not_get_in() {
    let rig = Rig::open();
    rig.round_trip(&keepalive());
    let services = Services::open(&rig.lab.router, 8022).unwrap();
    let carrier = &rig.lab.carrier.netns;
    let to = SocketAddrV4::new(MODEM, 8022);
    traffic::send_udp(carrier, 0, &[to], &[keepalive()]).unwrap();
    assert!(!traffic::connects(carrier, to, SOON).unwrap());
    assert!(!ping::answers(carrier, MODEM).unwrap());
    assert_eq!(services.visitors().unwrap(), (0, 0));
    let counters = rig.counters();
    assert!(counters["modem-in/drop-unsolicited"].0 >= 3, "{counters:?}");
}

#[test]
fn the_listen_port_is_open_to_remembered_remotes_alone() {
    let rig = Rig::open();
    rig.round_trip(&keepalive());
    let carrier = &rig.lab.carrier.netns;
    let port = SocketAddrV4::new(MODEM, LISTEN_PORT);
    // An unknown sender, the peer's address from another port, the modem itself.
    for from in [
        SocketAddrV4::new(ELSEWHERE, PEER_PORT),
        SocketAddrV4::new(PEER, PEER_PORT + 1),
        SocketAddrV4::new(MODEM_GATEWAY, PEER_PORT),
    ] {
        let socket = forged_udp(carrier, from).unwrap();
        socket.send_to(&keepalive(), port).unwrap();
        assert!(receive(&rig.tunnel, SOON).is_none(), "from {from}");
    }
    rig.far.speak(&keepalive());
    assert!(receive(&rig.tunnel, TIMEOUT).is_some());
    assert_eq!(rig.counted("modem-in/drop-stranger"), 3);
}

#[test]
fn a_remote_is_forgotten_after_the_flow_timeout() {
    let rig = Rig::with(&Options::default(), |guard| {
        guard.flow_timeout = Duration::from_secs(2);
    });
    rig.round_trip(&keepalive());
    std::thread::sleep(Duration::from_millis(3500));
    rig.far.speak(&keepalive());
    assert!(receive(&rig.tunnel, SOON).is_none());
    rig.round_trip(&keepalive());
    rig.far.speak(&keepalive());
    assert!(receive(&rig.tunnel, TIMEOUT).is_some());
}

#[test]
fn conntrack_forgets_sooner_than_the_guard() {
    let rig = Rig::open();
    let timeouts = [
        ("netfilter/nf_conntrack_udp_timeout", "1"),
        ("netfilter/nf_conntrack_udp_timeout_stream", "1"),
    ];
    sysctl::set(&rig.lab.router, &timeouts).unwrap();
    rig.round_trip(&keepalive());
    std::thread::sleep(Duration::from_secs(3));
    rig.far.speak(&keepalive());
    assert!(receive(&rig.tunnel, TIMEOUT).is_some());
}

#[test]
fn errors_about_the_tunnel_get_in_and_others_do_not() {
    let rig = Rig::open();
    // No socket listens there: port unreachable, from behind the carrier.
    rig.tunnel.connect((ELSEWHERE, 9)).unwrap();
    rig.send_to(&keepalive(), (ELSEWHERE, 9));
    let error = lte_tests::wait::until(SOON * 10, "an ICMP error", || {
        Ok(rig.tunnel.take_error()?)
    });
    let error = error.unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(rig.counted("modem-in/icmp-error"), 1);

    // The same with one that quotes a packet which never was.
    let mut forged = vec![3, 1, 0, 0, 0, 0, 0, 0];
    forged.extend([0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17, 0, 0]);
    forged.extend(MODEM.octets());
    forged.extend(PEER.octets());
    forged.extend((LISTEN_PORT + 1).to_be_bytes());
    forged.extend(PEER_PORT.to_be_bytes());
    forged.extend([0, 40, 0, 0]);
    crate::rig::send_icmp(&rig.lab.carrier.netns, MODEM, forged);
    lte_tests::wait::until(SOON * 10, "the forged error in the counters", || {
        Ok((rig.counted("modem-in/drop-unsolicited") == 1).then_some(()))
    })
    .unwrap();
    assert_eq!(rig.counted("modem-in/icmp-error"), 1);
}

#[test]
fn fragments_from_unknown_senders_do_not_get_in() {
    let rig = Rig::open();
    rig.round_trip(&keepalive());
    let socket = forged_udp(
        &rig.lab.carrier.netns,
        SocketAddrV4::new(ELSEWHERE, PEER_PORT),
    )
    .unwrap();
    let port = SocketAddrV4::new(MODEM, LISTEN_PORT);
    socket.send_to(&vec![4; 4000], port).unwrap();
    assert!(receive(&rig.tunnel, SOON).is_none());
    assert_eq!(rig.counters()["modem-in/fragment"], (3, 4000 + 8 + 3 * 20));
    // They are counted once.
    assert_eq!(rig.counted("modem-in/drop-stranger"), 0);
}

#[test]
fn what_is_neither_ip_nor_arp_does_not_get_in() {
    let rig = Rig::open();
    rig.round_trip(&keepalive());
    let mut frame = vec![0xff; 12];
    frame.extend([0x88, 0xcc]);
    frame.extend([0; 46]);
    crate::rig::send_frame(&rig.lab.carrier.netns, "modem0", &frame);
    lte_tests::wait::until(SOON * 10, "the frame in the counters", || {
        Ok((rig.counters()["modem-in/drop-not-ip"] == (1, 46)).then_some(()))
    })
    .unwrap();
}
