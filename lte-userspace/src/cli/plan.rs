//! `plan`: what would be done?

use clap::Args;
use serde_json::json;

use super::{Common, look, machine};
use crate::backend::select;
use crate::config::Config;

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
        let mut backends = vec![machine::backend(
            &config,
            common.backend,
            select::Purpose::Look,
        )?];
        let kind = backends[0].kind();
        backends.extend(select::others(Some(kind)));
        let look::Look { view, mut notes } = look::look(&config, common, &mut backends)?;
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
