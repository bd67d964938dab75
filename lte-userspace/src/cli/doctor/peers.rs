//! The far sides: are they known, do they answer?

use std::time::{Duration, SystemTime};

use super::finding::Finding;
use crate::config::{Config, Endpoint, Peer};
use crate::kernel::wireguard;
use crate::reconcile::View;

/// WireGuard's REJECT_AFTER_TIME: a session that is older is not used any more.
const SESSION: Duration = Duration::from_mins(3);

pub(super) fn findings(config: &Config, view: &View) -> Vec<Finding> {
    let now = SystemTime::now();
    let mut findings = Vec::new();
    for peer in &config.tunnel.peers {
        findings.extend(unknown(peer, view));
        let device = view.observed.device.as_ref();
        if let Some(found) = device.and_then(|device| device.peers.get(&peer.public_key)) {
            findings.push(answers(peer, found, now));
        }
    }
    findings
}

/// A name that has never been resolved.
fn unknown(peer: &Peer, view: &View) -> Option<Finding> {
    let name = &peer.endpoint;
    let known = !matches!(name, Endpoint::Name { .. }) || view.facts.resolved.contains_key(name);
    (!known).then(|| {
        Finding::warning(
            "peer",
            format!("{name}: no address is known of it yet: let the agent resolve it once while there is a name server, or write an address"),
        )
    })
}

fn answers(peer: &Peer, found: &wireguard::FoundPeer, now: SystemTime) -> Finding {
    let name = peer.public_key;
    let Some(time) = found.handshake else {
        return Finding::fault(
            "peer",
            format!(
                "{name} at {} has never answered: is the server up and its port open, does it know this router's public key, has the SIM data left?",
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
                "{name} at {} is silent, the last handshake was {seconds} s ago: is the server up, has the SIM data left, has the modem a network?",
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

    fn grade(keepalive: u64, handshake: Option<u64>) -> Grade {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        let peer = Peer {
            public_key: PublicKey([7; 32]),
            endpoint: Endpoint::Address("203.0.113.10:51820".parse().unwrap()),
            allowed_ips: Vec::new(),
            persistent_keepalive: Duration::from_secs(keepalive),
        };
        let found = wireguard::FoundPeer {
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
}
