//! `[modem]`.

use std::net::IpAddr;
use std::ops::Range;

use toml::Spanned;

use super::admin;
use super::value::{cidrs, host_address, interface_name, mac_address, number};
use crate::config::cidr::Cidr;
use crate::config::error::Problems;
use crate::config::raw::RawModem;
use crate::config::{InterfaceAddr, Modem, ModemIdentity};

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
        let parsed = texts.all.iter().map(|text| ip(text, problems));
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
    let name_servers = raw.name_servers.map_or(Some(Vec::new()), |texts| {
        let parsed = texts.all.iter().map(|text| ip(text, problems));
        parsed.collect::<Vec<_>>().into_iter().collect()
    });
    let admin = raw
        .admin_address
        .as_ref()
        .map(|texts| admin::networks(texts, problems));
    let addresses = addresses?;
    if addresses.is_empty() {
        problems.add(
            raw.address.span,
            "the modem needs an address as in \"192.168.0.2/24\"",
        );
        return None;
    }
    let (mut v4, mut v6) = interface_addrs(&addresses, &gateways?, problems)?;
    if let Some(admin) = admin {
        admin::assign(admin?, &mut v4, &mut v6, problems)?;
    }
    let name_servers = name_servers?;
    for (server, span) in &name_servers {
        if if server.is_ipv4() { v4 } else { v6 }.is_none() {
            problems.add(
                span.clone(),
                format_args!("{server}: the modem has no address of that family to ask it from"),
            );
        }
    }
    Some(Modem {
        identity: identity?,
        v4,
        v6,
        admin_ports: admin_ports?,
        name_servers: name_servers.into_iter().map(|(server, _)| server).collect(),
    })
}

/// A value of the file and where it stands.
type Placed<T> = (T, Range<usize>);

/// Pairs each address with the gateway of its family: IPv4, then IPv6.
fn interface_addrs(
    addresses: &[Placed<Cidr>],
    gateways: &[Placed<IpAddr>],
    problems: &mut Problems<'_>,
) -> Option<(Option<InterfaceAddr>, Option<InterfaceAddr>)> {
    let before = problems.count();
    let mut place = |v6: bool| {
        let of_family = |ip: IpAddr| ip.is_ipv6() == v6;
        let name = if v6 { "IPv6" } else { "IPv4" };
        let mut addresses = addresses.iter().filter(|(a, _)| of_family(a.address));
        let mut gateways = gateways.iter().filter(|(g, _)| of_family(*g));
        let (address, gateway) = (addresses.next(), gateways.next());
        for (extra, span) in addresses {
            problems.add(
                span.clone(),
                format_args!("{extra}: one {name} address is enough"),
            );
        }
        for (extra, span) in gateways {
            problems.add(
                span.clone(),
                format_args!("{extra}: one {name} gateway is enough"),
            );
        }
        match (address, gateway) {
            (Some((address, span)), gateway) => {
                host_address(address, span, problems);
                check_routable(address, span, problems);
                match gateway {
                    Some(gateway) => check_gateway(address, gateway, problems),
                    None => require_gateway(address, span, problems),
                }
                Some(InterfaceAddr {
                    address: *address,
                    gateway: gateway.map(|(gateway, _)| *gateway),
                    admin: gateway.map(|(gateway, _)| Cidr::host(*gateway)),
                })
            }
            (None, Some((gateway, span))) => {
                problems.add(
                    span.clone(),
                    format_args!(
                        "gateway {gateway}: the modem has no {name} address: give it one, or leave this gateway out"
                    ),
                );
                None
            }
            (None, None) => None,
        }
    };
    let interface_addrs = (place(false), place(true));
    (problems.count() == before).then_some(interface_addrs)
}

/// An address that the carrier routes, and that means one thing only.
fn check_routable(address: &Cidr, span: &Range<usize>, problems: &mut Problems<'_>) {
    let IpAddr::V6(ip) = address.address else {
        return;
    };
    if ip.is_unicast_link_local() {
        problems.add(
            span.clone(),
            format_args!(
                "{address} is link-local, and nobody beyond the modem can answer it: give the address that the carrier routes"
            ),
        );
    } else if let Some(v4) = ip.to_ipv4_mapped() {
        problems.add(
            span.clone(),
            format_args!("{address} is an IPv4-mapped address: write {v4}"),
        );
    }
}

fn check_gateway(address: &Cidr, (gateway, span): &Placed<IpAddr>, problems: &mut Problems<'_>) {
    let link_local = matches!(gateway, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if link_local {
        return;
    }
    let network = address.network();
    let point_to_point = is_point_to_point(address);
    if !address.contains(*gateway) {
        let or = match gateway {
            IpAddr::V4(_) => "it must be",
            IpAddr::V6(_) => "it must be, or be link-local (fe80::…)",
        };
        problems.add(
            span.clone(),
            format_args!("gateway {gateway} is not in the modem's subnet {network}: {or}"),
        );
    } else if *gateway == address.address {
        problems.add(
            span.clone(),
            format_args!(
                "gateway {gateway} is the modem interface's own address: give the modem's"
            ),
        );
    } else if gateway.is_ipv4()
        && !point_to_point
        && (*gateway == network.address || *gateway == address.last())
    {
        problems.add(
            span.clone(),
            format_args!("gateway {gateway} is the subnet's first or last address: no host has it"),
        );
    } else if !point_to_point && *gateway == network.address {
        problems.add(
            span.clone(),
            format_args!(
                "gateway {gateway} is the subnet's anycast address, which every router has: give the modem's own"
            ),
        );
    }
}

fn require_gateway(address: &Cidr, span: &Range<usize>, problems: &mut Problems<'_>) {
    if is_point_to_point(address) {
        return;
    }
    let (name, lengths) = match address.address {
        IpAddr::V4(_) => ("IPv4", "/31 or /32"),
        IpAddr::V6(_) => ("IPv6", "/127 or /128"),
    };
    problems.add(
        span.clone(),
        format_args!(
            "`gateway` is missing for {name}: only a point-to-point modem ({lengths}) has none"
        ),
    );
}

/// Whether the subnet has no room but for the two ends.
pub(super) fn is_point_to_point(address: &Cidr) -> bool {
    address.prefix_len >= address.bits() - 1
}

fn ip(text: &Spanned<String>, problems: &mut Problems<'_>) -> Option<Placed<IpAddr>> {
    let address = text.get_ref().parse().ok();
    if address.is_none() {
        problems.add(
            text.span(),
            format_args!(
                "`{}` is no IP address: write it as in 192.168.0.1 or fe80::1",
                text.get_ref()
            ),
        );
    }
    address.map(|address| (address, text.span()))
}
