//! What the agent opens for a time: it passes both ways, and nothing beside it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use lte_tests::addresses::{ELSEWHERE, MODEM, MODEM_GATEWAY, PEER};
use lte_tests::netns::Netns;
use lte_tests::wait::{self, TIMEOUT};
use lte_userspace::backend::nft::Nft;
use lte_userspace::backend::{Backend, Permit, Protocol};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
    SockaddrLike, sendto, setsockopt, socket, sockopt,
};

use crate::ipv6::{AWAY, with_ipv6};
use crate::rig::{Echo, Rig, receive, udp};

const SOON: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_mins(1);
const NEAR_PORT: u16 = 6000;
const FAR_PORT: u16 = 3478;
const QUESTION: &[u8] = b"a probe";

fn probe(remote: impl Into<Option<IpAddr>>) -> Permit {
    Permit {
        protocol: Protocol::Udp,
        local_port: NEAR_PORT,
        remote: remote.into(),
        remote_port: FAR_PORT,
    }
}

fn open(rig: &Rig, permit: Permit, time: Duration) {
    rig.on_nft(|nft, _| Ok(nft.permit(&permit, time)?));
}

fn withdraw(rig: &Rig, permit: Permit) {
    rig.on_nft(|nft, _| Ok(nft.revoke(&permit)?));
}

/// A program of the router's that speaks by the modem.
fn program(rig: &Rig, port: u16) -> UdpSocket {
    rig.lab
        .router
        .ip("rule add pref 1200 oif modem lookup 123\n")
        .unwrap();
    let socket = udp(&rig.lab.router, (Ipv4Addr::UNSPECIFIED, port).into());
    setsockopt(&socket, sockopt::BindToDevice, &"modem".into()).unwrap();
    socket
}

/// Asks, and says whether an answer came.
fn answered(socket: &UdpSocket, to: impl Into<SocketAddr>) -> bool {
    // A packet that the guard drops on its way out is an error to the sender on some kernels.
    socket.send_to(QUESTION, to.into()).ok();
    receive(socket, SOON).is_some()
}

#[test]
fn a_permit_opens_one_flow_until_it_is_revoked() {
    let rig = Rig::open();
    let far = Echo::start(&rig.lab.vps.netns, (PEER, FAR_PORT).into());
    let _elsewhere = Echo::start(&rig.lab.vps.netns, (ELSEWHERE, FAR_PORT).into());
    let _other_port = Echo::start(&rig.lab.vps.netns, (PEER, FAR_PORT + 1).into());
    let socket = program(&rig, NEAR_PORT);
    let other = udp(
        &rig.lab.router,
        (Ipv4Addr::UNSPECIFIED, NEAR_PORT + 1).into(),
    );
    setsockopt(&other, sockopt::BindToDevice, &"modem".into()).unwrap();
    assert!(!answered(&socket, (PEER, FAR_PORT)), "without a permit");
    assert_eq!(rig.counted("modem-out/drop-local"), 1);

    let permit = probe(IpAddr::from(PEER));
    open(&rig, permit, LONG);
    assert!(answered(&socket, (PEER, FAR_PORT)), "with a permit");
    let bytes = 28 + QUESTION.len() as u64;
    assert_eq!(rig.counters()["modem-out/permit"], (1, bytes));
    assert_eq!(rig.counters()["modem-in/permit"], (1, bytes));
    far.speak(QUESTION);
    assert!(
        receive(&socket, TIMEOUT).is_some(),
        "unasked, but permitted"
    );
    // Nothing beside it.
    assert!(!answered(&socket, (ELSEWHERE, FAR_PORT)));
    assert!(!answered(&socket, (PEER, FAR_PORT + 1)));
    assert!(!answered(&other, (PEER, FAR_PORT)));
    assert_eq!(rig.counted("modem-out/permit"), 1);
    assert_eq!(rig.counted("modem-out/drop-local"), 4);
    // It is no change of the rules.
    assert_eq!(rig.differences(), Vec::<String>::new());

    withdraw(&rig, permit);
    assert!(!answered(&socket, (PEER, FAR_PORT)), "withdrawn");
    let before = rig.counted("modem-in/drop-unsolicited");
    far.speak(QUESTION);
    wait::until(TIMEOUT, "the drop", || {
        Ok((rig.counted("modem-in/drop-unsolicited") == before + 1).then_some(()))
    })
    .unwrap();
    assert!(receive(&socket, SOON).is_none());
    // That there is none is no error.
    withdraw(&rig, permit);
    assert_eq!(rig.differences(), Vec::<String>::new());
}

