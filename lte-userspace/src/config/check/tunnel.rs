//! `[tunnel]` and its peers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::DEFAULT_TUNNEL;
use super::value::{cidrs, host_address, interface_name, number};
use crate::config::cidr::{Cidr, amounts_to_default_route};
use crate::config::endpoint::Endpoint;
use crate::config::error::Problems;
use crate::config::key::{PrivateKey, read_private_key};
use crate::config::raw::{RawPeer, RawTunnel};
use crate::config::{Modem, Peer, Tunnel};

/// The longest pause between handshakes, in seconds: a way back in that is tried once a week is none.
const ONE_DAY: u32 = 86_400;

pub(super) fn tunnel(
    raw: Spanned<RawTunnel>,
    directory: &Path,
    modem: Option<&Modem>,
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
    let mut seconds = |value: &Option<Spanned<i64>>, name, least, default: u32| {
        value
            .as_ref()
            .map_or(Some(default), |value| {
                number(value, name, least, ONE_DAY, problems)
            })
            .map(|seconds| Duration::from_secs(seconds.into()))
    };
    let handshake_retry_for = seconds(&raw.handshake_retry_for, "handshake_retry_for", 1, 300);
    let handshake_retry_interval = seconds(
        &raw.handshake_retry_interval,
        "handshake_retry_interval",
        0,
        900,
    );
    if raw.peer.is_empty() {
        problems.add(span, "the tunnel has no peer: add a [[tunnel.peer]]");
    }
    let peers = peers(&raw.peer, modem, problems);
    if let Some(key) = &private_key {
        reject_own_key(key, &raw.peer, problems);
    }
    Some(Tunnel {
        interface: interface?,
        addresses: addresses?.into_iter().map(|(address, _)| address).collect(),
        private_key: private_key?,
        listen_port: listen_port?,
        mtu: mtu?,
        handshake_retry_for: handshake_retry_for?,
        handshake_retry_interval: handshake_retry_interval?,
        peers: peers?,
    })
}

/// The kernel leaves a peer with the interface's own key out, without a word (`set_peer` in
/// drivers/net/wireguard/netlink.c).
fn reject_own_key(key: &PrivateKey, peers: &[Spanned<RawPeer>], problems: &mut Problems<'_>) {
    let own = key.public();
    for peer in peers {
        let theirs = &peer.get_ref().public_key;
        if theirs.get_ref().parse() == Ok(own) {
            problems.add(
                theirs.span(),
                "this public_key is the router's own, that of private_key_file: give the server's",
            );
        }
    }
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

fn peers(
    raw: &[Spanned<RawPeer>],
    modem: Option<&Modem>,
    problems: &mut Problems<'_>,
) -> Option<Vec<Peer>> {
    let mut all: Vec<Option<Peer>> = Vec::new();
    for raw in raw {
        let (key_span, nets_span) = {
            let peer = raw.get_ref();
            (peer.public_key.span(), peer.allowed_ips.span.clone())
        };
        let next = peer(raw.get_ref(), modem, problems);
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
                    "the peers' allowed_ips together amount to a default route, which would send all of the LAN's traffic over the SIM: name the networks behind the tunnel",
                );
            }
        }
        all.push(next);
    }
    all.into_iter().collect()
}

fn peer(raw: &RawPeer, modem: Option<&Modem>, problems: &mut Problems<'_>) -> Option<Peer> {
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
        // Where the modem itself is wrong, that is said already.
        Ok(Endpoint::Address(address)) if modem.is_some_and(|m| !m.has_family(address.ip())) => {
            let (this, other) = if address.is_ipv6() {
                ("IPv6", "IPv4")
            } else {
                ("IPv4", "IPv6")
            };
            problems.add(
                raw.endpoint.span(),
                format_args!(
                    "endpoint {address} is {this}, and the modem has no {this} address: give the modem one, or the peer an {other} address or a name"
                ),
            );
        }
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
                format_args!("allowed_ips ({}) amounts to a default route, which would send all of the LAN's traffic over the SIM: name the networks behind the tunnel", list(all)),
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
