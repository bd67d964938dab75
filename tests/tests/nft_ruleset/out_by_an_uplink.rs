//! What leaves by an uplink (spec: `uplink-out`, `only-the-modem`).

use std::net::SocketAddrV4;
use std::time::Duration;

use lte_tests::addresses::{LISTEN_PORT, MODEM, PEER, PEER_PORT};
use lte_tests::topology::Options;
use lte_tests::{drops, traffic, wait};
use lte_userspace::backend::Backend;

use crate::rig::{FAR, Rig, is_from, keepalive, receive};

/// What home routers and others do on their uplinks, or on everything.
const MASQUERADES: [&str; 4] = [
    "",
    "masquerade",
    "masquerade fully-random",
    "meta l4proto udp snat to 198.51.100.2:1024-2048",
];

fn translate(rig: &Rig, statement: &str) {
    rig.nft(&format!(
        "add table ip more
         add chain ip more out {{ type nat hook postrouting priority 99; }}
         add rule ip more out {statement}"
    ));
}

#[test]
fn without_the_port_rule_the_tunnel_is_steered_whoever_translates_addresses() {
    for masquerade in MASQUERADES {
        let rig = Rig::open();
        if !masquerade.is_empty() {
            translate(&rig, masquerade);
        }
        let before = drops::reverse_path(&rig.lab.router).unwrap();
        rig.round_trip(&keepalive());
        rig.flush_port_rule();
        for _ in 0..10 {
            rig.round_trip(&keepalive());
        }
        rig.nothing_leaked();
        for seen in rig
            .left_by_modem()
            .iter()
            .filter(|s| s.packet.ports.is_some())
        {
            assert!(is_from(seen, MODEM), "{seen}");
            let ports = Some((LISTEN_PORT, PEER_PORT));
            assert_eq!(seen.packet.ports, ports, "with {masquerade:?}");
        }
        assert_eq!(rig.counted("uplink-out/steered"), 10, "with {masquerade:?}");
        assert_eq!(rig.counted("modem-out/tunnel"), 11);
        assert_eq!(rig.counted("modem-in/reply"), 11);
        assert_eq!(drops::reverse_path(&rig.lab.router).unwrap(), before);
    }
}

#[test]
fn a_flow_that_began_by_the_uplink_is_steered_too() {
    let rig = Rig::open();
    rig.flush_port_rule();
    rig.on_nft(|nft, _| nft.remove().map_err(|mut e| e.remove(0).into()));
    translate(&rig, "masquerade fully-random");
    rig.send(&keepalive());
    receive(&rig.tunnel, Duration::from_secs(5)).unwrap();
    rig.apply();
    rig.at_isp.clear();
    for _ in 0..3 {
        rig.round_trip(&keepalive());
    }
    rig.nothing_leaked();
}

#[test]
fn without_either_rule_nothing_leaks() {
    let rig = Rig::open();
    rig.round_trip(&keepalive());
    rig.lab.router.ip("rule del pref 1231\n").unwrap();
    rig.send(&keepalive());
    rig.flush_port_rule();
    for _ in 0..10 {
        rig.send(&keepalive());
    }
    assert!(rig.counted("uplink-out/drop-modem-gone") >= 10);
    rig.nothing_leaked();
}

#[test]
fn without_the_modem_nothing_leaks() {
    let mut rig = Rig::open();
    rig.round_trip(&keepalive());
    // The link goes, and table 123's routes with it; the guard stands as it was.
    rig.lab.router.ip("link set modem down\n").unwrap();
    for _ in 0..5 {
        rig.send(&keepalive());
    }
    assert_eq!(rig.counted("uplink-out/drop-modem-gone"), 5);
    // The device goes.
    rig.lab.router.ip("link del modem\n").unwrap();
    rig.send(&keepalive());
    assert_eq!(rig.counted("uplink-out/drop-modem-gone"), 6);
    // The guard is changed.
    rig.guard.modem = None;
    rig.apply();
    assert_eq!(rig.differences(), Vec::<String>::new());
    for _ in 0..5 {
        rig.send(&keepalive());
    }
    rig.flush_port_rule();
    rig.send(&keepalive());
    assert_eq!(rig.counted("uplink-out/drop-modem-gone"), 12);
    assert_eq!(rig.counted("modem-out/tunnel"), 1);
    rig.nothing_leaked();
}

