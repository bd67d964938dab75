//! How an interface's packets start, and whether it is a way out at all: by its type, as the
//! kernel's traffic control sees them (`skb->data` at egress).

use rtnetlink::packet_route::link::{
    InfoData, InfoGre, InfoGre6, InfoKind, LinkAttribute, LinkInfo, LinkLayerType as Layer,
    LinkMessage,
};

use crate::backend::LinkHeader;

/// How its frames start; `None`: in a way that is not known here.
pub(super) fn header(message: &LinkMessage) -> Option<LinkHeader> {
    match message.header.link_layer_type {
        Layer::Ether => Some(LinkHeader::Ethernet),
        // A tunnel to many ends has the outer header written before traffic control
        // (`ipgre_header`), one to a single end after it.
        Layer::Ipgre | Layer::Ip6gre => has_fixed_remote(message).then_some(LinkHeader::None),
        Layer::None
        | Layer::Rawip
        | Layer::Ppp
        | Layer::Slip
        | Layer::Cslip
        | Layer::Slip6
        | Layer::Cslip6
        | Layer::Tunnel
        | Layer::Tunnel6
        | Layer::Sit
        | Layer::Pimreg
        | Layer::Caif
        | Layer::Sixlowpan => Some(LinkHeader::None),
        _ => None,
    }
}

/// Whether a GRE device has its other end in its settings, or gets it with each packet
/// (`collect_md`).
fn has_fixed_remote(message: &LinkMessage) -> bool {
    infos(message).any(|info| match info {
        LinkInfo::Data(InfoData::GreTun(data)) => data.iter().any(|info| match info {
            InfoGre::Remote(address) => !address.is_unspecified() && !address.is_multicast(),
            info => *info == InfoGre::CollectMetadata,
        }),
        LinkInfo::Data(InfoData::GreTun6(data)) => data.iter().any(|info| match info {
            InfoGre6::Remote(address) => !address.is_unspecified(),
            info => *info == InfoGre6::CollectMetadata,
        }),
        _ => false,
    })
}

/// Whether an IP packet that is routed to it leaves this machine or this namespace.
pub(super) fn can_send_ip(message: &LinkMessage) -> bool {
    // What an `ifb` is handed goes on where it came from, past that interface's programs, and it takes
    // nothing else.
    let hands_back = infos(message).any(|info| *info == LinkInfo::Kind(InfoKind::Ifb));
    !hands_back
        && !matches!(
            message.header.link_layer_type,
            Layer::Loopback
                | Layer::Can
                | Layer::Mctp
                | Layer::Ieee80211
                | Layer::Ieee80211Prism
                | Layer::Ieee80211Radiotap
                | Layer::Ieee802154
                | Layer::Ieee802154Monitor
                | Layer::Phonet
                | Layer::PhonetPipe
                | Layer::Netlink
                | Layer::Vsockmon
        )
}

fn infos(message: &LinkMessage) -> impl Iterator<Item = &LinkInfo> {
    message
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos),
            _ => None,
        })
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn link(layer: Layer, infos: Vec<LinkInfo>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.link_layer_type = layer;
        message.attributes.push(LinkAttribute::LinkInfo(infos));
        message
    }

    #[test]
    fn tunnels_are_not_ethernet() {
        for layer in [Layer::None, Layer::Tunnel, Layer::Tunnel6, Layer::Sit] {
            assert_eq!(header(&link(layer, Vec::new())), Some(LinkHeader::None));
        }
        let ether = link(Layer::Ether, Vec::new());
        assert_eq!(header(&ether), Some(LinkHeader::Ethernet));
        assert_eq!(header(&link(Layer::Infiniband, Vec::new())), None);
    }

    #[test]
    fn a_gre_tunnel_to_many_ends_starts_with_its_outer_header() {
        let gre = |remote| {
            let data = InfoData::GreTun(vec![InfoGre::Remote(remote)]);
            header(&link(Layer::Ipgre, vec![LinkInfo::Data(data)]))
        };
        assert_eq!(gre(Ipv4Addr::new(192, 0, 2, 1)), Some(LinkHeader::None));
        assert_eq!(gre(Ipv4Addr::UNSPECIFIED), None);
        assert_eq!(gre(Ipv4Addr::new(224, 0, 0, 9)), None);
        let by_packet = InfoData::GreTun(vec![InfoGre::CollectMetadata]);
        let by_packet = link(Layer::Ipgre, vec![LinkInfo::Data(by_packet)]);
        assert_eq!(header(&by_packet), Some(LinkHeader::None));
    }

    #[test]
    fn what_carries_no_ip_is_no_way_out() {
        assert!(!can_send_ip(&link(Layer::Can, Vec::new())));
        let ifb = vec![LinkInfo::Kind(InfoKind::Ifb)];
        assert!(!can_send_ip(&link(Layer::Ether, ifb)));
        let dummy = vec![LinkInfo::Kind(InfoKind::Dummy)];
        assert!(can_send_ip(&link(Layer::Ether, dummy)));
    }
}
