//! The ways of keeping the SIM to the tunnel, each built in namespaces of its own: a router whose
//! `modem` leads to a carrier that has the peer's address, and whose `wan` leads nowhere.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, anyhow};
use aya::programs::{SchedClassifier, TcAttachType, tc};
use lte_common::policy::Hook;
use lte_tests::corpus::bpffs::Pins;
use lte_tests::netns::Netns;
use lte_tests::{process, sysctl};
use lte_userspace::backend::ebpf::{Ebpf, LoadOptions, LoadedProgram, load_for_test, policy_for};
use lte_userspace::backend::{Backend, LinkHeader, nft::Nft};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    self, AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, setsockopt, sockopt,
};

use crate::guard::{GATEWAY, MARK, MODEM, PEER, PORT, WAN, guard};

/// The program of the object that does nothing.
pub(crate) const EMPTY: &str = "baseline";

/// How the SIM is kept to the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    /// Not at all: a default route on the modem.
    Nothing,
    /// The usual recipe: the tunnel's own mark, a rule for it, a loose filter.
    Recipe,
    /// The rules and the table of ours, and no guard.
    Rules,
    /// The same, with programs on the modem that do nothing: what it costs to call them.
    Empty,
    /// All of ours, with the eBPF backend.
    Ebpf,
    /// All of ours, with the nftables backend.
    Nft,
}

impl Setup {
    /// All of them, baselines first.
    pub(crate) const ALL: [Self; 6] = [
        Self::Nothing,
        Self::Recipe,
        Self::Rules,
        Self::Empty,
        Self::Ebpf,
        Self::Nft,
    ];
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "no guard, no rules",
            Self::Recipe => "usual recipe",
            Self::Rules => "our rules, no guard",
            Self::Empty => "empty programs",
            Self::Ebpf => "eBPF",
            Self::Nft => "nft",
        })
    }
}

/// One way, built.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) setup: Setup,
    pub(crate) router: Netns,
    pub(crate) carrier: Netns,
    /// At the router, connected to the peer: sends whole IP packets, which belong to no UDP socket.
    pub(crate) near: OwnedFd,
    /// At the router, at the tunnel's port.
    _tunnel: UdpSocket,
    /// At the peer, connected to the router's modem.
    pub(crate) far: UdpSocket,
    /// Its counters show whether it is at work.
    pub(crate) backend: Option<Box<dyn Backend + Send>>,
    /// Attached as long as they are held.
    _empty: Vec<LoadedProgram>,
}

impl Built {
    /// Builds it.
    pub(crate) fn new(setup: Setup) -> Result<Self> {
        Self::build(setup).with_context(|| format!("building: {setup}"))
    }

    fn build(setup: Setup) -> Result<Self> {
        let (router, carrier) = (Netns::create("router")?, Netns::create("carrier")?);
        let (filter, valid) = match setup {
            Setup::Nothing => ("0", "0"),
            // The rules alone do not mark a reply, so that a strict filter would drop it.
            Setup::Recipe | Setup::Rules | Setup::Empty => ("2", "0"),
            Setup::Ebpf | Setup::Nft => ("1", "1"),
        };
        for scope in ["all", "default"] {
            let key = format!("ipv4/conf/{scope}/rp_filter");
            sysctl::set(&router, &[(&key, filter)])?;
            sysctl::set(&carrier, &[(&key, "0")])?;
        }
        for netns in [&router, &carrier] {
            sysctl::set(netns, &[("ipv6/conf/default/disable_ipv6", "1")])?;
        }
        router.ip(&format!(
            "link add modem type veth peer name modem0 netns {}
             link add wan type veth peer name wan0
             link set lo up
             link set modem up
             link set wan up
             link set wan0 up
             addr add {MODEM}/24 dev modem{own}
             addr add {WAN}/24 dev wan\n",
            carrier.path(),
            own = if matches!(setup, Setup::Nothing | Setup::Recipe) {
                ""
            } else {
                " noprefixroute"
            },
        ))?;
        carrier.ip(&format!(
            "link set lo up
             addr add {GATEWAY}/24 dev modem0
             addr add {PEER}/32 dev lo
             link set modem0 up\n"
        ))?;
        sysctl::set(&router, &[("ipv4/conf/modem/src_valid_mark", valid)])?;
        router.ip(&routes(setup))?;
        let backend = keep(setup, &router)?;
        let empty = match setup {
            Setup::Empty => router.run(|| {
                [TcAttachType::Egress, TcAttachType::Ingress]
                    .map(empty)
                    .into_iter()
                    .collect()
            })?,
            _ => Vec::new(),
        };
        let tunnel = socket(&router, MODEM, PEER)?;
        let near = raw_socket(&router)?;
        if setup == Setup::Recipe {
            setsockopt(&near, sockopt::Mark, &MARK.0)?;
        }
        let far = socket(&carrier, PEER, MODEM)?;
        Ok(Self {
            setup,
            router,
            carrier,
            near,
            _tunnel: tunnel,
            far,
            backend,
            _empty: empty,
        })
    }

