//! The config read anew, and another backend where the one that was taken turns out not to do.

use std::time::Duration;

use super::agent::Agent;
use super::port;
use crate::apart;
use crate::backend::Kind;
use crate::backend::select::{self, Purpose, Selected};
use crate::config::{BackendChoice, Config};

/// How long it may take to find out what this machine can run.
const DEADLINE: Duration = Duration::from_mins(1);

impl Agent {
    /// Reads the config again. An invalid one is refused and the old one stays.
    pub(super) async fn reload(&mut self) -> bool {
        self.notifier.send("RELOADING=1");
        let result = self.try_reload().await;
        match &result {
            Ok(()) => log::info!("the config was read again"),
            Err(error) => {
                log::error!("the new config is refused, the old one stays: {error:#}");
            }
        }
        self.notifier.send("READY=1");
        result.is_ok()
    }

    async fn try_reload(&mut self) -> anyhow::Result<()> {
        let config = Config::load(&self.path)?;
        let selected = selected(self.backend.unwrap_or(config.backend)).await?;
        let kind = selected.backend.kind();
        match config.tunnel.listen_port {
            Some(port) => self.converger.listen_port = port,
            // The one that the tunnel has goes on.
            None => port::keep(&self.memory, self.converger.listen_port)?,
        }
        // What another one keeps until now goes when this one's guard is in place.
        if self.converger.kind() != kind {
            self.converger.exchange(selected.backend);
        }
        self.converger.look_for_other_guards = true;
        self.converger.renew_patience();
        self.config = config;
        self.recall();
        self.converger.endpoints.believe();
        Ok(())
    }

    /// Takes nftables where eBPF was not asked for by name and has turned out not to do. Says whether it
    /// has.
    pub(super) async fn fall_back(&mut self) -> bool {
        let choice = self.backend.unwrap_or(self.config.backend);
        if choice != BackendChoice::Auto || self.converger.kind() == Kind::Nft {
            return false;
        }
        let Some(why) = self.converger.backends.unfit().await else {
            return false;
        };
        match selected(BackendChoice::Nft).await {
            Ok(selected) => {
                log::info!("backend nft, since ebpf cannot run here: {why}");
                // What eBPF keeps until now goes when the other guard is in place.
                self.converger.exchange(selected.backend);
                true
            }
            Err(error) => {
                log::warn!("nor can backend nft keep the guard: {error}");
                false
            }
        }
    }
}

async fn selected(choice: BackendChoice) -> anyhow::Result<Selected> {
    let select = move || select::select(choice, Purpose::Guard);
    Ok(apart::once(DEADLINE, select).await??)
}
