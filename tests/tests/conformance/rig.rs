//! A router of one namespace: a modem, an uplink and a LAN, each a TAP (or TUN) device whose other
//! side the test holds.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::programs::tc::{NlOptions, TcAttachOptions, qdisc_add_clsact};
use aya::programs::{Link as _, SchedClassifier, TcAttachType};
use lte_common::policy::Hook;
use lte_tests::corpus::bpffs::Pins;
use lte_tests::corpus::site::{GATEWAY, MODEM, MODEM6, WAN, WAN6};
use lte_tests::corpus::{Case, Device, Fate, Site, instructions, tap};
use lte_tests::netns::Netns;
use lte_tests::sysctl;
use lte_tests::tunnel_device::TunnelDevice;
use lte_tests::wait::{self, TIMEOUT};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
    SockaddrLike, recv, sendto, setsockopt, socket, sockopt,
};

use crate::senders::{Held, is_later_piece, masquerade, send_by_a_socket, unmasquerade};
use crate::verdict::comparable;

/// Bytes of mark that `instructions::stamp` leaves behind a frame.
const STAMP: usize = 4;
/// How long a frame may take that is not there at once, ms.
const GRACE_MS: u16 = 3;
/// Whatever keeps fragments for a second has given them up after so long, by the same processor's clock.
const GIVEN_UP: Duration = Duration::from_millis(1500);

/// The kernel's own chatter is dropped, and what passes the modem's guard is noted, with its mark,
/// and goes no further.
const OBSERVER: &str = "
table ip6 quiet {
    chain out { type filter hook output priority -400;
        icmpv6 type { 130, 131, 132, 133, 135, 136, 143 } meta skuid 0 accept
        icmpv6 type { 130, 131, 132, 133, 135, 136, 143 } drop
    }
}
table ip quiet { chain out { type filter hook output priority -400;
    ip protocol 2 meta skuid 0 accept
    ip protocol 2 drop
    }
}
table inet seen {
    chain in { type filter hook prerouting priority 200;
        iifname modem log group 7 queue-threshold 1
        iifname modem drop
    }
    chain marks { type filter hook prerouting priority -400; }
}";

/// The devices.
pub(crate) struct Rig {
    pub(crate) netns: Netns,
    pub(crate) site: Site,
    tunnel: TunnelDevice,
    held: Mutex<Held>,
    modem: Option<Port>,
    wan: Port,
    lan: Port,
    /// A device like the modem, from which marked packets enter by it.
    feed: Port,
    pins: PathBuf,
    /// Hears ARP where the kernel would, behind every hook.
    arp: OwnedFd,
}

/// The test's side of a device.
struct Port {
    device: Device,
    file: File,
}

/// A frame that left.
pub(crate) struct Left {
    pub(crate) fate: Fate,
    pub(crate) mark: u32,
    pub(crate) bytes: Vec<u8>,
}

impl Rig {
    /// The devices are there, and down.
    pub(crate) fn new(site: Site, hook: Hook, pins: &Pins) -> Result<Self> {
        let netns = Netns::create("router")?;
        sysctl::set(
            &netns,
            &[
                ("ipv4/ip_forward", "1"),
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
                ("ipv4/conf/default/accept_local", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv6/conf/default/accept_dad", "0"),
                ("ipv6/conf/default/addr_gen_mode", "1"),
                // A fragment that waits for its datagram would meet the next case's. Never 0: the kernel
                // starts a queue's timer before it has the queue in its table (`inet_frag_create`). One
                // that is over in between is freed and then put there, and the one that removes the namespace
                // down frees it again, or spins on what was its lock.
                ("ipv4/ipfrag_time", "1"),
                ("ipv6/ip6frag_time", "1"),
            ],
        )?;
        netns.tool_with_input("nft", &["-f", "-"], OBSERVER)?;
        let uplink = match hook {
            Hook::UplinkOut => site.device,
            Hook::ModemIn | Hook::ModemOut => Device::Ethernet,
        };
        let modem = site.modem.map(|device| Port::new(&netns, "modem", device));
        let rig = Self {
            tunnel: TunnelDevice::create(&netns, "wg-lte")?,
            held: Mutex::default(),
            modem: modem.transpose()?,
            wan: Port::new(&netns, "wan", uplink)?,
            lan: Port::new(&netns, "lan0", Device::Ethernet)?,
            feed: Port::new(&netns, "feed", site.device)?,
            pins: pins.path().to_owned(),
            arp: netns.run(arp_socket)?,
            site,
            netns,
        };
        rig.netns.run(|| {
            qdisc_add_clsact("feed").context("clsact on feed")?;
            for name in rig.devices() {
                qdisc_add_clsact(name).with_context(|| format!("clsact on {name}"))?;
                let mut stamp = instructions::stamp(&pins.path().join("stamp"))?;
                attach_last(&mut stamp, name)?;
            }
            Ok(())
        })?;
        Ok(rig)
    }

    fn devices(&self) -> impl Iterator<Item = &'static str> {
        self.modem.iter().map(|_| "modem").chain(["wan"])
    }

