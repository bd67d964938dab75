//! Packets really sent out by a TAP (or TUN) device, on whose egress the program under test is:
//! forwarded ones in by another such device, local ones by a packet socket.
//!
//! For what `BPF_PROG_TEST_RUN` cannot show: before 6.0, that a packet came in by an interface;
//! from 6.18 on, a frame that ends within its IP header.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions};
use aya::programs::{SchedClassifier, TcAttachType};
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};

use super::{Device, Fate, Outcome, Seen, instructions};
use crate::netns::Netns;
use crate::sysctl;

const DEADLINE: Duration = Duration::from_secs(10);
/// How long a frame may take behind its counter.
const GRACE_MS: u16 = 50;

/// Two pairs of devices in a network namespace.
#[derive(Debug)]
pub(super) struct Taps {
    netns: Netns,
    ethernet: Pair,
    raw: Pair,
    pins: PathBuf,
}

#[derive(Debug)]
struct Pair {
    /// Names of the device that frames come in by and of the one they go out by.
    names: (&'static str, &'static str),
    in_by: File,
    out_by: File,
    out_index: u32,
}

impl Taps {
    /// The devices; programs that go around the one under test are pinned in `pins` for a
    /// moment.
    pub(super) fn new(pins: &Path) -> Result<Self> {
        let netns = Netns::create("taps")?;
        // Nothing but what is sent is to be on the devices.
        sysctl::set(&netns, &[("ipv6/conf/default/disable_ipv6", "1")])?;
        Ok(Self {
            ethernet: Pair::new(&netns, ("tap-in", "tap-out"), libc::IFF_TAP)?,
            raw: Pair::new(&netns, ("tun-in", "tun-out"), libc::IFF_TUN)?,
            pins: pins.to_owned(),
            netns,
        })
    }

    /// Sends a frame by the program; `counted` says whether a counter has moved. The outcome is
    /// without counters.
    pub(super) fn send(
        &mut self,
        seen: &Seen<'_>,
        program: &mut SchedClassifier,
        priority: u32,
        counted: impl Fn() -> Result<bool> + Send,
    ) -> Result<Outcome> {
        let pair = match seen.site.device {
            Device::Ethernet => &mut self.ethernet,
            Device::Raw => &mut self.raw,
        };
        let pin = |name: &str| self.pins.join(name);
        let mut redirect =
            instructions::redirect(&pin("redirect"), pair.out_index, seen.mark, priority)?;
        let mut require = instructions::require(&pin("require"), seen.mark, priority)?;
        let frame = self.netns.run(move || {
            let (in_by, out_by) = pair.names;
            // Each link goes, and its program is detached, inside the namespace.
            let _links = [
                attach(program, out_by, TcAttachType::Egress, 1)?,
                attach(&mut require, out_by, TcAttachType::Egress, 2)?,
                attach(&mut redirect, in_by, TcAttachType::Ingress, 1)?,
            ];
            if seen.forwarded {
                pair.in_by
                    .write_all(seen.frame)
                    .context("sending the frame")?;
            } else {
                send_local(pair.out_index, seen, priority)?;
            }
            pair.pass(&counted)
        })?;
        Ok(match frame {
            Some(bytes) => Outcome {
                fate: Fate::Passed,
                // What passes `require` has the mark it came with.
                mark: seen.mark,
                counters: Vec::new(),
                bytes,
            },
            None => Outcome {
                fate: Fate::Dropped,
                mark: 0,
                counters: Vec::new(),
                bytes: Vec::new(),
            },
        })
    }
}

fn attach(
    program: &mut SchedClassifier,
    device: &str,
    at: TcAttachType,
    priority: u16,
) -> Result<SchedClassifierLink> {
    let options = TcAttachOptions::Netlink(NlOptions {
        priority,
        ..NlOptions::default()
    });
    let id = program
        .attach_with_options(device, at, options)
        .with_context(|| format!("attaching to {device}"))?;
    Ok(program.take_link(id)?)
}

impl Pair {
    fn new(netns: &Netns, names: (&'static str, &'static str), kind: i32) -> Result<Self> {
        netns.run(|| {
            let pair = Self {
                names,
                in_by: open(names.0, kind)?,
                out_by: open(names.1, kind)?,
                out_index: if_nametoindex(names.1)?,
            };
            for name in [names.0, names.1] {
                crate::process::tool("ip", &["link", "set", name, "up"], "")?;
                aya::programs::tc::qdisc_add_clsact(name)
                    .with_context(|| format!("clsact on {name}"))?;
            }
            Ok(pair)
        })
    }

    /// What comes out of a frame that was sent; `None` where it is dropped.
    fn pass(&mut self, counted: &impl Fn() -> Result<bool>) -> Result<Option<Vec<u8>>> {
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            let counted = counted()?;
            if let Some(frame) = self.read(GRACE_MS)? {
                return Ok(Some(frame));
            }
            if counted {
                return Ok(None);
            }
        }
        bail!("the frame has neither come out nor been counted")
    }

    fn read(&mut self, wait_ms: u16) -> Result<Option<Vec<u8>>> {
        let mut fds = [PollFd::new(self.out_by.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(wait_ms))? == 0 {
            return Ok(None);
        }
        let mut frame = vec![0; 0x1_0000];
        match self.out_by.read(&mut frame) {
            Ok(len) => {
                frame.truncate(len);
                Ok(Some(frame))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Sends a frame as made on this machine.
fn send_local(device: u32, seen: &Seen<'_>, priority: u32) -> Result<()> {
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    setsockopt(&socket, sockopt::Mark, &seen.mark)?;
    setsockopt(&socket, sockopt::Priority, &priority.cast_signed())?;
    let protocol = match (seen.site.device, seen.frame) {
        (Device::Ethernet, [_, _, _, _, _, _, _, _, _, _, _, _, a, b, ..]) => [*a, *b],
        (_, [first, ..]) if first >> 4 == 6 => [0x86, 0xdd],
        _ => [0x08, 0x00],
    };
    // SAFETY: all zeros are a valid value of it.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_protocol = u16::from_ne_bytes(protocol);
    to.sll_ifindex = device.cast_signed();
    // SAFETY: the frame and the address are of the lengths that are given, and outlive the call.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            seen.frame.as_ptr().cast(),
            seen.frame.len(),
            0,
            (&raw const to).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    let error = io::Error::last_os_error();
    // By ENOBUFS a packet socket learns that its packet was dropped on the way.
    if sent < 0 && error.raw_os_error() != Some(libc::ENOBUFS) {
        return Err(error).context("sending the frame");
    }
    Ok(())
}

/// A TUN (`IFF_TUN`) or TAP (`IFF_TAP`) device of this thread's namespace, without the extra
/// header. Reading it does not block.
pub fn open(name: &str, kind: i32) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .context("/dev/net/tun: is the module tun there?")?;
    // SAFETY: all zeros are a valid value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (kind | libc::IFF_NO_PI) as i16;
    // SAFETY: TUNSETIFF reads an `ifreq`, which outlives the call.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request) } != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("creating {name}"));
    }
    Ok(file)
}