#[test]
fn the_kernel_closes_it_and_a_second_one_prolongs_it() {
    let rig = Rig::open();
    let _far = Echo::start(&rig.lab.vps.netns, (PEER, FAR_PORT).into());
    let socket = program(&rig, NEAR_PORT);
    let short = Duration::from_secs(2);
    open(&rig, probe(IpAddr::from(PEER)), short);
    open(&rig, probe(None), LONG);
    open(&rig, probe(None), short);
    assert!(answered(&socket, (PEER, FAR_PORT)));
    std::thread::sleep(Duration::from_secs(4));
    assert!(!answered(&socket, (PEER, FAR_PORT)), "past its time");
    open(&rig, probe(None), short);
    open(&rig, probe(None), LONG);
    std::thread::sleep(Duration::from_secs(4));
    assert!(answered(&socket, (PEER, FAR_PORT)), "prolonged");
}

#[test]
fn permits_outlast_other_rules_and_other_sets() {
    let mut rig = Rig::open();
    let _far = Echo::start(&rig.lab.vps.netns, (PEER, FAR_PORT).into());
    let socket = program(&rig, NEAR_PORT);
    open(&rig, probe(IpAddr::from(PEER)), LONG);
    rig.apply();
    assert!(answered(&socket, (PEER, FAR_PORT)), "applied once more");
    rig.guard.admin_ports = vec![8080];
    rig.apply();
    assert!(answered(&socket, (PEER, FAR_PORT)), "other rules");
    rig.guard.flow_timeout *= 2;
    rig.apply();
    assert!(answered(&socket, (PEER, FAR_PORT)), "other sets");
    assert_eq!(rig.counted("modem-out/permit"), 3);
    assert_eq!(rig.counted("modem-in/permit"), 3);
    withdraw(&rig, probe(IpAddr::from(PEER)));
    assert!(!answered(&socket, (PEER, FAR_PORT)));
}

#[test]
fn without_a_guard_there_is_nothing_to_permit() {
    let netns = Netns::create("bare").unwrap();
    let mut nft = Nft::new().unwrap();
    let permit = probe(IpAddr::from(PEER));
    let error = netns.run(|| Ok(nft.permit(&permit, LONG))).unwrap();
    let error = error.unwrap_err().to_string();
    assert!(error.contains(&permit.to_string()), "{error}");
    netns.run(|| Ok(nft.revoke(&permit)?)).unwrap();
}

#[test]
fn a_connection_may_be_permitted() {
    let rig = Rig::open();
    let _socket = program(&rig, NEAR_PORT);
    // No socket listens: a reset is an answer.
    let connects = || {
        let to = SockaddrIn::from(std::net::SocketAddrV4::new(PEER, 8443));
        rig.lab
            .router
            .run(|| {
                let kind = SockType::Stream;
                let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
                setsockopt(&socket, sockopt::BindToDevice, &"modem".into())?;
                setsockopt(&socket, sockopt::ReuseAddr, &true)?;
                let time = nix::sys::time::TimeVal::new(1, 0);
                setsockopt(&socket, sockopt::SendTimeout, &time)?;
                let at = std::net::SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, NEAR_PORT);
                nix::sys::socket::bind(socket.as_raw_fd(), &SockaddrIn::from(at))?;
                Ok(nix::sys::socket::connect(socket.as_raw_fd(), &to))
            })
            .unwrap()
    };
    assert_ne!(connects(), Err(nix::errno::Errno::ECONNREFUSED));
    let permit = Permit {
        protocol: Protocol::Tcp,
        remote_port: 8443,
        ..probe(IpAddr::from(PEER))
    };
    open(&rig, permit, LONG);
    assert_eq!(connects(), Err(nix::errno::Errno::ECONNREFUSED));
    assert_eq!(rig.counted("modem-out/permit"), 1);
    assert_eq!(rig.counted("modem-in/permit"), 1);
}

/// Sends an echo by the modem; the kernel puts ICMPv6's checksum in.
fn ping(netns: &Netns, to: IpAddr, id: u16) {
    let (family, protocol, kind) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128),
    };
    let to: Box<dyn SockaddrLike> = match to {
        IpAddr::V4(to) => Box::new(SockaddrIn::from(std::net::SocketAddrV4::new(to, 0))),
        IpAddr::V6(to) => Box::new(SockaddrIn6::from(std::net::SocketAddrV6::new(to, 0, 0, 0))),
    };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend([0, 1]);
    let sum = (u32::from(kind) << 8) + u32::from(id) + 1;
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let socket = netns
        .run(|| {
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(family, SockType::Raw, flags, protocol)?;
            setsockopt(&socket, sockopt::BindToDevice, &"modem".into())?;
            Ok(socket)
        })
        .unwrap();
    // What the guard drops is an error to the sender on some kernels.
    sendto(socket.as_raw_fd(), &message, &*to, MsgFlags::empty()).ok();
}