    /// Addresses, links and routes: local packets leave by the hook's device, unless a rule says
    /// otherwise. For an uplink the port rule has been flushed.
    pub(crate) fn up(&self, hook: Hook) -> Result<()> {
        let mut lines = String::from("link set lo up\n");
        for name in self.devices().chain(["lan0", "feed"]) {
            if self.is_ethernet(name) {
                writeln!(lines, "link set {name} arp off address 02:00:00:00:00:01")?;
            }
            writeln!(lines, "link set {name} up")?;
        }
        writeln!(
            lines,
            "addr add {WAN}/24 dev wan\naddr add 192.168.1.1/24 dev lan0"
        )?;
        let mut six =
            format!("addr add {WAN6}/64 dev wan nodad\naddr add 2001:db8:2::1/64 dev lan0 nodad\n");
        if self.modem.is_some() {
            let onlink = match self.site.modem {
                Some(Device::Ethernet) => format!("via {GATEWAY} dev modem onlink"),
                _ => "dev modem".to_owned(),
            };
            writeln!(
                lines,
                "addr add {MODEM}/24 dev modem\nroute add default {onlink} src {MODEM} table 123"
            )?;
            writeln!(
                six,
                "addr add {MODEM6}/64 dev modem nodad\nroute add default dev modem table 123"
            )?;
            let rule = "rule add pref 1200 oif modem lookup 123\nrule add pref 1231 fwmark 0x7b/0xff lookup 123\n";
            lines += rule;
            six += rule;
        }
        let way = match hook {
            Hook::UplinkOut => "wan",
            Hook::ModemIn | Hook::ModemOut => "modem",
        };
        writeln!(lines, "route add default dev {way}")?;
        writeln!(six, "route add default dev {way}")?;
        self.netns.ip(&lines)?;
        self.netns
            .tool_with_input("ip", &["-6", "-batch", "-"], &six)?;
        self.drain()
    }

    /// Waits until no fragment waits for its datagram any more: it would meet the next case's. `since`: when
    /// a fragment of IPv6 was sent, of which conntrack does not show whether it has it yet.
    pub(crate) fn fragments_are_given_up(&self, since: Option<Instant>) -> Result<()> {
        wait::until(TIMEOUT, "fragments to be given up", || {
            let pending = self.netns.run(|| {
                let four = fs::read_to_string("/proc/thread-self/net/sockstat")?;
                let six = fs::read_to_string("/proc/thread-self/net/sockstat6")?;
                Ok(pending(&four, "FRAG:")? + pending(&six, "FRAG6:")?)
            })?;
            Ok((pending == 0).then_some(()))
        })?;
        if let Some(since) = since {
            thread::sleep(GIVEN_UP.saturating_sub(since.elapsed()));
        }
        Ok(())
    }

    /// A fragment is about to be sent.
    pub(crate) fn keep_fragments_briefly(&self) -> Result<()> {
        let key = "netfilter/nf_conntrack_frag6_timeout";
        // There where conntrack is.
        if sysctl::get(&self.netns, key).is_ok() {
            sysctl::set(&self.netns, &[(key, "1")])?;
        }
        Ok(())
    }

    fn is_ethernet(&self, name: &str) -> bool {
        let device = match name {
            "modem" => self.site.modem,
            "wan" => Some(self.wan.device),
            "feed" => Some(self.feed.device),
            _ => Some(Device::Ethernet),
        };
        device == Some(Device::Ethernet)
    }

    /// Interface index of a device.
    pub(crate) fn index(&self, name: &'static str) -> Result<u32> {
        self.netns.run(move || Ok(if_nametoindex(name)?))
    }

