#![expect(clippy::unwrap_used, reason = "a wrong literal is to fail the test")]

use std::time::{Duration, SystemTime};

use super::*;
use crate::config::PublicKey;
use crate::kernel::wireguard::{ObservedDevice, ObservedPeer};

const A: &str = "192.0.2.1:51820";
const B: &str = "192.0.2.2:51820";
/// A walled garden's.
const PORTAL: &str = "10.0.0.1:51820";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn name() -> Endpoint {
    "vpn.example.org:51820".parse().unwrap()
}

/// The agent's days, in seconds.
struct Days {
    endpoints: Endpoints,
    handshakes: Handshakes,
    now: BootTime,
}

impl Days {
    fn new() -> Self {
        Self {
            endpoints: Endpoints::default(),
            handshakes: Handshakes::default(),
            now: BootTime(Duration::from_hours(1000)),
        }
    }

    fn answer(&mut self, answers: &[&str]) -> String {
        let answers: Vec<SocketAddr> = answers.iter().map(|text| address(text)).collect();
        self.now.0 += Duration::from_mins(1);
        self.endpoints.on_answer(&name(), &answers, self.now);
        self.endpoints.current()[&name()].to_string()
    }

    /// A handshake was made so many seconds ago.
    fn handshake(&mut self, ago: u64) -> bool {
        self.now.0 += Duration::from_secs(30);
        let key = PublicKey([2; 32]);
        let peer = Peer {
            public_key: key,
            endpoint: name(),
            allowed_ips: Vec::new(),
            persistent_keepalive: Duration::from_secs(80),
        };
        let found = ObservedPeer {
            endpoint: None,
            allowed_ips: Vec::new(),
            keepalive: Duration::ZERO,
            handshake: Some(self.clock() - Duration::from_secs(ago)),
            received: 0,
            sent: 0,
        };
        let device = ObservedDevice {
            peers: [(key, found)].into(),
            ..ObservedDevice::default()
        };
        // As an agent that has just begun: by the clock.
        self.handshakes = Handshakes::default();
        self.handshakes.update(&device, self.now, self.clock());
        self.endpoints.update(&[peer], &self.handshakes, self.now);
        self.endpoints.take_newly_verified()
    }

    fn clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(500_000) + self.now.0
    }

    fn verified(&self) -> Option<String> {
        let verified = self.endpoints.verified();
        verified.values().next().map(ToString::to_string)
    }
}

#[test]
fn an_address_is_kept_when_it_has_proved_good() {
    let mut days = Days::new();
    assert_eq!(days.answer(&[A]), A);
    assert_eq!(days.verified(), None);
    assert!(!days.handshake(3600), "that was elsewhere");
    assert!(days.handshake(1));
    assert_eq!(days.verified().as_deref(), Some(A));
    assert!(!days.handshake(1), "it is known");
}

#[test]
fn an_address_that_works_is_not_left_for_an_answer() {
    let mut days = Days::new();
    days.endpoints.restore(&name(), address(A), days.now);
    days.handshake(10);
    assert_eq!(days.answer(&[PORTAL]), A);
    assert_eq!(days.answer(&[PORTAL]), A);
    assert_eq!(days.verified().as_deref(), Some(A));
    assert!(days.endpoints.silent().is_empty());
}

#[test]
fn one_that_fails_makes_room_and_comes_back() {
    let mut days = Days::new();
    days.endpoints.restore(&name(), address(A), days.now);
    days.handshake(10_000);
    assert!(days.endpoints.silent().contains(&name()));
    assert_eq!(days.answer(&[PORTAL]), PORTAL);
    assert_eq!(days.answer(&[PORTAL]), A, "the last good one has its turn");
    days.handshake(1);
    assert_eq!(days.answer(&[PORTAL]), A);
    assert_eq!(days.verified().as_deref(), Some(A));
}

#[test]
fn of_several_each_has_its_turn() {
    let mut days = Days::new();
    assert_eq!(days.answer(&[A, B]), A);
    assert_eq!(days.answer(&[A, B]), B);
    assert_eq!(days.answer(&[B, A]), A);
    days.handshake(1);
    assert_eq!(days.answer(&[B, A]), A);
}

#[test]
fn an_address_of_an_earlier_run_is_tried_first() {
    let mut days = Days::new();
    let answer = [address(A)];
    days.endpoints.restore(&name(), address(B), days.now);
    days.now.0 += Duration::from_secs(14);
    assert!(!days.endpoints.wants_another(&name(), days.now));
    assert_eq!(days.endpoints.on_answer(&name(), &answer, days.now), None);
    days.now.0 += Duration::from_secs(1);
    assert!(days.endpoints.wants_another(&name(), days.now));
    assert_eq!(
        days.endpoints.on_answer(&name(), &answer, days.now),
        Some(answer[0])
    );
}

#[test]
fn who_has_the_config_read_again_is_believed() {
    let mut days = Days::new();
    assert_eq!(days.answer(&[A]), A);
    days.handshake(1);
    days.endpoints.trust_next_answer();
    assert_eq!(days.answer(&[B]), B);
    assert_eq!(
        days.verified().as_deref(),
        Some(A),
        "not heard at the other yet"
    );
    days.handshake(1);
    assert_eq!(days.verified().as_deref(), Some(B));
}
