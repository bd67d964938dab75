//! The story itself.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{CARRIER, ELSEWHERE, LISTEN_PORT, MODEM, PEER, PEER_PORT, UPLINK};
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::capture::{Capture, Direction, Seen};
use lte_tests::installation::Installation;
use lte_tests::ping::{self, PACE, Pinger};
use lte_tests::scene::{
    Scene, flush_rules, foreign, from_modem, from_wan, prompt, rules, rules_back, tunnel_out,
};
use lte_tests::snapshot::Snapshot;
use lte_tests::topology::Options;
use lte_tests::traffic;

use crate::account::Account;
use crate::chapter::Chapter;

/// As LTE is: 30 ms each way.
const DELAY: Duration = Duration::from_millis(30);

/// How many pings make a measurement.
const PINGS: usize = 10;

pub(crate) fn play(backend: Backend, account: &mut Account) -> Result<()> {
    introduce(backend, account)?;
    let scene = Scene::open(&Options {
        delay: DELAY,
        ..Options::default()
    })?;
    let installation = scene.installation()?;
    let before = scene.lab.snapshot()?;

    let agent = come_up(&scene, &installation, backend, account)?;
    let pinger = scene.ping_tunnel()?;
    lose_the_lease(&scene, &pinger, account)?;
    lose_the_link(&scene, &pinger, account)?;
    lan_tries(&scene, account)?;
    rules_flushed(&scene, &pinger, account)?;
    pinger.stop()?;
    compare_counters(&scene, &installation, account)?;
    print_counters(&scene, &installation, account)?;
    go_down(&scene, &before, agent, account)
}

fn introduce(backend: Backend, account: &mut Account) -> Result<()> {
    let kernel =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's release")?;
    account.about(format!(
        "The lab on kernel {}: the agent with its {backend} backend.",
        kernel.trim()
    ))?;
    account.about("")?;
    account.about("  lan -- router --(wan)---- isp ------.")?;
    account.about("             \\                       vps   WireGuard, set up by hand")?;
    account.about("              `-(modem)-- carrier --'      with `ip` and `wg`")?;
    account.about("")?;
    account.about(format!(
        "The carrier puts the modem behind {CARRIER} and takes {} ms each way.",
        DELAY.as_millis()
    ))?;
    account.about(format!("On the uplink the router would show as {UPLINK}."))?;
    account.about(
        "The reverse-path filter is strict everywhere. All packets are counted outside the router.",
    )
}

fn come_up(
    scene: &Scene,
    installation: &Installation,
    backend: Backend,
    account: &mut Account,
) -> Result<Agent> {
    let mut started = None;
    let prompt = prompt()?;
    account.chapter(
        "The tunnel comes up over the modem",
        &[
            &format!(
                "a handshake within {} s, all pings answered",
                prompt.as_secs()
            ),
            "the server sees the carrier's address; nothing goes by the uplink",
            "the strict filter stays strict and drops nothing",
        ],
        |chapter| {
            let agent = started.insert(installation.start(backend)?);
            let took = scene.handshake_after(agent.started())?;
            chapter.measured(
                took <= prompt,
                format!(
                    "handshake {:.2} s after the agent's start",
                    took.as_secs_f32()
                ),
            );
            let pinger = scene.ping_tunnel()?;
            pinger.wait_for_more(PINGS)?;
            let report = pinger.stop()?;
            let median = report.median_round_trip().unwrap_or_default();
            chapter.measured(
                report.lost() == 0,
                format!("{report}, median {} ms", median.as_millis()),
            );
            sound(scene, chapter)?;
            strict_filter_content(scene, chapter)
        },
    )?;
    started.context("the agent does not run, and so the story ends here")
}

fn lose_the_lease(scene: &Scene, pinger: &Pinger, account: &mut Account) -> Result<()> {
    account.chapter(
        "The uplink loses its lease: address and default route go",
        &["the tunnel goes on: no ping lost, before or after"],
        |chapter| {
            around(pinger, chapter, || scene.lab.lose_lease())?;
            sound(scene, chapter)?;
            strict_filter_content(scene, chapter)
        },
    )
}

