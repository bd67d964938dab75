//! The sockets of this machine, as the kernel's helpers report them, and the packet's session.

use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS,
    BPF_FIB_LKUP_RET_UNSUPP_LWT, bpf_fib_lookup as FibLookup, bpf_sock, bpf_sock_tuple,
};
use aya_ebpf::helpers::generated::{
    bpf_fib_lookup, bpf_sk_fullsock, bpf_sk_lookup_udp, bpf_sk_release,
};
use lte_common::headers::{self, Family, PacketInfo, protocol};
use lte_common::policy::{Session, Sockets};

use crate::skb::{Helper, Skb};

/// `BPF_F_CURRENT_NETNS`: in the namespace of the device the packet is on.
const CURRENT_NETNS: u64 = u64::MAX;
/// Bytes of an address and a port twice: what of the tuple the kernel takes for each family.
const TUPLE_V4: u32 = 2 * (4 + 2);
const TUPLE_V6: u32 = 2 * (16 + 2);
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const FIB_LOOKUP_LEN: i32 = size_of::<FibLookup>().cast_signed() as i32;

impl Session for Skb {
    #[inline(always)]
    fn receiver(&self, info: &PacketInfo) -> u32 {
        headers::receiver(&Helper::new(self), info)
    }
}

impl Sockets for Skb {
    #[inline(always)]
    fn sender(&self) -> u16 {
        let sk = self.socket();
        if sk.is_null() {
            return 0;
        }
        // SAFETY: the pointer is the context's, and not null; what of a socket is not whole, as of a
        // request to connect, is answered by null.
        let sk: *const bpf_sock = unsafe { bpf_sk_fullsock(sk) };
        if sk.is_null() {
            return 0;
        }
        // SAFETY: the helper has given it, and it is valid for the run of the program.
        let (of, port) = unsafe { ((*sk).protocol, (*sk).src_port) };
        if of == u32::from(protocol::UDP) {
            port as u16
        } else {
            0
        }
    }

    #[inline(always)]
    fn is_sender(&self, port: u16) -> bool {
        let sk = self.socket();
        // A request or time-wait socket has this field, too: nearly every packet is decided without a call.
        // SAFETY: the pointer is the context's, and read where it is not null.
        !sk.is_null() && unsafe { (*sk).src_port } == u32::from(port) && self.sender() == port
    }

    #[inline(always)]
    fn is_bound(&self, info: &PacketInfo, port: u16) -> bool {
        let (far, near) = (info.destination_port.to_be(), port.to_be());
        // SAFETY: all zeros are a valid value of it.
        let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
        let len = match info.family {
            Family::V4 => {
                // SAFETY: both variants are integers; the kernel takes this one by the length.
                let v4 = unsafe { &mut tuple.__bindgen_anon_1.ipv4 };
                v4.saddr = info.destination.v4_word();
                v4.daddr = info.source.v4_word();
                v4.sport = far;
                v4.dport = near;
                TUPLE_V4
            }
            Family::V6 => {
                // SAFETY: as above.
                let v6 = unsafe { &mut tuple.__bindgen_anon_1.ipv6 };
                v6.saddr = info.destination.0;
                v6.daddr = info.source.0;
                v6.sport = far;
                v6.dport = near;
                TUPLE_V6
            }
        };
        // SAFETY: the context is valid, and the tuple is as long as is said.
        let found =
            unsafe { bpf_sk_lookup_udp(self.raw().cast(), &raw mut tuple, len, CURRENT_NETNS, 0) };
        if found.is_null() {
            return false;
        }
        // SAFETY: the helper has given it, and it is not used after this.
        unsafe { bpf_sk_release(found.cast()) };
        true
    }

    #[inline(always)]
    fn is_foreign(&self, info: &PacketInfo) -> bool {
        // SAFETY: all zeros are a valid value of it.
        let mut route: FibLookup = unsafe { core::mem::zeroed() };
        route.ifindex = self.ifindex();
        match info.family {
            Family::V4 => {
                route.family = AF_INET;
                route.__bindgen_anon_4.ipv4_dst = info.source.v4_word();
            }
            Family::V6 => {
                route.family = AF_INET6;
                route.__bindgen_anon_4.ipv6_dst = info.source.0;
            }
        }
        // SAFETY: the context is valid, and the parameters are as long as is said.
        let result =
            unsafe { bpf_fib_lookup(self.raw().cast(), &raw mut route, FIB_LOOKUP_LEN, 0) };
        // An address of this machine is not forwarded to, and neither is one without a route.
        matches!(
            u32::try_from(result),
            Ok(BPF_FIB_LKUP_RET_SUCCESS
                | BPF_FIB_LKUP_RET_UNSUPP_LWT
                | BPF_FIB_LKUP_RET_NO_NEIGH
                | BPF_FIB_LKUP_RET_FRAG_NEEDED)
        )
    }
}
