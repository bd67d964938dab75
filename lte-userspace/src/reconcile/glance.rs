//! A short look at what changes without the kernel's telling anybody: WireGuard's settings,
//! sysctls, links that hold programs. It is taken twice a second and compares a few values; that
//! something differs is all that it finds out.

use std::collections::BTreeMap;

use super::view::ViewError;
use crate::backend::Backend;
use crate::desired::Object;
use crate::kernel::{sysctl, wireguard};

/// Whether what was wanted at the last look, and there, is still there.
pub(super) fn as_wanted(
    want: &[Object],
    keeper: Option<&mut Box<dyn Backend>>,
) -> Result<bool, ViewError> {
    let mut devices = BTreeMap::new();
    for object in want {
        let there = match object {
            Object::Sysctl(want) => {
                sysctl::read(&want.interface, want.key)?.is_some_and(|value| value == want.value)
            }
            Object::Device(want) => {
                let found = wireguard::read(&want.interface)?;
                let there = found.is(want);
                devices.insert(want.interface.as_str(), found);
                there
            }
            Object::Peer(want) => devices
                .get(want.interface.as_str())
                .is_some_and(|device| device.has(want)),
            _ => true,
        };
        if !there {
            return Ok(false);
        }
    }
    let strangers = devices.values().any(|device| {
        device.peers.keys().any(|key| {
            !want
                .iter()
                .any(|object| matches!(object, Object::Peer(peer) if peer.public_key == *key))
        })
    });
    if strangers {
        return Ok(false);
    }
    let guard = want.iter().find_map(|object| match object {
        Object::Guard(guard) => Some(guard),
        _ => None,
    });
    Ok(match (guard, keeper) {
        (Some(guard), Some(keeper)) => keeper.observe(guard)?.is_empty(),
        _ => true,
    })
}
