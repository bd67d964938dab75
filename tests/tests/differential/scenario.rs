//! Packets in a row, between which memory is kept.

use lte_common::headers::Joined;
use lte_common::policy::Hook;
use lte_tests::corpus::payload::RECEIVER;
use lte_tests::corpus::site::{
    GATEWAY, GATEWAY6, MARK, MODEM, MODEM6, PEER, PEER6, UNKNOWN_SENDER, WAN, WAN6,
};
use lte_tests::corpus::{Device, Flow, Known, Sender, Site, When};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::packets::{CASES, IDENT, frame};

/// A packet on a hook.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub hook: Hook,
    pub forwarded: bool,
    pub sender: Sender,
    pub mark: u32,
    pub frame: Vec<u8>,
    pub joined: Joined,
}

/// Devices, memory, and packets in a row.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub site: Site,
    pub known: Vec<Known>,
    pub steps: Vec<Step>,
}

fn site() -> impl Strategy<Value = Site> {
    let all: Vec<Site> = Site::all(Hook::UplinkOut);
    let usual: Vec<Site> = Site::all(Hook::ModemOut);
    prop_oneof![
        4 => Just(Site::ETHERNET),
        4 => select(usual),
        1 => select(all),
    ]
}

/// The hooks whose packets a site's programs see. Those on an uplink of another kind than the
/// modem are loaded apart from the modem's.
fn hooks(site: Site) -> Vec<Hook> {
    if site.modem == Some(site.device) {
        Hook::ALL.to_vec()
    } else {
        vec![Hook::UplinkOut]
    }
}

fn when() -> impl Strategy<Value = When> {
    select(vec![
        When::Never,
        When::Ago(5),
        When::Ago(5),
        When::Ago(25),
        When::Ago(140),
    ])
}

fn flow() -> impl Strategy<Value = Flow> {
    let remote = select(vec![
        None,
        Some(PEER.0),
        Some(PEER6.0),
        Some(GATEWAY),
        Some(GATEWAY6),
    ]);
    let remote_port = select(vec![0_u16, 80, 53, PEER.1]);
    let local_port = select(vec![0_u16, 40000, 0x1234, 61000]);
    let protocol = select(vec![1_u8, 6, 17, 58]);
    (remote, remote_port, local_port, protocol).prop_map(
        |(remote, remote_port, local_port, protocol)| Flow {
            remote,
            remote_port,
            local_port,
            protocol,
        },
    )
}

fn known() -> impl Strategy<Value = Known> {
    let at = select(vec![PEER, PEER, PEER6, PEER6, (UNKNOWN_SENDER, 53)]);
    let between = select(vec![
        (MODEM, PEER.0),
        (WAN, PEER.0),
        (PEER.0, MODEM),
        (MODEM6, PEER6.0),
        (WAN6, PEER6.0),
        (PEER6.0, MODEM6),
    ]);
    prop_oneof![
        3 => (at, when(), any::<bool>(), select(vec![0, 0, 61000]), select(vec![0, RECEIVER])).prop_map(
            |(at, sent, steered, source_port, receiver)| Known::Remote {
                at,
                sent,
                source: steered.then_some(if at.0.is_ipv4() { WAN } else { WAN6 }),
                source_port,
                receiver,
            }
        ),
        1 => (flow(), any::<bool>())
            .prop_map(|(flow, open)| Known::Permit(flow, if open { Ok(600) } else { Err(2) })),
        1 => (flow(), when()).prop_map(|(flow, when)| Known::AdminFlow(flow, when)),
        1 => (between, select(Hook::ALL.to_vec()), when(), any::<(bool, bool)>()).prop_map(
            |(between, hook, seen, (replaced, marked))| Known::Fragment {
                hook,
                between,
                ident: IDENT,
                seen,
                // Only the modem's side is ever replaced.
                replace: replaced.then_some(match (hook, between.0.is_ipv4()) {
                    (Hook::ModemIn, true) => WAN,
                    (Hook::ModemIn, false) => WAN6,
                    (_, true) => MODEM,
                    (_, false) => MODEM6,
                }),
                marked,
                protocol: 17,
                sender: 0,
            }
        ),
    ]
}

/// Mostly one packet; else several, counted or not.
fn joined() -> impl Strategy<Value = Joined> {
    let several = (1_u32..1500, select(vec![0, 0, 2, 3, 17, 65535]))
        .prop_map(|(size, segments)| Joined { size, segments });
    prop_oneof![
        4 => Just(Joined::default()),
        1 => several,
    ]
}

/// No packet of `BPF_PROG_TEST_RUN` belongs to a UDP socket; ports may be held all the same.
fn sender() -> impl Strategy<Value = Sender> {
    let [bound, wireguard, foreign] = [0.2, 0.8, 0.1].map(prop::bool::weighted);
    (bound, wireguard, foreign).prop_map(|(bound, wireguard, foreign)| Sender {
        socket: 0,
        bound,
        wireguard,
        foreign,
    })
}

fn step(site: Site) -> impl Strategy<Value = (Step, Option<usize>)> {
    let marks = select(vec![0, 0, MARK, 0xabcd_0000, MARK | 0x100, 0xff]);
    (
        frame(site.device),
        select(hooks(site)),
        prop::bool::weighted(0.1),
        marks,
        prop::bool::weighted(0.8),
        joined(),
        sender(),
    )
        .prop_map(
            move |((frame, case), hook, forwarded, mark, on_its_hook, joined, sender)| {
                // A packet of the corpus is mostly seen where its case sees it.
                let own = case.map(|at| CASES[at].hook);
                let hook = own
                    .filter(|own| on_its_hook && hooks(site).contains(own))
                    .unwrap_or(hook);
                let step = Step {
                    hook,
                    forwarded,
                    sender,
                    mark,
                    frame,
                    // Steering makes room in front, which the kernel refuses for what it has joined.
                    joined: match hook {
                        Hook::UplinkOut => Joined::default(),
                        Hook::ModemOut | Hook::ModemIn => joined,
                    },
                };
                (step, case)
            },
        )
}

/// Up to eight packets.
pub(crate) fn scenario() -> impl Strategy<Value = Scenario> {
    site()
        .prop_flat_map(|site| (Just(site), vec(known(), 0..6), vec(step(site), 1..9)))
        .prop_map(|(site, mut known, steps)| {
            let of_cases = steps.iter().filter_map(|(_, case)| *case);
            known.extend(of_cases.flat_map(|at| CASES[at].known.iter().copied()));
            Scenario {
                site,
                known,
                steps: steps.into_iter().map(|(step, _)| step).collect(),
            }
        })
}

/// A steered packet as the modem's hook sees it next.
pub(crate) fn next(site: Site, packet: &[u8], mark: u32) -> Option<Step> {
    if site.modem != Some(site.device) {
        return None;
    }
    let mut frame = Vec::new();
    if site.device == Device::Ethernet {
        let ether_type: [u8; 2] = match packet.first()? >> 4 {
            4 => [0x08, 0x00],
            _ => [0x86, 0xdd],
        };
        frame.extend([2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8]);
        frame.extend(ether_type);
    }
    frame.extend_from_slice(packet);
    Some(Step {
        hook: Hook::ModemOut,
        forwarded: false,
        sender: Sender::TUNNEL,
        mark,
        frame,
        joined: Joined::default(),
    })
}
