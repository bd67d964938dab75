//! Bringing what this machine lacks: packages of other Debian suites, kernels, nft, the toolchain's parts.

pub(crate) mod apt;
pub(crate) mod debian;
pub(crate) mod kernel;
pub(crate) mod nft;
pub(crate) mod toolchain;
