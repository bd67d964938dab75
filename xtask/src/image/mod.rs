//! An initramfs, written in process: no root is needed for its device nodes and owners.

pub(crate) mod cpio;
pub(crate) mod elf;
pub(crate) mod guest;
pub(crate) mod modules;
