//! No command: the agent.

use std::collections::BTreeSet;

use anyhow::bail;

use super::{Common, block_on, machine};
use crate::backend::select::Purpose;
use crate::config::Config;
use crate::kernel::Kernel;
use crate::kernel::link::Found;
use crate::notify::Notifier;
use crate::reconcile::{Agent, Converger, Ending, Failure, Observed, settled_port};
use crate::state::{Before, Lock, Memory};

pub(super) fn run(common: Common, wait: bool) -> anyhow::Result<()> {
    log::debug!("started");
    let config = Config::load(&common.config)?;
    machine::require_net_admin()?;
    machine::require_wireguard()?;
    let backend = machine::backend(&config, common.backend, Purpose::Guard)?;
    log::debug!("backend {}", backend.kind());
    block_on(async move {
        let kernel = Kernel::open()?;
        let tunnel = &config.tunnel.interface;
        let observed = Observed::look(&kernel, Some(tunnel), |_| BTreeSet::new()).await?;
        if !wait {
            machine::require_modem(&observed, &config)?;
        }
        let before = Before::load(&common.dirs.run)?;
        if let Some(why) = observed.in_the_way(tunnel, &before.record) {
            bail!(why);
        }
        let ours = observed.links.iter().any(Found::is_our_tunnel) || !observed.rules.is_empty();
        if ours && before.is_empty() {
            log::warn!("{UNRECORDED}");
        }
        common.dirs.create()?;
        let lock = Lock::take(&common.dirs.run)?;
        let memory = Memory::new(&common.dirs.state);
        memory.set_aside_what_is_bad();
        let listen_port = settled_port(&observed, &config, &memory)?;
        let agent = Agent {
            converger: Converger::new(kernel, backend, before, listen_port),
            config,
            path: common.config,
            backend: common.backend,
            memory,
            lock,
            notifier: Notifier::from_environment(),
        };
        match agent.run().await? {
            Ending::Left => Ok(()),
            Ending::Down(failed) => all_done(&failed),
        }
    })
}

/// What is lost with the record.
const UNRECORDED: &str = "a datapath of an earlier run is up, but how things were found is not on record (the run directory was emptied): `down` will leave the modem's address, its being up and its sysctls as they are now";

/// Fails with everything that could not be taken down.
pub(super) fn all_done(failed: &[Failure]) -> anyhow::Result<()> {
    if failed.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = failed
        .iter()
        .map(|failure| format!("could not {}: {}", failure.step, failure.why))
        .collect();
    bail!("{}", lines.join("\n"))
}
