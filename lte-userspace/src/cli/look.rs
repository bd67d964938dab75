//! What the agent would see now, for commands that change nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Common, block_on};
use crate::backend::Backend;
use crate::config::{Config, Endpoint};
use crate::desired::NO_PORT;
use crate::kernel::Kernel;
use crate::reconcile::{Inputs, Observed, View, listen_port};
use crate::state::{Before, Memory};

/// What is there, what is to be there, and what the agent itself would find out or choose.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) view: View,
    /// One line each.
    pub(super) notes: Vec<String>,
}

/// Whoever only looks chooses nothing.
const NOT_YET_CHOSEN: &str = "tunnel.listen_port is left out, and none is chosen yet: the first start chooses one and keeps it";

/// Looks. The first backend is the one that is to keep the guard, the others are all the others.
pub(super) fn look(
    config: &Config,
    common: &Common,
    backends: &mut [Box<dyn Backend>],
) -> anyhow::Result<Look> {
    let memory = Memory::new(&common.dirs.state);
    let before = Before::load(&common.dirs.run)?;
    let mut notes = Vec::new();
    let known = memory.endpoints();
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
        let kernel = Kernel::open()?;
        let tunnel = Some(config.tunnel.interface.as_str());
        let observed = Observed::look(&kernel, tunnel, |_| BTreeSet::new()).await?;
        let listen_port = listen_port(&observed, config, &memory);
        if listen_port.is_none() {
            notes.push(NOT_YET_CHOSEN.to_owned());
        }
        let inputs = Inputs {
            config,
            record: &before.record,
            listen_port: listen_port.unwrap_or(NO_PORT),
            resolved: &resolved,
            resting: BTreeSet::new(),
            active: backends.first().map(|active| active.kind()),
            device: None,
        };
        Ok(View::new(&kernel, backends, inputs).await?)
    })?;
    Ok(Look { view, notes })
}
