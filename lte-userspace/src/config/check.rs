//! From the file's shape to a config that can be relied on. All problems are gathered.

use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::budget::{Budget, Renews, parse_limit, parse_renews};
use super::cidr::{Cidr, amounts_to_default_route};
use super::endpoint::Endpoint;
use super::error::Problems;
use super::key::{PrivateKey, read_private_key};
use super::raw::{Raw, RawBudget, RawModem, RawPeer, RawRouting, RawTunnel, Texts};
use super::{Config, Modem, ModemIdentity, Peer, Place, Routing, Tunnel, Uplinks};

/// The tunnel's interface where the file names none.
const DEFAULT_TUNNEL: &str = "wg-lte";

/// Checks everything and builds the config; on any problem nothing.
pub(super) fn check(raw: Raw, directory: &Path, problems: &mut Problems<'_>) -> Option<Config> {
    names_differ(&raw, problems);
    let modem = modem(raw.modem.into_inner(), problems);
    let tunnel = tunnel(raw.tunnel, directory, problems);
    let routing = routing(&raw.routing, problems);
    let uplinks = match raw.uplinks.and_then(|uplinks| uplinks.interfaces) {
        None => Some(Uplinks::DefaultRoutes),
        Some(names) => interface_names(&names, problems).map(Uplinks::Named),
    };
    let budget = raw.budget.map(|raw| budget(&raw, problems));
    let config = Config {
        backend: raw.backend,
        modem: modem?,
        tunnel: tunnel?,
        routing: routing?,
        uplinks: uplinks?,
        budget: budget.map_or(Some(None), |budget| budget.map(Some))?,
    };
    problems.is_empty().then_some(config)
}

/// The guard treats modem, tunnel and uplinks differently, so one interface has one part.
fn names_differ(raw: &Raw, problems: &mut Problems<'_>) {
    let modem = raw.modem.get_ref();
    let tunnel = raw.tunnel.get_ref();
    let uplinks = raw.uplinks.as_ref().and_then(|u| u.interfaces.as_ref());
    let mut taken: Vec<&str> = vec![
        tunnel
            .interface
            .as_ref()
            .map_or(DEFAULT_TUNNEL, |name| name.get_ref()),
    ];
    for name in modem.interface.iter().chain(uplinks.into_iter().flatten()) {
        let text = name.get_ref().as_str();
        if taken.contains(&text) {
            problems.add(
                name.span(),
                format_args!("the modem, the tunnel and the uplinks must be different interfaces: `{text}` is named twice"),
            );
        }
        taken.push(text);
    }
}

