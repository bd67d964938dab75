//! The config read anew, and another backend where the one that was taken turns out not to do.

use std::time::Duration;

use super::agent::Agent;
use super::port;
use crate::backend::BackendKind;
use crate::backend::select::{self, Purpose, Selected};
use crate::blocking;
use crate::config::{BackendChoice, Config};

/// How long it may take to find out what this machine can run.
const DEADLINE: Duration = Duration::from_mins(1);

impl Agent {
    /// Reads the config again. An invalid one is refused and the old one stays.
    pub(super) async fn reload(&mut self) -> bool {
        self.notifier.send("RELOADING=1");
        let result = self.try_reload().await;
        match &result {
            Ok(()) => log::info!("configuration reloaded"),
            Err(error) => {
                log::error!("new configuration refused, the old one stays in use: {error:#}");
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
            Some(port) => self.reconciler.listen_port = port,
            // The one that the tunnel has goes on.
            None => port::save(&self.persistent, self.reconciler.listen_port)?,
        }
        // What another one keeps until now goes when this one's guard is in place.
        if self.reconciler.kind() != kind {
            self.reconciler.replace_backend(selected.backend);
        }
        self.reconciler.check_stale_guards = true;
        self.reconciler.reset_backoff();
        self.reconciler.backends.set_budget(config.budget);
        self.config = config;
        self.load_endpoints();
        self.reconciler.endpoints.trust_next_answer();
        Ok(())
    }

    /// Takes nftables where eBPF was not asked for by name and has turned out not to do. Says whether it
    /// has.
    pub(super) async fn fall_back(&mut self) -> bool {
        let choice = self.backend.unwrap_or(self.config.backend);
        if choice != BackendChoice::Auto || self.reconciler.kind() == BackendKind::Nft {
            return false;
        }
        let Some(why) = self.reconciler.backends.load_failure().await else {
            return false;
        };
        match selected(BackendChoice::Nft).await {
            Ok(selected) => {
                log::info!("backend nft, since ebpf cannot run here: {why}");
                // What eBPF keeps until now goes when the other guard is in place.
                self.reconciler.replace_backend(selected.backend);
                true
            }
            Err(error) => {
                log::warn!("backend nft cannot run either: {error}");
                false
            }
        }
    }
}

async fn selected(choice: BackendChoice) -> anyhow::Result<Selected> {
    let select = move || select::select(choice, Purpose::Guard);
    Ok(blocking::call_once(DEADLINE, select).await??)
}
