//! IPv6 on the modem: nothing where it is not configured, all rows where it is.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use lte_tests::addresses::LISTEN_PORT;
use lte_tests::corpus::packet::udp as datagram;
use lte_tests::packet::Kind;
use lte_tests::sysctl;
use lte_tests::topology::Options;
use lte_tests::tunnel_device::TABLE;
use lte_tests::wait::{self, TIMEOUT};
use lte_userspace::backend::FamilyAddr;

use crate::rig::{Echo, Rig, keepalive, message, receive};

const HERE: IpAddr = IpAddr::V6(HERE_V6);
const HERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 2);
const GATEWAY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1);
pub(crate) const AWAY: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 1));
/// The router on the uplink.
const UPLINK: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 2));

/// A router advertisement with a prefix, from the other side's link-local address.
fn advertisement() -> Vec<u8> {
    let mut body = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    body.extend([3, 4, 64, 0xc0, 0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 0, 0]);
    body.extend(Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0).octets());
    body
}

#[test]
fn without_ipv6_in_the_config_nothing_of_it_passes() {
    let rig = Rig::open();
    rig.round_trip(&keepalive());
    // The kernel has sent its solicitations and reports when the link came up.
    let dropped = wait::until(TIMEOUT, "IPv6 of the kernel's own", || {
        let dropped = rig.counted("modem-out/drop-family");
        Ok((dropped > 0).then_some(dropped))
    });
    assert!(dropped.unwrap() > 0);
    let leaves = |s: &lte_tests::capture::Seen| {
        crate::rig::left_by_modem(s) && s.packet.source().is_some_and(|from| from.is_ipv6())
    };
    rig.at_carrier.none("IPv6", leaves).unwrap();
    let before = rig.counted("modem-in/drop-family");
    crate::rig::send_icmp6(&rig.lab.carrier.netns, "modem0", &advertisement());
    wait::until(TIMEOUT, "the advertisement in the counters", || {
        Ok((rig.counted("modem-in/drop-family") > before).then_some(()))
    })
    .unwrap();
    let routes = rig.lab.router.tool("ip", &["-6", "route"]).unwrap();
    assert!(!routes.contains("bad"), "{routes}");
}

pub(crate) fn with_ipv6() -> (Rig, Echo) {
    let rig = Rig::with(&Options::default(), |guard| {
        guard.modem.as_mut().unwrap().v6 = Some(FamilyAddr {
            address: HERE_V6,
            gateway: Some(GATEWAY),
            admin: Some(GATEWAY.into()),
        });
    });
    rig.lab
        .carrier
        .netns
        .ip(&format!(
            "addr add {GATEWAY}/64 dev modem0 nodad\naddr add {AWAY}/128 dev lo nodad\n"
        ))
        .unwrap();
    Rig::ip6(
        &rig.lab.router,
        &format!(
            "addr add {HERE}/64 dev modem nodad
             route add 2001:db8:c::/64 dev modem table 123
             route add default via {GATEWAY} dev modem src {HERE} table 123
             route add default via {GATEWAY} dev modem src {HERE} table {TABLE}
             rule add pref 1230 iif lo ipproto udp sport {LISTEN_PORT} lookup 123
             rule add pref 1231 fwmark 0x7b/0xff lookup 123\n"
        ),
    );
    let far = Echo::start(&rig.lab.carrier.netns, (AWAY, 51820).into());
    (rig, far)
}

