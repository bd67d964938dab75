//! What the SIM has carried is known to the byte, and outlives the agent, the guard and the modem
//! (spec: `every-byte-counted`).

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{ELSEWHERE, LISTEN_PORT, MODEM, TUNNEL_PEER};
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::capture::{Direction, Seen};
use lte_tests::for_each_backend;
use lte_tests::installation::Installation;
use lte_tests::packet::Kind;
use lte_tests::ping::{PACE, Pinger};
use lte_tests::scene::{Scene, from_modem};
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use lte_tests::{outside_host, traffic};
use nix::sys::signal::Signal;
use serde_json::Value;

for_each_backend!(holds_what_the_carrier_saw, outlives_every_end);

// How counters are kept differs most between these two.
lte_tests::runs_on!(oldest, newest);

/// Bytes that the router has sent and received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bytes {
    sent: u64,
    received: u64,
}

impl Bytes {
    const fn total(self) -> u64 {
        self.sent + self.received
    }
}

/// IP packets at the carrier's end of the cable.
fn is_ip(seen: &Seen) -> bool {
    &*seen.interface == "modem0" && !matches!(seen.packet.kind, Kind::Arp | Kind::Other(_))
}

fn carried(scene: &Scene) -> Result<Bytes> {
    let mut bytes = Bytes {
        sent: 0,
        received: 0,
    };
    for seen in scene.at_carrier.packets(is_ip)? {
        match seen.direction {
            Direction::In => bytes.sent += seen.packet.bytes as u64,
            Direction::Out => bytes.received += seen.packet.bytes as u64,
        }
    }
    Ok(bytes)
}

fn usage(installation: &Installation) -> Result<Value> {
    let ended = installation.run(None, &["usage", "--json"])?;
    ensure!(ended.status.success(), "usage: {ended:?}");
    Ok(serde_json::from_str(&ended.stdout)?)
}

fn counted(installation: &Installation) -> Result<Bytes> {
    let usage = usage(installation)?;
    let number = |key: &str| usage[key].as_u64().with_context(|| format!("no {key}"));
    let bytes = Bytes {
        sent: number("sent_bytes")?,
        received: number("received_bytes")?,
    };
    ensure!(
        number("spent_bytes")? == bytes.total(),
        "{bytes:?} in {usage}"
    );
    Ok(bytes)
}

/// Waits until the usage is what the carrier has seen, less what is known to be lost.
fn agree(scene: &Scene, installation: &Installation, lost: u64) -> Result<()> {
    let mut found = String::new();
    let agree = wait::until(TIMEOUT, "the usage to agree with the carrier", || {
        let counted = counted(installation)?;
        let carried = carried(scene)?;
        found = format!("counted {counted:?}, carried {carried:?}, lost {lost}");
        Ok((counted.total() + lost == carried.total()).then_some(()))
    });
    agree.with_context(|| found.clone())
}

fn pings(scene: &Scene, count: usize) -> Result<()> {
    let pinger = Pinger::start(&scene.lab.router, TUNNEL_PEER, PACE)?;
    pinger.wait_for_more(count)?;
    pinger.stop().map(drop)
}

fn holds_what_the_carrier_saw(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    pings(&scene, 10)?;
    // What enters is billed, whoever has sent it; what does not leave is not.
    let carrier = &scene.lab.carrier.netns;
    let sender = outside_host::forged_udp(carrier, SocketAddrV4::new(ELSEWHERE, 7))?;
    for length in [0, 1, 500, 1400] {
        for port in [LISTEN_PORT, 4000] {
            sender.send_to(&vec![0x5a; length], SocketAddrV4::new(MODEM, port))?;
        }
    }
    scene.lab.default_route_on_modem()?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let sending = scope.spawn(|| traffic::by_the_modem(&scene.lab, &stop));
        thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        let sent = sending
            .join()
            .map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        ensure!(sent > 10, "only {sent} packets tried");
        Ok(())
    })?;
    agree(&scene, &installation, 0)?;

    // And by class.
    let usage = usage(&installation)?;
    let class = |name: &str| {
        let class = &usage["by_class"][name];
        (class["packets"].as_u64(), class["bytes"].as_u64())
    };
    let sum = |wanted: &dyn Fn(&Seen) -> bool| -> Result<_> {
        let packets = scene
            .at_carrier
            .packets(|seen| is_ip(seen) && wanted(seen))?;
        let bytes = packets.iter().map(|seen| seen.packet.bytes as u64).sum();
        Ok((Some(packets.len() as u64), Some(bytes)))
    };
    let tunnel = sum(&|seen| from_modem(seen) && seen.packet.is_wireguard())?;
    let reply = sum(&|seen| !from_modem(seen) && seen.packet.is_wireguard())?;
    let from_unknown_sender =
        |seen: &Seen| !from_modem(seen) && seen.packet.source() == Some(ELSEWHERE.into());
    let to_tunnel = sum(&|seen| {
        from_unknown_sender(seen) && seen.packet.ports.is_some_and(|(_, to)| to == LISTEN_PORT)
    })?;
    let to_others = sum(&|seen| {
        from_unknown_sender(seen) && seen.packet.ports.is_some_and(|(_, to)| to != LISTEN_PORT)
    })?;
    for (name, wire) in [
        ("modem-out/tunnel", tunnel),
        ("modem-in/reply", reply),
        ("modem-in/drop-stranger", to_tunnel),
        ("modem-in/drop-unsolicited", to_others),
    ] {
        ensure!(class(name) == wire, "{name}: {:?}, {wire:?}", class(name));
    }
    agent.interrupt()
}

