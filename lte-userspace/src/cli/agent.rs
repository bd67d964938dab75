//! No command: the agent.

use std::collections::BTreeSet;

use anyhow::bail;

use super::{Common, block_on, requirements};
use crate::backend::select::Purpose;
use crate::config::Config;
use crate::kernel::Kernel;
use crate::kernel::link::ObservedLink;
use crate::notify::Notifier;
use crate::reconcile::{Agent, Ending, Failure, Reconciler, Snapshot, choose_listen_port};
use crate::state::{BaselineFile, Lock, PersistentState};
use crate::usage::{Recorder, Store};

pub(super) fn run(common: Common, wait: bool) -> anyhow::Result<()> {
    log::debug!("started");
    let config = Config::load(&common.config)?;
    requirements::require_net_admin()?;
    requirements::require_wireguard()?;
    let backend = requirements::backend(&config, common.backend, Purpose::Guard)?;
    log::debug!("backend {}", backend.kind());
    block_on(async move {
        let kernel = Kernel::open()?;
        let tunnel = &config.tunnel.interface;
        let snapshot = Snapshot::take(&kernel, Some(tunnel), |_| BTreeSet::new()).await?;
        if !wait {
            requirements::require_modem(&snapshot, &config)?;
        }
        let baseline_file = BaselineFile::load(&common.dirs.run)?;
        if let Some(why) = snapshot.name_conflict(tunnel, &baseline_file.baseline) {
            bail!(why);
        }
        let ours =
            snapshot.links.iter().any(ObservedLink::is_our_tunnel) || !snapshot.rules.is_empty();
        if ours && baseline_file.is_empty() {
            log::warn!("{UNRECORDED}");
        }
        common.dirs.create()?;
        let lock = Lock::take(&common.dirs.run)?;
        let persistent = PersistentState::new(&common.dirs.state);
        persistent.quarantine_invalid();
        let listen_port = choose_listen_port(&snapshot, &config, &persistent)?;
        let mut reconciler = Reconciler::new(kernel, backend, baseline_file, listen_port);
        let recorder = Recorder::new(Store::new(&common.dirs.state), config.budget);
        reconciler.backends = reconciler.backends.recorded_by(recorder);
        let agent = Agent {
            reconciler,
            config,
            path: common.config,
            backend: common.backend,
            persistent,
            lock,
            notifier: Notifier::from_environment(),
        };
        match agent.run().await? {
            Ending::Left => Ok(()),
            Ending::Down(failed) => fail_if_any(&failed),
        }
    })
}

/// What is lost with the record.
const UNRECORDED: &str = "a datapath of an earlier run is up, but how things were found is not on record (the run directory was emptied): `down` will leave the modem's address, its being up and its sysctls as they are now";

/// Fails with everything that could not be taken down.
pub(super) fn fail_if_any(failed: &[Failure]) -> anyhow::Result<()> {
    if failed.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = failed
        .iter()
        .map(|failure| format!("could not {}: {}", failure.step, failure.why))
        .collect();
    bail!("{}", lines.join("\n"))
}
