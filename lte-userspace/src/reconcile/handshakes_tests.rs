use super::*;
use crate::kernel::wireguard::ObservedPeer;

const KEY: PublicKey = PublicKey([7; 32]);
const SESSION: Duration = Duration::from_secs(260);
const YEARS: Duration = Duration::from_hours(24 * 3652);

fn device(handshake: Option<SystemTime>) -> ObservedDevice {
    let peer = ObservedPeer {
        endpoint: None,
        allowed_ips: Vec::new(),
        keepalive: Duration::ZERO,
        handshake,
        received: 0,
        sent: 0,
    };
    ObservedDevice {
        peers: [(KEY, peer)].into(),
        ..ObservedDevice::default()
    }
}

/// A machine whose clock may be wrong by any amount.
struct Machine {
    handshakes: Handshakes,
    up: BootTime,
    clock: SystemTime,
    handshake: Option<SystemTime>,
}

impl Machine {
    fn new() -> Self {
        Self {
            handshakes: Handshakes::default(),
            up: BootTime(Duration::from_hours(1)),
            clock: SystemTime::UNIX_EPOCH + Duration::from_hours(500_000),
            handshake: None,
        }
    }

    fn passes(&mut self, seconds: u64) -> bool {
        for _ in 0..seconds {
            self.up.0 += Duration::from_secs(1);
            self.clock += Duration::from_secs(1);
            self.update();
        }
        self.handshakes.heard_within(&KEY, SESSION, self.up)
    }

    fn update(&mut self) {
        let device = device(self.handshake);
        self.handshakes.update(&device, self.up, self.clock);
    }

    fn handshake(&mut self) {
        self.handshake = Some(self.clock);
    }
}

#[test]
fn a_live_peer_is_heard_whatever_the_clock_is_set_to() {
    let mut machine = Machine::new();
    machine.update();
    machine.handshake();
    assert!(machine.passes(100));
    machine.clock += YEARS;
    assert!(machine.passes(100));
    machine.handshake();
    assert!(machine.passes(100));
    machine.clock -= YEARS;
    assert!(machine.passes(100), "its last handshake is in the future");
    machine.handshake();
    assert!(machine.passes(200));
}

#[test]
fn one_that_falls_silent_is_silent_whatever_the_clock_is_set_to() {
    for (ahead, back) in [(YEARS, Duration::ZERO), (Duration::ZERO, YEARS)] {
        let mut machine = Machine::new();
        machine.update();
        machine.handshake();
        assert!(machine.passes(100));
        machine.clock = machine.clock + ahead - back;
        assert!(machine.passes(150));
        assert!(!machine.passes(50));
        machine.handshake();
        assert!(machine.passes(1), "it answers again");
    }
}

#[test]
fn what_was_there_before_the_agent_is_as_old_as_the_clock_says() {
    for (ago, heard) in [(10, true), (300, false)] {
        let mut machine = Machine::new();
        machine.handshake = Some(machine.clock - Duration::from_secs(ago));
        assert_eq!(machine.passes(1), heard, "{ago}");
    }
    // By a clock that was set back meanwhile.
    let mut machine = Machine::new();
    machine.handshake = Some(machine.clock + YEARS);
    assert!(machine.passes(200));
    assert!(!machine.passes(100));
}

#[test]
fn time_in_suspend_counts() {
    let mut machine = Machine::new();
    machine.update();
    machine.handshake();
    assert!(machine.passes(10));
    machine.up.0 += Duration::from_hours(8);
    machine.clock += Duration::from_hours(8);
    assert!(!machine.passes(1), "its session is over");
}

#[test]
fn a_device_that_was_made_anew_has_heard_nobody() {
    let mut machine = Machine::new();
    machine.update();
    machine.handshake();
    assert!(machine.passes(10));
    machine.handshake = None;
    assert!(!machine.passes(1));
}