/// How an agent ends, or is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Killed,
    Terminated,
    Reloaded,
    Replugged,
    Switched,
    Interrupted,
    Down,
}

impl End {
    /// A kill and an end come before a guard has gone and after it.
    const ALL: [Self; 9] = [
        Self::Killed,
        Self::Terminated,
        Self::Switched,
        Self::Killed,
        Self::Reloaded,
        Self::Replugged,
        Self::Interrupted,
        Self::Down,
        Self::Terminated,
    ];

    /// Whether the guard that counts goes, and with it what it counts after it was read last.
    const fn takes_counters(self) -> bool {
        match self {
            Self::Killed | Self::Terminated | Self::Reloaded => false,
            // Of chains on a device nftables keeps no counters that were not read.
            Self::Replugged | Self::Switched | Self::Interrupted | Self::Down => true,
        }
    }
}

/// With traffic all the time: never a byte twice, and none lost but what passes while counters are removed.
fn outlives_every_end(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let installation = scene.installation()?;
    let mut backend = backend;
    let mut agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    let mut lost = 0;
    for end in End::ALL {
        let pinger = Pinger::start(&scene.lab.router, TUNNEL_PEER, PACE)?;
        pinger.wait_for_more(3)?;
        let before = carried(&scene)?.total();
        agent = disturb(&scene, &installation, agent, end, &mut backend)?;
        pinger.wait_for_more(3)?;
        let after = carried(&scene)?.total();
        pinger.stop()?;
        if end.takes_counters() {
            lost += newly_lost(&scene, &installation, lost, after - before)
                .with_context(|| format!("{end:?}"))?;
        }
        agree(&scene, &installation, lost).with_context(|| format!("after {end:?}"))?;
    }
    agent.interrupt()
}

fn disturb(
    scene: &Scene,
    installation: &Installation,
    agent: Agent,
    end: End,
    backend: &mut Backend,
) -> Result<Agent> {
    match end {
        End::Killed => agent.kill()?,
        End::Terminated => agent.terminate()?,
        End::Reloaded => {
            agent.signal(Signal::SIGHUP)?;
            agent.wait_logged("configuration reloaded")?;
            return Ok(agent);
        }
        End::Replugged => {
            scene.lab.unplug_modem("modem")?;
            scene.lab.plug_modem("modem")?;
            installation.wait_in_place(*backend)?;
            return Ok(agent);
        }
        End::Switched => {
            agent.terminate()?;
            *backend = match *backend {
                Backend::Ebpf => Backend::Nft,
                Backend::Nft => Backend::Ebpf,
            };
        }
        End::Interrupted => agent.interrupt()?,
        End::Down => {
            agent.terminate()?;
            let ended = installation.run(Some(*backend), &["down"])?;
            ensure!(ended.status.success(), "down: {ended:?}");
        }
    }
    installation.start(*backend)
}

/// What was lost in an end: not more than passed meanwhile, and nothing was counted twice.
fn newly_lost(scene: &Scene, installation: &Installation, lost: u64, passed: u64) -> Result<u64> {
    let mut earlier = None;
    // Until nothing moves any more: two readings are the same.
    wait::until(TIMEOUT, "the counters to rest", || {
        let now = (counted(installation)?, carried(scene)?);
        let rests = earlier == Some(now);
        earlier = Some(now);
        Ok(rests.then_some(()))
    })?;
    let (counted, carried) = earlier.context("nothing was read")?;
    let uncounted = carried.total().checked_sub(counted.total() + lost);
    let uncounted = uncounted
        .with_context(|| format!("counted twice: {counted:?}, {carried:?}, lost {lost}"))?;
    ensure!(
        uncounted <= passed,
        "{uncounted} bytes were lost while {passed} passed: {counted:?}, {carried:?}"
    );
    println!("lost {uncounted} of {passed} bytes");
    Ok(uncounted)
}