    /// How frames start on the uplink.
    pub(crate) fn uplink(&self) -> Device {
        self.wan.device
    }

    /// Throws away what has left so far.
    pub(crate) fn drain(&self) -> Result<()> {
        for port in self.modem.iter().chain([&self.wan, &self.lan]) {
            while port.read(0)?.is_some() {}
        }
        Ok(())
    }

    /// Sends a case's packet.
    ///
    /// Whether it could be sent: a TUN device takes nothing but IP.
    pub(crate) fn send(&self, case: &Case) -> Result<bool> {
        if case.hook == Hook::ModemIn {
            let modem = self.modem.as_ref().context("there is no modem")?;
            if case.mark != 0 {
                return self.enter_marked(case).map(|()| true);
            }
            return match (&modem.file).write_all(&case.frame) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
                result => result.map(|()| true).context("writing to the modem"),
            };
        }
        if case.forwarded {
            let mut frame = case.frame.clone();
            if case.site.device == Device::Raw {
                let kind: [u8; 2] = if frame[0] >> 4 == 6 {
                    [0x86, 0xdd]
                } else {
                    [8, 0]
                };
                let mut header = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
                header.extend(kind);
                frame.splice(0..0, header);
            }
            return (&self.lan.file)
                .write_all(&frame)
                .map(|()| true)
                .context("writing to the LAN");
        }
        let name = match case.hook {
            Hook::UplinkOut => "wan",
            Hook::ModemIn | Hook::ModemOut => "modem",
        };
        if case.sender.socket != 0 && is_later_piece(case) {
            return Ok(false);
        }
        self.held.lock().unwrap().hold(&self.netns, case)?;
        match through_the_stack(case) {
            Some((ip, _)) if is_the_tunnels(case) => self.tunnel.send_marked(ip, case.mark)?,
            Some((ip, to)) if case.sender.socket != 0 => {
                masquerade(&self.netns, case)?;
                self.netns.run(|| send_by_a_socket(ip, to, name, case))?;
                unmasquerade(&self.netns, case)?;
            }
            Some((ip, to)) => self.netns.run(|| send_raw(ip, to, name, case))?,
            None => self.netns.run(|| send_frame(name, case))?,
        }
        Ok(true)
    }

    /// A driver may mark what it receives: so does a device from which all enters by the modem.
    fn enter_marked(&self, case: &Case) -> Result<()> {
        let modem = self.index("modem")?;
        let mut enter = instructions::enter(&self.pins.join("enter"), modem, case.mark)?;
        let feed = &self.feed;
        self.netns.run(move || {
            let options = TcAttachOptions::Netlink(NlOptions::default());
            let id = enter.attach_with_options("feed", TcAttachType::Ingress, options)?;
            let link = enter.take_link(id)?;
            (&feed.file)
                .write_all(&case.frame)
                .context("writing to the feed")?;
            Ok(link.detach()?)
        })
    }

    /// Sends as the tunnel, by the modem.
    pub(crate) fn send_as_the_tunnel(&self, ip: &[u8]) -> Result<()> {
        if self.modem.is_none() {
            return Ok(());
        }
        self.tunnel.send(ip)?;
        self.drain()
    }

    /// Sends a packet of this machine's own through the IP stack, by the modem.
    pub(crate) fn send_local(&self, ip: &[u8], to: IpAddr) -> Result<()> {
        if self.modem.is_none() {
            return Ok(());
        }
        self.netns.run(|| send_bytes(ip, to, Some("modem"), 0))?;
        self.drain()
    }

    /// What left, by the modem or the uplink.
    pub(crate) fn left(&self, case: &Case) -> Result<Option<Left>> {
        let Some((port, mut frame)) = self.look(GRACE_MS)? else {
            return Ok(None);
        };
        ensure!(
            frame.len() >= STAMP,
            "a frame without a stamp: {frame:02x?}"
        );
        let stamp = frame.split_off(frame.len() - STAMP);
        let mark = u32::from_ne_bytes(stamp.try_into().unwrap());
        let by_modem = port == "modem";
        let fate = match case.hook {
            Hook::UplinkOut if by_modem => Fate::Steered,
            Hook::ModemOut if !by_modem => anyhow::bail!("it left by the uplink"),
            _ => Fate::Passed,
        };
        let device = if by_modem {
            self.site.modem.unwrap()
        } else {
            self.wan.device
        };
        let ip = frame.get(device.header_len()..).unwrap_or_default();
        check_sum(ip)?;
        ensure!(self.look(0)?.is_none(), "two frames left");
        Ok(Some(Left {
            fate,
            mark,
            bytes: comparable(case, ip),
        }))
    }

    fn look(&self, wait_ms: u16) -> Result<Option<(&'static str, Vec<u8>)>> {
        for wait_ms in [0, wait_ms] {
            if let Some(modem) = &self.modem
                && let Some(frame) = modem.read(wait_ms)?
            {
                return Ok(Some(("modem", frame)));
            }
            if let Some(frame) = self.wan.read(0)? {
                return Ok(Some(("wan", frame)));
            }
        }
        Ok(None)
    }

    /// The ARP packet that got past the guard since this was asked last.
    pub(crate) fn arp_entered(&self) -> Result<Option<Vec<u8>>> {
        let mut frame = [0; 64];
        match recv(self.arp.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => Ok(frame.get(14..length).map(<[u8]>::to_vec)),
            Err(Errno::EAGAIN) => Ok(None),
            Err(error) => Err(error).context("listening for ARP"),
        }
    }
}

