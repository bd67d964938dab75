//! What the machine must offer, asked before anything is touched.

use std::fs;

use anyhow::{Context as _, anyhow, bail};

use crate::backend::Backend;
use crate::backend::select::{Purpose, select};
use crate::config::{BackendChoice, Config};
use crate::kernel::generic_netlink;
use crate::reconcile::Snapshot;

/// `CAP_NET_ADMIN`'s number (linux/capability.h).
const CAP_NET_ADMIN: u32 = 12;

/// Fails where the kernel would refuse everything.
pub(super) fn require_net_admin() -> anyhow::Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or(0);
    if effective & (1 << CAP_NET_ADMIN) == 0 {
        bail!("this needs root (CAP_NET_ADMIN): run it with sudo");
    }
    Ok(())
}

/// Fails where the kernel has no WireGuard.
pub(super) fn require_wireguard() -> anyhow::Result<()> {
    generic_netlink::wireguard_family().map(drop).map_err(|error| {
        anyhow!("this kernel has no WireGuard ({error}): load the module (modprobe wireguard) or run a kernel that has it")
    })
}

/// The backend that is to keep the guard.
pub(super) fn backend(
    config: &Config,
    asked: Option<BackendChoice>,
    purpose: Purpose,
) -> anyhow::Result<Box<dyn Backend>> {
    let selected = select(asked.unwrap_or(config.backend), purpose)?;
    if let Some(why) = selected.why_not_ebpf {
        log::info!("backend nft, since ebpf cannot run here: {why}");
    }
    let mut backend = selected.backend;
    for line in backend.unguarded()? {
        log::warn!("backend {}: {line}", backend.kind());
    }
    Ok(backend)
}

/// Fails where the modem is not plugged in.
pub(super) fn require_modem(snapshot: &Snapshot, config: &Config) -> anyhow::Result<()> {
    if snapshot.modem(config).is_none() {
        bail!(
            "modem {}: there is no such interface: plug it in, correct [modem] in the config, or wait for it with --wait",
            config.modem.identity
        );
    }
    Ok(())
}
