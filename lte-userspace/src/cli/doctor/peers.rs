//! The peers: are their addresses known, do they answer?

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::finding::Finding;
use crate::backend::error_chain;
use crate::config::{Config, Endpoint, Peer};
use crate::kernel::wireguard;
use crate::reconcile::Comparison;

/// WireGuard's REJECT_AFTER_TIME: a session that is older is not used any more.
const SESSION: Duration = Duration::from_mins(3);

pub(super) fn findings(config: &Config, comparison: &Comparison) -> Vec<Finding> {
    let now = SystemTime::now();
    let mut findings = Vec::new();
    for peer in &config.tunnel.peers {
        findings.extend(unknown(peer, comparison));
        let device = comparison.snapshot.device.as_ref();
        if let Some(found) = device.and_then(|device| device.peers.get(&peer.public_key)) {
            findings.push(answers(peer, found, now));
        }
    }
    let others = comparison.snapshot.links.iter();
    for link in others.filter(|link| link.wireguard && link.name != config.tunnel.interface) {
        match wireguard::read(&link.name) {
            Ok(other) => findings.extend(shared(config, comparison, &link.name, &other)),
            Err(error) => {
                let line = format!(
                    "reading the peers of {}: {}",
                    link.name,
                    error_chain(&error)
                );
                findings.push(Finding::warning("peer", line));
            }
        }
    }
    findings
}

/// Peers that another WireGuard interface of this machine reaches at the same address and port: its packets
/// look like the tunnel's, but for the port they come from.
fn shared(
    config: &Config,
    comparison: &Comparison,
    name: &str,
    other: &wireguard::ObservedDevice,
) -> Vec<Finding> {
    let peers = config.tunnel.peers.iter();
    peers
        .filter_map(|peer| shared_endpoint(name, other, peer, &known_addresses(peer, comparison)))
        .collect()
}

/// Where a peer is, by the config and by what was last heard of it.
fn known_addresses(peer: &Peer, comparison: &Comparison) -> Vec<SocketAddr> {
    let configured = match &peer.endpoint {
        Endpoint::Address(address) => Some(*address),
        name @ Endpoint::Name { .. } => comparison.facts.resolved.get(name).copied(),
    };
    let device = comparison.snapshot.device.as_ref();
    let found = device.and_then(|device| device.peers.get(&peer.public_key));
    let heard = found.and_then(|found| found.endpoint);
    configured.into_iter().chain(heard).collect()
}

fn shared_endpoint(
    name: &str,
    other: &wireguard::ObservedDevice,
    peer: &Peer,
    known_addresses: &[SocketAddr],
) -> Option<Finding> {
    let mut theirs = other.peers.values().filter_map(|peer| peer.endpoint);
    let at = theirs.find(|endpoint| known_addresses.contains(endpoint))?;
    Some(Finding::ok(
        "peer",
        format!(
            "{} at {at} is a peer of {name}, too: what {name} sends (from port {}) is told from the tunnel's, and goes its own way",
            peer.public_key, other.listen_port
        ),
    ))
}

/// A name that has never been resolved.
fn unknown(peer: &Peer, comparison: &Comparison) -> Option<Finding> {
    let name = &peer.endpoint;
    let known =
        !matches!(name, Endpoint::Name { .. }) || comparison.facts.resolved.contains_key(name);
    (!known).then(|| {
        Finding::warning(
            "peer",
            format!("{name}: not resolved yet: let the agent resolve it once while a name server can be reached, or write an address"),
        )
    })
}

fn answers(peer: &Peer, found: &wireguard::ObservedPeer, now: SystemTime) -> Finding {
    let name = peer.public_key;
    let Some(time) = found.handshake else {
        return Finding::fault(
            "peer",
            format!(
                "{name} at {} has never answered: check that the server is up and its port open, that it has this router's public key, and that the SIM has data left",
                peer.endpoint
            ),
        );
    };
    let Ok(age) = now.duration_since(time) else {
        return Finding::warning(
            "clock",
            format!(
                "the last handshake with {name} lies in the future: the clock was set back since then, and the peer refuses a new one until the clock is past it, or its WireGuard is set up anew"
            ),
        );
    };
    let seconds = age.as_secs();
    let keepalive = peer.persistent_keepalive;
    if keepalive.is_zero() {
        return Finding::warning(
            "peer",
            format!(
                "{name}: last handshake {seconds} s ago; without persistent_keepalive the carrier's NAT forgets the tunnel, and the peer cannot reach this router"
            ),
        );
    }
    if age > SESSION + keepalive {
        return Finding::fault(
            "peer",
            format!(
                "{name} at {} is silent, the last handshake was {seconds} s ago: check that the server is up, that the SIM has data left, and that the modem has a network",
                peer.endpoint
            ),
        );
    }
    Finding::ok("peer", format!("{name}: last handshake {seconds} s ago"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test's own time is late enough")]
mod tests {
    use super::super::finding::Grade;
    use super::*;
    use crate::config::PublicKey;

    fn peer(keepalive: u64) -> Peer {
        Peer {
            public_key: PublicKey([7; 32]),
            endpoint: Endpoint::Address("203.0.113.10:51820".parse().unwrap()),
            allowed_ips: Vec::new(),
            persistent_keepalive: Duration::from_secs(keepalive),
        }
    }

    fn grade(keepalive: u64, handshake: Option<u64>) -> Grade {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        let peer = peer(keepalive);
        let found = wireguard::ObservedPeer {
            handshake: handshake.map(|age| now - Duration::from_secs(age)),
            endpoint: None,
            allowed_ips: Vec::new(),
            keepalive: peer.persistent_keepalive,
            received: 0,
            sent: 0,
        };
        answers(&peer, &found, now).grade
    }

    #[test]
    fn silence_is_told_from_a_session() {
        assert_eq!(grade(80, None), Grade::Fault);
        assert_eq!(grade(80, Some(100)), Grade::Ok);
        assert_eq!(grade(80, Some(0)), Grade::Ok);
        assert_eq!(grade(80, Some(259)), Grade::Ok);
        assert_eq!(grade(80, Some(261)), Grade::Fault);
        assert_eq!(grade(0, Some(1000)), Grade::Warning);
    }

    #[test]
    fn another_interface_at_the_same_server_is_told() {
        let at = |endpoint: &str| {
            let found = wireguard::ObservedPeer {
                endpoint: Some(endpoint.parse().unwrap()),
                ..wireguard::ObservedPeer::default()
            };
            let other = wireguard::ObservedDevice {
                listen_port: 40000,
                peers: [(PublicKey([8; 32]), found)].into(),
                ..wireguard::ObservedDevice::default()
            };
            let ours = ["203.0.113.10:51820", "[2001:db8::1]:51820"];
            let ours = ours.map(|address| address.parse().unwrap());
            shared_endpoint("wg-home", &other, &peer(80), &ours)
        };
        let said = at("203.0.113.10:51820").unwrap();
        assert_eq!(said.grade, Grade::Ok);
        assert!(
            said.text.contains("wg-home") && said.text.contains("40000"),
            "{said:?}"
        );
        assert!(at("[2001:db8::1]:51820").is_some());
        assert_eq!(at("203.0.113.10:51821"), None);
        assert_eq!(at("203.0.113.11:51820"), None);
    }
}
