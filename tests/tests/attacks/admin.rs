//! A program asks the modem's page, and would have the modem send the question on.

use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use lte_tests::addresses::{ELSEWHERE, MODEM, MODEM_GATEWAY};
use lte_tests::backend::Backend;
use lte_tests::corpus::packet::source_route;
use lte_tests::netns::Netns;
use lte_tests::packet::Kind;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, connect, sendto,
    socket,
};

use crate::tally::{Frame, Tally};
use crate::{answered, open_house, options};

const PAGE: u16 = 80;

/// A source route makes the page a hop, and anybody the end.
pub(crate) fn page_by_a_source_route(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    let mut installation = scene.installation()?;
    installation.config = installation
        .config
        .with("[modem]\n", &format!("[modem]\nadmin_ports = [{PAGE}]\n"))?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    let tally = Tally::open(&scene)?;
    ask(router, true)?;
    answered(&scene)?;
    tally.the_tunnel_alone()?;

    // A plain question is let out.
    ask(router, false)?;
    wait_for(&tally, |frame| !has_options(frame))?;
    agent.interrupt()?;
    // The other one, without a guard, does get out: it was well asked.
    open_house(router)?;
    ask(router, true)?;
    wait_for(&tally, has_options)
}

/// One connection and one echo, to the page, by way of which they are to go on or not.
fn ask(router: &Netns, on: bool) -> Result<()> {
    // The kernel takes the address that is asked for for the end, and the option's for the first hop.
    let (to, hops) = if on {
        (ELSEWHERE, Some(source_route(false, MODEM_GATEWAY)))
    } else {
        (MODEM_GATEWAY, None)
    };
    router.run(|| {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        for (kind, protocol) in [
            (SockType::Stream, SockProtocol::Tcp),
            (SockType::Raw, SockProtocol::Icmp),
        ] {
            let socket = socket(AddressFamily::Inet, kind, flags, protocol)?;
            if let Some(hops) = &hops {
                options::set(&socket, libc::IPPROTO_IP, libc::IP_OPTIONS, hops)?;
            }
            bind(
                socket.as_raw_fd(),
                &SockaddrIn::from(SocketAddrV4::new(MODEM, 0)),
            )?;
            let to = SockaddrIn::from(SocketAddrV4::new(to, PAGE));
            if kind == SockType::Stream {
                match connect(socket.as_raw_fd(), &to) {
                    Ok(()) | Err(Errno::EINPROGRESS) => {}
                    Err(error) => return Err(error).context("connecting"),
                }
            } else {
                // An echo request of identifier 1: its checksum is right.
                let echo = [8, 0, 0xf7, 0xfe, 0, 1, 0, 0];
                // That it is refused is one way of not getting out.
                sendto(socket.as_raw_fd(), &echo, &to, MsgFlags::empty()).ok();
            }
        }
        Ok(())
    })
}

fn has_options(frame: &Frame) -> bool {
    frame.ipv4().is_some_and(|ip| ip[0] & 15 > 5)
}

/// Both have left.
fn wait_for(tally: &Tally, wanted: impl Fn(&Frame) -> bool) -> Result<()> {
    let mut kinds = Vec::new();
    let both = wait::until(TIMEOUT, "a connection and an echo by the modem", || {
        let left = tally.left()?;
        kinds.extend(left.iter().filter(|f| wanted(f)).map(|f| f.packet().kind));
        let both = [Kind::Tcp, Kind::Icmp(8)]
            .iter()
            .all(|kind| kinds.contains(kind));
        Ok(both.then_some(()))
    });
    both.with_context(|| format!("only {kinds:?}"))
}
