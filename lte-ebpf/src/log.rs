//! Lines for diagnosis, off unless the agent asks for them at load: the verifier then removes
//! them, and they cost nothing.

use aya_log_ebpf::debug;
use lte_common::policy::{Class, Hook};

use crate::skb::Skb;

struct Context(*mut core::ffi::c_void);

impl aya_ebpf::EbpfContext for Context {
    fn as_ptr(&self) -> *mut core::ffi::c_void {
        self.0
    }
}

/// Says what was dropped or steered, by the numbers of its counter, which the agent names.
#[inline(always)]
pub(crate) fn dropped_or_steered(skb: &Skb, hook: Hook, class: Class, bytes: u32) {
    debug!(
        &Context(skb.raw().cast()),
        "{} {}: {} bytes", hook as u32, class as u32, bytes
    );
}