/// A packet whose IPv4 header's checksum is wrong would belong to no socket. One of fewer than five words has
/// none.
fn check_sum(ip: &[u8]) -> Result<()> {
    if ip.len() < 20 || ip[0] >> 4 != 4 || ip[0] & 15 < 5 {
        return Ok(());
    }
    let header = ip.get(..usize::from(ip[0] & 15) * 4).unwrap_or_default();
    let mut sum: u32 = header
        .chunks_exact(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    ensure!(
        sum == 0xffff || header.is_empty(),
        "a wrong checksum in {header:02x?}"
    );
    Ok(())
}

/// A packet socket of one protocol.
fn arp_socket() -> Result<OwnedFd> {
    let protocol = i32::from((libc::ETH_P_ARP as u16).to_be());
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes no pointers.
    let fd = Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, protocol) })?;
    // SAFETY: the kernel has just given it, and no other code has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn attach_last(program: &mut SchedClassifier, name: &str) -> Result<()> {
    let options = TcAttachOptions::Netlink(NlOptions {
        priority: 100,
        ..NlOptions::default()
    });
    let id = program
        .attach_with_options(name, TcAttachType::Egress, options)
        .with_context(|| format!("attaching to {name}"))?;
    // It goes with its device.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

impl Port {
    fn new(netns: &Netns, name: &'static str, device: Device) -> Result<Self> {
        let kind = match device {
            Device::Ethernet => libc::IFF_TAP,
            Device::Raw => libc::IFF_TUN,
        };
        let file = netns.run(|| tap::open(name, kind))?;
        Ok(Self { device, file })
    }

    fn read(&self, wait_ms: u16) -> Result<Option<Vec<u8>>> {
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(wait_ms))? == 0 {
            return Ok(None);
        }
        let mut frame = vec![0; 0x1_0000];
        match (&self.file).read(&mut frame) {
            Ok(len) => {
                frame.truncate(len);
                Ok(Some(frame))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("reading from a device"),
        }
    }
}

/// Whether WireGuard is the one who sends it.
fn is_the_tunnels(case: &Case) -> bool {
    let rows = [
        "out: tunnel, NAT keepalive",
        "out: fragments",
        "uplink: tunnel",
        "out: look-alikes, by who sends them",
    ];
    rows.contains(&case.row)
        && (case.want.fate == Fate::Steered
            || !case.sender.bound && (case.sender.socket == 0 || Held::carries(case)))
}

