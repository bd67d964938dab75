//! Nanoseconds a packet of each program on its commonest packets, by `BPF_PROG_TEST_RUN`.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use lte_common::policy::Hook;
use lte_userspace::backend::ebpf::{Options, load_for_test, policy_for};
use lte_userspace::backend::{Guard, Inet, LinkHeader, Modem};

const REPEAT: u32 = 1_000_000;
const ROUNDS: usize = 11;

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

fn ipv4(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    let mut packet = vec![0x45, 0, len[0], len[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet.extend(source);
    packet.extend(destination);
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

fn wireguard(len: usize) -> Vec<u8> {
    let mut payload = vec![0; len];
    payload[0] = 4;
    payload
}

const MODEM: [u8; 4] = [192, 168, 0, 2];
const WAN: [u8; 4] = [198, 51, 100, 2];
const PEER: [u8; 4] = [203, 0, 113, 10];
const PORT: u16 = 51820;

fn subjects() -> Vec<Subject> {
    let out = |len| ether(ipv4(MODEM, PEER, 17, &udp(PORT, PORT, &wireguard(len))));
    let back = ether(ipv4(PEER, MODEM, 17, &udp(PORT, PORT, &wireguard(1376))));
    let tcp = ether(ipv4(WAN, PEER, 6, &[0; 1400]));
    let dns = ether(ipv4(WAN, [9, 9, 9, 9], 17, &udp(40000, 53, &[7; 40])));
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
        subject("uplink: forwarded", Some(Hook::UplinkOut), 1, tcp.clone()),
        subject("uplink: local TCP", Some(Hook::UplinkOut), 0, tcp),
        subject("uplink: local DNS", Some(Hook::UplinkOut), 0, dns),
    ]
}

fn guard() -> Guard {
    Guard {
        modem: Some(Modem {
            index: 1,
            name: "modem".into(),
            header: LinkHeader::Ethernet,
            v4: Some(Inet {
                address: Ipv4Addr::from(MODEM),
                prefix_len: 24,
                gateway: Some(Ipv4Addr::new(192, 168, 0, 1)),
            }),
            v6: None,
        }),
        uplinks: [].into(),
        peers: [].into(),
        listen_port: PORT,
        mark: 0x7b,
        mask: 0xff,
        admin_ports: vec![80, 443],
        flow_timeout: Duration::from_secs(250),
    }
}

/// Pins of this run, taken away at its end.
struct Pins(PathBuf);

impl Pins {
    fn new() -> Result<Self> {
        let dir = PathBuf::from(format!("/sys/fs/bpf/lte-bench-{}", std::process::id()));
        std::fs::create_dir(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            std::fs::remove_file(entry.path()).ok();
        }
        std::fs::remove_dir(&self.0).ok();
    }
}

fn measure(subject: &Subject, pins: &Path) -> Result<Duration> {
    let policy = policy_for(&guard(), LinkHeader::Ethernet, Options::default());
    let mut loaded = load_for_test(subject.hook.unwrap_or(Hook::ModemOut), &policy, pins)?;
    let name = if subject.hook.is_some() {
        loaded.name
    } else {
        "floor"
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

pub(crate) fn run() -> Result<()> {
    let pins = Pins::new()?;
    let subjects = subjects();
    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); subjects.len()];
    for _ in 0..ROUNDS {
        for (subject, times) in subjects.iter().zip(&mut rounds) {
            times.push(measure(subject, &pins.0)?.as_secs_f64() * 1e9);
        }
    }
    let medians: Vec<f64> = rounds
        .iter_mut()
        .map(|times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        })
        .collect();
    println!("{:<26} {:>9} {:>10}", "packet", "ns", "over floor");
    for (subject, ns) in subjects.iter().zip(&medians) {
        println!("{:<26} {ns:>9.1} {:>10.1}", subject.name, ns - medians[0]);
    }
    Ok(())
}
