//! Reading the packet: in place where it lies, or through a helper where offsets depend on it.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::programs::TcContext;
use lte_common::headers::{Joined, Plain, Reader};

/// The packet a program was called for.
#[derive(Clone, Copy)]
pub(crate) struct Skb {
    raw: *mut __sk_buff,
}

impl Skb {
    /// The packet of a context.
    #[inline(always)]
    pub(crate) fn new(ctx: &TcContext) -> Self {
        Self { raw: ctx.skb.skb }
    }

    /// For helpers.
    #[inline(always)]
    pub(crate) fn raw(&self) -> *mut __sk_buff {
        self.raw
    }

    /// Bytes, the link header included.
    #[inline(always)]
    pub(crate) fn len(&self) -> u32 {
        // SAFETY: the context is valid for the whole run of the program.
        unsafe { (*self.raw).len }
    }

    /// The mark.
    #[inline(always)]
    pub(crate) fn mark(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.raw).mark }
    }

    /// Sets the mark.
    #[inline(always)]
    pub(crate) fn set_mark(&self, mark: u32) {
        // Written out: the compiler likes to compute the field's address early and keep it, and
        // the verifier takes no context pointer but the one it gave, with an offset in the access.
        // SAFETY: as above; a classifier may write this field.
        unsafe {
            core::arch::asm!(
                "*(u32 *)({skb} + {offset}) = {mark}",
                skb = in(reg) self.raw,
                offset = const core::mem::offset_of!(__sk_buff, mark),
                mark = in(reg) u64::from(mark),
                options(nostack, preserves_flags),
            );
        }
    }

    /// Whether it was made on this machine: a forwarded packet has come in by an interface.
    #[inline(always)]
    pub(crate) fn is_local(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.raw).ingress_ifindex == 0 }
    }

    /// Index of the interface that it is on.
    #[inline(always)]
    pub(crate) fn ifindex(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.raw).ifindex }
    }

    /// The socket it belongs to; null where there is none.
    #[inline(always)]
    pub(crate) fn socket(&self) -> *mut bpf_sock {
        // SAFETY: as above; a pointer is all that is ever stored there.
        unsafe { (*self.raw).__bindgen_anon_2.sk }
    }

    /// Whether it is several packets on the wire, and how many.
    #[inline(always)]
    pub(crate) fn joined(&self) -> Joined {
        // SAFETY: as above.
        unsafe {
            let size = (*self.raw).gso_size;
            // Nearly every packet is one: the second read is spared.
            let segments = if size == 0 { 0 } else { (*self.raw).gso_segs };
            Joined { size, segments }
        }
    }

    /// Whether a VLAN tag waits beside the frame (or lies in it, where a driver put it there).
    #[inline(always)]
    pub(crate) fn has_vlan(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.raw).vlan_present != 0 }
    }
}

/// Reads in place. To be used with offsets that do not depend on the packet: only then does the
/// verifier carry the bound from the check to the read.
pub(crate) struct Direct {
    data: usize,
    end: usize,
    len: u32,
}

impl Direct {
    /// The packet's linear part, valid until a helper changes the packet.
    #[inline(always)]
    pub(crate) fn new(skb: &Skb) -> Self {
        // SAFETY: the context is valid for the whole run of the program.
        let (data, end) = unsafe { ((*skb.raw).data, (*skb.raw).data_end) };
        Self {
            data: data as usize,
            end: end as usize,
            len: skb.len(),
        }
    }
}

impl Reader for Direct {
    #[inline(always)]
    fn load<T: Plain>(&self, offset: usize) -> Option<T> {
        let at = self.data + offset;
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: the read lies within the packet, by the check above; T is valid for any bytes
        // and its alignment of two at most holds, since the kernel puts frames at even addresses.
        Some(unsafe { (at as *const T).read() })
    }

    #[inline(always)]
    fn byte_is(&self, offset: usize, value: u8) -> bool {
        let at = self.data + offset;
        // SAFETY: the read lies within the packet, by the check before it.
        at < self.end && unsafe { *(at as *const u8) } == value
    }

    #[inline(always)]
    fn frame_len(&self) -> u32 {
        self.len
    }
}

/// Reads through `bpf_skb_load_bytes`, which checks any offset itself.
pub(crate) struct Helper {
    raw: *const __sk_buff,
    len: u32,
}

impl Helper {
    /// The packet.
    #[inline(always)]
    pub(crate) fn new(skb: &Skb) -> Self {
        Self {
            raw: skb.raw,
            len: skb.len(),
        }
    }
}

impl Reader for Helper {
    #[inline(always)]
    fn load<T: Plain>(&self, offset: usize) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes `size_of::<T>()` bytes to `value`, or fails.
        let status = unsafe {
            bpf_skb_load_bytes(
                self.raw.cast::<c_void>(),
                offset as u32,
                value.as_mut_ptr().cast::<c_void>(),
                size_of::<T>() as u32,
            )
        };
        if status != 0 {
            return None;
        }
        // SAFETY: the helper has written all of it, and T is valid for any bytes.
        Some(unsafe { value.assume_init() })
    }

    #[inline(always)]
    fn byte_is(&self, offset: usize, value: u8) -> bool {
        matches!(self.load::<u8>(offset), Some(byte) if byte == value)
    }

    #[inline(always)]
    fn frame_len(&self) -> u32 {
        self.len
    }
}
