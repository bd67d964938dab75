//! A backend with its guard in place, and the same knowledge that a case begins with.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lte_common::policy::{Class, Hook};
use lte_tests::corpus::bpffs::Pins;
use lte_tests::corpus::installed::Installed;
use lte_tests::corpus::packet::{icmp, tcp, udp};
use lte_tests::corpus::payload::data;
use lte_tests::corpus::site::{LISTEN, MODEM, MODEM6};
use lte_tests::corpus::{Case, Device, Fate, Flow, GuardState, Known, Site, When};
use lte_userspace::backend::ebpf::Ebpf;
use lte_userspace::backend::nft::Nft;
use lte_userspace::backend::{Backend, Guard, LinkHeader, NamedCounter, Permit, Protocol, Uplink};

use crate::nf_tables::{INET, NETDEV, NfTables};
use crate::observer::Observer;
use crate::rig::Rig;
use crate::verdict::{Verdict, comparable};

/// Seconds after which the guard of the corpus has forgotten a remote.
const FLOW_TIMEOUT: u64 = lte_tests::corpus::site::FLOW_TIMEOUT;

/// One of the two.
pub(crate) enum Side {
    Ebpf(Ebpf),
    Nft(Nft),
}

impl Side {
    pub(crate) fn ebpf() -> Result<Self> {
        Ok(Self::Ebpf(Ebpf::new()?))
    }

    pub(crate) fn nft() -> Result<Self> {
        Ok(Self::Nft(Nft::new()?))
    }

    fn backend(&mut self) -> &mut (dyn Backend + Send) {
        match self {
            Self::Ebpf(ebpf) => ebpf,
            Self::Nft(nft) => nft,
        }
    }

    /// Whether this kernel's nftables see what leaves a device; eBPF always does.
    pub(crate) fn sees_what_leaves(&mut self) -> Result<bool> {
        Ok(match self {
            Self::Ebpf(_) => true,
            Self::Nft(nft) => nft.unguarded()?.is_empty(),
        })
    }

    /// Judges all cases of a site and a hook.
    pub(crate) fn judge(
        &mut self,
        site: Site,
        hook: Hook,
        cases: &[&Case],
    ) -> Result<Vec<Verdict>> {
        let pins = Pins::create()?;
        let rig = Rig::new(site, hook, &pins)?;
        let guard = guard(&rig, hook)?;
        rig.netns.run(|| Ok(self.backend().apply(&guard)?))?;
        let mut stage = Stage {
            installed: match self {
                Self::Ebpf(_) => Some(Installed::open(&pins)?),
                Self::Nft(_) => None,
            },
            side: self,
            observer: Observer::new(&rig.netns)?,
            tables: NfTables::new(&rig.netns)?,
            dirty: false,
            marking: false,
            fragments: None,
            counters: None,
            rig,
            hook,
        };
        let verdicts = stage.rig.up(hook).and_then(|()| {
            let judge = |case: &&Case| {
                stage
                    .judge(case)
                    .with_context(|| format!("{}: {}", case.row, case.name))
            };
            cases.iter().map(judge).collect()
        });
        stage.check_counters()?;
        // The namespace goes without any.
        stage.give_fragments_up()?;
        let Stage { rig, side, .. } = stage;
        rig.netns.run(|| match side.backend().remove() {
            Ok(()) => Ok(()),
            Err(mut errors) => Err(errors.remove(0).into()),
        })?;
        verdicts
    }
}

fn guard(rig: &Rig, hook: Hook) -> Result<Guard> {
    let header = match rig.uplink() {
        Device::Ethernet => LinkHeader::Ethernet,
        Device::Raw => LinkHeader::None,
    };
    let index = match rig.site.modem {
        Some(_) => rig.index("modem")?,
        None => 0,
    };
    let mut guard = rig.site.guard(index);
    let name = "wan".to_owned();
    if hook == Hook::UplinkOut {
        guard.uplinks = [(rig.index("wan")?, Uplink { name, header })].into();
    }
    Ok(guard)
}

/// A side in its place.
struct Stage<'a> {
    side: &'a mut Side,
    observer: Observer,
    tables: NfTables,
    /// Something is remembered, or may be.
    dirty: bool,
    /// A rule marks what is forwarded.
    marking: bool,
    /// The case before was of a fragment: whether of IPv6, and when it was sent.
    fragments: Option<(bool, Instant)>,
    /// What the counters were last.
    counters: Option<Counters>,
    rig: Rig,
    hook: Hook,
    installed: Option<Installed>,
}

type Counters = BTreeMap<String, (u64, u64)>;