#[test]
fn of_a_port_that_somebody_gave_it_nothing_leaks() {
    let mut rig = Rig::open();
    rig.flush_port_rule();
    let send = |rig: &Rig| (0..5).for_each(|_| rig.send_from(50000, &keepalive(), FAR));
    send(&rig);
    assert_eq!(rig.counted("uplink-out/drop-modem-gone"), 5);
    // The link goes, and table 123's routes with it; the guard stands as it was.
    rig.lab.router.ip("link set modem down\n").unwrap();
    send(&rig);
    assert_eq!(rig.counted("uplink-out/drop-modem-gone"), 10);
    rig.lab.router.ip("link del modem\n").unwrap();
    send(&rig);
    assert_eq!(rig.counted("uplink-out/drop-modem-gone"), 15);
    rig.guard.modem = None;
    rig.apply();
    send(&rig);
    assert_eq!(rig.counted("uplink-out/drop-modem-gone"), 20);
    rig.nothing_leaked();
}

#[test]
fn what_only_looks_like_the_tunnel_goes_its_way() {
    let rig = Rig::open();
    let to = [SocketAddrV4::new(PEER, PEER_PORT)];
    let payloads = vec![keepalive(); 10];
    // A LAN host with the tunnel's port, and the router with another port.
    traffic::send_udp(&rig.lab.lan, LISTEN_PORT, &to, &payloads).unwrap();
    traffic::send_udp(&rig.lab.router, 4711, &to, &payloads).unwrap();
    wait::until(wait::TIMEOUT, "20 packets at the provider's", || {
        let arrived = rig.at_isp.count(|seen| {
            &*seen.interface == "cust0"
                && seen.direction == lte_tests::capture::Direction::In
                && seen.packet.is_wireguard()
        })?;
        Ok((arrived == 20).then_some(()))
    })
    .unwrap();
    let counters = rig.counters();
    let moved = counters
        .iter()
        .filter(|(name, counter)| counter.0 > 0 && name.starts_with("uplink-out/"));
    assert_eq!(moved.count(), 0, "{counters:?}");
}

#[test]
fn other_bits_of_the_mark_are_kept() {
    let rig = Rig::open();
    rig.nft(
        "table inet marks {
            counter kept {
            }
            counter answered {
            }
            chain early { type filter hook output priority -310; meta mark set 0x5500
            }
            chain late { type filter hook postrouting priority 300;
                oifname \"modem\" meta mark 0x557b counter name kept
            }
            chain before { type filter hook prerouting priority -310;
                iifname \"modem\" meta mark set 0x6600
            }
            chain in { type filter hook input priority 0;
                iifname \"modem\" meta mark 0x667b counter name answered
            }
        }",
    );
    rig.round_trip(&keepalive());
    rig.flush_port_rule();
    rig.round_trip(&keepalive());
    let listing = rig
        .lab
        .router
        .tool("nft", &["list", "counters", "table", "inet", "marks"])
        .unwrap();
    assert_eq!(listing.matches("packets 2 ").count(), 2, "{listing}");
}

#[test]
fn who_marks_all_that_is_local_does_not_lead_the_tunnel_astray() {
    let rig = Rig::with(&Options::default(), |_| {});
    rig.nft(
        "table inet balancer {
            chain out { type route hook output priority -150; meta mark set 0x100
            }
            chain post { type filter hook postrouting priority -150; meta mark set 0x100
            }
        }",
    );
    rig.round_trip(&keepalive());
    rig.flush_port_rule();
    for _ in 0..5 {
        rig.round_trip(&keepalive());
    }
    rig.nothing_leaked();
}
