//! Other people's tables, as firewall managers and hands write them.

use lte_tests::addresses::{MODEM, PEER, PEER_PORT};

use crate::rig::{Rig, keepalive};

/// Drops by default all over, and lets in what was asked for.
const FIREWALL: &str = "table inet firewall {
    chain in { type filter hook input priority 0; policy drop;
        iifname lo accept
        ct state established,related accept
    }
    chain pass { type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname lan0 oifname wan accept
    }
    chain out { type filter hook output priority 0; policy accept; }
    chain nat { type nat hook postrouting priority 100; masquerade
    }
}";

#[test]
fn behind_a_firewall_that_drops_by_default() {
    let rig = Rig::open();
    rig.nft(FIREWALL);
    rig.round_trip(&keepalive());
    rig.flush_port_rule();
    rig.round_trip(&keepalive());
    rig.nothing_leaked();
    assert_eq!(rig.differences(), Vec::<String>::new());
}

#[test]
fn their_reload_does_not_take_ours_with_it() {
    let rig = Rig::open();
    rig.nft(FIREWALL);
    let theirs = || {
        let list = ["-s", "list", "table", "inet", "firewall"];
        rig.lab.router.tool("nft", &list).unwrap()
    };
    let before = theirs();
    rig.nft("flush table inet lte_backup");
    rig.apply();
    rig.nft("delete table inet lte_backup");
    rig.apply();
    assert_eq!(theirs(), before);
    rig.nft(&format!("delete table inet firewall\n{FIREWALL}"));
    assert_eq!(rig.differences(), Vec::<String>::new());
}

#[test]
fn a_redirect_of_incoming_packets_does_not_open_the_modem() {
    let rig = Rig::open();
    rig.nft(
        "table ip open {
            chain pre { type nat hook prerouting priority -100;
                iifname modem tcp dport 8022 dnat to 192.168.77.10
                iifname modem udp dport 8022 dnat to 192.168.77.10
            }
        }",
    );
    let to = std::net::SocketAddrV4::new(MODEM, 8022);
    let carrier = &rig.lab.carrier.netns;
    lte_tests::traffic::send_udp(carrier, 0, &[to], &[keepalive()]).unwrap();
    let at_lan = lte_tests::capture::Capture::start(&rig.lab.lan).unwrap();
    lte_tests::traffic::send_udp(carrier, 0, &[to], &[keepalive()]).unwrap();
    lte_tests::wait::until(lte_tests::wait::TIMEOUT, "two drops", || {
        Ok((rig.counted("modem-in/drop-unsolicited") == 2).then_some(()))
    })
    .unwrap();
    at_lan
        .none("UDP in the LAN", |seen| seen.packet.ports.is_some())
        .unwrap();
}

#[test]
fn replies_may_not_be_sent_on_into_the_house() {
    let rig = Rig::open();
    rig.round_trip(&keepalive());
    // Also what passes the guard as a reply ends on this machine.
    rig.nft(&format!(
        "table ip open {{
            chain pre {{ type filter hook prerouting priority -140;
                iifname modem udp sport {PEER_PORT} ip saddr {PEER} ip daddr set 192.168.77.10
            }}
        }}"
    ));
    let at_lan = lte_tests::capture::Capture::start(&rig.lab.lan).unwrap();
    rig.send(&keepalive());
    lte_tests::wait::until(lte_tests::wait::TIMEOUT, "the reply", || {
        Ok((rig.counted("modem-in/reply") == 2).then_some(()))
    })
    .unwrap();
    at_lan
        .none("UDP in the LAN", |seen| seen.packet.ports.is_some())
        .unwrap();
}
