//! An agent of another version takes over: its programs and maps differ, and there is no moment in
//! which the modem is open or the session is lost.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapInfo;
use lte_common::layout::{Counter, maps};
use lte_tests::addresses::{TUNNEL_PEER, TUNNEL_ROUTER};
use lte_tests::backend::Backend;
use lte_tests::ping::{PACE, Pinger};
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::wait::TIMEOUT;
use lte_tests::{bpf, traffic};

mod other_version;

// Of the two between, one attaches programs in each way.
lte_tests::runs_on!(first_between, last_between);

/// Of what would use the modem, at least so much has to be seen trying.
const TRIED: usize = 100;

/// Its maps have other shapes, and the layout's version was not raised.
#[test]
fn other_maps_in_the_same_place() -> Result<()> {
    upgrade(|scene, pins| {
        unpin_maps(pins)?;
        other_version::take_its_place(&scene.lab.router, pins)?;
        ensure!(
            !has_our_shapes(pins)?,
            "the other version has the same maps"
        );
        Ok(())
    })
}

/// Its maps have other shapes, and are pinned where another version of the layout has its own.
#[test]
fn another_layout() -> Result<()> {
    upgrade(|scene, pins| {
        moved_to(
            scene,
            pins,
            &bpf::agents_pins(&scene.lab.router)?.join("v0"),
        )
    })
}

/// It does not keep network namespaces apart.
#[test]
fn a_layout_without_namespaces() -> Result<()> {
    upgrade(|scene, pins| moved_to(scene, pins, &Path::new(bpf::AGENTS_PINS).join("v1")))
}

fn moved_to(scene: &Scene, pins: &Path, elsewhere: &Path) -> Result<()> {
    fs::rename(pins, elsewhere).context("giving the pins another place")?;
    unpin_maps(elsewhere)?;
    other_version::take_its_place(&scene.lab.router, elsewhere)
}

/// The maps' pins have been removed.
#[test]
fn maps_unpinned() -> Result<()> {
    upgrade(|_, pins| unpin_maps(pins))
}

/// Nothing is said while the programs are replaced, from which the new ones could learn whom the tunnel
/// talks to; then the peer speaks first.
#[test]
fn the_remote_is_remembered_through_silence() -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let installation = scene.installation()?;
    let agent = installation.start(Backend::Ebpf)?;
    scene.handshake_after(agent.started())?;
    agent.terminate()?;
    let pins = bpf::agents_layout(&scene.lab.router)?;
    unpin_maps(&pins)?;
    other_version::take_its_place(&scene.lab.router, &pins)?;
    let pinger = Pinger::start(&scene.lab.router, TUNNEL_PEER, PACE)?;
    pinger.wait_for_answer(TIMEOUT)?;
    pinger.stop()?;
    let since = Instant::now();
    let agent = installation.start(Backend::Ebpf)?;
    let spoken = scene
        .at_carrier
        .count(|seen| lte_tests::scene::tunnel_out(seen) && seen.at >= since)?;
    ensure!(spoken == 0, "the router has spoken {spoken} times");
    let pinger = Pinger::start(&scene.lab.vps.netns, TUNNEL_ROUTER, PACE)?;
    pinger.wait_for_more(5)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    scene.session_kept(since)?;
    scene.tunnel_is_sound()?;
    agent.interrupt()
}

fn unpin_maps(pins: &Path) -> Result<()> {
    for name in NAMES {
        fs::remove_file(pins.join(name)).with_context(|| format!("unpinning {name}"))?;
    }
    Ok(())
}

const NAMES: [&str; 5] = [
    maps::REMOTES,
    maps::FRAGMENTS,
    maps::ADMIN_FLOWS,
    maps::PERMITS,
    maps::COUNTERS,
];

/// `between` has the agent of another version in the place of this one, which has ended.
fn upgrade(between: impl FnOnce(&Scene, &Path) -> Result<()>) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let before = scene.lab.snapshot()?;
    let installation = scene.installation()?;
    let agent = installation.start(Backend::Ebpf)?;
    scene.handshake_after(agent.started())?;
    agent.terminate()?;
    let pins = bpf::agents_layout(&scene.lab.router)?;
    between(&scene, &pins)?;
    // The other version learns of the tunnel's peer.
    Pinger::start(&scene.lab.router, TUNNEL_PEER, PACE)?.wait_for_answer(TIMEOUT)?;
    scene.lab.default_route_on_modem()?;
    // From now on the peer alone speaks: the router answers, where it lets it in.
    let pinger = Pinger::start(
        &scene.lab.vps.netns,
        TUNNEL_ROUTER,
        Duration::from_millis(50),
    )?;
    let since = Instant::now();

    let stop = AtomicBool::new(false);
    let (agent, tried) = std::thread::scope(|scope| {
        let foreign = scope.spawn(|| traffic::by_the_modem(&scene.lab, &stop));
        let agent: Result<_> = (|| {
            pinger.wait_for_more(5)?;
            let agent = installation.start(Backend::Ebpf)?;
            pinger.wait_for_more(20)?;
            Ok(agent)
        })();
        stop.store(true, Ordering::Relaxed);
        let tried = foreign
            .join()
            .map_err(|_| anyhow::anyhow!("the sender panicked"));
        anyhow::Ok((agent?, tried??))
    })?;
    ensure!(tried >= TRIED, "only {tried} foreign packets were sent");
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    scene.session_kept(since)?;
    scene.tunnel_is_sound()?;

    ensure!(has_our_shapes(&pins)?, "the maps are not this version's");
    let layouts = bpf::agents_layouts()?;
    ensure!(
        layouts == [pins.clone()],
        "pins elsewhere, too: {layouts:?}"
    );
    let objects = bpf::objects()?;
    for name in ["modem_egress", "modem_ingress", "uplink_egress"] {
        let program = format!("program {name} ");
        let count = objects
            .iter()
            .filter(|line| line.starts_with(&program))
            .count();
        ensure!(count == 1, "{count} programs {name}");
    }
    let plan = installation.run(Some(Backend::Ebpf), &["plan"])?;
    ensure!(plan.stdout.contains("nothing to do"), "plan: {plan:?}");
    let status = installation.run(Some(Backend::Ebpf), &["status"])?;
    ensure!(status.status.success(), "status: {status:?}");

    scene
        .lab
        .router
        .ip("route del default dev modem metric 1\n")?;
    agent.interrupt()?;
    before.assert_same(&scene.lab.router)
}

/// Whether the maps that [`other_version::take_its_place`] has otherwise are pinned there as this version has
/// them.
fn has_our_shapes(pins: &Path) -> Result<bool> {
    let remotes = MapInfo::from_pin(pins.join(maps::REMOTES))?;
    let counters = MapInfo::from_pin(pins.join(maps::COUNTERS))?;
    Ok(remotes.max_entries() == maps::REMOTES_MAX
        && counters.value_size() as usize == size_of::<Counter>())
}
