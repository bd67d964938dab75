//! Probes the agent's objects without the agent: by netlink and `/proc`, hundreds of times a second.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Result;
use aya::programs::{SchedClassifier, TcAttachType};
use lte_tests::addresses::TUNNEL;
use lte_tests::backend::Backend;
use lte_tests::netlink::{Netlink, attribute, number, text};
use lte_tests::netns::Netns;
use lte_tests::{bpf, kernel_version, process, snapshot};
use nix::sys::socket::SockProtocol;

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Aspect {
    /// Rules that lead to table 123.
    Rules,
    /// Table 123.
    Routes,
    /// The modem's being up, its addresses, sysctls and root qdisc.
    Modem,
    /// The tunnel's being up, and its addresses.
    Tunnel,
    /// WireGuard's settings. By a process, and so the slowest.
    Settings,
    /// Programs and where they hang, or nftables' rules.
    Guard,
}

impl Aspect {
    pub(crate) const ALL: [Self; 6] = [
        Self::Rules,
        Self::Routes,
        Self::Modem,
        Self::Tunnel,
        Self::Settings,
        Self::Guard,
    ];
}

/// What is seen: facts, one a line.
pub(crate) type Observations = BTreeSet<String>;

const TABLE: u32 = 123;
const SYSCTLS: [&str; 7] = [
    "ipv4/conf/modem/src_valid_mark",
    "ipv4/conf/modem/arp_ignore",
    "ipv4/conf/modem/arp_announce",
    "ipv4/conf/modem/disable_xfrm",
    "ipv4/conf/modem/disable_policy",
    "ipv4/conf/modem/rp_filter",
    "ipv6/conf/modem/accept_ra",
];
/// Of linux/rtnetlink.h, linux/fib_rules.h, linux/if_addr.h: attributes and fixed parts.
const FRA_TABLE: u16 = 15;
const RTA_TABLE: u16 = 15;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const IFLA_IFNAME: u16 = 3;
const IFA_LOCAL: u16 = 2;
const TCA_KIND: u16 = 1;
const IFINFO: usize = 16;
const RULE: usize = 12;
const ROUTE: usize = 12;
const ADDRESS: usize = 8;
const TRAFFIC: usize = 20;
/// Of linux/netfilter/nf_tables.h: `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE`.
const GET_RULE: u16 = 10 << 8 | 7;
const TC_H_ROOT: u32 = 0xffff_ffff;
/// The parents of clsact's chains.
const PARENTS: [(&str, u32); 2] = [("ingress", 0xffff_fff2), ("egress", 0xffff_fff3)];

/// Probes the router. All but [`Probe::open`] is to be called inside it.
#[derive(Debug)]
pub(crate) struct Probe {
    backend: Backend,
    links_hold_programs: bool,
    /// One question at a time.
    sockets: Mutex<(Netlink, Netlink)>,
}

impl Probe {
    pub(crate) fn open(router: &Netns, backend: Backend) -> Result<Self> {
        let route = Netlink::open(router, SockProtocol::NetlinkRoute)?;
        let netfilter = Netlink::open(router, SockProtocol::NetlinkNetFilter)?;
        Ok(Self {
            backend,
            links_hold_programs: kernel_version::running()? >= (6, 6),
            sockets: Mutex::new((route, netfilter)),
        })
    }

    /// Looks at one aspect.
    pub(crate) fn read(&self, aspect: Aspect) -> Result<Observations> {
        let sockets = self
            .sockets
            .lock()
            .map_err(|_| anyhow::anyhow!("another look panicked"))?;
        let (route, netfilter) = &*sockets;
        match aspect {
            Aspect::Rules => rules(route),
            Aspect::Routes => routes(route),
            Aspect::Modem => {
                let mut observations = interface(route, "modem")?;
                observations.extend(root_qdisc(route, "modem")?);
                for key in SYSCTLS {
                    let value = fs::read_to_string(Path::new("/proc/sys/net").join(key));
                    observations.insert(format!("{key} = {}", value.unwrap_or_default().trim()));
                }
                Ok(observations)
            }
            Aspect::Tunnel => interface(route, TUNNEL),
            Aspect::Settings => Ok(settings()),
            Aspect::Guard => match self.backend {
                Backend::Nft => nft_rules(netfilter),
                Backend::Ebpf if self.links_hold_programs => programs(route),
                Backend::Ebpf => filters(route),
            },
        }
    }
}

