//! Replacing an address, with checksums that stay right: complete, partial, and zero.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM};
use aya_ebpf::helpers::generated::{
    bpf_csum_diff, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_change_head,
    bpf_skb_store_bytes, bpf_skb_vlan_pop,
};
use lte_common::headers::{Family, Fragment, PacketInfo, protocol};
use lte_common::layout::{Addr, Policy};
use lte_common::policy::{Rewrite, Verdict};

use crate::skb::Skb;

const IPV4_CHECKSUM: u32 = 10;
const IPV4_SOURCE: u32 = 12;
const IPV4_DESTINATION: u32 = 16;
const IPV6_SOURCE: u32 = 8;
const IPV6_DESTINATION: u32 = 24;
const UDP_CHECKSUM: u32 = 6;
/// A UDP checksum covers the addresses; one that is zero stays so, and none becomes zero.
const UDP_FLAGS: u64 = (BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0) as u64;

/// Takes VLAN tags of an uplink off the packet: they mean nothing to the modem. Returns where the
/// IP header is then, or `None` where the kernel refused.
#[inline(always)]
pub(crate) fn untag(skb: &Skb, info: &PacketInfo, policy: &Policy) -> Option<u16> {
    // Two in the frame and one beside it.
    for _ in 0..3 {
        if !skb.has_vlan() && info.network == policy.link_len {
            return Some(policy.link_len);
        }
        // SAFETY: the context is valid; the helper changes the packet, of which nothing is held.
        if unsafe { bpf_skb_vlan_pop(skb.raw()) } != 0 {
            return None;
        }
        if !skb.has_vlan() {
            break;
        }
    }
    Some(policy.link_len)
}

/// Puts room for a link header before a packet that has none and is to leave by a modem that
/// wants one. The neighbour table fills it in.
#[inline(always)]
pub(crate) fn make_room(skb: &Skb, policy: &Policy) -> bool {
    if policy.link_len != 0 || policy.modem_link_len == 0 {
        return true;
    }
    // SAFETY: the context is valid; the helper changes the packet, of which nothing is held.
    unsafe { bpf_skb_change_head(skb.raw(), u32::from(policy.modem_link_len), 0) == 0 }
}

/// Replaces what the verdict says; `network` is where the IP header is now. False where the
/// kernel refused: the packet is then not to be let through.
#[inline(always)]
pub(crate) fn apply(skb: &Skb, info: &PacketInfo, network: u16, verdict: &Verdict) -> bool {
    let (old, v4, v6) = match verdict.rewrite {
        Rewrite::None => return true,
        Rewrite::Source => (&info.source, IPV4_SOURCE, IPV6_SOURCE),
        Rewrite::Destination => (&info.destination, IPV4_DESTINATION, IPV6_DESTINATION),
    };
    let new = &verdict.address;
    // Only the datagram's first piece carries its checksum.
    let udp = (info.protocol == protocol::UDP && !matches!(info.fragment, Fragment::Later))
        .then(|| u32::from(network) + u32::from(info.transport - info.network) + UDP_CHECKSUM);
    let network = u32::from(network);
    match info.family {
        Family::V4 => ipv4(
            skb,
            network,
            network + v4,
            udp,
            old.v4_word(),
            new.v4_word(),
        ),
        Family::V6 => ipv6(skb, network + v6, udp, old, new),
    }
}

#[inline(always)]
fn ipv4(skb: &Skb, network: u32, at: u32, udp: Option<u32>, old: u32, new: u32) -> bool {
    let (from, to) = (u64::from(old), u64::from(new));
    if let Some(checksum) = udp {
        // SAFETY: the context is valid; the helper checks the offset.
        if unsafe { bpf_l4_csum_replace(skb.raw(), checksum, from, to, UDP_FLAGS | 4) } != 0 {
            return false;
        }
    }
    // SAFETY: as above.
    if unsafe { bpf_l3_csum_replace(skb.raw(), network + IPV4_CHECKSUM, from, to, 4) } != 0 {
        return false;
    }
    // SAFETY: four bytes are read from `new`; the helper checks the offset.
    unsafe { bpf_skb_store_bytes(skb.raw(), at, (&raw const new).cast::<c_void>(), 4, 0) == 0 }
}

#[inline(always)]
fn ipv6(skb: &Skb, at: u32, udp: Option<u32>, old: &Addr, new: &Addr) -> bool {
    let (mut from, mut to) = (old.0, new.0);
    if let Some(checksum) = udp {
        // SAFETY: sixteen bytes are read from each.
        let diff = unsafe { bpf_csum_diff(from.as_mut_ptr(), 16, to.as_mut_ptr(), 16, 0) };
        // SAFETY: the context is valid; the helper checks the offset.
        if unsafe { bpf_l4_csum_replace(skb.raw(), checksum, 0, diff.cast_unsigned(), UDP_FLAGS) }
            != 0
        {
            return false;
        }
    }
    // IPv6 has no header checksum that would make up for the new address in a sum the device has
    // made over the whole packet.
    // SAFETY: sixteen bytes are read from `to`; the helper checks the offset.
    unsafe {
        bpf_skb_store_bytes(
            skb.raw(),
            at,
            to.as_ptr().cast::<c_void>(),
            16,
            u64::from(BPF_F_RECOMPUTE_CSUM),
        ) == 0
    }
}
