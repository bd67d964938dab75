//! Counting what passes, by a packet socket in the namespace: never by the agent's own counters.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::net::if_::if_nameindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt,
};

use crate::netns::Netns;
use crate::packet::Packet;
use crate::wait;

/// Room for some 100,000 small packets before the reader has to come round.
const RECEIVE_BUFFER: usize = 64 << 20;

/// Which way a packet went through the interface on which it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// It came in. Seen before the ingress hook.
    In,
    /// It went out. Seen after the egress hook.
    Out,
}

/// A packet, and where and when it was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When the reader got it: within a millisecond or so of the wire.
    pub at: Instant,
    /// The interface.
    pub interface: Arc<str>,
    /// Its direction there.
    pub direction: Direction,
    /// The packet.
    pub packet: Packet,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::In => "in",
            Direction::Out => "out",
        };
        write!(f, "{} {direction}: {}", self.interface, self.packet)
    }
}

/// Sees every packet on every interface of a namespace, the loopback apart, until dropped.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    netns: Netns,
    socket: OwnedFd,
    store: Mutex<Store>,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct Store {
    seen: Vec<Seen>,
    names: HashMap<usize, Arc<str>>,
    failed: Option<String>,
}

impl Capture {
    /// Starts. What passes from the return on is seen.
    pub fn start(netns: &Netns) -> Result<Self> {
        let socket = netns.run(|| {
            let socket = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                SockProtocol::EthAll,
            )?;
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
            Ok(socket)
        });
        let shared = Arc::new(Shared {
            netns: netns.clone(),
            socket: socket.with_context(|| format!("packet socket in {}", netns.name()))?,
            store: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let reader = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.read_until_stopped()
        });
        Ok(Self {
            shared,
            reader: Some(reader),
        })
    }

    /// All that passed so far and that `wanted` picks.
    pub fn packets(&self, wanted: impl Fn(&Seen) -> bool) -> Result<Vec<Seen>> {
        let store = self.shared.drained();
        if let Some(failure) = &store.failed {
            bail!("capture in {}: {failure}", self.shared.netns.name());
        }
        Ok(store
            .seen
            .iter()
            .filter(|seen| wanted(seen))
            .cloned()
            .collect())
    }

    /// How many.
    pub fn count(&self, wanted: impl Fn(&Seen) -> bool) -> Result<usize> {
        Ok(self.packets(wanted)?.len())
    }

    /// An error that shows the first few, if there is any such packet.
    pub fn none(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Result<()> {
        let found = self.packets(wanted)?;
        if !found.is_empty() {
            let shown: Vec<String> = found.iter().take(5).map(ToString::to_string).collect();
            bail!(
                "{what}: {} packets in {}, the first: {}",
                found.len(),
                self.shared.netns.name(),
                shown.join("; ")
            );
        }
        Ok(())
    }

    /// Waits for the first such packet.
    pub fn wait_for(
        &self,
        within: Duration,
        what: &str,
        wanted: impl Fn(&Seen) -> bool,
    ) -> Result<Seen> {
        let what = format!("{what} in {}", self.shared.netns.name());
        wait::until(within, &what, || {
            Ok(self.packets(&wanted)?.into_iter().next())
        })
    }

    /// Forgets what passed so far.
    pub fn clear(&self) {
        self.shared.drained().seen.clear();
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take()
            && reader.join().is_err()
        {
            eprintln!("lab: the capture in {} panicked", self.shared.netns.name());
        }
    }
}

impl Shared {
    fn read_until_stopped(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::from(100_u8)) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => drop(self.drained()),
                Err(error) => {
                    self.locked().failed = Some(format!("poll: {error}"));
                    return;
                }
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store, with all in it that the socket holds.
    fn drained(&self) -> MutexGuard<'_, Store> {
        let mut store = self.locked();
        if let Err(error) = self.drain(&mut store) {
            store.failed.get_or_insert(format!("{error:#}"));
        }
        store
    }

    fn drain(&self, store: &mut Store) -> Result<()> {
        let mut frame = [0; 256];
        loop {
            let fd = self.socket.as_raw_fd();
            let (length, from) = match recvfrom::<LinkAddr>(fd, &mut frame) {
                Ok((length, Some(from))) => (length, from),
                Ok((_, None)) => bail!("a packet without an interface"),
                Err(Errno::EAGAIN) => break,
                // ENETDOWN: an interface went down, which is said once and of no interest.
                Err(Errno::EINTR | Errno::ENETDOWN) => continue,
                Err(error) => return Err(error).context("receiving"),
            };
            let interface = self.name(store, from.ifindex())?;
            if &*interface == "lo" {
                continue;
            }
            let frame = &frame[..length];
            let ethernet = from.hatype() == libc::ARPHRD_ETHER;
            store.seen.push(Seen {
                at: Instant::now(),
                interface,
                direction: if from.pkttype() == libc::PACKET_OUTGOING {
                    Direction::Out
                } else {
                    Direction::In
                },
                packet: if ethernet {
                    Packet::of_ethernet(frame)
                } else {
                    Packet::of_ip(frame)
                },
            });
        }
        let lost = lost_since_last_asked(&self.socket)?;
        if lost != 0 {
            bail!("{lost} packets were lost: no count holds");
        }
        Ok(())
    }

    fn name(&self, store: &mut Store, index: usize) -> Result<Arc<str>> {
        if !store.names.contains_key(&index) {
            let found = self.netns.run(|| {
                let names = if_nameindex()?;
                Ok(names
                    .iter()
                    .map(|one| (one.index() as usize, one.name().to_string_lossy().into()))
                    .collect::<HashMap<usize, Arc<str>>>())
            })?;
            store.names.extend(found);
        }
        let name = store
            .names
            .entry(index)
            .or_insert_with(|| format!("interface {index}, gone").into());
        Ok(Arc::clone(name))
    }
}

/// Packets that the kernel could not queue for want of room.
fn lost_since_last_asked(socket: &OwnedFd) -> Result<u32> {
    let mut statistics = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: both pointers are to live values of the types this option writes, and `length` is
    // the size of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    Errno::result(result).context("PACKET_STATISTICS")?;
    Ok(statistics.tp_drops)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::packet::Kind;

    #[test]
    fn both_ends_of_a_cable_count_the_same() {
        let (a, b) = (Netns::create("a").unwrap(), Netns::create("b").unwrap());
        a.ip(&format!(
            "link add a0 type veth peer name b0 netns {}
             addr add 10.0.0.1/24 dev a0
             link set a0 up\n",
            b.path()
        ))
        .unwrap();
        b.ip("addr add 10.0.0.2/24 dev b0\nlink set b0 up\n")
            .unwrap();
        let (at_a, at_b) = (Capture::start(&a).unwrap(), Capture::start(&b).unwrap());
        let socket = a.run(|| Ok(UdpSocket::bind("10.0.0.1:0")?)).unwrap();
        for _ in 0..500 {
            socket.send_to(b"hello", "10.0.0.2:9").unwrap();
        }
        let udp = |seen: &Seen| seen.packet.kind == Kind::Udp;
        wait::until(wait::TIMEOUT, "500 packets", || {
            Ok((at_b.count(udp)? >= 500).then_some(()))
        })
        .unwrap();
        let sent = at_a.packets(udp).unwrap();
        assert_eq!(sent.len(), 500);
        assert_eq!(sent[0].direction, Direction::Out);
        assert_eq!(at_b.count(udp).unwrap(), 500);
        assert!(at_b.none("UDP", udp).is_err());
        at_b.clear();
        at_b.none("UDP", udp).unwrap();
    }
}