fn modem(raw: RawModem, problems: &mut Problems<'_>) -> Option<Modem> {
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

/// An address that an interface can have.
fn host_address(cidr: &Cidr, span: &Range<usize>, problems: &mut Problems<'_>) {
    let ip = cidr.address;
    let edge = cidr.prefix_len < cidr.bits() - 1
        && (ip == cidr.network().address || (ip.is_ipv4() && ip == cidr.last()));
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || edge || cidr.prefix_len == 0
    {
        problems.add(
            span.clone(),
            format_args!(
                "{cidr} is no address of a host: write the host's own address, as in 192.168.0.2/24"
            ),
        );
    }
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

fn tunnel(
    raw: Spanned<RawTunnel>,
    directory: &Path,
    problems: &mut Problems<'_>,
) -> Option<Tunnel> {
    let span = raw.span();
    let raw = raw.into_inner();
    let interface = raw.interface.map_or_else(
        || Some(DEFAULT_TUNNEL.to_owned()),
        |name| interface_name(&name, problems),
    );
    let addresses = cidrs(&raw.address, problems);
    for (address, span) in addresses.iter().flatten() {
        host_address(address, span, problems);
    }
    if raw.address.all.is_empty() {
        problems.add(
            raw.address.span.clone(),
            "the tunnel needs an address as in \"10.88.88.1/24\"",
        );
    }
    let private_key = private_key(&raw.private_key_file, directory, problems);
    let listen_port = match &raw.listen_port {
        None => Some(None),
        Some(port) => number(port, "listen_port", 1, u16::MAX, problems).map(Some),
    };
    let has_v6 = addresses.iter().flatten().any(|(a, _)| a.address.is_ipv6());
    // IPv6 asks for links that carry 1280 bytes; IPv4 for 576. The most that leaves room for
    // WireGuard's own headers in 64 KiB is 65456.
    let least = if has_v6 { 1280 } else { 576 };
    let mtu = raw
        .mtu
        .as_ref()
        .map_or(Some(1380), |mtu| number(mtu, "mtu", least, 65456, problems));
    if raw.peer.is_empty() {
        problems.add(span, "the tunnel has no peer: add a [[tunnel.peer]]");
    }
    let peers = peers(raw.peer, problems);
    Some(Tunnel {
        interface: interface?,
        addresses: addresses?.into_iter().map(|(address, _)| address).collect(),
        private_key: private_key?,
        listen_port: listen_port?,
        mtu: mtu?,
        peers: peers?,
    })
}

fn private_key(
    path: &Spanned<String>,
    directory: &Path,
    problems: &mut Problems<'_>,
) -> Option<PrivateKey> {
    let file: PathBuf = directory.join(path.get_ref());
    match read_private_key(&file) {
        Ok(key) => Some(key),
        Err(error) => {
            problems.add(path.span(), error);
            None
        }
    }
}

fn peers(raw: Vec<Spanned<RawPeer>>, problems: &mut Problems<'_>) -> Option<Vec<Peer>> {
    let mut all: Vec<Option<Peer>> = Vec::new();
    for raw in raw {
        let (key_span, nets_span) = {
            let peer = raw.get_ref();
            (peer.public_key.span(), peer.allowed_ips.span.clone())
        };
        let next = peer(raw.into_inner(), problems);
        if let Some(next) = &next {
            let earlier = || all.iter().flatten();
            if earlier().any(|peer| peer.public_key == next.public_key) {
                problems.add(key_span, "this public_key is another peer's already");
            }
            let known: Vec<Cidr> = earlier().flat_map(|p| p.allowed_ips.clone()).collect();
            if let Some(twice) = next.allowed_ips.iter().find(|net| known.contains(net)) {
                problems.add(
                    nets_span,
                    format_args!(
                        "{twice} is another peer's already: WireGuard gives a network to one peer"
                    ),
                );
            } else if amounts_to_default_route(&[known, next.allowed_ips.clone()].concat()) {
                problems.add(
                    nets_span,
                    "the peers' allowed_ips together amount to a default route, which would put the whole home on the SIM: name the networks behind the tunnel",
                );
            }
        }
        all.push(next);
    }
    all.into_iter().collect()
}

fn peer(raw: RawPeer, problems: &mut Problems<'_>) -> Option<Peer> {
    let public_key = raw.public_key.get_ref().parse();
    if let Err(error) = &public_key {
        problems.add(
            raw.public_key.span(),
            format_args!("public_key is no key: {error}"),
        );
    }
    let endpoint = raw.endpoint.get_ref().parse::<Endpoint>();
    match &endpoint {
        Err(error) => problems.add(
            raw.endpoint.span(),
            format_args!("endpoint `{}`: {error}", raw.endpoint.get_ref()),
        ),
        Ok(Endpoint::Address(address)) if address.is_ipv6() => problems.add(
            raw.endpoint.span(),
            "an IPv6 endpoint needs IPv6 on the modem, which is not supported yet: give an IPv4 address or a name",
        ),
        Ok(_) => {}
    }
    let allowed = cidrs(&raw.allowed_ips, problems);
    if raw.allowed_ips.all.is_empty() {
        problems.add(
            raw.allowed_ips.span.clone(),
            "allowed_ips is empty: give at least the peer's own address in the tunnel",
        );
    }
    let allowed = allowed.map(|all| {
        all.into_iter()
            .map(|(net, _)| net.network())
            .collect::<Vec<_>>()
    });
    let allowed = allowed.filter(|all| {
        let refused = amounts_to_default_route(all);
        if refused {
            problems.add(
                raw.allowed_ips.span.clone(),
                format_args!("allowed_ips ({}) amounts to a default route, which would put the whole home on the SIM: name the networks behind the tunnel", list(all)),
            );
        }
        !refused
    });
    let keepalive = raw
        .persistent_keepalive
        .as_ref()
        .map_or(Some(0), |seconds| {
            number(seconds, "persistent_keepalive", 0, u16::MAX, problems)
        });
    Some(Peer {
        public_key: public_key.ok()?,
        endpoint: endpoint.ok()?,
        allowed_ips: allowed?,
        persistent_keepalive: Duration::from_secs(u64::from(keepalive?)),
    })
}

fn list(networks: &[Cidr]) -> String {
    let texts: Vec<String> = networks.iter().map(Cidr::to_string).collect();
    texts.join(", ")
}

fn routing(raw: &RawRouting, problems: &mut Problems<'_>) -> Option<Routing> {
    let table = raw.table.as_ref().map_or(Some(123), |table| {
        number(table, "table", 1, u32::MAX, problems)
    });
    if let (Some(253..=255), Some(raw)) = (table, &raw.table) {
        problems.add(
            raw.span(),
            "tables 253 to 255 are the kernel's default, main and local: take another, as 123",
        );
    }
    let mask = raw.mask.as_ref().map_or(Some(0xff), |mask| {
        number(mask, "mask", 1, u32::MAX, problems)
    });
    let mark = raw.mark.as_ref().map_or(Some(0x7b), |mark| {
        number(mark, "mark", 1, u32::MAX, problems)
    });
    if let (Some(mark), Some(mask)) = (mark, mask)
        && mark & !mask != 0
        && let Some(span) = raw.mark.as_ref().or(raw.mask.as_ref()).map(Spanned::span)
    {
        problems.add(
            span,
            format_args!("mark {mark:#x} has bits outside mask {mask:#x}: it must lie within"),
        );
    }
    Some(Routing {
        table: table?,
        mark: mark?,
        mask: mask?,
    })
}

fn budget(raw: &RawBudget, problems: &mut Problems<'_>) -> Option<Budget> {
    let limit = parse_limit(raw.limit.get_ref());
    if let Err(error) = &limit {
        problems.add(raw.limit.span(), format_args!("limit: {error}"));
    }
    let renews = match &raw.renews {
        None => Some(Renews::Never),
        Some(text) => parse_renews(text.get_ref())
            .map_err(|error| problems.add(text.span(), format_args!("renews: {error}")))
            .ok(),
    };
    let overhead = raw.overhead_per_packet.as_ref().map_or(Some(0), |bytes| {
        number(bytes, "overhead_per_packet", 0, 1500_u16, problems)
    });
    Some(Budget {
        limit: limit.ok()?,
        renews: renews?,
        overhead_per_packet: overhead?,
    })
}

fn cidrs(texts: &Texts, problems: &mut Problems<'_>) -> Option<Vec<(Cidr, Range<usize>)>> {
    let parsed: Vec<Option<(Cidr, Range<usize>)>> = texts
        .all
        .iter()
        .map(|text| match text.get_ref().parse() {
            Ok(cidr) => Some((cidr, text.span())),
            Err(error) => {
                problems.add(text.span(), format_args!("`{}`: {error}", text.get_ref()));
                None
            }
        })
        .collect();
    parsed.into_iter().collect()
}

fn number<T: TryFrom<i64> + TryInto<i64> + PartialOrd + Copy + std::fmt::Display>(
    value: &Spanned<i64>,
    name: &str,
    least: T,
    most: T,
    problems: &mut Problems<'_>,
) -> Option<T> {
    let number = T::try_from(*value.get_ref())
        .ok()
        .filter(|number| (least..=most).contains(number));
    if number.is_none() {
        problems.add(
            value.span(),
            format_args!(
                "{name} must be from {least} to {most}, not {}",
                value.get_ref()
            ),
        );
    }
    number
}

fn interface_names(names: &[Spanned<String>], problems: &mut Problems<'_>) -> Option<Vec<String>> {
    let checked: Vec<Option<String>> = names
        .iter()
        .map(|name| interface_name(name, problems))
        .collect();
    checked.into_iter().collect()
}

fn interface_name(name: &Spanned<String>, problems: &mut Problems<'_>) -> Option<String> {
    let text = name.get_ref();
    let why = if text.is_empty() || text == "." || text == ".." {
        "an interface needs a name"
    } else if text.len() > 15 {
        "an interface's name has at most 15 bytes"
    } else if text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
        "an interface's name has no `/`, no `:` and no blanks"
    } else {
        return Some(text.clone());
    };
    problems.add(name.span(), format_args!("`{text}`: {why}"));
    None
}

fn mac_address(text: &Spanned<String>, problems: &mut Problems<'_>) -> Option<[u8; 6]> {
    let bytes: Vec<Option<u8>> = text
        .get_ref()
        .split([':', '-'])
        .map(|pair| {
            (pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .then(|| u8::from_str_radix(pair, 16).ok())
                .flatten()
        })
        .collect();
    let mac = bytes
        .into_iter()
        .collect::<Option<Vec<u8>>>()
        .and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    if mac.is_none() {
        problems.add(
            text.span(),
            format_args!(
                "`{}`: a MAC address is six pairs of hex digits, as in 34:4b:50:00:00:00",
                text.get_ref()
            ),
        );
    }
    mac
}
