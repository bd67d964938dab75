//! Interfaces stacked on the modem: a VLAN, a macvlan, an ipvlan. Each would bypass the tunnel. They belong
//! to third parties: they are reported, and stay.

use crate::kernel::link::ObservedLink;

/// Kinds that put their packets into packets of this machine's: these are judged as any other.
const TUNNELS: [&str; 14] = [
    "ipip",
    "sit",
    "gre",
    "gretap",
    "erspan",
    "ip6tnl",
    "ip6gre",
    "ip6gretap",
    "ip6erspan",
    "vti",
    "vti6",
    "vxlan",
    "geneve",
    "xfrm",
];

/// One line for each that stands on the interface of an index.
pub fn stacked_on(links: &[ObservedLink], modem: u32) -> Vec<String> {
    let Some(modem) = links.iter().find(|link| link.index == modem) else {
        return Vec::new();
    };
    let upper = |link: &&ObservedLink| {
        let tunnel = link
            .kind
            .as_deref()
            .is_some_and(|kind| TUNNELS.contains(&kind));
        link.lower == Some(modem.index) && !tunnel
    };
    let line = |link: &ObservedLink| {
        let kind = link.kind.as_deref().unwrap_or("of no known kind");
        format!(
            "{0} ({kind}) is stacked on the modem {1}: nothing passes it; remove it (ip link del {0}), or put it on another interface",
            link.name, modem.name
        )
    };
    links.iter().filter(upper).map(line).collect()
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};

    use super::*;

    fn link(index: u32, kind: Option<InfoKind>, lower: u32) -> ObservedLink {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let infos = kind.map(|kind| LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
        message.attributes.extend(infos);
        message
            .attributes
            .push(LinkAttribute::IfName(format!("if{index}")));
        message.attributes.push(LinkAttribute::Link(lower));
        ObservedLink::from_message(message)
    }

    #[test]
    fn what_bypasses_the_tunnel_is_reported_and_nothing_else() {
        let links = [
            link(3, None, 0),
            link(4, Some(InfoKind::MacVlan), 3),
            link(5, Some(InfoKind::Vlan), 3),
            link(6, Some(InfoKind::IpVlan), 3),
            link(7, Some(InfoKind::IpIp), 3),
            // The number of its other end, wherever that is.
            link(8, Some(InfoKind::Veth), 3),
            link(9, Some(InfoKind::MacVlan), 2),
        ];
        let said = stacked_on(&links, 3);
        assert_eq!(said.len(), 3, "{said:#?}");
        assert!(said[0].starts_with("if4 (macvlan) is stacked on the modem if3"));
        assert!(stacked_on(&links, 1).is_empty());
    }
}
