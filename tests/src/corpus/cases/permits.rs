//! What the agent has permitted for a time, and the answers to it.

use std::net::{IpAddr, Ipv4Addr};

use lte_common::policy::Class::{
    DropForwarded, DropLocal, DropNotWireguard, DropUnsolicited, Permit,
};
use lte_common::policy::Hook::ModemIn;

use super::super::case::{Case, modem_in, modem_out};
use super::super::packet::{icmp, tcp, udp};
use super::super::site::{LAN_HOST, LISTEN, MARK, MODEM, MODEM6, PEER, PEER6, UNKNOWN_SENDER, WAN, WAN6};
use super::When::Now;
use super::fragments_out::{first, passed};
use super::{ICMP, ICMPV6, Known, SYN, SYN_ACK, TCP, Flow, UDP, flow};

const PORT: u16 = 6000;
const PROBE: u16 = 3478;
const ID: [u8; 4] = [0x12, 0x34, 0, 1];
const OTHER_ID: [u8; 4] = [0x12, 0x35, 0, 1];
const ECHO: (u8, u8) = (8, 0);
const ECHO_REPLY: (u8, u8) = (0, 0);
const ECHO6: (u8, u8) = (128, 0);
const ECHO_REPLY6: (u8, u8) = (129, 0);
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);
const DHCP_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1));

fn open(flow: Flow) -> [Known; 1] {
    [Known::Permit(flow, Ok(60))]
}

fn closed(flow: Flow) -> [Known; 1] {
    [Known::Permit(flow, Err(1))]
}