/// Names of the interfaces by their indexes, and whether they are up.
fn links(route: &Netlink) -> Result<BTreeMap<u32, (String, bool)>> {
    let listed = route.list(libc::RTM_GETLINK, &[0; IFINFO])?;
    Ok(listed
        .iter()
        .filter_map(|link| {
            let name = text(attribute(link, IFINFO, IFLA_IFNAME)?);
            Some((number(link, 4), (name, number(link, 8) & 1 == 1)))
        })
        .collect())
}

fn rules(route: &Netlink) -> Result<Observations> {
    let mut inet = [0; RULE];
    inet[0] = libc::AF_INET as u8;
    let listed = route.list(libc::RTM_GETRULE, &inet)?;
    Ok(listed
        .iter()
        .filter(|rule| {
            attribute(rule, RULE, FRA_TABLE).is_some_and(|table| number(table, 0) == TABLE)
        })
        .map(|rule| format!("rule {rule:02x?}"))
        .collect())
}

fn routes(route: &Netlink) -> Result<Observations> {
    let names = links(route)?;
    let mut inet = [0; ROUTE];
    inet[0] = libc::AF_INET as u8;
    let listed = route.list(libc::RTM_GETROUTE, &inet)?;
    let address = |body: &[u8], kind| {
        let bytes: Option<[u8; 4]> = attribute(body, ROUTE, kind).and_then(|b| b.try_into().ok());
        bytes.map(Ipv4Addr::from)
    };
    Ok(listed
        .iter()
        .filter(|found| {
            attribute(found, ROUTE, RTA_TABLE).is_some_and(|table| number(table, 0) == TABLE)
        })
        .map(|found| {
            let index = attribute(found, ROUTE, RTA_OIF).map_or(0, |index| number(index, 0));
            format!(
                "route {:?}/{} via {:?} src {:?} protocol {} dev {:?}",
                address(found, RTA_DST),
                found[1],
                address(found, RTA_GATEWAY),
                address(found, RTA_PREFSRC),
                found[5],
                names.get(&index).map(|(name, _)| name)
            )
        })
        .collect())
}

/// Whether it is there and up, and its addresses of IPv4.
fn interface(route: &Netlink, name: &str) -> Result<Observations> {
    let links = links(route)?;
    let Some((index, (_, up))) = links.iter().find(|(_, (found, _))| found == name) else {
        return Ok([format!("no {name}")].into());
    };
    let mut inet = [0; ADDRESS];
    inet[0] = libc::AF_INET as u8;
    let mut observations: Observations = [format!("{name} up: {up}")].into();
    for found in route.list(libc::RTM_GETADDR, &inet)? {
        if number(&found, 4) == *index {
            let local = attribute(&found, ADDRESS, IFA_LOCAL);
            observations.insert(format!("address {local:?}/{} on {name}", found[1]));
        }
    }
    Ok(observations)
}

/// Its kind, and how many classes and filters it has.
fn root_qdisc(route: &Netlink, name: &str) -> Result<Option<String>> {
    let links = links(route)?;
    let Some((index, _)) = links.iter().find(|(_, (found, _))| found == name) else {
        return Ok(None);
    };
    let mut question = [0; TRAFFIC];
    question[4..8].copy_from_slice(&index.to_ne_bytes());
    for qdisc in route.list(libc::RTM_GETQDISC, &question)? {
        let (of, handle, parent) = (number(&qdisc, 4), number(&qdisc, 8), number(&qdisc, 12));
        if of != *index || parent != TC_H_ROOT {
            continue;
        }
        let kind = attribute(&qdisc, TRAFFIC, TCA_KIND).map(text);
        // Its own: what queues in it has classes, too, which come and go with what waits.
        question[12..16].copy_from_slice(&handle.to_ne_bytes());
        let classes = route
            .list(libc::RTM_GETTCLASS, &question)
            .unwrap_or_default();
        // It may have gone meanwhile.
        let filters = route
            .list(libc::RTM_GETTFILTER, &question)
            .unwrap_or_default();
        return Ok(Some(format!(
            "root qdisc {kind:?} {handle:#x} of {} classes and {} filters",
            classes.len(),
            filters.len()
        )));
    }
    Ok(None)
}

