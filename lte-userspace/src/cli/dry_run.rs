//! What the agent would see now, for commands that change nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Common, block_on};
use crate::backend::Backend;
use crate::config::{Config, Endpoint};
use crate::desired::NO_PORT;
use crate::kernel::Kernel;
use crate::reconcile::{Comparison, Inputs, Snapshot, listen_port};
use crate::state::{BaselineFile, PersistentState};

/// What is there, what is to be there, and what the agent itself would find out or choose.
#[derive(Debug)]
pub(super) struct DryRun {
    pub(super) comparison: Comparison,
    /// One line each.
    pub(super) notes: Vec<String>,
}

/// A dry run chooses nothing.
const NOT_YET_CHOSEN: &str = "tunnel.listen_port is left out, and none is chosen yet: the first start chooses one and keeps it";

/// Looks. The first backend is the one that is to keep the guard, the others are all the others.
pub(super) fn dry_run(
    config: &Config,
    common: &Common,
    backends: &mut [Box<dyn Backend>],
) -> anyhow::Result<DryRun> {
    let persistent = PersistentState::new(&common.dirs.state);
    let baseline_file = BaselineFile::load(&common.dirs.run)?;
    let mut notes = Vec::new();
    let known = persistent.endpoints();
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
    let comparison = block_on(async {
        let kernel = Kernel::open()?;
        let tunnel = Some(config.tunnel.interface.as_str());
        let snapshot = Snapshot::take(&kernel, tunnel, |_| BTreeSet::new()).await?;
        let listen_port = listen_port(&snapshot, config, &persistent);
        if listen_port.is_none() {
            notes.push(NOT_YET_CHOSEN.to_owned());
        }
        let inputs = Inputs {
            config,
            baseline: &baseline_file.baseline,
            listen_port: listen_port.unwrap_or(NO_PORT),
            resolved: &resolved,
            backed_off: BTreeSet::new(),
            active: backends.first().map(|active| active.kind()),
            device: None,
        };
        Ok(Comparison::new(&kernel, backends, inputs).await?)
    })?;
    Ok(DryRun { comparison, notes })
}
