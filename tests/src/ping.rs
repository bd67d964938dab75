//! Pings at a steady pace, each accounted for.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recvfrom, sendto,
    socket,
};

use crate::netns::Netns;
use crate::wait;

/// The pace of the lab's pings through the tunnel: five a second.
pub const PACE: Duration = Duration::from_millis(200);

/// How long an answer may take before the ping counts as lost.
const GRACE: Duration = Duration::from_secs(2);

/// One ping.
#[derive(Debug, Clone)]
pub struct Probe {
    /// When it was sent.
    pub sent: Instant,
    /// When its answer came.
    pub answered: Option<Instant>,
    /// Why it could not even be sent.
    pub refused: Option<Errno>,
}

/// What became of the pings.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// All of them, in order.
    pub probes: Vec<Probe>,
}

impl Report {
    /// How many were sent.
    pub fn sent(&self) -> usize {
        self.probes.len()
    }

    /// How many found no answer.
    pub fn lost(&self) -> usize {
        self.probes
            .iter()
            .filter(|probe| probe.answered.is_none())
            .count()
    }

    /// The longest time without an answer.
    pub fn longest_gap(&self) -> Duration {
        let answers: Vec<Instant> = self
            .probes
            .iter()
            .filter_map(|probe| probe.answered)
            .collect();
        answers
            .windows(2)
            .map(|pair| pair[1].saturating_duration_since(pair[0]))
            .max()
            .unwrap_or_default()
    }

    /// The median time from ping to answer.
    pub fn median_round_trip(&self) -> Option<Duration> {
        let mut times: Vec<Duration> = self
            .probes
            .iter()
            .filter_map(|probe| Some(probe.answered?.saturating_duration_since(probe.sent)))
            .collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }

    /// Those that were sent from `from` until `to`.
    #[must_use]
    pub fn between(&self, from: Instant, to: Instant) -> Self {
        Self {
            probes: self
                .probes
                .iter()
                .filter(|probe| (from..to).contains(&probe.sent))
                .cloned()
                .collect(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} pings lost", self.lost(), self.sent())?;
        if let Some(refused) = self.probes.iter().find_map(|probe| probe.refused) {
            write!(f, " (not sent: {refused})")?;
        }
        if let Some(gap) = Some(self.longest_gap()).filter(|gap| !gap.is_zero()) {
            write!(f, ", longest gap {} ms", gap.as_millis())?;
        }
        Ok(())
    }
}

/// Sends pings until stopped.
#[derive(Debug)]
pub struct Pinger {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    report: Mutex<Report>,
}

impl Pinger {
    /// Starts, with the first ping at once.
    pub fn start(netns: &Netns, to: impl Into<IpAddr>, pace: Duration) -> Result<Self> {
        let to = to.into();
        let (family, protocol) = match to {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = netns
            .run(|| Ok(socket(family, SockType::Raw, flags, protocol)?))
            .context("raw ICMP socket")?;
        let shared = Arc::new(Shared::default());
        let worker = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.work(&socket, to, pace)
        });
        Ok(Self {
            shared,
            worker: Some(worker),
        })
    }

    /// What became of those sent so far; the last may still be under way.
    pub fn so_far(&self) -> Report {
        self.shared
            .report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until so many more have been sent.
    pub fn wait_for_more(&self, count: usize) -> Result<()> {
        let goal = self.so_far().sent() + count;
        wait::until(wait::TIMEOUT, "pings to be sent", || {
            Ok((self.so_far().sent() >= goal).then_some(()))
        })
    }

    /// Waits for the first answer.
    pub fn wait_for_answer(&self, within: Duration) -> Result<()> {
        wait::until(within, "a ping's answer", || {
            let report = self.so_far();
            Ok((report.lost() < report.sent()).then_some(()))
        })
    }

    /// Sends no more, waits for the answers still due, and reports.
    pub fn stop(mut self) -> Result<Report> {
        self.halt()?;
        Ok(self.so_far())
    }

    fn halt(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        match self.worker.take().map(JoinHandle::join) {
            Some(Ok(result)) => result.context("pinging"),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn work(&self, socket: &OwnedFd, to: IpAddr, pace: Duration) -> Result<()> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let id = (std::process::id() as u16)
            .wrapping_mul(31)
            .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let mut due = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            if Instant::now() >= due {
                self.send(socket, to, id);
                due += pace;
            }
            self.receive(socket, to, id, due)?;
        }
        let last = Instant::now() + GRACE;
        while Instant::now() < last && self.waiting() {
            self.receive(socket, to, id, last)?;
        }
        Ok(())
    }

    fn waiting(&self) -> bool {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.probes.iter().any(|probe| {
            probe.answered.is_none() && probe.refused.is_none() && probe.sent.elapsed() < GRACE
        })
    }

    fn send(&self, socket: &OwnedFd, to: IpAddr, id: u16) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = report.probes.len() as u16;
        let address = SockaddrStorage::from(SocketAddr::new(to, 0));
        let sent = sendto(
            socket.as_raw_fd(),
            &echo_request(to, id, sequence),
            &address,
            MsgFlags::empty(),
        );
        report.probes.push(Probe {
            sent: Instant::now(),
            answered: None,
            refused: sent.err(),
        });
    }

