//! What a step needs: without the guard nothing is opened, and without the WireGuard interface nothing is
//! set on it.

use super::{Action, ObjectId, Removal};
use crate::desired::Object;

/// The objects that an action needs. `tunnel` is the wanted WireGuard interface.
pub(super) fn needs(action: &Action, tunnel: Option<&str>) -> Vec<ObjectId> {
    let mut needs = Vec::new();
    if opens(action) {
        needs.push(ObjectId::Guard);
    }
    if let Action::Set(object) = action
        && let Some(tunnel) = tunnel
        && object.interface() == Some(tunnel)
        && !matches!(object, Object::Link(_))
    {
        needs.push(ObjectId::Link(tunnel.to_owned()));
        if !matches!(object, Object::WireguardDevice(_)) {
            // Without its port the tunnel would come up on one that the guard does not know.
            needs.push(ObjectId::WireguardDevice(tunnel.to_owned()));
        }
    }
    needs
}

/// Whether an action can let a packet pass that did not pass before.
const fn opens(action: &Action) -> bool {
    match action {
        Action::Set(object) | Action::Restore(object) => match object {
            Object::Rule(_) | Object::Address(_) | Object::Route(_) => true,
            Object::LinkState(state) => state.up,
            Object::Guard(_)
            | Object::Backstop(_)
            | Object::Master(_)
            | Object::Sysctl(_)
            | Object::Offload(_)
            | Object::Link(_)
            | Object::WireguardDevice(_)
            | Object::Peer(_) => false,
        },
        // While the active backend has no guard, the stale one stays.
        Action::Remove(removal) => matches!(removal, Removal::Guard(_)),
    }
}
