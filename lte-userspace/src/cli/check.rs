//! `check`: is the config right?

use clap::Args;

use super::{Common, block_on};
use crate::config::Config;
use crate::kernel::Kernel;
use crate::reconcile::modem;

/// Check the config, and change nothing
///
/// Every mistake is named with file, line and column, and what would be right. A modem that is not
/// plugged in is only mentioned.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lte-userspace check --config ./config.toml")]
pub(super) struct Check {}

impl Check {
    pub(super) fn run(common: &Common) -> anyhow::Result<()> {
        let config = Config::load(&common.config)?;
        let plugged_in = block_on(async {
            let links = Kernel::open()?.links().await?;
            Ok(modem(&links, &config.modem.identity).is_some())
        })?;
        if !plugged_in {
            log::warn!(
                "modem {}: there is no such interface now",
                config.modem.identity
            );
        }
        println!("{}: configuration valid", common.config.display());
        Ok(())
    }
}
