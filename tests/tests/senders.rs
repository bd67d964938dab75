//! What is the tunnel's is known by its sender: the router's own WireGuard to the same server and port goes
//! its way, a program that imitates the tunnel does not get out by the modem, and neither does one that
//! holds the tunnel's port.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{LISTEN_PORT, MODEM, PEER, PEER_PORT, TUNNEL, TUNNEL_PEER};
use lte_tests::another_wireguard::{self, OTHER_PEER};
use lte_tests::backend::Backend;
use lte_tests::capture::Seen;
use lte_tests::for_each_backend;
use lte_tests::outside_host::make_known;
use lte_tests::ping::Pinger;
use lte_tests::scene::{Scene, from_modem, from_wan, tunnel_out};
use lte_tests::topology::Options;
use lte_tests::traffic::{self, shaped_as_data, shaped_as_initiation};
use lte_tests::wait::{self, TIMEOUT};
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};

for_each_backend!(
    another_wireguard_to_the_same_peer,
    a_program_of_the_shape,
    a_program_that_holds_the_port,
);

const QUICK: Duration = Duration::from_millis(50);
/// Where the router's own WireGuard sends from.
const OWN_PORT: u16 = 51999;

/// Of the router's own WireGuard.
fn is_own(seen: &Seen) -> bool {
    seen.packet
        .ports
        .is_some_and(|(from, to)| from == OWN_PORT || to == OWN_PORT)
}

/// Both are whole: pings, and datagrams of programs inside them, which belong to the programs' sockets.
fn both_are_whole(scene: &Scene) -> Result<()> {
    let router = &scene.lab.router;
    let own = |seen: &Seen| from_wan(seen) && is_own(seen);
    let (by_wan, by_modem) = (
        scene.at_isp.count(own)?,
        scene.at_carrier.count(tunnel_out)?,
    );
    for (name, peer) in [
        ("the router's own", OTHER_PEER),
        ("the tunnel", TUNNEL_PEER),
    ] {
        let pinger = Pinger::start(router, peer, QUICK)?;
        pinger.wait_for_more(20)?;
        let pings = pinger.stop()?;
        ensure!(pings.lost() == 0, "{name}: {pings}");
        let to = [SocketAddrV4::new(peer, 9)];
        traffic::send_udp(router, 4000, &to, &vec![vec![1; 64]; 20])?;
    }
    let so_far = || -> Result<(usize, usize)> {
        let by_wan = scene.at_isp.count(own)? - by_wan;
        let by_modem = scene.at_carrier.count(tunnel_out)? - by_modem;
        Ok((by_wan, by_modem))
    };
    let all = wait::until(TIMEOUT, "20 pings and 20 datagrams each way", || {
        let (by_wan, by_modem) = so_far()?;
        Ok((by_wan >= 40 && by_modem >= 40).then_some(()))
    });
    all.with_context(|| format!("by wan and by the modem came {:?}", so_far()))?;
    scene
        .at_carrier
        .none("the router's own on the modem", |seen| {
            from_modem(seen) && is_own(seen)
        })?;
    scene.nothing_leaked_but(is_own, |_| false)
}

fn another_wireguard_to_the_same_peer(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    another_wireguard::set_up(&scene.lab, router, OWN_PORT)?;
    installation.wait_in_place(backend)?;
    both_are_whole(&scene)?;
    // Steered they are distinguished, too.
    agent.signal(Signal::SIGSTOP)?;
    router.ip("rule del pref 10\n")?;
    both_are_whole(&scene)?;
    agent.signal(Signal::SIGCONT)?;
    agent.interrupt()
}

/// What a program sends that knows the peer, as an unprivileged one can: by the routing, and bound to the
/// modem.
fn imitate(scene: &Scene, port: u16) -> Result<()> {
    make_known(&scene.lab, &[PEER])?;
    let to = SocketAddrV4::new(PEER, PEER_PORT);
    scene.lab.router.run(|| {
        for device in [None, Some("modem")] {
            let socket = std::net::UdpSocket::bind(("0.0.0.0", port))
                .with_context(|| format!("UDP port {port}"))?;
            if let Some(device) = device {
                setsockopt(&socket, sockopt::BindToDevice, &device.into())?;
            }
            for _ in 0..5 {
                for payload in [shaped_as_data(), shaped_as_initiation(), vec![0xff]] {
                    // That it is refused is one way of not getting out.
                    socket.send_to(&payload, to).ok();
                }
            }
        }
        Ok(())
    })
}

fn a_program_of_the_shape(backend: Backend) -> Result<()> {
    const PORT: u16 = 40000;
    let scene = Scene::open(&Options::default())?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let of_program = |seen: &Seen| seen.packet.ports == Some((PORT, PEER_PORT));
    imitate(&scene, PORT)?;
    // Where the routing leads it, it goes.
    wait::until(TIMEOUT, "15 datagrams on the uplink", || {
        let count = scene
            .at_isp
            .count(|seen| from_wan(seen) && of_program(seen))?;
        Ok((count == 15).then_some(()))
    })?;
    scene
        .at_carrier
        .none("the program's on the modem", of_program)?;
    scene.nothing_leaked_but(of_program, |_| false)?;
    agent.interrupt()
}

/// While WireGuard does not hold the port, and the agent, which would see to that, stands still.
fn a_program_that_holds_the_port(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    agent.signal(Signal::SIGSTOP)?;
    router.ip(&format!("link set {TUNNEL} down\n"))?;
    scene.at_carrier.clear();
    imitate(&scene, LISTEN_PORT)?;
    router.ip("rule del pref 10\n")?;
    imitate(&scene, LISTEN_PORT)?;
    // What left before a packet that is seen there has been seen.
    let mark = SocketAddrV4::new(MODEM, 9);
    traffic::send_udp(&scene.lab.carrier.netns, 0, &[mark], &[b"so far".to_vec()])?;
    scene
        .at_carrier
        .wait_for(TIMEOUT, "the carrier's packet", |seen| {
            seen.packet.ports.is_some_and(|(_, to)| to == 9)
        })?;
    scene
        .at_carrier
        .none("the program's on the modem", |seen| {
            from_modem(seen) && seen.packet.ports.is_some()
        })?;
    agent.signal(Signal::SIGCONT)?;
    let pinger = Pinger::start(router, TUNNEL_PEER, QUICK)?;
    pinger.wait_for_answer(TIMEOUT)?;
    pinger.stop()?;
    agent.interrupt()
}
