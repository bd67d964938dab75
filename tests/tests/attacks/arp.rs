//! Questions by ARP, asked and answered.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{MODEM, MODEM_GATEWAY, ROUTER_LAN, TUNNEL_ROUTER, UPLINK};
use lte_tests::backend::Backend;
use lte_tests::frame_socket::FrameSocket;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use nix::sys::socket::{setsockopt, sockopt};

use crate::answered;
use crate::tally::{Frame, Tally};

/// The router's other addresses.
const OTHERS: [Ipv4Addr; 3] = [ROUTER_LAN, UPLINK, TUNNEL_ROUTER];
/// A host at the carrier, on the modem's subnet.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 77);
/// Hardware address of who asks.
const ASKING: [u8; 6] = [2, 0, 0, 0, 0, 0x42];

/// By ARP the carrier learns of no other address than the modem's.
pub(crate) fn is_of_the_modems_address_alone(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let tally = Tally::open(&scene)?;
    probes_are_answered_for_the_modem_alone(&scene, &tally)?;
    questions_are_asked_as_the_modem_alone(backend, &scene, &tally)?;
    scene.tunnel_is_sound()?;
    agent.interrupt()
}

/// Also without an address of who asks (RFC 5227), which the reverse-path check has nothing against.
fn probes_are_answered_for_the_modem_alone(scene: &Scene, tally: &Tally) -> Result<()> {
    let socket = FrameSocket::open(&scene.lab.carrier.netns, "modem0")?;
    for sender in [Ipv4Addr::UNSPECIFIED, MODEM_GATEWAY] {
        for target in OTHERS.into_iter().chain([MODEM]) {
            socket.send(&question(sender, target))?;
        }
    }
    // The last question of each is the modem's: by then the others were decided over.
    let mut frames = Vec::new();
    wait::until(TIMEOUT, "two answers for the modem's address", || {
        frames.extend(tally.left()?);
        let answers = frames.iter().filter_map(Frame::arp);
        let of_modem = answers.filter(|arp| arp.answer && arp.sender == MODEM);
        Ok((of_modem.count() >= 2).then_some(()))
    })?;
    let foreign = frames.iter().find(|frame| {
        frame
            .arp()
            .is_some_and(|arp| arp.answer && arp.sender != MODEM)
    });
    ensure!(
        foreign.is_none(),
        "another address was told: {}",
        foreign.context("none")?
    );
    Ok(())
}

/// A program sends past the routes, with each of the router's addresses as the source of its packet.
fn questions_are_asked_as_the_modem_alone(
    backend: Backend,
    scene: &Scene,
    tally: &Tally,
) -> Result<()> {
    let carrier = &scene.lab.carrier.netns;
    carrier.ip(&format!("addr add {NEIGHBOUR}/24 dev modem0\n"))?;
    for source in OTHERS {
        // Each finds the neighbour unknown.
        let router = &scene.lab.router;
        router.ip("neigh flush dev modem\n")?;
        router.run(|| {
            let socket = UdpSocket::bind((source, 0))?;
            setsockopt(&socket, sockopt::BindToDevice, &"modem".into())?;
            setsockopt(&socket, sockopt::DontRoute, &true)?;
            for _ in 0..3 {
                // That it is refused is one way of not getting out.
                socket.send_to(b"let me out", (NEIGHBOUR, 9)).ok();
            }
            Ok(())
        })?;
    }
    let asked = |frames: &[Frame]| {
        let questions = frames.iter().filter_map(Frame::arp);
        questions.filter(|arp| arp.target == NEIGHBOUR).count()
    };
    let mut frames = Vec::new();
    if backend == Backend::Ebpf {
        // Programs see a packet when its neighbour is known; nftables drop it before.
        wait::until(TIMEOUT, "a question for the neighbour", || {
            frames.extend(tally.left()?);
            Ok((asked(&frames) >= 1).then_some(()))
        })?;
    }
    answered(scene)?;
    frames.extend(tally.left()?);
    let foreign: Vec<_> = frames
        .iter()
        .filter(|frame| !frame.is_tunnel() && frame.arp().is_none_or(|arp| arp.sender != MODEM))
        .map(ToString::to_string)
        .collect();
    ensure!(foreign.is_empty(), "by the modem left: {foreign:?}");
    Ok(())
}

/// To all.
fn question(sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = [[0xff; 6], ASKING].concat();
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(ASKING);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}