fn lose_the_link(scene: &Scene, pinger: &Pinger, account: &mut Account) -> Result<()> {
    account.chapter(
        "The uplink's cable is pulled",
        &["the tunnel goes on: no ping lost, before or after"],
        |chapter| {
            around(pinger, chapter, || scene.lab.unplug_uplink())?;
            sound(scene, chapter)?;
            strict_filter_content(scene, chapter)
        },
    )
}

/// Pings before and after something happens.
fn around(
    pinger: &Pinger,
    chapter: &mut Chapter,
    happen: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let from = Instant::now();
    pinger.wait_for_more(PINGS / 2)?;
    let then = Instant::now();
    happen()?;
    pinger.wait_for_more(PINGS)?;
    let to = Instant::now();
    // The last one's answer is under way.
    std::thread::sleep(2 * DELAY + PACE);
    let all = pinger.so_far();
    for (name, report) in [
        ("before", all.between(from, then)),
        ("after", all.between(then, to)),
    ] {
        chapter.measured(
            report.sent() > 0 && report.lost() == 0,
            format!("{name}: {report}"),
        );
    }
    Ok(())
}

fn lan_tries(scene: &Scene, account: &mut Account) -> Result<()> {
    let modem = "default via 192.168.0.1 dev modem metric 1";
    account.chapter(
        "A LAN host tries to use the SIM",
        &[
            "somebody has put a default route on the modem, and there is no other",
            "its pings, DNS, TCP and look-alikes of the tunnel's packets: none gets out",
        ],
        |chapter| {
            scene.lab.default_route_on_modem()?;
            let at_lan = Capture::start(&scene.lab.lan)?;
            let targets = [
                SocketAddrV4::new(ELSEWHERE, 53),
                SocketAddrV4::new(PEER, PEER_PORT),
            ];
            let payloads = [traffic::shaped_as_data(), b"a question".to_vec()];
            for port in [LISTEN_PORT, 40000] {
                traffic::send_udp(&scene.lab.lan, port, &targets, &payloads)?;
            }
            let answered = ping::answers(&scene.lab.lan, ELSEWHERE)?;
            let connected = traffic::connects(
                &scene.lab.lan,
                SocketAddrV4::new(ELSEWHERE, 443),
                Duration::from_millis(500),
            )?;
            let tried = at_lan.count(|seen| {
                seen.direction == Direction::Out && seen.packet.addresses.is_some()
            })?;
            ensure!(tried > 0, "the LAN host sent nothing");
            let out = scene.at_carrier.count(foreign)?;
            chapter.measured(
                out == 0 && !answered && !connected,
                format!("{tried} packets tried, {out} seen at the carrier"),
            );
            scene.lab.router.ip(&format!("route del {modem}\n"))?;
            sound(scene, chapter)?;
            strict_filter_content(scene, chapter)
        },
    )
}

fn rules_flushed(scene: &Scene, pinger: &Pinger, account: &mut Account) -> Result<()> {
    account.chapter(
        "The uplink is back, and another program flushes the rules, five times",
        &[
            "the rules come back by themselves",
            "in between not one outer packet shows the uplink's address",
            "(without the mark rule the strict filter drops replies: a ping may be lost here)",
        ],
        |chapter| {
            scene.lab.plug_uplink()?;
            scene.lab.gain_lease()?;
            let all = rules(&scene.lab.router)?;
            let mut slowest = Duration::ZERO;
            for _ in 0..5 {
                let flushed = Instant::now();
                flush_rules(&scene.lab.router)?;
                rules_back(&scene.lab.router, all)?;
                slowest = slowest.max(flushed.elapsed());
                pinger.wait_for_more(2)?;
            }
            chapter.measured(
                true,
                format!(
                    "back within {} ms, as far as `ip rule` can be asked",
                    slowest.as_millis()
                ),
            );
            sound(scene, chapter)
        },
    )
}

/// What holds in every chapter.
fn sound(scene: &Scene, chapter: &mut Chapter) -> Result<()> {
    let seen_as = scene.lab.vps.endpoint()?;
    chapter.measured(
        seen_as.is_some_and(|seen| seen.ip() == CARRIER),
        seen_as.map_or("the server sees nobody".to_owned(), |seen| {
            format!("the server sees {seen}")
        }),
    );
    let on_wan = scene.at_isp.count(|seen| seen.packet.is_wireguard())?;
    let outer = scene.at_carrier.count(tunnel_out)?;
    let others = scene.at_carrier.count(foreign)?;
    chapter.measured(
        on_wan == 0 && others == 0,
        format!(
            "so far: outer packets by the modem {outer}, by wan {on_wan}; others by the modem {others}"
        ),
    );
    Ok(())
}

