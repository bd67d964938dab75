//! Something is stacked on the modem, here or in a container: nothing gets in or out by it, and it is reported.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::capture::{Capture, Direction};
use lte_tests::corpus::packet::udp;
use lte_tests::netns::Netns;
use lte_tests::outside_host::{Services, mac, send_packet};
use lte_tests::scene::{Scene, from_modem};
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use lte_tests::{ping, traffic};

const SERVICE: u16 = 8080;
const UPPER: Ipv4Addr = Ipv4Addr::new(192, 168, 55, 2);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 55, 1);
/// Of the carrier's end of the VLAN, and for the rest of its modem's.
const TIMES: usize = 3;

/// What can be stacked on it: the words of `ip link add`, and whether the carrier needs a VLAN for it.
const UPPERS: [(&str, &str, bool); 4] = [
    ("macvlan", "macvlan mode bridge", false),
    ("passthru", "macvlan mode passthru", false),
    ("ipvlan", "ipvlan mode l2", false),
    ("vlan", "vlan id 5", true),
];

pub(crate) fn nobody_uses_it(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let lab = &scene.lab;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    let arrivals = Capture::start(&lab.router)?;
    lab.carrier.netns.ip(&format!(
        "link add link modem0 name vlan0 type vlan id 5
         link set vlan0 up
         addr add {OUTSIDE}/24 dev modem0\n"
    ))?;
    for (name, words, tagged) in UPPERS {
        for in_a_container in [false, true] {
            lab.router
                .ip(&format!("link add link modem name upper0 type {words}\n"))?;
            let container = Netns::create("container")?;
            let place = if in_a_container {
                lab.router
                    .ip(&format!("link set upper0 netns {}\n", container.path()))?;
                &container
            } else {
                agent.wait_logged("upper0 (")?;
                for command in ["status", "doctor"] {
                    let said = installation.run(Some(backend), &[command])?;
                    ensure!(said.stdout.contains("upper0 ("), "{command}: {said:?}");
                }
                &lab.router
            };
            place.ip(&format!(
                "addr add {UPPER}/24 dev upper0\nlink set upper0 up\n"
            ))?;
            let services = Services::open(place, SERVICE)?;
            let to = mac(place, "upper0")?;
            let by = if tagged { "vlan0" } else { "modem0" };
            arrivals.clear();
            for _ in 0..TIMES {
                for to in [to, [0xff; 6]] {
                    let packet = udp(
                        (OUTSIDE.into(), 4000),
                        (UPPER.into(), SERVICE),
                        b"let me in",
                    );
                    send_packet(&lab.carrier.netns, by, to, &packet)?;
                }
            }
            wait::until(TIMEOUT, "the frames at the modem", || {
                let arrived = arrivals.count(|seen| {
                    seen.direction == Direction::In && seen.packet.source() == Some(OUTSIDE.into())
                })?;
                Ok((arrived >= 2 * TIMES).then_some(()))
            })?;
            let since = Instant::now();
            // Out: to a neighbour that is known, so that nothing waits for ARP.
            let neighbour = mac(&lab.carrier.netns, by)?;
            let lladdr = neighbour.map(|byte| format!("{byte:02x}")).join(":");
            if to != [0; 6] {
                place.ip(&format!(
                    "neigh replace {OUTSIDE} lladdr {lladdr} dev upper0 nud permanent\n"
                ))?;
            }
            let target = std::net::SocketAddrV4::new(OUTSIDE, 9);
            traffic::send_udp(place, 40000, &[target], &[b"let me out".to_vec()])?;
            ensure!(!ping::answers(place, OUTSIDE)?, "{name}: a ping came back");
            let visitors = services.visitors()?;
            ensure!(
                visitors == (0, 0),
                "{name} (container: {in_a_container}): {visitors:?} came in"
            );
            scene
                .at_carrier
                .none("packets of what is stacked on the modem", |seen| {
                    seen.at >= since
                        && (from_modem(seen)
                            || &*seen.interface == "vlan0" && seen.direction == Direction::In)
                        && seen.packet.source() == Some(UPPER.into())
                })?;
            place.ip("link del upper0\n")?;
        }
    }
    scene.ping_tunnel()?.wait_for_answer(TIMEOUT)?;
    installation.wait_in_place(backend)?;
    scene.nothing_leaked()?;
    agent.interrupt()
}
