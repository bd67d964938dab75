//! What the agent would see now, for commands that change nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;

use super::{Common, block_on};
use crate::backend::Backend;
use crate::config::{Config, Endpoint};
use crate::kernel::Kernel;
use crate::reconcile::{Inputs, View};
use crate::state::{Before, Memory, free_port};

/// What is there, what is to be there, and what the agent itself would find out or choose.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) view: View,
    /// One line each.
    pub(super) notes: Vec<String>,
}

/// Looks. The first backend is the one that is to keep the guard, the others are all the others.
pub(super) fn look(
    config: &Config,
    common: &Common,
    backends: &mut [Box<dyn Backend>],
) -> anyhow::Result<Look> {
    let memory = Memory::new(&common.dirs.state);
    let before = Before::load(&common.dirs.run)?;
    let mut notes = Vec::new();
    let listen_port = match config.tunnel.listen_port {
        Some(port) => port,
        None => {
            if let Some(port) = memory.listen_port()? {
                port
            } else {
                let port = free_port().context("looking for a free UDP port")?;
                notes.push(format!(
                    "tunnel.listen_port is left out: the kernel chooses one at the first start, {port} stands for it here"
                ));
                port
            }
        }
    };
    let known = memory.endpoints()?;
    let resolved: BTreeMap<Endpoint, _> = config
        .tunnel
        .peers
        .iter()
        .filter_map(|peer| {
            Some((
                peer.endpoint.clone(),
                *known.get(&peer.endpoint.to_string())?,
            ))
        })
        .collect();
    let view = block_on(async {
        let inputs = Inputs {
            config,
            record: &before.record,
            listen_port,
            resolved: &resolved,
            resting: BTreeSet::new(),
        };
        Ok(View::new(&Kernel::open()?, backends, inputs).await?)
    })?;
    Ok(Look { view, notes })
}
