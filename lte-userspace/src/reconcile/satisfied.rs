//! Whether an object is as it is to be.

use super::snapshot::Snapshot;
use crate::desired::Object;
use crate::kernel::qdisc::RootQdisc;

/// Whether it is as it is to be.
pub(super) fn is_satisfied(object: &Object, have: &Snapshot) -> bool {
    match object {
        Object::Guard(_) => false,
        Object::Sysctl(want) => have
            .sysctl(&want.interface, want.key)
            .is_some_and(|value| *value == want.value),
        Object::Offload(want) => have.offload(&want.interface, want.key) == Some(want.value),
        Object::Backstop(want) => have.root(&want.interface).is_some_and(
            |root| matches!(root, RootQdisc::Backstop(Some(found)) if found.matches(want)),
        ),
        Object::Master(want) => have.link(&want.interface).is_some_and(|link| {
            link.master
                == want
                    .master
                    .as_deref()
                    .and_then(|name| Some(have.link(name)?.index))
        }),
        Object::Link(want) => have
            .link(&want.name)
            .is_some_and(|link| link.is_our_tunnel() && link.mtu == want.mtu),
        Object::WireguardDevice(want) => have
            .device
            .as_ref()
            .is_some_and(|device| device.matches(want)),
        Object::Peer(want) => have
            .device
            .as_ref()
            .is_some_and(|device| device.peer_matches(want)),
        Object::Address(want) => have.link(&want.interface).is_some_and(|link| {
            have.addresses
                .iter()
                .any(|found| found.index == link.index && found.cidr == want.cidr)
        }),
        Object::LinkState(want) => have
            .link(&want.interface)
            .is_some_and(|link| link.up == want.up),
        Object::Route(want) => have
            .routes
            .ours
            .iter()
            .any(|found| found.route.as_ref() == Some(want)),
        Object::Rule(want) => have
            .rules
            .iter()
            .any(|found| found.rule.as_ref() == Some(want)),
    }
}
