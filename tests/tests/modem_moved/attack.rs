//! Frames from the carrier that would like to come in, and from the LAN that would like to go out.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use anyhow::{Result, ensure};
use lte_tests::addresses::{LAN_HOST, LISTEN_PORT, MODEM, PEER, PEER_PORT, ROUTER_LAN};
use lte_tests::capture::{Capture, Direction};
use lte_tests::corpus::packet::udp;
use lte_tests::outside_host::{Services, mac, send_packet};
use lte_tests::scene::{Scene, foreign, from_modem};
use lte_tests::topology::Lab;
use lte_tests::traffic;
use lte_tests::wait::{self, TIMEOUT};

use crate::masters::at_home;

const SERVICE: u16 = 8080;
/// A host at the carrier with an address of the LAN's, so that no reverse-path filter is in the way.
const INTRUDER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 99);
const TIMES: usize = 3;
/// A length that the tunnel itself never has here.
const LOOK_ALIKE: usize = 32 + 16 * 37;

/// What unknown senders would like to reach.
pub(crate) struct Targets {
    at_home: Services,
    on_router: Services,
    /// What arrives at the router.
    arrivals: Capture,
}

impl Targets {
    pub(crate) fn open(lab: &Lab) -> Result<Self> {
        Ok(Self {
            at_home: Services::open(&lab.lan, SERVICE)?,
            on_router: Services::open(&lab.router, SERVICE)?,
            arrivals: Capture::start(&lab.router)?,
        })
    }

    /// From the carrier to whatever lies behind the modem: to the modem's own hardware address, to that of
    /// `upper`, to the LAN host's, to all.
    pub(crate) fn nobody_gets_in(&self, scene: &Scene, modem: &str, upper: &str) -> Result<()> {
        let lab = &scene.lab;
        let everybody = [0xff; 6];
        let (own, upper) = (mac(&lab.router, modem)?, mac(&lab.router, upper)?);
        let host = mac(&lab.lan, "eth0")?;
        let ways = [
            (own, MODEM),
            (own, ROUTER_LAN),
            (own, LAN_HOST),
            (upper, MODEM),
            (upper, ROUTER_LAN),
            (upper, LAN_HOST),
            (host, LAN_HOST),
            (everybody, Ipv4Addr::BROADCAST),
            (everybody, Ipv4Addr::new(192, 168, 77, 255)),
        ];
        self.arrivals.clear();
        let wanted = ways.len() * TIMES;
        // A bond closes what is taken off it: what comes in that moment is lost, so more is sent.
        wait::until(TIMEOUT, "the frames at the modem", || {
            for (to, address) in ways {
                let packet = udp(
                    (INTRUDER.into(), 4000),
                    (address.into(), SERVICE),
                    b"let me in",
                );
                send_packet(&lab.carrier.netns, "modem0", to, &packet)?;
            }
            let arrived = self.arrivals.count(|seen| {
                seen.direction == Direction::In
                    && &*seen.interface == modem
                    && seen.packet.source() == Some(IpAddr::from(INTRUDER))
            })?;
            Ok((arrived >= wanted).then_some(()))
        })?;
        // What was handed on before it is there by then.
        at_home(scene)?;
        let visitors = (self.at_home.visitors()?, self.on_router.visitors()?);
        ensure!(
            visitors == ((0, 0), (0, 0)),
            "of {wanted} and more datagrams from the carrier came in at the LAN host and the router: {visitors:?}"
        );
        Ok(())
    }
}

/// From the LAN to the carrier, past the IP stack, also as if it were the tunnel's.
pub(crate) fn nobody_gets_out(scene: &Scene) -> Result<()> {
    let lab = &scene.lab;
    let since = Instant::now();
    let mut look_alike = traffic::shaped_as_data();
    look_alike.resize(LOOK_ALIKE, 0x5a);
    let packets = [
        udp((LAN_HOST.into(), 4000), (INTRUDER.into(), 9), b"let me out"),
        udp(
            (MODEM.into(), LISTEN_PORT),
            (PEER.into(), PEER_PORT),
            look_alike,
        ),
    ];
    let gateway = mac(&lab.carrier.netns, "modem0")?;
    for to in [gateway, [0xff; 6]] {
        for packet in packets.iter().cycle().take(TIMES * 2) {
            send_packet(&lab.lan, "eth0", to, packet)?;
        }
    }
    at_home(scene)?;
    scene.at_carrier.none("frames of the LAN's", |seen| {
        let alike = from_modem(seen) && seen.packet.bytes == LOOK_ALIKE + 28;
        seen.at >= since
            && (alike || foreign(seen) && seen.packet.source() == Some(LAN_HOST.into()))
    })
}
