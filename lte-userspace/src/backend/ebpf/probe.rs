//! Whether this machine can run the programs, and if not, why.

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys;
use aya::util::KernelVersion;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::pins;
use crate::backend::BackendError;

/// Checks everything; the first thing missing is the reason.
pub(super) fn check_all() -> Result<(), BackendError> {
    allow_locked_memory();
    programs()?;
    maps()?;
    pins::check()
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
                crate::backend::error_chain(&e)
            )));
        }
    }
    let helper = sys::BpfHelper::BPF_FUNC_redirect_neigh;
    match sys::is_helper_supported(ProgramType::SchedClassifier, helper) {
        Ok(true) => Ok(()),
        Ok(false) => Err(unsupported(
            "eBPF: the kernel has no bpf_redirect_neigh (5.10 has it); use --backend nft",
        )),
        Err(e) => Err(unsupported(format!(
            "eBPF: {}",
            crate::backend::error_chain(&e)
        ))),
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
            Err(e) => {
                return Err(unsupported(format!(
                    "eBPF: {}",
                    crate::backend::error_chain(&e)
                )));
            }
        }
    }
    Ok(())
}

/// Whether there is room for the maps and the programs as they are: kernels before 5.11 count both
/// against `RLIMIT_MEMLOCK`, later ones against the memory of the control group.
pub(super) fn check_memory() -> Result<(), BackendError> {
    super::maps::probe_memory().map_err(|error| {
        let limit = getrlimit(Resource::Memlock).current;
        let why = match limit {
            Some(bytes) if counts_locked_memory() => format!(
                "this kernel counts eBPF maps as locked memory, of which this process may have {} KiB: allow more (LimitMEMLOCK=infinity in the unit, ulimit -l unlimited)",
                bytes / 1024
            ),
            _ => "make room".to_owned(),
        };
        unsupported(format!("eBPF: no memory for the maps ({error}): {why}, or use --backend nft"))
    })
}

fn counts_locked_memory() -> bool {
    KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(5, 11, 0))
}

/// Takes as much as this process may have: all, with `CAP_SYS_RESOURCE`, else up to the hard limit.
fn allow_locked_memory() {
    if !counts_locked_memory() {
        return;
    }
    let all = Rlimit {
        current: None,
        maximum: None,
    };
    if setrlimit(Resource::Memlock, all).is_ok() {
        return;
    }
    let limit = getrlimit(Resource::Memlock);
    let hard = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Memlock, hard) {
        log::debug!("raising the limit of locked memory: {error}");
    }
}
