//! What the kernel's side and the agent must agree on, and the pure core.
//!
//! - [`headers`]: parses a frame into [`headers::PacketInfo`], bounds checked, over any reader.
//! - [`policy`]: gives a packet its verdict, from its hook, its header fields, the policy and the state.
//! - [`layout`]: map keys, values, counters; sizes and offsets asserted.
//!
//! The same code runs in the kernel, on the host and in the fuzzer.
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "the kernel's programs are one function each: a call costs stack, and info in state cost the verifier's knowledge of them"
)]

pub mod headers;
pub mod layout;
pub mod policy;

#[cfg(any(test, feature = "std"))]
extern crate std;
