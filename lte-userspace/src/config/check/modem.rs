//! `[modem]`.

use std::net::IpAddr;
use std::ops::Range;

use toml::Spanned;

use super::value::{cidrs, host_address, interface_name, mac_address, number};
use crate::config::cidr::Cidr;
use crate::config::error::Problems;
use crate::config::raw::RawModem;
use crate::config::{Modem, ModemIdentity, Place};

pub(super) fn modem(raw: RawModem, problems: &mut Problems<'_>) -> Option<Modem> {
    let identity = match (raw.interface, raw.mac) {
        (Some(name), None) => interface_name(&name, problems).map(ModemIdentity::Interface),
        (None, Some(mac)) => mac_address(&mac, problems).map(ModemIdentity::Mac),
        (Some(_), Some(mac)) => {
            problems.add(mac.span(), "give either `interface` or `mac`, not both");
            None
        }
        (None, None) => {
            problems.add(
                raw.address.span.clone(),
                "[modem] needs `interface = \"wwan0\"` or `mac = \"34:4b:50:00:00:00\"`",
            );
            None
        }
    };
    let addresses = cidrs(&raw.address, problems);
    let gateways = raw.gateway.as_ref().map_or(Some(Vec::new()), |texts| {
        let parsed = texts.all.iter().map(|text| gateway(text, problems));
        parsed.collect::<Vec<_>>().into_iter().collect()
    });
    let admin_ports = raw
        .admin_ports
        .unwrap_or_default()
        .iter()
        .map(|port| number(port, "an admin port", 1, u16::MAX, problems))
        .collect::<Vec<_>>()
        .into_iter()
        .collect::<Option<Vec<u16>>>();
    let place = place(&raw.address.span, &addresses?, &gateways?, problems)?;
    Some(Modem {
        identity: identity?,
        v4: Some(place),
        v6: None,
        admin_ports: admin_ports?,
    })
}

/// Pairs each address with its gateway. IPv6 is recognised, and refused as long as no backend
/// guards it: an address that the guard does not know of would be an open door.
fn place(
    span: &Range<usize>,
    addresses: &[(Cidr, Range<usize>)],
    gateways: &[(IpAddr, Range<usize>)],
    problems: &mut Problems<'_>,
) -> Option<Place> {
    let before = problems.count();
    for (address, span) in addresses.iter().filter(|(a, _)| a.address.is_ipv6()) {
        problems.add(
            span.clone(),
            format_args!("{address}: IPv6 on the modem is not supported yet: give an IPv4 address"),
        );
    }
    for (gateway, span) in gateways.iter().filter(|(g, _)| g.is_ipv6()) {
        problems.add(
            span.clone(),
            format_args!("{gateway}: IPv6 on the modem is not supported yet: give an IPv4 gateway"),
        );
    }
    let mut v4 = addresses.iter().filter(|(a, _)| a.address.is_ipv4());
    let mut v4_gateways = gateways.iter().filter(|(g, _)| g.is_ipv4());
    let address = v4.next();
    let gateway = v4_gateways.next();
    for (extra, span) in v4 {
        problems.add(
            span.clone(),
            format_args!("{extra}: one IPv4 address is enough"),
        );
    }
    for (extra, span) in v4_gateways {
        problems.add(
            span.clone(),
            format_args!("{extra}: one IPv4 gateway is enough"),
        );
    }
    let Some((address, address_span)) = address else {
        if problems.count() == before {
            problems.add(
                span.clone(),
                "the modem needs an IPv4 address as in \"192.168.0.2/24\"",
            );
        }
        return None;
    };
    host_address(address, address_span, problems);
    match gateway {
        Some((gateway, span)) if !address.contains(*gateway) => problems.add(
            span.clone(),
            format_args!(
                "gateway {gateway} is not in the modem's subnet {}: it must be",
                address.network()
            ),
        ),
        Some((gateway, span)) if *gateway == address.address => problems.add(
            span.clone(),
            format_args!(
                "gateway {gateway} is the modem interface's own address: give the modem's"
            ),
        ),
        Some((gateway, span))
            if address.prefix_len < 31
                && (*gateway == address.network().address || *gateway == address.last()) =>
        {
            problems.add(
                span.clone(),
                format_args!(
                    "gateway {gateway} is the subnet's first or last address: no host has it"
                ),
            );
        }
        None if address.prefix_len < 31 => problems.add(
            span.clone(),
            "`gateway` is missing: only a point-to-point modem (/31 or /32) has none",
        ),
        _ => {}
    }
    (problems.count() == before).then(|| Place {
        address: *address,
        gateway: gateway.map(|(gateway, _)| *gateway),
    })
}

fn gateway(text: &Spanned<String>, problems: &mut Problems<'_>) -> Option<(IpAddr, Range<usize>)> {
    let address = text.get_ref().parse().ok();
    if address.is_none() {
        problems.add(
            text.span(),
            format_args!(
                "`{}` is no IP address: write it as in 192.168.0.1",
                text.get_ref()
            ),
        );
    }
    address.map(|address| (address, text.span()))
}
