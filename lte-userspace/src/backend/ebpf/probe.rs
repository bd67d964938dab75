//! Whether this machine can run the programs, and if not, why.

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys;

use super::pins;
use crate::backend::BackendError;

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

/// Checks everything; the first thing missing is the reason.
pub(super) fn all() -> Result<(), BackendError> {
    programs()?;
    maps()?;
    file_system()
}

fn unsupported(reason: impl Into<String>) -> BackendError {
    BackendError::Unsupported(reason.into())
}

fn programs() -> Result<(), BackendError> {
    match sys::is_program_supported(ProgramType::SchedClassifier) {
        Ok(true) => {}
        Ok(false) => {
            return Err(unsupported(
                "eBPF: the kernel has no TC programs or this process may not load any; run as root on a kernel with CONFIG_NET_CLS_BPF, or use --backend nft",
            ));
        }
        Err(e) => {
            return Err(unsupported(format!(
                "eBPF: {}; run as root, or use --backend nft",
                crate::backend::chain(&e)
            )));
        }
    }
    let helper = sys::BpfHelper::BPF_FUNC_redirect_neigh;
    match sys::is_helper_supported(ProgramType::SchedClassifier, helper) {
        Ok(true) => Ok(()),
        Ok(false) => Err(unsupported(
            "eBPF: the kernel has no bpf_redirect_neigh (5.10 has it); use --backend nft",
        )),
        Err(e) => Err(unsupported(format!("eBPF: {}", crate::backend::chain(&e)))),
    }
}

fn maps() -> Result<(), BackendError> {
    for kind in [
        MapType::LruHash,
        MapType::Hash,
        MapType::PerCpuArray,
        MapType::RingBuf,
    ] {
        match sys::is_map_supported(kind) {
            Ok(true) => {}
            Ok(false) => {
                return Err(unsupported(format!(
                    "eBPF: the kernel has no map of type {kind:?}; use --backend nft"
                )));
            }
            Err(e) => return Err(unsupported(format!("eBPF: {}", crate::backend::chain(&e)))),
        }
    }
    Ok(())
}

fn file_system() -> Result<(), BackendError> {
    let right = rustix::fs::statfs(pins::BPF_FS)
        .is_ok_and(|stat| stat.f_type.cast_unsigned() as u32 == BPF_FS_MAGIC);
    if right {
        Ok(())
    } else {
        Err(unsupported(format!(
            "eBPF: {0} is not the BPF file system; mount it (mount -t bpf bpf {0}), or use --backend nft",
            pins::BPF_FS
        )))
    }
}