/// The IP packet and where it goes, where a raw socket takes it as it is. What lies about its
/// lengths or is broken otherwise, what has no source yet and what is no IP goes by a packet
/// socket, as it would.
pub(crate) fn through_the_stack(case: &Case) -> Option<(&[u8], IpAddr)> {
    // Another host's comes by a device that is stacked on the uplink, past the IP stack here.
    if case.row == "broken packets" || case.sender.foreign {
        return None;
    }
    let link = case.site.device.header_len();
    let kind = match case.site.device {
        Device::Ethernet => case.frame.get(12..14)?,
        Device::Raw if case.frame.first()? >> 4 == 6 => &[0x86, 0xdd],
        Device::Raw => &[8, 0],
    };
    let ip = &case.frame[link..];
    match (kind, ip.first()? >> 4) {
        ([8, 0], 4) if ip.len() >= 20 => {
            let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
            let header = usize::from(ip[0] & 15) * 4;
            let packet = ip.get(..length)?;
            let to: [u8; 4] = ip[16..20].try_into().ok()?;
            let said = header >= 20 && header <= length && ip[12..16] != [0; 4];
            (said && udp_is_whole(packet, header, ip[9]))
                .then_some((packet, Ipv4Addr::from(to).into()))
        }
        ([0x86, 0xdd], 6) if ip.len() >= 40 => {
            let length = usize::from(u16::from_be_bytes([ip[4], ip[5]])) + 40;
            let packet = ip.get(..length)?;
            let to: [u8; 16] = ip[24..40].try_into().ok()?;
            (length > 40 && udp_is_whole(packet, 40, ip[6]))
                .then_some((packet, Ipv6Addr::from(to).into()))
        }
        _ => None,
    }
}

/// How many datagrams wait for fragments: `FRAG: inuse 1 memory 688`.
fn pending(text: &str, family: &str) -> Result<usize> {
    let line = text.lines().find(|line| line.starts_with(family));
    let count = line.and_then(|line| line.split_whitespace().nth(2));
    Ok(count.with_context(|| format!("no {family}"))?.parse()?)
}

fn udp_is_whole(packet: &[u8], header: usize, protocol: u8) -> bool {
    let fragment = packet[0] >> 4 == 4 && packet[6..8] != [0, 0] && packet[6..8] != [0x40, 0];
    if protocol != 17 || fragment {
        return true;
    }
    packet.get(header + 4..header + 6).is_some_and(|word| {
        usize::from(u16::from_be_bytes([word[0], word[1]])) == packet.len() - header
    })
}

fn send_raw(ip: &[u8], to: IpAddr, name: &str, case: &Case) -> Result<()> {
    // The tunnel's own socket is bound to no device; on an uplink the routing decides.
    let link_local = match to {
        IpAddr::V4(to) => to.is_multicast() || to.is_broadcast(),
        IpAddr::V6(to) => to.is_multicast() || to.is_unicast_link_local(),
    };
    let bound = (case.hook == Hook::ModemOut || link_local).then_some(name);
    send_bytes(ip, to, bound, case.mark)
}

fn send_bytes(ip: &[u8], to: IpAddr, bound: Option<&str>, mark: u32) -> Result<()> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Raw),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::Raw),
    };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    setsockopt(&socket, sockopt::Mark, &mark)?;
    setsockopt(&socket, sockopt::Broadcast, &true)?;
    let mut scope = 0;
    if let Some(name) = bound {
        setsockopt(&socket, sockopt::BindToDevice, &name.into())?;
        scope = if_nametoindex(name)?;
    }
    let to: Box<dyn SockaddrLike> = match to {
        IpAddr::V4(to) => Box::new(SockaddrIn::from(SocketAddrV4::new(to, 0))),
        IpAddr::V6(to) => Box::new(SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, scope))),
    };
    match sendto(socket.as_raw_fd(), ip, &*to, MsgFlags::empty()) {
        // A chain has dropped it.
        Ok(_) | Err(Errno::EPERM | Errno::ENOBUFS) => Ok(()),
        Err(error) => Err(error).context("sending through the IP stack"),
    }
}

/// Sends a frame round the IP stack.
fn send_frame(name: &str, case: &Case) -> Result<()> {
    let protocol = match (case.site.device, &case.frame[..]) {
        (Device::Ethernet, [_, _, _, _, _, _, _, _, _, _, _, _, a, b, ..]) => [*a, *b],
        (_, [first, ..]) if first >> 4 == 6 => [0x86, 0xdd],
        _ => [0x08, 0x00],
    };
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    setsockopt(&socket, sockopt::Mark, &case.mark)?;
    // SAFETY: all zeros are a valid value of it.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_protocol = u16::from_ne_bytes(protocol);
    to.sll_ifindex = if_nametoindex(name)?.cast_signed();
    // SAFETY: the frame and the address are of the lengths that are given, and outlive the call.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            case.frame.as_ptr().cast(),
            case.frame.len(),
            0,
            (&raw const to).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    match Errno::result(sent) {
        Ok(_) | Err(Errno::EPERM | Errno::ENOBUFS) => Ok(()),
        Err(error) => Err(error).context("sending round the IP stack"),
    }
}
