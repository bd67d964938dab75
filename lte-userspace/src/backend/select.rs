//! Which backend keeps the guard here.

use super::ebpf::{Ebpf, Options};
use super::nft::Nft;
use super::{Backend, BackendError, Kind};
use crate::config::BackendChoice;

/// A backend that this machine can run.
#[derive(Debug)]
pub struct Selected {
    /// It.
    pub backend: Box<dyn Backend>,
    /// Why it is not the first choice, in one line.
    pub why_not_ebpf: Option<String>,
}

/// Takes the backend that was asked for, or the first that this machine can run.
///
/// Changes nothing. What was asked for by name is not replaced by another.
pub fn select(choice: BackendChoice) -> Result<Selected, BackendError> {
    match choice {
        BackendChoice::Ebpf => probed(Kind::Ebpf).map(|backend| Selected {
            backend,
            why_not_ebpf: None,
        }),
        BackendChoice::Nft => probed(Kind::Nft).map(|backend| Selected {
            backend,
            why_not_ebpf: None,
        }),
        BackendChoice::Auto => match probed(Kind::Ebpf) {
            Ok(backend) => Ok(Selected {
                backend,
                why_not_ebpf: None,
            }),
            Err(ebpf) => match probed(Kind::Nft) {
                Ok(backend) => Ok(Selected {
                    backend,
                    why_not_ebpf: Some(ebpf.to_string()),
                }),
                Err(nft) => Err(BackendError::Unsupported(format!(
                    "neither backend can run here: ebpf: {ebpf}; nft: {nft}"
                ))),
            },
        },
    }
}

/// Every backend that could have left something on this machine.
pub fn all() -> Vec<Box<dyn Backend>> {
    others(None)
}

/// The same, but for one kind.
pub fn others(than: Option<Kind>) -> Vec<Box<dyn Backend>> {
    [Kind::Ebpf, Kind::Nft]
        .into_iter()
        .filter(|kind| than != Some(*kind))
        .filter_map(|kind| open(kind).ok())
        .collect()
}

fn probed(kind: Kind) -> Result<Box<dyn Backend>, BackendError> {
    let backend = open(kind)?;
    // What eBPF needs is asked when it is opened, and asking twice takes its time.
    if kind != Kind::Ebpf {
        backend.probe()?;
    }
    Ok(backend)
}

/// Opens a backend without asking whether a guard could be put in place with it.
pub fn open(kind: Kind) -> Result<Box<dyn Backend>, BackendError> {
    Ok(match kind {
        Kind::Ebpf => Box::new(Ebpf::with_options(Options {
            packet_log: log::log_enabled!(log::Level::Trace),
        })?),
        Kind::Nft => Box::new(Nft::new()?),
    })
}
