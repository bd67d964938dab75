//! Packets that are shorter than they say, or contradict themselves.

use lte_common::policy::Class::{DropMalformed, DropNotIp};
use lte_common::policy::Hook::{ModemIn, ModemOut};

use super::super::case::{Case, Draft, frame, modem_in, modem_out};
use super::super::packet::{Extension, Packet, bare, ethernet, icmp, tcp};
use super::super::payload::data;
use super::super::site::{GATEWAY, GATEWAY6, MODEM, MODEM6, PEER, PEER6};
use super::When::Ago;
use super::{SYN, reply, reply6, remote, tunnel, tunnel6};

/// What is broken in a packet of ours is broken in a reply.
fn both(cases: &mut Vec<Case>, name: &str, break_it: fn(Packet) -> Packet) {
    let known = [remote(PEER, Ago(5)), remote(PEER6, Ago(5))];
    let mut add = |draft: Draft| cases.push(draft.knowing(&known).dropped(DropMalformed));
    add(modem_out(name, break_it(tunnel(data(96)))));
    add(modem_in(name, break_it(reply(data(96)))));
    add(modem_out(&format!("{name}, raw IP"), break_it(tunnel(data(96)))).raw());
}

fn both6(cases: &mut Vec<Case>, name: &str, break_it: fn(Packet) -> Packet) {
    let known = [remote(PEER, Ago(5)), remote(PEER6, Ago(5))];
    let mut add = |draft: Draft| cases.push(draft.knowing(&known).dropped(DropMalformed));
    add(modem_out(name, break_it(tunnel6(data(96)))));
    add(modem_in(name, break_it(reply6(data(96)))));
    add(modem_in(&format!("{name}, raw IP"), break_it(reply6(data(96)))).raw());
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    ipv4(&mut cases);
    ipv6(&mut cases);
    cases.extend(frames());
    cases.extend(transports());
    cases
}

fn ipv4(cases: &mut Vec<Case>) {
    both(cases, "IPv4, cut within the IP header", |p| p.cut(19));
    both(cases, "IPv4, cut behind the IP header", |p| p.cut(20));
    both(cases, "IPv4, cut within the UDP header", |p| p.cut(27));
    both(cases, "IPv4, cut within the payload", |p| p.cut(60));
    both(cases, "IPv4, the last byte missing", |p| p.cut(123));
    both(cases, "IPv4, an IP length a byte too long", |p| p.ip_length(125));
    both(cases, "IPv4, the longest IP length", |p| p.ip_length(0xffff));
    both(cases, "IPv4, an IP length of 0", |p| p.ip_length(0));
    both(cases, "IPv4, an IP length below its header", |p| p.ip_length(19));
    both(cases, "IPv4, an IP length of its header", |p| p.ip_length(20));
    both(cases, "IPv4, an IP length within the UDP header", |p| p.ip_length(27));
    both(cases, "IPv4, an IP length below the UDP length", |p| p.ip_length(123));
    both(cases, "IPv4, four words of header", |p| p.header_words(4));
    both(cases, "IPv4, no words of header", |p| p.header_words(0));
    both(cases, "IPv4, more header than packet", |p| p.cut(40).ip_length(40).header_words(15));
    both(cases, "IPv4, a UDP length of 0", |p| p.udp_length(0));
    both(cases, "IPv4, a UDP length below its header", |p| p.udp_length(7));
    both(cases, "IPv4, a UDP length a byte too long", |p| p.udp_length(105));
    both(cases, "IPv4, the longest UDP length", |p| p.udp_length(0xffff));
}