/// It had nothing to drop, since replies are marked before it looks at them.
fn strict_filter_content(scene: &Scene, chapter: &mut Chapter) -> Result<()> {
    let drops = scene.reverse_path_drops()?;
    chapter.measured(drops == 0, format!("reverse-path drops: {drops}"));
    Ok(())
}

/// The guard's own count against the carrier's, which is the one that is billed.
fn compare_counters(
    scene: &Scene,
    installation: &Installation,
    account: &mut Account,
) -> Result<()> {
    account.chapter(
        "The counters are compared",
        &["the guard has counted what the carrier has seen, to the byte"],
        |chapter| {
            let status = installation.run(None, &["status", "--json"])?;
            ensure!(status.status.success(), "status: {}", status.stderr.trim());
            let status: serde_json::Value = serde_json::from_str(&status.stdout)?;
            let counted = counter(&status, "modem-out/tunnel")
                .context("no counter modem-out/tunnel in the status")?;
            let seen = scene.at_carrier.packets(tunnel_out)?;
            let seen = (
                seen.len() as u64,
                seen.iter().map(|seen| seen.packet.bytes as u64).sum(),
            );
            chapter.measured(
                counted == seen,
                format!(
                    "out by the modem: the guard has {} packets, {} bytes; the carrier {}, {}",
                    counted.0, counted.1, seen.0, seen.1
                ),
            );
            Ok(())
        },
    )
}

/// Packets and bytes of the first guard's counter of that name.
fn counter(status: &serde_json::Value, name: &str) -> Option<(u64, u64)> {
    let counters = status["guards"].as_array()?.first()?["counters"].as_array()?;
    let counter = counters.iter().find(|one| one["name"] == name)?;
    Some((counter["packets"].as_u64()?, counter["bytes"].as_u64()?))
}

fn print_counters(scene: &Scene, installation: &Installation, account: &mut Account) -> Result<()> {
    account.line("\nThe packets, as counted on the other side of each cable:")?;
    for (cable, capture, from_router) in [
        ("modem", &scene.at_carrier, from_modem as fn(&Seen) -> bool),
        ("wan", &scene.at_isp, from_wan as fn(&Seen) -> bool),
    ] {
        let to_router = |seen: &Seen| {
            seen.direction == Direction::Out && matches!(&*seen.interface, "modem0" | "cust0")
        };
        for (way, packets) in [
            ("out", capture.packets(from_router)?),
            ("in", capture.packets(to_router)?),
        ] {
            let mut kinds: BTreeMap<String, (usize, usize)> = BTreeMap::new();
            for seen in &packets {
                let entry = kinds.entry(seen.packet.kind.to_string()).or_default();
                entry.0 += 1;
                entry.1 += seen.packet.bytes;
            }
            if kinds.is_empty() {
                account.line(format!("   {cable:<6} {way:<4} nothing"))?;
            }
            for (kind, (count, bytes)) in kinds {
                account.line(format!(
                    "   {cable:<6} {way:<4} {kind:<22} {count:>6} packets {bytes:>9} bytes"
                ))?;
            }
        }
    }
    let status = installation.run(None, &["status"])?;
    if status.status.success() {
        account.line(format!("\nThe agent's own, of the modem {MODEM}:"))?;
        for line in status.stdout.lines() {
            account.line(format!("   {line}"))?;
        }
    } else {
        account.line(format!(
            "\nThe agent's own: `lte-userspace status` says: {}",
            status.stderr.lines().next().unwrap_or("nothing")
        ))?;
    }
    Ok(())
}

fn go_down(scene: &Scene, before: &Snapshot, agent: Agent, account: &mut Account) -> Result<()> {
    account.chapter(
        "Ctrl-C",
        &["every address, route, rule, sysctl, qdisc, program and pin is as it was found"],
        |chapter| {
            agent.interrupt()?;
            before.assert_same(&scene.lab.router)?;
            chapter.measured(
                true,
                format!("{} facts compared, none differs", before.lines().count()),
            );
            Ok(())
        },
    )
}
