//! Which backend keeps the guard here.

use super::ebpf::{Ebpf, Options, PacketLog};
use super::nft::Nft;
use super::{Backend, BackendError, Kind};
use crate::config::BackendChoice;

/// What a backend is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To put a guard in place and to keep it there.
    Guard,
    /// To look at what is there, or to take it away.
    Look,
}

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
pub fn select(choice: BackendChoice, purpose: Purpose) -> Result<Selected, BackendError> {
    let probed = |kind| probed(kind, purpose);
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
                    why_not_ebpf: Some(super::chain(&ebpf)),
                }),
                Err(nft) => Err(BackendError::Unsupported(format!(
                    "neither backend can run here: ebpf: {}; nft: {}",
                    super::chain(&ebpf),
                    super::chain(&nft)
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
        .filter_map(|kind| {
            open(kind, Purpose::Look)
                .inspect_err(|error| {
                    // What this machine cannot run has left nothing here; and who keeps a guard with the
                    // other has said it.
                    if than.is_none() && !matches!(error, BackendError::Unsupported(_)) {
                        log::warn!("backend {kind}: {}", super::chain(error));
                    }
                })
                .ok()
        })
        .collect()
}

fn probed(kind: Kind, purpose: Purpose) -> Result<Box<dyn Backend>, BackendError> {
    let backend = open(kind, purpose)?;
    backend.probe()?;
    Ok(backend)
}

/// Opens a backend without asking whether a guard could be put in place with it.
pub fn open(kind: Kind, purpose: Purpose) -> Result<Box<dyn Backend>, BackendError> {
    Ok(match kind {
        Kind::Ebpf => {
            let packet_log = match purpose {
                Purpose::Guard if log::log_enabled!(log::Level::Trace) => PacketLog::Own,
                Purpose::Guard => PacketLog::Off,
                Purpose::Look => PacketLog::Any,
            };
            Box::new(Ebpf::with_options(Options { packet_log })?)
        }
        Kind::Nft => Box::new(Nft::new()?),
    })
}
