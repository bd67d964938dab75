//! Nanoseconds a packet of each program on its commonest packets, by `BPF_PROG_TEST_RUN`.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use lte_common::policy::Hook;
use lte_tests::corpus::bpffs::Pins;
use lte_userspace::backend::LinkHeader;
use lte_userspace::backend::ebpf::{LoadOptions, load_for_test, policy_for};

use crate::guard::{MODEM, PEER, PORT, WAN, guard, wireguard};
use crate::report::{Chapter, Goal, Row, progress};
use crate::setups::EMPTY;

const REPEAT: u32 = 1_000_000;

struct Subject {
    name: &'static str,
    hook: Option<Hook>,
    /// Interface it came in by; 0: made here.
    ingress: u32,
    packet: Vec<u8>,
}

fn ether(ip: Vec<u8>) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend(ip);
    frame
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    let mut packet = vec![0x45, 0, len[0], len[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    let mut datagram = Vec::new();
    datagram.extend(source.to_be_bytes());
    datagram.extend(destination.to_be_bytes());
    datagram.extend(len);
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

fn subjects() -> Vec<Subject> {
    let out = |len| ether(ipv4(MODEM, PEER, 17, &udp(PORT, PORT, &wireguard(len))));
    let back = ether(ipv4(PEER, MODEM, 17, &udp(PORT, PORT, &wireguard(1376))));
    let tcp = ether(ipv4(WAN, PEER, 6, &[0; 1400]));
    let dns = ether(ipv4(
        WAN,
        Ipv4Addr::new(9, 9, 9, 9),
        17,
        &udp(40000, 53, &[7; 40]),
    ));
    let subject = |name, hook, ingress, packet| Subject {
        name,
        hook,
        ingress,
        packet,
    };
    vec![
        subject("empty classifier", None, 0, out(1376)),
        subject(
            "tunnel out, 1,376 bytes",
            Some(Hook::ModemOut),
            0,
            out(1376),
        ),
        subject("tunnel out, 32 bytes", Some(Hook::ModemOut), 0, out(32)),
        subject("reply in", Some(Hook::ModemIn), 1, back),
        subject(
            "uplink: forwarded TCP",
            Some(Hook::UplinkOut),
            1,
            tcp.clone(),
        ),
        subject("uplink: local TCP", Some(Hook::UplinkOut), 0, tcp),
        subject("uplink: local DNS", Some(Hook::UplinkOut), 0, dns),
    ]
}

fn once(subject: &Subject, pins: &Path) -> Result<Duration> {
    let policy = policy_for(
        &guard(1, None),
        LinkHeader::Ethernet,
        LoadOptions::default(),
    );
    let mut loaded = load_for_test(subject.hook.unwrap_or(Hook::ModemOut), &policy, pins)?;
    let name = if subject.hook.is_some() {
        loaded.name
    } else {
        EMPTY
    };
    let program: &mut SchedClassifier = loaded
        .ebpf
        .program_mut(name)
        .context("the program is in the object")?
        .try_into()?;
    if subject.hook.is_none() {
        program.load()?;
    }
    // struct __sk_buff of linux/bpf.h: ingress_ifindex at 36.
    let mut context = [0; 192];
    context[36..40].copy_from_slice(&subject.ingress.to_ne_bytes());
    let options = TestRunOptions {
        data_in: Some(&subject.packet),
        ctx_in: Some(&context),
        repeat: REPEAT,
        ..TestRunOptions::new()
    };
    Ok(program.test_run(options)?.duration)
}

/// The goals: over the empty classifier, ns.
const TUNNEL_GOAL: f64 = 40.0;
const UPLINK_GOAL: f64 = 15.0;

/// Measures all, round by round.
pub(crate) fn measure(rounds: usize) -> Result<Chapter> {
    let pins = Pins::create()?;
    let subjects = subjects();
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); subjects.len()];
    for round in 0..rounds {
        progress("programs", round, rounds);
        for (subject, times) in subjects.iter().zip(&mut times) {
            times.push(once(subject, pins.path())?.as_secs_f64() * 1e9);
        }
    }
    let floor = times[0].clone();
    let rows = subjects.iter().zip(times).map(|(subject, times)| {
        let over: Vec<f64> = times
            .iter()
            .zip(&floor)
            .map(|(ns, floor)| ns - floor)
            .collect();
        let goal = match subject.hook {
            None => None,
            Some(Hook::UplinkOut) => Some(Goal::AtMost(UPLINK_GOAL)),
            Some(Hook::ModemOut | Hook::ModemIn) => Some(Goal::AtMost(TUNNEL_GOAL)),
        };
        Row::new(subject.name, &times, &over, goal)
    });
    Ok(Chapter {
        title: "Each program by itself, ns a packet (BPF_PROG_TEST_RUN)".to_owned(),
        unit: "ns".to_owned(),
        compared: "over the empty classifier".to_owned(),
        rows: rows.collect(),
    })
}
