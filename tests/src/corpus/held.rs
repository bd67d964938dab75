//! UDP sockets that hold ports while the programs under test look for them.

use std::fs;
use std::net::{Ipv6Addr, UdpSocket};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};

use super::Sender;
use super::site::LISTEN;
use crate::process::tool;

/// Sockets of the calling thread's network namespace, which no other thread uses.
#[derive(Debug, Default)]
pub(super) struct Held {
    tunnels: Option<UdpSocket>,
    other: Option<(u16, UdpSocket)>,
    foreign: bool,
}

impl Held {
    /// Takes the thread to a namespace of its own: another test may hold the same ports.
    /// `BPF_PROG_TEST_RUN` takes its packet to be on the loopback device there.
    pub(super) fn in_a_namespace_of_its_own() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace for sockets")?;
        ip("link add near type veth peer name far")?;
        for device in ["near", "far"] {
            ip(&format!("link set {device} up"))?;
        }
        for family in ["-4", "-6"] {
            ip(&format!("{family} route add default dev near"))?;
        }
        Ok(Self::default())
    }

    /// Holds the ports that the sender of a packet from this port implies, and no others. Every source is
    /// another host's here, and is known for it where the device forwards: a word in a file, where a route
    /// more or less would be a process for each packet.
    pub(super) fn hold(&mut self, sender: Sender, source_port: Option<u16>) -> Result<()> {
        if sender.wireguard != self.tunnels.is_some() {
            self.tunnels = if sender.wireguard {
                Some(bind(LISTEN)?)
            } else {
                None
            };
        }
        let other = source_port.filter(|port| sender.bound && *port != LISTEN && *port != 0);
        if other != self.other.as_ref().map(|(port, _)| *port) {
            self.other = match other {
                Some(port) => Some((port, bind(port)?)),
                None => None,
            };
        }
        if sender.foreign != self.foreign {
            let forwards = if sender.foreign { "1" } else { "0" };
            for family in ["ipv4", "ipv6"] {
                let path = format!("/proc/sys/net/{family}/conf/lo/forwarding");
                fs::write(&path, forwards).with_context(|| path)?;
            }
            self.foreign = sender.foreign;
        }
        Ok(())
    }
}

fn ip(words: &str) -> Result<()> {
    let words: Vec<_> = words.split(' ').collect();
    tool("ip", &words, "").map(drop)
}

/// At all addresses of both families.
fn bind(port: u16) -> Result<UdpSocket> {
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).with_context(|| format!("UDP port {port}"))
}
