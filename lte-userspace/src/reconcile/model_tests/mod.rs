//! The reconciler on a kernel made of memory: start, repair, reload, a switch of backends and down, with a kill,
//! a refusal or a lost answer at each request, and each damage by other programs, alone and in pairs.
//!
//! What the model claims of the kernel is tested where the model is.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::large_futures, reason = "one runs at a time")]

mod crashes;
mod damages;
mod random;
mod repairs;
mod router;
