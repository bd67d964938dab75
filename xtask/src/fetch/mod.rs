//! Bringing what this machine lacks: packages of other Debian suites, kernels, nft, the toolchain's parts,
//! programs that check the tree.

pub(crate) mod apt;
mod cargo;
pub(crate) mod checkers;
pub(crate) mod debian;
pub(crate) mod kernel;
pub(crate) mod nft;
pub(crate) mod toolchain;
