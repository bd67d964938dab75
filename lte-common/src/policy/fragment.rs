//! Fragments: a later one is treated as its first was.

use super::remote::within_timeout;
use super::{Action, Class, Hook, Policy, Rewrite, State, Verdict};
use crate::headers::{Fragment, PacketInfo};
use crate::layout::FragmentKey;

/// How long later fragments are let through behind their first, seconds: as long as the kernel
/// keeps pieces together (`net.ipv4.ipfrag_time`).
const FRAGMENT_TIMEOUT: u64 = 30;

#[inline(always)]
pub(super) fn first_fragment(mut verdict: Verdict, info: &PacketInfo) -> Verdict {
    verdict.fragments_follow = matches!(info.fragment, Fragment::First);
    verdict
}

/// A later fragment is treated as its first was. `sender` is the local port of the UDP socket it belongs to.
#[inline(always)]
pub(super) fn later_fragment<T: State>(
    hook: Hook,
    info: &PacketInfo,
    policy: &Policy,
    state: &T,
    sender: u16,
) -> Verdict {
    let key = fragment_key(hook, info, sender);
    match state.fragment(&key) {
        Some(value)
            if within_timeout(state.jiffies(), value.seen, policy.ticks(FRAGMENT_TIMEOUT)) =>
        {
            let marked = value.marked != 0;
            let mut verdict = match (hook, marked) {
                (Hook::UplinkOut, _) => Verdict::new(Action::Steer, Class::Steered),
                (_, true) => Verdict::new(Action::Mark, Class::Fragment),
                (_, false) => Verdict::pass(Class::Fragment),
            };
            if !value.replace.is_none() {
                verdict.rewrite = match hook {
                    Hook::ModemIn => Rewrite::Destination,
                    Hook::ModemOut | Hook::UplinkOut => Rewrite::Source,
                };
                verdict.address = value.replace;
            }
            verdict
        }
        _ if matches!(hook, Hook::UplinkOut) => Verdict::UNTOUCHED,
        _ => Verdict::drop(Class::DropFragment),
    }
}

#[inline(always)]
pub(super) fn fragment_key(hook: Hook, info: &PacketInfo, sender: u16) -> FragmentKey {
    FragmentKey {
        source: info.source,
        destination: info.destination,
        ident: info.ident,
        hook: hook as u8,
        protocol: info.protocol,
        sender,
    }
}
