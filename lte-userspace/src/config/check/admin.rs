//! `admin_address`: where the modem's own page and echo are.

use std::net::IpAddr;
use std::ops::Range;

use super::modem::is_point_to_point;
use super::value::host_address;
use crate::config::InterfaceAddr;
use crate::config::cidr::Cidr;
use crate::config::error::Problems;
use crate::config::raw::Texts;

/// Addresses and networks, each with its place in the file.
pub(super) fn networks(
    texts: &Texts,
    problems: &mut Problems<'_>,
) -> Option<Vec<(Cidr, Range<usize>)>> {
    let parsed: Vec<_> = texts
        .all
        .iter()
        .map(|text| {
            let written = text.get_ref();
            let network = match written.parse::<IpAddr>() {
                Ok(address) => Some(Cidr::host(address)),
                Err(_) => written.parse::<Cidr>().ok(),
            };
            if network.is_none() {
                problems.add(
                    text.span(),
                    format_args!(
                        "`{written}` is neither an IP address nor a network: write it as in 192.168.0.1 or 192.168.0.0/24"
                    ),
                );
            }
            network.map(|network| (network, text.span()))
        })
        .collect();
    parsed.into_iter().collect()
}

/// Puts them in the place of the gateways, which are meant where nothing is said.
pub(super) fn assign(
    networks: Vec<(Cidr, Range<usize>)>,
    v4: &mut Option<InterfaceAddr>,
    v6: &mut Option<InterfaceAddr>,
    problems: &mut Problems<'_>,
) -> Option<()> {
    let before = problems.count();
    for place in [&mut *v4, &mut *v6].into_iter().flatten() {
        place.admin = None;
    }
    for (network, span) in networks {
        let written = shown(&network);
        let (place, name) = match network.address {
            IpAddr::V4(_) => (&mut *v4, "IPv4"),
            IpAddr::V6(_) => (&mut *v6, "IPv6"),
        };
        let Some(place) = place else {
            problems.add(
                span,
                format_args!(
                    "admin_address {written}: the modem has no {name} address: give it one, or leave this one out"
                ),
            );
            continue;
        };
        if place.admin.is_some() {
            problems.add(
                span,
                format_args!(
                    "{written}: one {name} admin_address is enough: for more write their network, as in {}",
                    place.address.network()
                ),
            );
            continue;
        }
        if is_the_modems(&network, place, &span, problems) {
            place.admin = Some(network.network());
        }
    }
    (problems.count() == before).then_some(())
}

/// As a user would write it.
fn shown(network: &Cidr) -> String {
    if network.prefix_len == network.bits() {
        network.address.to_string()
    } else {
        network.to_string()
    }
}

/// Whether the modem itself can be there: what is beyond it is what the SIM pays for.
fn is_the_modems(
    network: &Cidr,
    place: &InterfaceAddr,
    span: &Range<usize>,
    problems: &mut Problems<'_>,
) -> bool {
    let before = problems.count();
    let own = &place.address;
    let alone = network.prefix_len == network.bits();
    let link_local = matches!(network.address, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if alone {
        host_address(network, span, problems);
        if network.address == own.address {
            problems.add(
                span.clone(),
                format_args!(
                    "admin_address {} is the modem interface's own address: give the modem's",
                    network.address
                ),
            );
        }
    }
    if own.covers(network) || alone && link_local {
        return problems.count() == before;
    }
    if !is_point_to_point(own) {
        problems.add(
            span.clone(),
            format_args!(
                "admin_address {} is not within the modem's subnet {}: the modem itself is there, and what is beyond it goes by the tunnel alone",
                shown(network),
                own.network()
            ),
        );
    } else if !alone {
        problems.add(
            span.clone(),
            format_args!(
                "admin_address {network} is a network, and the modem's own is {}: name the address of its page",
                own.network()
            ),
        );
    }
    problems.count() == before
}
