//! Selects the backend.

use std::fmt;

use super::ebpf::{Ebpf, LoadOptions, PacketLog};
use super::nft::Nft;
use super::{Backend, BackendError, BackendKind};
use crate::config::BackendChoice;

/// What a backend is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To put a guard in place and to keep it there.
    Guard,
    /// To inspect what is there, or to remove it.
    Inspect,
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
        BackendChoice::Ebpf => probed(BackendKind::Ebpf).map(|backend| Selected {
            backend,
            why_not_ebpf: None,
        }),
        BackendChoice::Nft => probed(BackendKind::Nft).map(|backend| Selected {
            backend,
            why_not_ebpf: None,
        }),
        BackendChoice::Auto => match probed(BackendKind::Ebpf) {
            Ok(backend) => Ok(Selected {
                backend,
                why_not_ebpf: None,
            }),
            Err(ebpf) => match probed(BackendKind::Nft) {
                Ok(backend) => Ok(Selected {
                    backend,
                    why_not_ebpf: Some(super::error_chain(&ebpf)),
                }),
                Err(nft) => Err(BackendError::Unsupported(format!(
                    "neither backend can run here: ebpf: {}; nft: {}",
                    super::error_chain(&ebpf),
                    super::error_chain(&nft)
                ))),
            },
        },
    }
}

/// Opens backends.
pub trait Opener: fmt::Debug + Send + Sync {
    /// Opens a backend without asking whether a guard could be put in place with it.
    fn open(&self, kind: BackendKind, purpose: Purpose) -> Result<Box<dyn Backend>, BackendError>;
}

/// Opens this machine's backends.
#[derive(Debug, Clone, Copy)]
pub struct ThisMachine;

impl Opener for ThisMachine {
    fn open(&self, kind: BackendKind, purpose: Purpose) -> Result<Box<dyn Backend>, BackendError> {
        open(kind, purpose)
    }
}

/// Every backend that could have left something on this machine.
pub fn all() -> Vec<Box<dyn Backend>> {
    others(&ThisMachine, None)
}

/// The same, but for one kind.
pub fn others(opener: &dyn Opener, except: Option<BackendKind>) -> Vec<Box<dyn Backend>> {
    [BackendKind::Ebpf, BackendKind::Nft]
        .into_iter()
        .filter(|kind| except != Some(*kind))
        .filter_map(|kind| {
            opener
                .open(kind, Purpose::Inspect)
                .inspect_err(|error| {
                    // What this machine cannot run has left nothing here; and who keeps a guard with the
                    // other has said it.
                    if except.is_none() && !matches!(error, BackendError::Unsupported(_)) {
                        log::warn!("backend {kind}: {}", super::error_chain(error));
                    }
                })
                .ok()
        })
        .collect()
}

fn probed(kind: BackendKind, purpose: Purpose) -> Result<Box<dyn Backend>, BackendError> {
    let backend = open(kind, purpose)?;
    backend.probe()?;
    Ok(backend)
}

fn open(kind: BackendKind, purpose: Purpose) -> Result<Box<dyn Backend>, BackendError> {
    Ok(match kind {
        BackendKind::Ebpf => {
            let packet_log = match purpose {
                Purpose::Guard if log::log_enabled!(log::Level::Trace) => PacketLog::Own,
                Purpose::Guard => PacketLog::Off,
                Purpose::Inspect => PacketLog::Any,
            };
            Box::new(Ebpf::with_options(LoadOptions { packet_log })?)
        }
        BackendKind::Nft => Box::new(Nft::new()?),
    })
}
