//! `plan`: what would be done?

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{Common, block_on, machine};
use crate::backend::select;
use crate::config::{Config, Endpoint};
use crate::kernel::Kernel;
use crate::reconcile::{Inputs, View};
use crate::state::{Before, Memory, free_port};

/// Print what the agent would do now, and change nothing
///
/// Where all is in place, it says so.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo lte-userspace plan --json | jq '.steps[]'")]
pub(super) struct Plan {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Plan {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<()> {
        let config = Config::load(&common.config)?;
        machine::require_net_admin()?;
        machine::require_wireguard()?;
        let mut backends = vec![machine::backend(&config, common.backend)?];
        let kind = backends[0].kind();
        backends.extend(select::others(Some(kind)));
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
                config: &config,
                record: &before.record,
                listen_port,
                resolved: &resolved,
                resting: BTreeSet::new(),
            };
            Ok(View::new(&Kernel::open()?, &mut backends, inputs).await?)
        })?;
        if view.facts.modem.is_none() {
            notes.push(format!(
                "modem {}: there is no such interface now; what needs it is done when it is there",
                config.modem.identity
            ));
        }
        notes.extend(view.warnings.iter().cloned());
        let steps: Vec<String> = view.plan.steps.iter().map(ToString::to_string).collect();
        if self.json {
            let blocked = &view.plan.blocked;
            println!(
                "{:#}",
                json!({ "steps": steps, "blocked": blocked, "notes": notes })
            );
            return Ok(());
        }
        for step in &steps {
            println!("{step}");
        }
        for line in &view.plan.blocked {
            println!("blocked: {line}");
        }
        for note in &notes {
            println!("note: {note}");
        }
        if steps.is_empty() && view.plan.blocked.is_empty() {
            println!("nothing is to be done");
        }
        Ok(())
    }
}
