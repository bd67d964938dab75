//! The poll of what changes without an event: WireGuard's settings, sysctls, links that hold
//! programs. It runs twice a second and compares a few values; it only finds that something differs.

use std::time::{Instant, SystemTime};

use super::comparison::SnapshotError;
use super::handshakes::BootTime;
use super::reconciler::Reconciler;
use crate::backend::{Guard, error_chain};
use crate::config::Config;
use crate::desired::Object;
use crate::kernel::wireguard::ObservedDevice;
use crate::kernel::{KernelError, KernelOperations};

impl<K: KernelOperations> Reconciler<K> {
    /// Polls what changes without an event. Returns whether a full comparison is due.
    pub async fn poll(&mut self, config: &Config) -> bool {
        let changed = self.poll_values(config).await;
        changed.unwrap_or_else(|error| {
            log::debug!("{}", error_chain(&error));
            self.converged
        })
    }

    async fn poll_values(&mut self, config: &Config) -> Result<bool, SnapshotError> {
        let device = self.kernel.wireguard(&config.tunnel.interface).await?;
        let (now, moment) = (Instant::now(), BootTime::now());
        let (tunnel, handshakes) = (&config.tunnel, &mut self.handshakes);
        handshakes.update(&device, moment, SystemTime::now());
        self.endpoints.update(&tunnel.peers, handshakes, moment);
        let changed = self
            .handshake_backoff
            .update(tunnel, handshakes, (now, moment));
        // While there is drift, a full comparison is due anyway.
        if changed || !self.converged {
            return Ok(changed);
        }
        let (matches_desired, guard) = matches_desired(&self.kernel, &self.wanted, &device)?;
        let (true, Some(guard)) = (matches_desired, guard.cloned()) else {
            return Ok(!matches_desired);
        };
        let active = self.backends.clone();
        let differences = self
            .with_fast_path(config, active.differences(guard))
            .await?;
        Ok(!differences.is_empty())
    }

    /// Reads the handshakes, so that a later one is known to be later than now.
    pub(super) async fn read_handshakes(&mut self, config: &Config) {
        match self.kernel.wireguard(&config.tunnel.interface).await {
            Ok(device) => {
                let clock = SystemTime::now();
                self.handshakes.update(&device, BootTime::now(), clock);
            }
            Err(error) => log::debug!("{}", error_chain(&error)),
        }
    }
}

/// Whether the desired objects are still there; the guard, which is not compared here, is returned.
fn matches_desired<'a>(
    kernel: &impl KernelOperations,
    want: &'a [Object],
    device: &ObservedDevice,
) -> Result<(bool, Option<&'a Guard>), KernelError> {
    let mut guard = None;
    for object in want {
        let there = match object {
            Object::Sysctl(want) => {
                let value = kernel.read_sysctl(&want.interface, want.key)?;
                value.is_some_and(|value| value == want.value)
            }
            Object::WireguardDevice(want) => device.matches(want),
            Object::Peer(want) => device.peer_matches(want),
            Object::Guard(want) => {
                guard = Some(want);
                true
            }
            _ => true,
        };
        if !there {
            return Ok((false, guard));
        }
    }
    let wanted = |key| {
        want.iter()
            .any(|object| matches!(object, Object::Peer(peer) if peer.public_key == key))
    };
    Ok((device.peers.keys().all(|key| wanted(*key)), guard))
}