    fn receive(&self, socket: &OwnedFd, from: IpAddr, id: u16, until: Instant) -> Result<()> {
        // Never long: the stop flag is looked at in between.
        let wait = until
            .saturating_duration_since(Instant::now())
            .min(Duration::from_millis(50));
        let millis = u16::try_from(wait.as_millis()).unwrap_or(u16::MAX) + 1;
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::from(millis)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
        let mut packet = [0; 128];
        loop {
            match recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut packet) {
                Ok((length, sender)) if sender.as_ref().and_then(ip) == Some(from) => {
                    if let Some(sequence) = echo_reply(&packet[..length], from, id) {
                        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
                        if let Some(probe) = report.probes.get_mut(usize::from(sequence)) {
                            probe.answered.get_or_insert(Instant::now());
                        }
                    }
                }
                Err(Errno::EAGAIN) => return Ok(()),
                // Another program's; and errors of earlier packets (unreachable and such), which are
                // reported here: they are lost.
                Ok(_) | Err(_) => {}
            }
        }
    }
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// In IPv6 the kernel does the checksum, which covers addresses.
fn echo_request(to: IpAddr, id: u16, sequence: u16) -> [u8; 64] {
    let mut packet = [0x5a; 64];
    let kind = if to.is_ipv4() { 8 } else { 128 };
    packet[..4].copy_from_slice(&[kind, 0, 0, 0]);
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let mut sum: u32 = packet
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet
}

/// The sequence number, if it is the answer to one of ours. A raw socket shows the IP header in
/// IPv4 alone.
fn echo_reply(packet: &[u8], from: IpAddr, id: u16) -> Option<u16> {
    let (header, kind) = match from {
        IpAddr::V4(_) => (usize::from(packet.first()? & 0x0f) * 4, 0),
        IpAddr::V6(_) => (0, 129),
    };
    let icmp = packet.get(header..header + 8)?;
    let ours = icmp[0] == kind && icmp[4..6] == id.to_be_bytes();
    ours.then(|| u16::from_be_bytes([icmp[6], icmp[7]]))
}

/// Whether one of three pings in quick succession is answered.
pub fn answers(netns: &Netns, to: impl Into<IpAddr>) -> Result<bool> {
    let pinger = Pinger::start(netns, to, Duration::from_millis(300))?;
    pinger.wait_for_more(3)?;
    let report = pinger.stop()?;
    Ok(report.lost() < report.sent())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn pings_to_oneself_are_answered_and_to_nobody_are_not() {
        let netns = Netns::create("self").unwrap();
        netns.ip("link set lo up\n").unwrap();
        assert!(answers(&netns, Ipv4Addr::LOCALHOST).unwrap());
        assert!(answers(&netns, Ipv6Addr::LOCALHOST).unwrap());
        let pinger = Pinger::start(&netns, Ipv4Addr::new(10, 9, 8, 7), PACE).unwrap();
        pinger.wait_for_more(2).unwrap();
        let report = pinger.stop().unwrap();
        assert_eq!(report.lost(), report.sent());
        assert_eq!(report.probes[0].refused, Some(Errno::ENETUNREACH));
    }

    #[test]
    fn the_checksum_of_a_request_is_right() {
        let packet = echo_request(Ipv4Addr::LOCALHOST.into(), 0x1234, 7);
        let sum: u32 = packet
            .chunks(2)
            .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
