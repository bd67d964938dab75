//! Which interface is the modem.

use crate::config::ModemIdentity;
use crate::kernel::link::ObservedLink;

/// Kinds that take their hardware address from an interface below them, or from a port of theirs: one
/// on the modem has the modem's.
const COPIES_MAC: [&str; 16] = [
    "bridge",
    "bond",
    "team",
    "vlan",
    "macvlan",
    "macvtap",
    "ipvlan",
    "ipvtap",
    "macsec",
    "vrf",
    "hsr",
    "batadv",
    "dsa",
    "openvswitch",
    "vxlan",
    "virt_wifi",
];

/// The modem among the interfaces.
pub fn modem<'a>(links: &'a [ObservedLink], identity: &ModemIdentity) -> Option<&'a ObservedLink> {
    match identity {
        ModemIdentity::Interface(name) => links.iter().find(|link| link.name == *name),
        ModemIdentity::Mac(mac) => {
            let mut own = links.iter().filter(|link| !copies_mac(link));
            own.clone()
                .find(|link| link.permanent_mac.as_deref() == Some(mac))
                .or_else(|| own.find(|link| has_assigned_mac(link, mac)))
        }
    }
}

pub(super) fn copies_mac(link: &ObservedLink) -> bool {
    link.kind
        .as_deref()
        .is_some_and(|kind| COPIES_MAC.contains(&kind))
}

/// Whether an interface has been given an address, by its owner or by a driver that names none as built in.
/// A bond gives one port's address to all the others.
fn has_assigned_mac(link: &ObservedLink, mac: &[u8]) -> bool {
    let from_a_master = link.master.is_some() && link.permanent_mac.is_some();
    link.mac.as_deref() == Some(mac) && !from_a_master
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::{
        InfoKind, LinkAttribute as Attribute, LinkInfo, LinkMessage,
    };

    use super::*;

    const MAC: [u8; 6] = [0x34, 0x4b, 0x50, 0, 0, 0];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn link(index: u32, kind: Option<InfoKind>, more: Vec<Attribute>) -> ObservedLink {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let kind = kind.map(|kind| Attribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
        message.attributes.extend(kind);
        message.attributes.extend(more);
        ObservedLink::from_message(message)
    }

    fn found(links: &[ObservedLink]) -> Option<u32> {
        modem(links, &ModemIdentity::Mac(MAC)).map(|link| link.index)
    }

    fn set(mac: [u8; 6]) -> Attribute {
        Attribute::Address(mac.into())
    }

    fn built_in(mac: [u8; 6]) -> Attribute {
        Attribute::PermAddress(mac.into())
    }

    #[test]
    fn what_has_its_address_from_the_modem_is_not_the_modem() {
        for kind in [
            InfoKind::Bridge,
            InfoKind::Bond,
            InfoKind::Team,
            InfoKind::Vlan,
            InfoKind::MacVlan,
            InfoKind::MacVtap,
            InfoKind::IpVlan,
            InfoKind::MacSec,
            InfoKind::Other("openvswitch".to_owned()),
        ] {
            let words = kind.to_string();
            let upper = link(2, Some(kind), vec![set(MAC)]);
            let port = link(7, None, vec![set(MAC), Attribute::Controller(2)]);
            assert_eq!(found(&[upper.clone(), port]), Some(7), "{words}");
            assert_eq!(found(&[upper]), None, "{words} alone");
        }
    }

    #[test]
    fn devices_and_the_kinds_of_a_lab_are() {
        for kind in [
            None,
            Some(InfoKind::Veth),
            Some(InfoKind::Dummy),
            Some(InfoKind::Tun),
            Some(InfoKind::Wwan),
        ] {
            assert_eq!(found(&[link(3, kind, vec![set(MAC)])]), Some(3));
        }
    }

    #[test]
    fn what_is_built_in_goes_before_what_is_set() {
        let with_another = link(2, None, vec![set(MAC), built_in(OTHER)]);
        let modem = link(7, None, vec![set(OTHER), built_in(MAC)]);
        assert_eq!(found(&[with_another.clone(), modem]), Some(7));
        assert_eq!(found(&[with_another]), Some(2), "its owner's choice");
    }

    #[test]
    fn the_other_port_of_a_bond_has_the_modems_address_from_it() {
        let port = Attribute::Controller(9);
        let other = link(2, None, vec![set(MAC), built_in(OTHER), port.clone()]);
        assert_eq!(found(&[other]), None);
        let modem = link(7, None, vec![set(MAC), port]);
        assert_eq!(found(&[modem]), Some(7));
    }
}
