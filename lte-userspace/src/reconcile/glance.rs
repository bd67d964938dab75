//! A short look at what changes without the kernel's telling anybody: WireGuard's settings,
//! sysctls, links that hold programs. It is taken twice a second and compares a few values; that
//! something differs is all that it finds out.

use super::view::ViewError;
use crate::backend::Backend;
use crate::desired::Object;
use crate::kernel::sysctl;
use crate::kernel::wireguard::Found;

/// Whether what was wanted at the last look, and there, is still there.
pub(super) fn as_wanted(
    want: &[Object],
    device: &Found,
    keeper: Option<&mut Box<dyn Backend>>,
) -> Result<bool, ViewError> {
    for object in want {
        let there = match object {
            Object::Sysctl(want) => {
                sysctl::read(&want.interface, want.key)?.is_some_and(|value| value == want.value)
            }
            Object::Device(want) => device.is(want),
            Object::Peer(want) => device.has(want),
            _ => true,
        };
        if !there {
            return Ok(false);
        }
    }
    let wanted = |key| {
        want.iter()
            .any(|object| matches!(object, Object::Peer(peer) if peer.public_key == key))
    };
    if !device.peers.keys().all(|key| wanted(*key)) {
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