#[test]
fn the_tunnel_goes_over_ipv6() {
    let (rig, _far) = with_ipv6();
    rig.round_trip(&keepalive());
    let tunnel = only_v6(&rig);
    let away = (AWAY, 51820);
    let echoed = |payload: &[u8]| {
        let (echo, from) = receive(&tunnel, TIMEOUT).expect("no echo");
        assert_eq!((echo.as_slice(), from), (payload, SocketAddr::from(away)));
    };
    let round_trip = |source, payload: &[u8]| {
        rig.send_ip(&datagram((source, LISTEN_PORT), away, payload).ip());
        echoed(payload);
    };
    round_trip(HERE, &keepalive());
    assert_eq!(rig.counters()["modem-out/tunnel"], (2, 60 + 80));
    assert_eq!(rig.counters()["modem-in/reply"], (2, 60 + 80));
    assert!(rig.counted("modem-in/neighbour") > 0);
    // Pieces, both ways. The stand-in takes no packet that is to be cut: they come to the stack cut.
    let large = message(4, 32 + 16 * 250);
    let whole = datagram((HERE, LISTEN_PORT), away, large.clone());
    for from in [0, 1352, 2704] {
        rig.send_ip(&whole.clone().fragment(7, from, 1352).ip());
    }
    echoed(&large);
    assert_eq!(rig.counted("modem-in/fragment"), 3);
    // Steered from an uplink that has IPv6 too.
    Rig::ip6(
        &rig.lab.router,
        "addr add 2001:db8:a::2/64 dev wan nodad
         route add default via 2001:db8:a::1 dev wan
         rule del pref 1230
         route del default table 300\n",
    );
    round_trip(UPLINK, &keepalive());
    assert_eq!(rig.counted("uplink-out/steered"), 1);
    // Other ICMPv6 is dropped, both ways.
    let before = rig.counted("modem-in/drop-unsolicited");
    crate::rig::send_icmp6(&rig.lab.carrier.netns, "modem0", &advertisement());
    wait::until(TIMEOUT, "the advertisement in the counters", || {
        Ok((rig.counted("modem-in/drop-unsolicited") > before).then_some(()))
    })
    .unwrap();
}

#[test]
fn errors_about_the_tunnel_get_in_over_ipv6() {
    let (rig, _far) = with_ipv6();
    let tunnel = only_v6(&rig);
    tunnel.connect((AWAY, 9)).unwrap();
    rig.send_ip(&datagram((HERE, LISTEN_PORT), (AWAY, 9), keepalive()).ip());
    let error = wait::until(TIMEOUT, "an ICMPv6 error", || Ok(tunnel.take_error()?));
    assert_eq!(error.unwrap().kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(rig.counted("modem-in/icmp-error"), 1);
}

#[test]
fn the_family_that_is_off_does_not_leave_by_the_uplink_either() {
    let rig = Rig::open();
    sysctl::set(&rig.lab.router, &[("ipv6/conf/wan/disable_ipv6", "0")]).unwrap();
    rig.lab
        .router
        .ip("addr add 2001:db8:a::2/64 dev wan nodad
             route add default via fe80::1 dev wan
             neigh add fe80::1 lladdr 02:00:00:00:00:01 dev wan\n")
        .unwrap();
    rig.send_ip(&datagram((UPLINK, LISTEN_PORT), (AWAY, 51820), keepalive()).ip());
    wait::until(Duration::from_secs(5), "a drop", || {
        Ok((rig.counted("uplink-out/drop-modem-gone") == 1).then_some(()))
    })
    .unwrap();
    rig.at_isp
        .none("the tunnel on the uplink", |seen| {
            seen.packet.kind != Kind::Arp && seen.packet.is_wireguard()
        })
        .unwrap();
}

/// The tunnel's socket for IPv6; the one for IPv4 has the port already.
fn only_v6(rig: &Rig) -> std::net::UdpSocket {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn6, bind, setsockopt, socket, sockopt,
    };
    use std::os::fd::AsRawFd;
    rig.lab
        .router
        .run(|| {
            let socket = socket(
                AddressFamily::Inet6,
                SockType::Datagram,
                SockFlag::SOCK_CLOEXEC,
                None,
            )?;
            setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
            let at = std::net::SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, LISTEN_PORT, 0, 0);
            bind(socket.as_raw_fd(), &SockaddrIn6::from(at))?;
            Ok(std::net::UdpSocket::from(socket))
        })
        .unwrap()
}
