//! Another program comes before the guard's: whatever it lets pass, the guard never sees.

use std::net::SocketAddrV4;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use aya::programs::tc::{NlOptions, TcAttachOptions, TcHandle};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use lte_tests::addresses::{ELSEWHERE, LISTEN_PORT, MODEM, PEER, PEER_PORT};
use lte_tests::backend::Backend;
use lte_tests::corpus::bpffs::Pins;
use lte_tests::corpus::instructions;
use lte_tests::netns::Netns;
use lte_tests::outside_host::{Services, forged_udp};
use lte_tests::scene::{Scene, foreign, from_wan};
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use lte_tests::{bpf, kernel_version, traffic};

/// The places of the guard.
const PLACES: [(&str, &str, TcAttachType); 3] = [
    ("modem", "modem_egress", TcAttachType::Egress),
    ("modem", "modem_ingress", TcAttachType::Ingress),
    ("wan", "uplink_egress", TcAttachType::Egress),
];
const SERVICE: u16 = 8080;

/// Another's program that lets all pass, with the mark of the tunnel's packets, at the guard's places.
struct PassAll(SchedClassifier);

impl PassAll {
    /// Loads it, and puts it before all that is there, the guard's places or one of them.
    fn put_first(router: &Netns) -> Result<Self> {
        let pins = Pins::create()?;
        let mut program = instructions::pass(&pins.path().join("pass"), 0x7b)?;
        router.run(|| {
            for (device, _, side) in PLACES {
                let options = if has_links()? {
                    TcAttachOptions::TcxOrder(LinkOrder::first())
                } else {
                    TcAttachOptions::Netlink(NlOptions {
                        priority: 1,
                        handle: TcHandle::default(),
                        classid: None,
                    })
                };
                program.attach_with_options(device, side, options)?;
            }
            Ok(())
        })?;
        Ok(Self(program))
    }

    /// It goes.
    fn take_away(mut self, router: &Netns) -> Result<()> {
        router.run(|| {
            self.0.unload()?;
            Ok(())
        })
    }
}

fn has_links() -> Result<bool> {
    Ok(kernel_version::running()? >= (6, 6))
}

/// What runs first at a place. To be called inside the router.
fn first_at((device, _, side): (&str, &str, TcAttachType)) -> Result<String> {
    if has_links()? {
        let (_, programs) = SchedClassifier::query_tcx(device, side)?;
        let first = programs.first().and_then(|program| program.name_as_str());
        return Ok(first.unwrap_or_default().to_owned());
    }
    let side = match side {
        TcAttachType::Ingress => "ingress",
        _ => "egress",
    };
    let shown = lte_tests::process::tool("tc", &["filter", "show", "dev", device, side], "")?;
    let first = shown.lines().find(|line| line.contains(" handle "));
    Ok(first.unwrap_or_default().to_owned())
}

fn is_first(router: &Netns) -> Result<bool> {
    router.run(|| {
        for place in PLACES {
            if !first_at(place)?.contains(place.1) {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// What is not the tunnel's is let out and in no more.
fn nothing_passes(scene: &Scene, services: &Services) -> Result<()> {
    let since = Instant::now();
    services.visitors()?;
    let targets = [
        SocketAddrV4::new(ELSEWHERE, 53),
        SocketAddrV4::new(PEER, PEER_PORT),
    ];
    let payloads = [traffic::shaped_as_data(), b"a question".to_vec()];
    for port in [LISTEN_PORT, 40000] {
        traffic::send_udp(&scene.lab.lan, port, &targets, &payloads)?;
    }
    traffic::send_udp(&scene.lab.router, 40001, &targets, &payloads)?;
    let carrier = &scene.lab.carrier.netns;
    let to = SocketAddrV4::new(MODEM, SERVICE);
    for from in [SocketAddrV4::new(PEER, 9), SocketAddrV4::new(ELSEWHERE, 9)] {
        let socket = forged_udp(carrier, from)?;
        for _ in 0..5 {
            socket
                .send_to(b"let me in", to)
                .context("a word from the carrier")?;
        }
    }
    // What was sent before it has gone its way by then.
    scene.ping_tunnel()?.wait_for_answer(TIMEOUT)?;
    scene
        .at_carrier
        .none("foreign packets on the modem", |seen| {
            seen.at >= since && foreign(seen)
        })?;
    scene.at_isp.none("outer packets on the uplink", |seen| {
        seen.at >= since && from_wan(seen) && seen.packet.ports == Some((LISTEN_PORT, PEER_PORT))
    })?;
    let visitors = services.visitors()?;
    ensure!(visitors == (0, 0), "{visitors:?} came in");
    Ok(())
}

pub(crate) fn before_the_guard() -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let router = &scene.lab.router;
    let before = scene.lab.snapshot()?;
    let services = Services::open(router, SERVICE)?;
    let installation = scene.installation()?;
    let agent = installation.start(Backend::Ebpf)?;
    scene.handshake_after(agent.started())?;
    scene.lab.default_route_on_modem()?;
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_more(2)?;
    ensure!(is_first(router)?, "another is first from the beginning");

    // While the agent runs, and again after it was mended once.
    let mut others = Vec::new();
    for _ in 0..2 {
        others.push(PassAll::put_first(router)?);
        wait::until(TIMEOUT, "the guard to be first again", || {
            Ok(is_first(router)?.then_some(()))
        })?;
        nothing_passes(&scene, &services)?;
    }
    agent.wait_logged("another program runs before modem_egress on modem")?;

    // While it does not.
    agent.terminate()?;
    others.push(PassAll::put_first(router)?);
    ensure!(!is_first(router)?, "the test's program is not the first");
    let plan = installation.run(Some(Backend::Ebpf), &["plan"])?;
    for (device, program, _) in PLACES {
        let line = format!("another program runs before {program} on {device}");
        ensure!(plan.stdout.contains(&line), "no `{line}`: {plan:?}");
    }
    let agent = installation.start(Backend::Ebpf)?;
    ensure!(
        is_first(router)?,
        "the guard is not first, and everything in place"
    );
    nothing_passes(&scene, &services)?;

    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    let plan = installation.run(Some(Backend::Ebpf), &["plan"])?;
    ensure!(plan.stdout.contains("nothing to do"), "{plan:?}");
    once_each(others.len())?;
    for other in others {
        other.take_away(router)?;
    }
    drop(services);
    router.ip("route del default dev modem metric 1\n")?;
    agent.interrupt()?;
    before.assert_same(router)
}

/// No other's program is gone, and each of the guard's has one place: the ones that were behind are gone.
fn once_each(others: usize) -> Result<()> {
    let links = bpf::objects()?
        .iter()
        .filter(|line| line.contains("bpf link"))
        .count();
    if has_links()? {
        // The LAN's interface is guarded as well, and no program came before that.
        let wanted = PLACES.len() * (others + 1) + 1;
        ensure!(links == wanted, "{links} links, not {wanted}");
    }
    Ok(())
}
