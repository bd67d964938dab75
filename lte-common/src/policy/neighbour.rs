//! Neighbour discovery of IPv6 (RFC 4861).

use crate::headers::{Family, Fragment, PacketInfo, icmp_kind, protocol};

/// Solicitations and advertisements of neighbours, which never come through a router (RFC 4861,
/// 7.1). Router solicitations and advertisements are none.
#[inline(always)]
pub(super) const fn is_neighbour_discovery(info: &PacketInfo) -> bool {
    matches!(info.family, Family::V6)
        && info.protocol == protocol::ICMPV6
        && info.hop_limit == 255
        && matches!(
            info.icmp_type,
            icmp_kind::NEIGHBOUR_SOLICITATION | icmp_kind::NEIGHBOUR_ADVERTISEMENT
        )
        && matches!(info.fragment, Fragment::Whole)
}