    /// How many packets the guard has let through as the tunnel's: out and in.
    pub(crate) fn counted(&mut self) -> Result<Option<(u64, u64)>> {
        let Some(backend) = &mut self.backend else {
            return Ok(None);
        };
        let counters = self.router.run(|| Ok(backend.counters()?))?;
        let packets = |name: &str| {
            let found = counters.iter().find(|counter| counter.name == name);
            found.map_or(0, |counter| counter.packets)
        };
        Ok(Some((
            packets("modem-out/tunnel"),
            packets("modem-in/reply"),
        )))
    }
}

fn routes(setup: Setup) -> String {
    let (value, mask) = MARK;
    match setup {
        Setup::Nothing => format!("route add default via {GATEWAY} dev modem\n"),
        Setup::Recipe => format!(
            "route add default via 198.51.100.1 dev wan
             route add default via {GATEWAY} dev modem table 123
             rule add priority 1231 fwmark {value} lookup 123\n"
        ),
        Setup::Rules | Setup::Empty | Setup::Ebpf | Setup::Nft => format!(
            "route add default via 198.51.100.1 dev wan
             route add 192.168.0.0/24 dev modem src {MODEM} table 123
             route add default via {GATEWAY} dev modem src {MODEM} table 123
             rule add priority 1230 iif lo ipproto udp sport {PORT} lookup 123
             rule add priority 1231 fwmark {value}/{mask} lookup 123
             rule add priority 1232 iif lo from {MODEM} lookup 123\n"
        ),
    }
}

fn keep(setup: Setup, router: &Netns) -> Result<Option<Box<dyn Backend + Send>>> {
    router.run(|| {
        let mut backend: Box<dyn Backend + Send> = match setup {
            Setup::Nothing | Setup::Recipe | Setup::Rules | Setup::Empty => return Ok(None),
            Setup::Ebpf => Box::new(Ebpf::new()?),
            Setup::Nft => Box::new(Nft::new()?),
        };
        backend.probe()?;
        let guard = guard(if_nametoindex("modem")?, Some(if_nametoindex("wan")?));
        backend.apply(&guard)?;
        let left = backend.observe(&guard)?;
        if let Some(difference) = left.first() {
            return Err(anyhow!("the guard is not in place: {difference}"));
        }
        if setup == Setup::Nft {
            let_out_what_has_come_by_none()?;
        }
        Ok(Some(backend))
    })
}

/// WireGuard's packets have come in by its interface, and nothing but a tunnel in the kernel can make any
/// that have. A comparison of the interface it is all the same.
fn let_out_what_has_come_by_none() -> Result<()> {
    let chain = ["inet", "lte_backup", "modem_out"];
    let listing = process::tool("nft", &[&["-a", "list", "chain"], &chain[..]].concat(), "")?;
    let rule = listing
        .lines()
        .find(|line| line.contains("iifname \"wg-lte\"") && line.contains("udp sport"));
    let handle = rule.and_then(|line| line.rsplit(' ').next());
    let handle = handle.context("the rule that lets the tunnel out")?;
    let command = format!(
        "replace rule {} handle {handle} iif 0 udp sport {PORT} goto tunnel_out",
        chain.join(" ")
    );
    process::tool("nft", &["-f", "-"], &command).map(drop)
}

fn empty(direction: TcAttachType) -> Result<LoadedProgram> {
    let pins = Pins::create()?;
    let policy = policy_for(
        &guard(1, None),
        LinkHeader::Ethernet,
        LoadOptions::default(),
    );
    let mut loaded = load_for_test(Hook::ModemOut, &policy, pins.path())?;
    let program: &mut SchedClassifier = loaded
        .ebpf
        .program_mut(EMPTY)
        .context("the empty program is in the object")?
        .try_into()?;
    program.load()?;
    // Where there are no TCX links; that both directions share one is no failure.
    tc::qdisc_add_clsact("modem").ok();
    program.attach("modem", direction)?;
    Ok(loaded)
}

/// A socket for whole IP packets, which gets none.
fn raw_socket(netns: &Netns) -> Result<OwnedFd> {
    netns.run(|| {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket::socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Raw)?;
        let at = |address| SockaddrIn::from(SocketAddrV4::new(address, 0));
        socket::bind(socket.as_raw_fd(), &at(MODEM))?;
        socket::connect(socket.as_raw_fd(), &at(PEER))?;
        Ok(socket)
    })
}

/// A socket that is never read: what arrives is dropped where a tunnel would take it over.
fn socket(netns: &Netns, from: Ipv4Addr, to: Ipv4Addr) -> Result<UdpSocket> {
    netns.run(|| {
        let socket = UdpSocket::bind((from, PORT))?;
        setsockopt(&socket.as_fd(), sockopt::RcvBuf, &1)?;
        socket.connect((to, PORT))?;
        Ok(socket)
    })
}
