//! A short look at what changes without the kernel's telling anybody: WireGuard's settings,
//! sysctls, links that hold programs. It is taken twice a second and compares a few values; that
//! something differs is all that it finds out.

use std::time::{Instant, SystemTime};

use super::converge::Converger;
use super::hearing::Moment;
use super::view::ViewError;
use crate::backend::{Guard, chain};
use crate::config::Config;
use crate::desired::Object;
use crate::kernel::wireguard::Found;
use crate::kernel::{KernelError, sysctl};

impl Converger {
    /// A short look at what changes without anybody's being told. Returns whether a longer one is
    /// due.
    pub async fn glance(&mut self, config: &Config) -> bool {
        let changed = self.look_briefly(config).await;
        changed.unwrap_or_else(|error| {
            log::debug!("{}", chain(&error));
            self.settled
        })
    }

    async fn look_briefly(&mut self, config: &Config) -> Result<bool, ViewError> {
        let device = self.kernel.wireguard(&config.tunnel.interface).await?;
        let (now, moment) = (Instant::now(), Moment::now());
        let (tunnel, hearing) = (&config.tunnel, &mut self.hearing);
        hearing.look(&device, moment, SystemTime::now());
        self.endpoints.look(&tunnel.peers, hearing, moment);
        let changed = self.patience.consider(tunnel, hearing, (now, moment));
        // While not all is in place, a longer look is due anyway.
        if changed || !self.settled {
            return Ok(changed);
        }
        let (as_wanted, guard) = as_wanted(&self.wanted, &device)?;
        let (true, Some(guard)) = (as_wanted, guard.cloned()) else {
            return Ok(!as_wanted);
        };
        let active = self.backends.clone();
        let differences = self.meanwhile(config, active.differences(guard)).await?;
        Ok(!differences.is_empty())
    }

    /// Looks whether the peers were heard, so that what is heard next was heard later than now.
    pub(super) async fn hear_peers(&mut self, config: &Config) {
        match self.kernel.wireguard(&config.tunnel.interface).await {
            Ok(device) => {
                let clock = SystemTime::now();
                self.hearing.look(&device, Moment::now(), clock);
            }
            Err(error) => log::debug!("{}", chain(&error)),
        }
    }
}

/// Whether what was wanted at the last look, and there, is still there; the guard, which is not looked at,
/// is returned.
fn as_wanted<'a>(
    want: &'a [Object],
    device: &Found,
) -> Result<(bool, Option<&'a Guard>), KernelError> {
    let mut guard = None;
    for object in want {
        let there = match object {
            Object::Sysctl(want) => {
                sysctl::read(&want.interface, want.key)?.is_some_and(|value| value == want.value)
            }
            Object::Device(want) => device.is(want),
            Object::Peer(want) => device.has(want),
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
