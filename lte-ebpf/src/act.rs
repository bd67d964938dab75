//! From verdict to TC action.

use aya_ebpf::bindings::{
    TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1,
};
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_redirect_neigh};
use lte_common::headers::{Family, PacketInfo, Wire, on_the_wire};
use lte_common::layout::Policy;
use lte_common::policy::{Action, Class, Hook, Verdict};

use crate::skb::{Helper, Skb};
use crate::{log, maps, rewrite};

/// On to the next program, if there is one, and then out: others may shape what passes.
const NEXT: i32 = TC_ACT_UNSPEC;
const SHOT: i32 = TC_ACT_SHOT;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const NEXT_HOP_LEN: i32 = size_of::<bpf_redir_neigh>().cast_signed() as i32;

/// Does what the verdict says to a packet with the given mark, counts it, and returns the kernel's action.
#[inline(always)]
pub(crate) fn verdict_to_action(
    skb: &Skb,
    hook: Hook,
    mark: u32,
    info: Option<&PacketInfo>,
    verdict: &Verdict,
) -> i32 {
    let policy = maps::policy();
    if matches!(verdict.action, Action::Untouched) {
        return NEXT;
    }
    let wire = match info {
        // Before anything is rewritten: a tag that is taken off moves what is behind it.
        Some(info) => on_the_wire(&Helper::new(skb), info, skb.joined()),
        None => Wire {
            packets: 1,
            bytes: skb.len().saturating_sub(u32::from(policy.link_len)),
        },
    };
    match (verdict.action, info) {
        (Action::Untouched, _) => NEXT,
        (Action::Pass, _) => {
            maps::count(hook, verdict.class, wire);
            NEXT
        }
        (Action::Mark, Some(info)) if rewrite::apply(skb, info, info.network, verdict) => {
            skb.set_mark(policy.marked(mark));
            maps::count(hook, verdict.class, wire);
            NEXT
        }
        (Action::Steer, Some(info)) if steer(skb, info, verdict, policy) => {
            skb.set_mark(policy.marked(mark));
            maps::count(hook, verdict.class, wire);
            log::dropped_or_steered(skb, hook, verdict.class, wire.bytes);
            to_modem(info, policy)
        }
        (Action::Drop, _) => {
            maps::count(hook, verdict.class, wire);
            log::dropped_or_steered(skb, hook, verdict.class, wire.bytes);
            SHOT
        }
        // The packet could not be changed as it must be.
        (Action::Mark | Action::Steer, _) => {
            maps::count(hook, Class::DropMalformed, wire);
            SHOT
        }
    }
}

#[inline(always)]
fn steer(skb: &Skb, info: &PacketInfo, verdict: &Verdict, policy: &Policy) -> bool {
    let Some(network) = rewrite::untag(skb, info, policy) else {
        return false;
    };
    rewrite::apply(skb, info, network, verdict) && rewrite::make_room(skb, policy)
}

/// Sends the packet out by the modem, through the neighbour table where it has one. The kernel
/// drops it where the modem is down.
#[inline(always)]
fn to_modem(info: &PacketInfo, policy: &Policy) -> i32 {
    if policy.modem_link_len == 0 {
        // SAFETY: takes an interface index, which the kernel checks.
        return unsafe { bpf_redirect(policy.modem_index, 0) } as i32;
    }
    let family = info.family;
    let gateway = match family {
        Family::V4 => &policy.gateway_v4,
        Family::V6 => &policy.gateway_v6,
    };
    // Without a gateway everybody is on the link. The kernel could look that up, but finds it in
    // IPv6 only while the rules are there.
    let next = if gateway.is_none() {
        &info.destination
    } else {
        gateway
    };
    let mut next_hop = bpf_redir_neigh {
        nh_family: match family {
            Family::V4 => AF_INET,
            Family::V6 => AF_INET6,
        },
        __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 {
            ipv6_nh: match family {
                Family::V4 => [next.v4_word(), 0, 0, 0],
                Family::V6 => next.0,
            },
        },
    };
    // SAFETY: the parameters are initialised and outlive the call; the kernel checks the index.
    unsafe { bpf_redirect_neigh(policy.modem_index, &raw mut next_hop, NEXT_HOP_LEN, 0) as i32 }
}