fn echoes(rig: &Rig, protocol: Protocol, to: IpAddr) {
    let permit = Permit {
        protocol,
        local_port: 0x1234,
        remote: Some(to),
        remote_port: 0,
    };
    let router = &rig.lab.router;
    ping(router, to, 0x1234);
    let out = || rig.counted("modem-out/permit");
    assert_eq!(out(), 0, "without a permit");
    open(rig, permit, LONG);
    ping(router, to, 0x1235);
    assert_eq!(out(), 0, "another identifier");
    ping(router, to, 0x1234);
    wait::until(TIMEOUT, "an echo's answer", || {
        Ok((rig.counted("modem-in/permit") == 1).then_some(()))
    })
    .unwrap();
    assert_eq!(out(), 1);
    withdraw(rig, permit);
    ping(router, to, 0x1234);
    assert_eq!(out(), 1, "withdrawn");
    assert_eq!(rig.differences(), Vec::<String>::new());
}

#[test]
fn an_echo_may_be_permitted() {
    let rig = Rig::open();
    let _socket = program(&rig, NEAR_PORT);
    echoes(&rig, Protocol::Icmp, PEER.into());
}

#[test]
fn an_echo_may_be_permitted_over_ipv6() {
    let (rig, _far) = with_ipv6();
    Rig::ip6(&rig.lab.router, "rule add pref 1200 oif modem lookup 123\n");
    echoes(&rig, Protocol::IcmpV6, AWAY);
}

#[test]
fn a_permit_may_be_for_ipv6() {
    let (rig, _far) = with_ipv6();
    Rig::ip6(&rig.lab.router, "rule add pref 1200 oif modem lookup 123\n");
    let _far = Echo::start(&rig.lab.carrier.netns, (AWAY, FAR_PORT).into());
    let at = (std::net::Ipv6Addr::UNSPECIFIED, NEAR_PORT);
    let socket = udp(&rig.lab.router, at.into());
    setsockopt(&socket, sockopt::BindToDevice, &"modem".into()).unwrap();
    assert!(!answered(&socket, (AWAY, FAR_PORT)));
    open(&rig, probe(AWAY), LONG);
    assert!(answered(&socket, (AWAY, FAR_PORT)));
    withdraw(&rig, probe(AWAY));
    open(&rig, probe(None), LONG);
    assert!(answered(&socket, (AWAY, FAR_PORT)), "any remote");
}

/// DHCP, as clients speak it: round the IP stack out, and in to everybody.
#[test]
fn dhcp_may_be_permitted() {
    let rig = Rig::open();
    rig.round_trip(&crate::rig::keepalive());
    let permit = Permit {
        protocol: Protocol::Udp,
        local_port: 68,
        remote: None,
        remote_port: 67,
    };
    let mut discover = vec![0xff; 12];
    discover.extend([0x08, 0x00, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17, 0, 0]);
    discover.extend([0, 0, 0, 0, 255, 255, 255, 255, 0, 68, 0, 67, 0, 40, 0, 0]);
    discover.extend([1; 32]);
    let router = &rig.lab.router;
    let left = || {
        let is_discover = |s: &lte_tests::capture::Seen| {
            crate::rig::left_by_modem(s) && s.packet.ports == Some((68, 67))
        };
        rig.at_carrier.count(is_discover).unwrap()
    };
    if rig.has_egress() {
        crate::rig::send_frame(router, "modem", &discover);
        assert_eq!(rig.counted("modem-out/drop-local"), 1);
    }
    let carrier = &rig.lab.carrier.netns;
    let from = udp(carrier, (MODEM_GATEWAY, 67).into());
    from.set_broadcast(true).unwrap();
    setsockopt(&from, sockopt::BindToDevice, &"modem0".into()).unwrap();
    let offer = || from.send_to(&[2; 300], (Ipv4Addr::BROADCAST, 68)).unwrap();
    let client = udp(router, (Ipv4Addr::UNSPECIFIED, 68).into());
    setsockopt(&client, sockopt::BindToDevice, &"modem".into()).unwrap();
    offer();
    assert!(receive(&client, SOON).is_none(), "an offer, not permitted");

    let before = left();
    open(&rig, permit, LONG);
    crate::rig::send_frame(router, "modem", &discover);
    wait::until(TIMEOUT, "the discover at the carrier's", || {
        Ok((left() == before + 1).then_some(()))
    })
    .unwrap();
    if rig.has_egress() {
        assert_eq!(rig.counters()["modem-out/permit"], (1, 60));
    }
    offer();
    assert!(receive(&client, TIMEOUT).is_some(), "an offer");
    assert_eq!(rig.counters()["modem-in/permit"], (1, 328));
    // Another port of the same server.
    let other = udp(carrier, (MODEM_GATEWAY, 69).into());
    other.set_broadcast(true).unwrap();
    setsockopt(&other, sockopt::BindToDevice, &"modem0".into()).unwrap();
    other.send_to(&[2; 300], (MODEM, 68)).unwrap();
    assert!(receive(&client, SOON).is_none());
}
