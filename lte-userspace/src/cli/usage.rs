//! `usage`: how much has the SIM carried?

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::{Common, requirements};
use crate::backend::{error_chain, select};
use crate::config::{Budget, Config, parse_size};
use crate::usage::{Circumstances, Ledger, Report, Saved, Store, Writer, read_counters};

/// Print how much the SIM has carried, and how long it will last
///
/// In IP bytes, as a carrier bills them: all that came in by the modem, and what was let out. It works
/// without the agent, and without a [budget] in the config.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  sudo lte-userspace usage\n  sudo lte-userspace usage set 512MB"
)]
pub(super) struct Usage {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<UsageCommand>,
}

#[derive(Debug, Subcommand)]
enum UsageCommand {
    Set(Set),
}

/// Take over what the carrier says was spent
///
/// Counting goes on from there.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo lte-userspace usage set 512MB")]
struct Set {
    /// What was spent: 512MB, 1.2GB
    #[arg(value_parser = parse_size)]
    size: u64,
}

impl Usage {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<()> {
        requirements::require_net_admin()?;
        let budget = budget(common);
        match &self.command {
            None => self.print(common, budget),
            Some(UsageCommand::Set(set)) => set.run(common, budget),
        }
    }

    fn print(&self, common: &Common, budget: Option<Budget>) -> anyhow::Result<()> {
        let mut ledger = Store::new(&common.dirs.state).load();
        let at = here(budget)?;
        bring_up_to_date(&mut ledger, &at);
        let report = Report::new(&ledger, at.budget.as_ref(), &at.clock);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{report}");
        }
        Ok(())
    }
}

impl Set {
    fn run(&self, common: &Common, budget: Option<Budget>) -> anyhow::Result<()> {
        common.dirs.create()?;
        let locked = Store::new(&common.dirs.state).lock()?;
        let at = here(budget)?;
        let now = at.clock.now;
        let (event, saved) = locked
            .update(Writer::Owner, now, |ledger| {
                bring_up_to_date(ledger, &at);
                ledger.set_spent(self.size, now)
            })
            .context("usage set")?;
        debug_assert_ne!(saved, Saved::Later, "a person is not refused");
        println!("{event}");
        Ok(())
    }
}

/// The config's budget. Without a valid config there is none, and what was carried can be shown.
pub(super) fn budget(common: &Common) -> Option<Budget> {
    match Config::load(&common.config) {
        Ok(config) => config.budget,
        Err(error) => {
            log::warn!("no budget is known, since the config is not valid: {error}");
            None
        }
    }
}

fn here(budget: Option<Budget>) -> anyhow::Result<Circumstances> {
    let here = Circumstances::here(budget);
    here.context("finding out which boot and network namespace this is")
}

/// Adds what the kernel has counted since the ledger was written.
fn bring_up_to_date(ledger: &mut Ledger, at: &Circumstances) {
    let first = ledger.counted_by(at.netns);
    let (readings, errors) = read_counters(&mut select::all().iter_mut(), first);
    for error in errors {
        log::warn!("{}", error_chain(&error));
    }
    let events = ledger.update(&readings, at);
    for event in events {
        log::info!("{event}");
    }
}