fn any(remote_port: u16, local_port: u16, protocol: u8) -> Flow {
    Flow {
        remote: None,
        remote_port,
        local_port,
        protocol,
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = out();
    cases.extend(enters());
    cases
}

fn out() -> Vec<Case> {
    let to = (PEER.0, PROBE);
    let to6 = (PEER6.0, PROBE);
    let permit = flow(to, PORT, UDP);
    let probe = || udp((MODEM, PORT), to, [7; 20]);
    let discover = || udp((NOWHERE, 68), (EVERYWHERE, 67), [1; 300]);
    vec![
        modem_out("a probe, permitted", probe()).knowing(&open(permit)).marked(Permit),
        modem_out("a probe, permitted, its mark kept", probe()).with_mark(0x9900_0000).knowing(&open(permit)).marked(Permit),
        modem_out("a probe, permitted, on a raw-IP modem", probe()).raw().knowing(&open(permit)).marked(Permit),
        modem_out("a probe, permitted, over IPv6", udp((MODEM6, PORT), to6, [7; 20])).knowing(&open(flow(to6, PORT, UDP))).marked(Permit),
        modem_out("a probe of WireGuard's shape, permitted", udp((MODEM, PORT), to, super::super::payload::data(32))).knowing(&open(permit)).marked(Permit),
        modem_out("a probe, not permitted", probe()).dropped(DropLocal),
        modem_out("a probe, no longer permitted", probe()).knowing(&closed(permit)).dropped(DropLocal),
        modem_out("a probe to another port than permitted", udp((MODEM, PORT), (PEER.0, 53), [7; 20])).knowing(&open(permit)).dropped(DropLocal),
        modem_out("a probe from another port than permitted", udp((MODEM, 6001), to, [7; 20])).knowing(&open(permit)).dropped(DropLocal),
        modem_out("a probe to another remote than permitted", udp((MODEM, PORT), (UNKNOWN_SENDER, PROBE), [7; 20])).knowing(&open(permit)).dropped(DropLocal),
        modem_out("a probe by another protocol than permitted", tcp((MODEM, PORT), to, SYN)).knowing(&open(permit)).dropped(DropLocal),
        modem_out("a probe, permitted, forwarded", udp((LAN_HOST, PORT), to, [7; 20])).forwarded().knowing(&open(permit)).dropped(DropForwarded),
        modem_out("a permit for the tunnel's port opens nothing else than the tunnel", udp((MODEM, LISTEN), to, [7; 20]))
            .knowing(&open(flow(to, LISTEN, UDP)))
            .dropped(DropNotWireguard),
        modem_out("DHCP discover, any remote permitted", discover()).knowing(&open(any(67, 68, UDP))).marked(Permit),
        modem_out("DHCP discover, permit closed", discover()).knowing(&closed(any(67, 68, UDP))).dropped(DropLocal),
        modem_out("DHCP discover, not permitted", discover()).dropped(DropLocal),
        modem_out("any remote, but not any port", udp((MODEM, 68), (PEER.0, 68), [1; 300])).knowing(&open(any(67, 68, UDP))).dropped(DropLocal),
        modem_out("the permit for this remote is closed, that for any is open", probe())
            .knowing(&[Known::Permit(permit, Err(1)), Known::Permit(any(PROBE, PORT, UDP), Ok(60))])
            .marked(Permit),
        modem_out("the permit for any remote is closed, that for this is open", probe())
            .knowing(&[Known::Permit(permit, Ok(60)), Known::Permit(any(PROBE, PORT, UDP), Err(1))])
            .marked(Permit),
        modem_out("TCP, permitted", tcp((MODEM, PORT), to, SYN)).knowing(&open(flow(to, PORT, TCP))).marked(Permit),
        modem_out("echo to the peer, permitted", icmp(MODEM, PEER.0, ECHO, ID, [0; 8])).knowing(&open(flow((PEER.0, 0), 0x1234, ICMP))).marked(Permit),
        modem_out("echo to the peer over IPv6, permitted", icmp(MODEM6, PEER6.0, ECHO6, ID, [0; 8]))
            .knowing(&open(flow((PEER6.0, 0), 0x1234, ICMPV6)))
            .marked(Permit),
        modem_out("echo to the peer with another identifier than permitted", icmp(MODEM, PEER.0, ECHO, OTHER_ID, [0; 8]))
            .knowing(&open(flow((PEER.0, 0), 0x1234, ICMP)))
            .dropped(DropLocal),
    ]
}

fn enters() -> Vec<Case> {
    let from = (PEER.0, PROBE);
    let from6 = (PEER6.0, PROBE);
    let permit = flow(from, PORT, UDP);
    let answer = || udp(from, (MODEM, PORT), [7; 20]);
    let offer = || udp((DHCP_SERVER, 67), (EVERYWHERE, 68), [2; 300]);
    let echo_permit = open(flow((PEER.0, 0), 0x1234, ICMP));
    let long = || udp(from, (MODEM, PORT), [7; 1300]);
    vec![
        modem_in("a probe's answer", answer()).knowing(&open(permit)).marked(Permit),
        modem_in("a probe's answer, other bits of the mark kept", answer()).with_mark(0x1_0000).knowing(&open(permit)).marked(Permit),
        modem_in("a probe's answer on a raw-IP modem", answer()).raw().knowing(&open(permit)).marked(Permit),
        modem_in("a probe's answer over IPv6", udp(from6, (MODEM6, PORT), [7; 20])).knowing(&open(flow(from6, PORT, UDP))).marked(Permit),
        modem_in("a probe's answer, first fragment", first(long()))
            .knowing(&open(permit))
            .marked(Permit)
            .remembering(&[passed(ModemIn, (PEER.0, MODEM), Now, None)]),
        modem_in("a probe's answer, not permitted", answer()).dropped(DropUnsolicited),
        modem_in("a probe's answer, no longer permitted", answer()).knowing(&closed(permit)).dropped(DropUnsolicited),
        modem_in("a probe's answer from another port", udp((PEER.0, 53), (MODEM, PORT), [7; 20])).knowing(&open(permit)).dropped(DropUnsolicited),
        modem_in("a probe's answer to another port", udp(from, (MODEM, 6001), [7; 20])).knowing(&open(permit)).dropped(DropUnsolicited),
        modem_in("a probe's answer to a LAN host", answer().destination(LAN_HOST)).knowing(&open(permit)).dropped(DropUnsolicited),
        modem_in("a probe's answer to another address of the router", answer().destination(WAN)).knowing(&open(permit)).dropped(DropUnsolicited),
        modem_in("a probe's answer over IPv6 to another address of the router", udp(from6, (WAN6, PORT), [7; 20]))
            .knowing(&open(flow(from6, PORT, UDP)))
            .dropped(DropUnsolicited),
        modem_in("the peer's echo reply, permitted, to another address of the router", icmp(PEER.0, WAN, ECHO_REPLY, ID, [0; 8])).knowing(&echo_permit).dropped(DropUnsolicited),
        modem_in("a probe's answer from another remote", udp((UNKNOWN_SENDER, PROBE), (MODEM, PORT), [7; 20])).knowing(&open(permit)).dropped(DropUnsolicited),
        modem_in("DHCP offer, any remote permitted", offer()).knowing(&open(any(67, 68, UDP))).marked(Permit),
        modem_in("DHCP offer to the address it offers", offer().destination(LAN_HOST)).with_mark(MARK).knowing(&open(any(67, 68, UDP))).marked(Permit),
        modem_in("DHCP offer, permit closed", offer()).knowing(&closed(any(67, 68, UDP))).dropped(DropUnsolicited),
        modem_in("DHCP offer, not permitted", offer()).dropped(DropUnsolicited),
        modem_in("TCP's answer, permitted", tcp(from, (MODEM, PORT), SYN_ACK)).knowing(&open(flow(from, PORT, TCP))).marked(Permit),
        modem_in("the peer's echo reply, permitted", icmp(PEER.0, MODEM, ECHO_REPLY, ID, [0; 8])).knowing(&echo_permit).marked(Permit),
        modem_in("the peer's echo reply over IPv6, permitted", icmp(PEER6.0, MODEM6, ECHO_REPLY6, ID, [0; 8]))
            .knowing(&open(flow((PEER6.0, 0), 0x1234, ICMPV6)))
            .marked(Permit),
        modem_in("the peer's echo reply with another identifier", icmp(PEER.0, MODEM, ECHO_REPLY, OTHER_ID, [0; 8])).knowing(&echo_permit).dropped(DropUnsolicited),
        modem_in("the peer's echo under a permit for ours", icmp(PEER.0, MODEM, ECHO, ID, [0; 8])).knowing(&echo_permit).dropped(DropUnsolicited),
        modem_in("an unknown sender's echo reply under a permit for the peer's", icmp(UNKNOWN_SENDER, MODEM, ECHO_REPLY, ID, [0; 8])).knowing(&echo_permit).dropped(DropUnsolicited),
    ]
}