impl Stage<'_> {
    /// None is left of the case before.
    fn give_fragments_up(&mut self) -> Result<()> {
        match self.fragments.take() {
            Some((of_ipv6, sent)) => self.rig.fragments_are_given_up(of_ipv6.then_some(sent)),
            None => Ok(()),
        }
    }

    fn judge(&mut self, case: &Case) -> Result<Verdict> {
        self.forget(case)?;
        let fragments = case.row.contains("fragments") || case.name.contains("fragment");
        self.give_fragments_up()?;
        if fragments {
            self.rig.keep_fragments_briefly()?;
        }
        self.learn(case)?;
        // Nothing has passed since the last case but what had to be learned, which is on its way
        // out.
        let before = match self.counters.take() {
            Some(counters) if case.known.is_empty() || self.hook == Hook::ModemIn => counters,
            _ => self.counters()?,
        };
        self.rig.drain()?;
        let shown = self.rig.send(case)?;
        if fragments {
            self.fragments = Some((is_ipv6(case), Instant::now()));
        }
        let (fate, mark, bytes) = match self.hook {
            Hook::ModemIn => self.entered(case)?,
            Hook::ModemOut | Hook::UplinkOut => match self.rig.left(case)? {
                Some(left) => (left.fate, left.mark, left.bytes),
                None => (Fate::Dropped, 0, Vec::new()),
            },
        };
        let after = self.counters()?;
        let counters = moved(self.hook, &before, &after)?;
        self.dirty = !case.known.is_empty() || fate != Fate::Dropped;
        self.counters = Some(after);
        Ok(Verdict {
            shown,
            fate,
            mark,
            counters,
            bytes,
        })
    }

    /// The counters as the kernel has them: of nftables both tables' counters together, without the
    /// link header that the egress chain has in it.
    fn counters(&mut self) -> Result<Counters> {
        if self.installed.is_some() {
            return self.nft_counters();
        }
        let header = self.rig.site.modem.map_or(0, Device::header_len) as u64;
        let mut counters = Counters::new();
        for (family, name, packets, bytes) in self.tables.counters("lte_backup")? {
            // It tells the counters from others that were made anew, and counts nothing.
            if name == "origin" {
                continue;
            }
            let link = match family {
                NETDEV if name.starts_with("modem-out/") => header,
                _ => 0,
            };
            let counter = counters.entry(name).or_default();
            *counter = (counter.0 + packets, counter.1 + bytes - packets * link);
        }
        Ok(counters)
    }

    /// What the backend reports is what the kernel has.
    fn check_counters(&mut self) -> Result<()> {
        let some = |counters: Counters| -> Counters {
            let moved = counters
                .into_iter()
                .filter(|(_, (packets, _))| *packets > 0);
            moved.collect()
        };
        let (has, tells) = (some(self.counters()?), some(self.nft_counters()?));
        ensure!(
            has == tells,
            "the kernel has {has:?}, the backend tells {tells:?}"
        );
        Ok(())
    }

    fn nft_counters(&mut self) -> Result<Counters> {
        let side = &mut *self.side;
        let counters: Vec<NamedCounter> =
            self.rig.netns.run(|| Ok(side.backend().counters()?))?;
        let values = |counter: NamedCounter| (counter.name, (counter.packets, counter.bytes));
        Ok(counters.into_iter().map(values).collect())
    }

    /// Nothing is remembered, and the observer has seen nothing.
    fn forget(&mut self, case: &Case) -> Result<()> {
        let mut commands = String::new();
        if self.marking {
            commands += "flush chain inet seen marks\n";
        }
        self.marking = case.forwarded && case.mark != 0;
        if self.marking {
            let mark = case.mark;
            writeln!(
                commands,
                "add rule inet seen marks iifname lan0 meta mark set {mark}"
            )?;
        }
        if let Side::Nft(nft) = &mut *self.side
            && std::mem::replace(&mut self.dirty, false)
        {
            let site = self.rig.site;
            let egress = self.rig.netns.run(|| Ok(nft.unguarded()?.is_empty()))?;
            let mut sets = Vec::new();
            if site.modem.is_some() {
                let digits = [(site.ipv4, '4'), (site.ipv6, '6')];
                let tables: &[u8] = if egress { &[INET, NETDEV] } else { &[INET] };
                for (_, digit) in digits.iter().filter(|(on, _)| *on) {
                    sets.push((INET, format!("remote{digit}")));
                    sets.extend(
                        tables
                            .iter()
                            .map(|table| (*table, format!("permit{digit}"))),
                    );
                }
                sets.extend(tables.iter().map(|table| (*table, "permit_any".to_owned())));
            }
            self.tables.flush_sets("lte_backup", &sets)?;
            self.tables.flush_conntrack()?;
        }
        if commands.is_empty() {
            return Ok(());
        }
        self.rig
            .netns
            .tool_with_input("nft", &["-f", "-"], &commands)
            .map(drop)
    }

    /// The case's state is set up: in the programs' maps; for nftables by packets.
    fn learn(&mut self, case: &Case) -> Result<()> {
        if let Some(installed) = &mut self.installed {
            let now = installed.now()?;
            return installed.set_state(&GuardState::of(&case.known, now));
        }
        for known in &case.known {
            match *known {
                Known::Remote {
                    at, sent, source, ..
                } => {
                    let recent = match sent {
                        When::Never => false,
                        When::Now => true,
                        When::Ago(seconds) => seconds <= FLOW_TIMEOUT,
                    };
                    if recent {
                        let source = source.unwrap_or(if at.0.is_ipv4() { MODEM } else { MODEM6 });
                        let packet = udp((source, LISTEN), at, data(32));
                        self.rig.send_as_the_tunnel(&packet.ip())?;
                    }
                }
                Known::AdminFlow(flow, _) => self.request_admin_page(flow)?,
                Known::Permit(flow, left) => self.permit(flow, left)?,
                // conntrack keeps the fragments themselves.
                Known::Fragment { .. } => {}
            }
        }
        Ok(())
    }

    fn request_admin_page(&self, flow: Flow) -> Result<()> {
        let remote = flow.remote.context("asked of nobody")?;
        let source = if remote.is_ipv4() { MODEM } else { MODEM6 };
        let [high, low] = flow.local_port.to_be_bytes();
        let packet = match flow.protocol {
            6 => tcp((source, flow.local_port), (remote, flow.remote_port), 2),
            1 => icmp(source, remote, (8, 0), [high, low, 0, 1], [0; 8]),
            58 => icmp(source, remote, (128, 0), [high, low, 0, 1], [0; 8]),
            other => bail!("nobody asks by protocol {other}"),
        };
        self.rig.send_local(&packet.ip(), remote)
    }

    fn permit(&mut self, flow: Flow, left: Result<u64, u64>) -> Result<()> {
        let permit = Permit {
            protocol: match flow.protocol {
                1 => Protocol::Icmp,
                6 => Protocol::Tcp,
                17 => Protocol::Udp,
                58 => Protocol::IcmpV6,
                other => bail!("no permit is for protocol {other}"),
            },
            local_port: flow.local_port,
            remote: flow.remote,
            remote_port: flow.remote_port,
        };
        let side = &mut *self.side;
        self.rig.netns.run(|| {
            let backend = side.backend();
            backend.permit(&permit, Duration::from_secs(left.unwrap_or(60)))?;
            if left.is_err() {
                backend.revoke(&permit)?;
            }
            Ok(())
        })
    }

    /// What the observer saw behind the guard.
    fn entered(&self, case: &Case) -> Result<(Fate, u32, Vec<u8>)> {
        if let Some(bytes) = self.rig.arp_entered()? {
            // No hook behind the guard sees its mark.
            return Ok((Fate::Passed, case.mark, bytes));
        }
        let Some(entered) = self.observer.entered()? else {
            return Ok((Fate::Dropped, 0, Vec::new()));
        };
        ensure!(self.observer.entered()?.is_none(), "two packets got past");
        let bytes = comparable(case, &entered.ip);
        Ok((Fate::Passed, entered.mark, bytes))
    }
}

fn is_ipv6(case: &Case) -> bool {
    let ip = case.frame.get(case.site.device.header_len()..);
    ip.and_then(<[u8]>::first)
        .is_some_and(|first| first >> 4 == 6)
}

/// The counters of a hook that moved. A steered packet is met by the modem's hook too.
fn moved(hook: Hook, before: &Counters, after: &Counters) -> Result<Vec<(Class, u64, u64)>> {
    let mut moved = Vec::new();
    for (name, (packets, bytes)) in after {
        let (was, were) = before.get(name).copied().unwrap_or_default();
        if (*packets, *bytes) == (was, were) {
            continue;
        }
        let (of, class) = name.split_once('/').context("a counter's name")?;
        if of == hook.name() {
            let class = Class::ALL
                .iter()
                .find(|c| c.name() == class)
                .context("a class")?;
            moved.push((*class, packets - was, bytes - were));
        }
    }
    Ok(moved)
}
