use std::path::Path;
use std::time::SystemTime;

use super::*;
use crate::config::{Endpoint, KEY_LEN, Peer, PrivateKey};
use crate::kernel::wireguard::{ObservedDevice, ObservedPeer};

const KEY: PublicKey = PublicKey([7; KEY_LEN]);

fn tunnel(keepalive: u64, pause: u64) -> Tunnel {
    Tunnel {
        interface: "wg-lte".to_owned(),
        addresses: Vec::new(),
        private_key: PrivateKey::new(&[1; KEY_LEN]),
        listen_port: None,
        mtu: 1380,
        handshake_retry_for: Duration::from_mins(5),
        handshake_retry_interval: Duration::from_secs(pause),
        peers: vec![Peer {
            public_key: KEY,
            endpoint: Endpoint::Address(([192, 0, 2, 10], 51820).into()),
            allowed_ips: Vec::new(),
            persistent_keepalive: Duration::from_secs(keepalive),
        }],
    }
}

/// Time passes second by second; `heard` says when the last handshake was, in seconds from the
/// start. Returns in which seconds the peer came to rest, and in which it was asked again.
fn live(tunnel: &Tunnel, seconds: u64, heard: impl Fn(u64) -> Option<u64>) -> Vec<(u64, bool)> {
    let (start, epoch) = (Instant::now(), SystemTime::now());
    let (mut backoff, mut handshakes) = (HandshakeBackoff::default(), Handshakes::default());
    let mut changes = Vec::new();
    for second in 0..seconds {
        let mut device = ObservedDevice::default();
        device.peers.insert(
            KEY,
            ObservedPeer {
                endpoint: None,
                allowed_ips: Vec::new(),
                keepalive: Duration::ZERO,
                handshake: heard(second).map(|second| epoch + Duration::from_secs(second)),
                received: 0,
                sent: 0,
            },
        );
        let past = Duration::from_secs(second);
        let moment = BootTime(Duration::from_hours(1) + past);
        handshakes.update(&device, moment, epoch + past);
        if backoff.update(tunnel, &handshakes, (start + past, moment)) {
            changes.push((second, !backoff.backed_off().is_empty()));
        }
    }
    changes
}

#[test]
fn one_that_never_answers_is_asked_now_and_then() {
    let changes = live(&tunnel(80, 900), 2400, |_| None);
    let wanted = [
        (300, true),
        (1200, false),
        (1290, true),
        (2190, false),
        (2280, true),
    ];
    assert_eq!(changes, wanted);
}

#[test]
fn one_that_answers_is_never_at_rest() {
    // WireGuard makes a new handshake when something is sent after two minutes.
    assert!(live(&tunnel(80, 900), 5000, |now| Some(now - now % 160)).is_empty());
}

#[test]
fn one_that_falls_silent_is_given_its_time() {
    let changes = live(&tunnel(80, 900), 700, |_| Some(0));
    // 180 s of its session, 80 s until the next keepalive would have shown it, 300 s of retries.
    assert_eq!(changes, [(559, true)]);
}

#[test]
fn one_that_answers_again_is_asked_as_before() {
    let changes = live(&tunnel(80, 900), 1600, |now| (now >= 1210).then_some(1210));
    assert_eq!(changes[..2], [(300, true), (1200, false)]);
    assert_eq!(changes.len(), 2, "{changes:?}");
}

#[test]
fn nothing_is_spaced_where_nothing_is_sent_or_nobody_wants_it() {
    assert!(live(&tunnel(0, 900), 2000, |_| None).is_empty());
    assert!(live(&tunnel(80, 0), 2000, |_| None).is_empty());
}

#[test]
fn another_modem_resets_it() {
    let tunnel = tunnel(80, 900);
    let start = Instant::now();
    let mut backoff = HandshakeBackoff::default();
    backoff.on_modem(Some(3));
    let later = start + Duration::from_secs(301);
    let nobody = Handshakes::default();
    backoff.update(&tunnel, &nobody, (start, BootTime::now()));
    assert!(backoff.update(&tunnel, &nobody, (later, BootTime::now())));
    backoff.on_modem(Some(3));
    assert_eq!(backoff.backed_off(), [KEY].into());
    backoff.on_modem(Some(4));
    assert!(backoff.backed_off().is_empty());
}

#[test]
fn the_defaults_are_those_of_the_docs() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    let docs = std::fs::read_to_string(docs).unwrap_or_default();
    assert!(docs.contains("| `handshake_retry_for` | `300` |"));
    assert!(docs.contains("| `handshake_retry_interval` | `900` |"));
}
