//! The pure policy as a judge: what the programs do, done on the host to bytes in a vector.

use std::collections::BTreeMap;

use lte_common::headers::{self, Family, Fragment, PacketInfo, Wire, protocol};
use lte_common::layout::{Addr, Policy};
use lte_common::policy::{
    Action, Class, Hook, HostState, Rewrite, SkbMeta, Verdict, decide, update_state,
};

use super::checksum::corrected;
use super::{Clocks, Fate, GuardState, Outcome, Seen, Site, Subject};

/// The pure policy with its state and clocks that stand still.
#[derive(Debug)]
pub struct Model {
    state: HostState,
    now: Clocks,
    policies: BTreeMap<Site, Policy>,
}

impl Model {
    /// One that remembers nothing, at a moment.
    pub fn at(now: Clocks) -> Self {
        let mut model = Self {
            state: HostState::default(),
            now,
            policies: BTreeMap::new(),
        };
        model.set_now(now);
        model
    }

    /// Sets the clocks.
    pub fn set_now(&mut self, now: Clocks) {
        self.now = now;
        self.state.jiffies.set(now.ticks);
        self.state.monotonic_ns.set(now.ns);
    }
}

impl Subject for Model {
    fn now(&self) -> anyhow::Result<Clocks> {
        Ok(self.now)
    }

    fn set_state(&mut self, state: &GuardState) -> anyhow::Result<()> {
        let state = state.clone();
        self.state.remotes.replace(state.remotes);
        self.state.fragments.replace(state.fragments);
        self.state.admin_flows.replace(state.admin_flows);
        self.state.permits.replace(state.permits);
        Ok(())
    }

    fn state(&self) -> anyhow::Result<GuardState> {
        Ok(GuardState {
            remotes: self.state.remotes.borrow().clone(),
            fragments: self.state.fragments.borrow().clone(),
            admin_flows: self.state.admin_flows.borrow().clone(),
            permits: self.state.permits.borrow().clone(),
        })
    }

    fn judge(&mut self, seen: &Seen<'_>) -> anyhow::Result<Option<Outcome>> {
        let policy = *self
            .policies
            .entry(seen.site)
            .or_insert_with(|| seen.site.policy());
        let frame = seen.frame;
        let parsed = headers::parse(&Slice(frame), policy.link_len);
        let meta = SkbMeta {
            local: !seen.forwarded,
            mark: seen.mark,
        };
        let info = parsed.as_ref().map_err(|error| *error);
        let mut sockets = seen
            .sender
            .host_sockets(info.ok().map(|info| info.source_port));
        sockets.receiver = info.map_or(0, |info| headers::receiver(&Slice(frame), info));
        sockets.foreign &= info.is_ok_and(|info| is_routed(&info.source));
        let verdict = decide(seen.hook, info, meta, &policy, &self.state, &sockets);
        let info = info.ok();
        if let Some(info) = info {
            let state = &self.state;
            update_state(seen.hook, info, meta, &verdict, &policy, state, &sockets);
        }
        let billed = match info {
            Some(info) => headers::on_the_wire(&Slice(frame), info, seen.joined),
            None => Wire {
                packets: 1,
                bytes: (frame.len() as u32).saturating_sub(u32::from(policy.link_len)),
            },
        };
        Ok(Some(outcome(seen, &policy, &verdict, info, billed)))
    }
}

/// Whether the kernel looks for a route to an address by any interface: to one of IPv6's links, and to a group,
/// only by the interface that it is asked for (`RT6_LOOKUP_F_IFACE`).
fn is_routed(address: &Addr) -> bool {
    let octets = address.octets();
    octets[0] != 0xff && (octets[0] != 0xfe || octets[1] & 0xc0 != 0x80)
}

fn outcome(
    seen: &Seen<'_>,
    policy: &Policy,
    verdict: &Verdict,
    info: Option<&PacketInfo>,
    billed: Wire,
) -> Outcome {
    let counted = |class: Class| {
        let (packets, bytes) = (billed.packets.into(), billed.bytes.into());
        vec![(seen.hook, class, packets, bytes)]
    };
    let frame = seen.frame;
    match (verdict.action, info) {
        (Action::Untouched, _) => Outcome {
            fate: Fate::Passed,
            mark: seen.mark,
            counters: Vec::new(),
            bytes: frame.to_vec(),
        },
        (Action::Pass, _) => Outcome {
            fate: Fate::Passed,
            mark: seen.mark,
            counters: counted(verdict.class),
            bytes: frame.to_vec(),
        },
        (Action::Mark, Some(info)) => Outcome {
            fate: Fate::Passed,
            mark: policy.marked(seen.mark),
            counters: counted(verdict.class),
            bytes: rewritten(frame, info, verdict),
        },
        (Action::Steer, Some(info)) => Outcome {
            fate: Fate::Steered,
            mark: policy.marked(seen.mark),
            counters: counted(verdict.class),
            bytes: rewritten(frame, info, verdict)[usize::from(info.network)..].to_vec(),
        },
        (Action::Drop, _) => Outcome {
            fate: Fate::Dropped,
            mark: 0,
            counters: counted(verdict.class),
            bytes: Vec::new(),
        },
        (Action::Mark | Action::Steer, None) => {
            panic!(
                "a packet that cannot be read is {verdict:?} on {:?}",
                Hook::ALL
            )
        }
    }
}

/// The frame with the verdict's address in it. Checksums are corrected for the change, so that
/// one that was wrong stays wrong, as it is for the kernel.
fn rewritten(frame: &[u8], info: &PacketInfo, verdict: &Verdict) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let network = usize::from(info.network);
    let (family_source, family_destination, len) = match info.family {
        Family::V4 => (12, 16, 4),
        Family::V6 => (8, 24, 16),
    };
    let at = network
        + match verdict.rewrite {
            Rewrite::None => return frame,
            Rewrite::Source => family_source,
            Rewrite::Destination => family_destination,
        };
    let new = octets(&verdict.address, len);
    let old = frame[at..at + len].to_vec();
    frame[at..at + len].copy_from_slice(&new);
    if info.family == Family::V4 {
        correct(&mut frame, network + 10, &old, &new);
    }
    // Of a datagram in pieces the first has the checksum.
    if info.protocol == protocol::UDP && info.fragment != Fragment::Later {
        let at = usize::from(info.transport) + 6;
        if frame[at..at + 2] != [0, 0] {
            correct(&mut frame, at, &old, &new);
            // RFC 768: zero says that there is none.
            if frame[at..at + 2] == [0, 0] {
                frame[at..at + 2].copy_from_slice(&[0xff, 0xff]);
            }
        }
    }
    frame
}

fn correct(frame: &mut [u8], at: usize, old: &[u8], new: &[u8]) {
    let sum = u16::from_be_bytes([frame[at], frame[at + 1]]);
    frame[at..at + 2].copy_from_slice(&corrected(sum, old, new).to_be_bytes());
}

fn octets(address: &Addr, len: usize) -> Vec<u8> {
    address.octets()[16 - len..].to_vec()
}

/// A frame for the parser, which wants a sized reader.
#[derive(Debug, Clone, Copy)]
pub struct Slice<'a>(pub &'a [u8]);

impl headers::Reader for Slice<'_> {
    fn load<T: headers::Plain>(&self, offset: usize) -> Option<T> {
        self.0.load(offset)
    }
    fn byte_is(&self, offset: usize, value: u8) -> bool {
        self.0.byte_is(offset, value)
    }
    fn frame_len(&self) -> u32 {
        self.0.frame_len()
    }
}
