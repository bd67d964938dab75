//! The TC programs of the tunnel's guard. Each asks the policy and acts; what may pass is
//! decided in `lte_common::policy`.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    clippy::inline_always,
    reason = "each program is one function: a call costs stack and the verifier's knowledge of its arguments"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the classifier macro hands the context over by value"
)]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "the reads of one context, and the halves of one pointer's use, are argued for together"
)]

mod act;
mod log;
mod maps;
mod rewrite;
mod skb;
mod sockets;

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use lte_common::headers::{self, PacketInfo, ParseError};
use lte_common::policy::{self, Hook, SkbMeta, Verdict};

use crate::maps::Maps;
use crate::skb::{Direct, Helper, Skb};

/// On the modem, leaving.
#[classifier]
fn modem_egress(ctx: TcContext) -> i32 {
    guard(&Skb::new(&ctx), Hook::ModemOut)
}

/// On the modem, entering, before routing.
#[classifier]
fn modem_ingress(ctx: TcContext) -> i32 {
    guard(&Skb::new(&ctx), Hook::ModemIn)
}

/// On an uplink, leaving: every packet of the LAN passes, so that what is certainly not the
/// tunnel's goes on after a few reads at fixed offsets.
#[classifier]
fn uplink_egress(ctx: TcContext) -> i32 {
    let skb = Skb::new(&ctx);
    if !skb.is_local() || !headers::maybe_udp(&Direct::new(&skb), maps::policy().link_len) {
        return act::verdict_to_action(&skb, Hook::UplinkOut, 0, None, &Verdict::UNTOUCHED);
    }
    guard(&skb, Hook::UplinkOut)
}

/// What calling a program costs by itself: never attached, measured against.
#[classifier]
fn baseline(_ctx: TcContext) -> i32 {
    aya_ebpf::bindings::TC_ACT_UNSPEC
}

#[inline(always)]
fn guard(skb: &Skb, hook: Hook) -> i32 {
    let policy = maps::policy();
    let meta = SkbMeta {
        local: skb.is_local(),
        mark: skb.mark(),
    };
    if let Some(info) = headers::plain_udp(&Direct::new(skb), policy.link_len) {
        let verdict = policy::decide(hook, Ok(&info), meta, policy, &Maps, skb);
        return act(skb, hook, meta, &info, &verdict);
    }
    let rejected = match headers::parse(&Helper::new(skb), policy.link_len) {
        Ok(info) => {
            if let Some(info) = maps::spill_info(&info) {
                let verdict = policy::decide(hook, Ok(info), meta, policy, &Maps, skb);
                if let Some(verdict) = maps::spill_verdict(&verdict) {
                    return act(skb, hook, meta, info, verdict);
                }
            }
            ParseError::Malformed
        }
        Err(error) => error,
    };
    let verdict = policy::decide(hook, Err(rejected), meta, policy, &Maps, skb);
    act::verdict_to_action(skb, hook, meta.mark, None, &verdict)
}

#[inline(always)]
fn act(skb: &Skb, hook: Hook, meta: SkbMeta, info: &PacketInfo, verdict: &Verdict) -> i32 {
    policy::update_state(hook, info, meta, verdict, maps::policy(), &Maps, skb);
    act::verdict_to_action(skb, hook, meta.mark, Some(info), verdict)
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel lets programs under this licence call all helpers.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