fn ipv6(cases: &mut Vec<Case>) {
    both6(cases, "IPv6, cut within the IP header", |p| p.cut(39));
    both6(cases, "IPv6, cut behind the IP header", |p| p.cut(40));
    both6(cases, "IPv6, cut within the UDP header", |p| p.cut(47));
    both6(cases, "IPv6, the last byte missing", |p| p.cut(143));
    both6(cases, "IPv6, a payload length a byte too long", |p| p.ip_length(105));
    both6(cases, "IPv6, the longest payload length", |p| p.ip_length(0xffff));
    both6(cases, "IPv6, a payload length of 0, as of a jumbogram", |p| p.ip_length(0));
    both6(cases, "IPv6, a payload length within the UDP header", |p| p.ip_length(7));
    both6(cases, "IPv6, a payload length below the UDP length", |p| p.ip_length(103));
    both6(cases, "IPv6, a UDP length of 0", |p| p.udp_length(0));
    both6(cases, "IPv6, a UDP length a byte too long", |p| p.udp_length(105));
    both6(cases, "IPv6, cut within an extension header", |p| {
        p.extensions(&[Extension::Destination(3)]).cut(44)
    });
    both6(cases, "IPv6, an extension header longer than the payload", |p| {
        p.extensions(&[Extension::Destination(3)]).ip_length(24)
    });
    both6(cases, "IPv6, a payload length within an extension header", |p| {
        p.extensions(&[Extension::Routing]).ip_length(7)
    });
    both6(cases, "IPv6, nothing behind an extension header", |p| {
        p.extensions(&[Extension::HopByHop]).ip_length(8)
    });
}

fn frames() -> Vec<Case> {
    let with = |tags: &[(u16, u16)], ether_type: u16, rest: &[u8]| {
        let mut frame = ethernet(tags, ether_type);
        frame.extend_from_slice(rest);
        frame
    };
    vec![
        frame(ModemOut, "an IPv4 frame of a byte", with(&[], 0x0800, &[0x45])).dropped(DropMalformed),
        frame(ModemIn, "an IPv6 frame of a byte", with(&[], 0x86dd, &[0x60])).dropped(DropMalformed),
        frame(ModemOut, "a VLAN tag cut in two", with(&[], 0x8100, &[0, 7, 8])).dropped(DropMalformed),
        frame(ModemIn, "a second VLAN tag cut in two", with(&[(0x88a8, 1)], 0x8100, &[0, 7, 8])).dropped(DropMalformed),
        frame(ModemOut, "zeros for IPv4", with(&[], 0x0800, &[0; 46])).dropped(DropMalformed),
        frame(ModemIn, "ones for IPv6", with(&[], 0x86dd, &[0xff; 46])).dropped(DropMalformed),
        frame(ModemOut, "IPv4 by the type, IPv6 by the version", with(&[], 0x0800, &tunnel6(data(96)).ip())).dropped(DropMalformed),
        frame(ModemIn, "IPv4 by the type, IPv6 by the version", with(&[], 0x0800, &reply6(data(96)).ip())).knowing(&[remote(PEER6, Ago(5))]).dropped(DropMalformed),
        frame(ModemIn, "IPv6 by the type, IPv4 by the version", with(&[], 0x86dd, &reply(data(96)).ip())).knowing(&[remote(PEER, Ago(5))]).dropped(DropMalformed),
        frame(ModemOut, "an IPv4 packet of fifteen bytes on a raw-IP modem", vec![0x45; 15]).raw().dropped(DropMalformed),
        frame(ModemIn, "an IPv6 packet of fifteen bytes on a raw-IP modem", vec![0x60; 15]).raw().dropped(DropMalformed),
        frame(ModemIn, "an Ethernet frame on a raw-IP modem", reply(data(96)).frame(super::super::Device::Ethernet)).raw().dropped(DropNotIp),
    ]
}

fn transports() -> Vec<Case> {
    let short_tcp = [0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0];
    vec![
        modem_out("TCP, cut within its header", tcp((MODEM, 40000), (GATEWAY, 80), SYN).cut(39)).dropped(DropMalformed),
        modem_out("TCP of nineteen bytes", bare(MODEM, GATEWAY, 6, short_tcp)).dropped(DropMalformed),
        modem_in("TCP of nineteen bytes over IPv6", bare(GATEWAY6, MODEM6, 6, short_tcp)).dropped(DropMalformed),
        modem_out("ICMP of seven bytes", bare(MODEM, GATEWAY, 1, [8, 0, 0, 0, 0, 0, 0])).dropped(DropMalformed),
        modem_in("ICMPv6 of seven bytes", bare(GATEWAY6, MODEM6, 58, [136, 0, 0, 0, 0, 0, 0])).dropped(DropMalformed),
        modem_in("ICMP without a byte", icmp(GATEWAY, MODEM, (0, 0), [0; 4], []).ip_length(20)).dropped(DropMalformed),
    ]
}