/// The private key shows in the public one.
fn settings() -> Observations {
    match process::tool("wg", &["show", "all", "dump"], "") {
        Ok(shown) => shown.lines().map(snapshot::configuration).collect(),
        // It goes while it is asked.
        Err(_) => ["no settings".to_owned()].into(),
    }
}

/// Programs on links, and the pins that hold those.
fn programs(route: &Netlink) -> Result<Observations> {
    let links = links(route)?;
    let mut observations = Observations::new();
    for (name, _) in links.values() {
        for (hook, direction) in [
            ("ingress", TcAttachType::Ingress),
            ("egress", TcAttachType::Egress),
        ] {
            // An interface that has just gone has none.
            let Ok((_, programs)) = SchedClassifier::query_tcx(name, direction) else {
                continue;
            };
            for program in programs {
                let program = program.name_as_str().unwrap_or("?").to_owned();
                observations.insert(format!("{name} {hook} {program}"));
            }
        }
    }
    for layout in bpf::agents_layouts().unwrap_or_default() {
        for pin in fs::read_dir(layout).into_iter().flatten().flatten() {
            let pin = pin.file_name().to_string_lossy().into_owned();
            if let Some((index, hook)) = pin.strip_prefix("link-").and_then(|p| p.split_once('-')) {
                let index = index.parse().unwrap_or(0);
                let name = links.get(&index).map_or("nobody", |(name, _)| name);
                observations.insert(format!("pin of {name} {hook}"));
            }
        }
    }
    Ok(observations)
}

/// BPF filters of the clsact qdiscs.
fn filters(route: &Netlink) -> Result<Observations> {
    let links = links(route)?;
    let mut observations = Observations::new();
    for qdisc in route.list(libc::RTM_GETQDISC, &[0; TRAFFIC])? {
        let kind = attribute(&qdisc, TRAFFIC, TCA_KIND).map(text);
        let index = number(&qdisc, 4);
        let (Some("clsact"), Some((name, _))) = (kind.as_deref(), links.get(&index)) else {
            continue;
        };
        observations.insert(format!("{name} clsact"));
        for (hook, parent) in PARENTS {
            let mut question = [0; TRAFFIC];
            question[4..8].copy_from_slice(&index.to_ne_bytes());
            question[12..16].copy_from_slice(&parent.to_ne_bytes());
            // The qdisc may have gone meanwhile.
            for filter in route
                .list(libc::RTM_GETTFILTER, &question)
                .unwrap_or_default()
            {
                let kind = attribute(&filter, TRAFFIC, TCA_KIND).map(text);
                let (handle, info) = (number(&filter, 8), number(&filter, 16));
                if handle != 0 {
                    observations.insert(format!("{name} {hook} {kind:?} {handle:#x} {info:#x}"));
                }
            }
        }
    }
    Ok(observations)
}

/// How many rules each chain has in the agent's tables.
fn nft_rules(netfilter: &Netlink) -> Result<Observations> {
    let mut counts = BTreeMap::<_, usize>::new();
    for rule in netfilter.list(GET_RULE, &[0; 4])? {
        let name = |kind| attribute(&rule, 4, kind).map(text).unwrap_or_default();
        let (table, chain) = (name(1), name(2));
        if table == "lte_backup" {
            *counts.entry((rule[0], chain)).or_default() += 1;
        }
    }
    Ok(counts
        .into_iter()
        .map(|((family, chain), count)| format!("family {family} chain {chain}: {count} rules"))
        .collect())
}
