//! What an upload costs all else that goes through the tunnel.
//!
//! A modem's driver stops its queue when the modem can send no more, and then packets wait in the qdisc. The
//! lab's modem is a veth, which takes all. So a token bucket in our qdisc's class stands for the modem, and
//! what waits for it, waits in the queue that the agent gives to the class, or in another.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::TUNNEL_PEER;
use lte_tests::figure::figure;
use lte_tests::ping::{PACE, Pinger, Report};
use lte_tests::scene::Scene;
use lte_tests::wait::{self, TIMEOUT};

use crate::{QUEUE, ROOT, shown, tc, up, wait_for};

/// What the modem can send, and what it is given: the LAN's, by UDP, which does not slow down.
const MODEM: &str = "2mbit";
const UPLOAD: f64 = 4e6 / 8.0;
const DATAGRAM: u16 = 1200;
/// How many pings are looked at.
const PINGS: usize = 25;

/// How a ping fares while something waits in this queue.
fn pinged(scene: &Scene, queue: &str) -> Result<Report> {
    let modem = format!(
        "qdisc replace dev modem parent 7b:1 handle 10: tbf rate {MODEM} burst 5kb limit 100mb\n"
    );
    tc(scene, &modem)?;
    tc(
        scene,
        &format!("qdisc add dev modem parent 10:1 handle 11: {queue}\n"),
    )?;
    let done = AtomicBool::new(false);
    let socket = scene.lab.lan.run(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?;
    let report = thread::scope(|scope| {
        let sender = scope.spawn(|| upload(&socket, &done));
        let watched = watch(scene);
        done.store(true, Ordering::Relaxed);
        sender
            .join()
            .map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        watched
    })?;
    tc(scene, "qdisc del dev modem parent 7b:1\n")?;
    wait_for(scene, &[ROOT, QUEUE])?;
    Ok(report)
}

fn upload(socket: &UdpSocket, done: &AtomicBool) -> Result<()> {
    let started = Instant::now();
    let mut sent = 0.0;
    while !done.load(Ordering::Relaxed) {
        while sent < started.elapsed().as_secs_f64() * UPLOAD {
            socket.send_to(&[0; DATAGRAM as usize], (TUNNEL_PEER, 9))?;
            sent += f64::from(DATAGRAM);
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Pings, once the queue is so full that it drops.
fn watch(scene: &Scene) -> Result<Report> {
    wait::until(TIMEOUT, "the queue to be full", || {
        Ok((dropped(scene)? > 0).then_some(()))
    })?;
    let pinger = Pinger::start(&scene.lab.router, TUNNEL_PEER, PACE)?;
    pinger.wait_for_more(PINGS)?;
    // The queue may hold them for seconds.
    let slow = wait::until(TIMEOUT, "the first pings' answers", || {
        let report = pinger.so_far();
        let first = &report.probes[..PINGS.min(report.sent())];
        let late = first.iter().filter(|probe| {
            probe.answered.is_none() && probe.sent.elapsed() < Duration::from_secs(10)
        });
        Ok((late.count() == 0).then_some(()))
    });
    let mut report = pinger.so_far();
    pinger.stop()?;
    slow?;
    report.probes.truncate(PINGS);
    Ok(report)
}

/// What the queue has dropped.
fn dropped(scene: &Scene) -> Result<u64> {
    let args = ["-s", "-j", "qdisc", "show", "dev", "modem"];
    let said: serde_json::Value = serde_json::from_str(&scene.lab.router.tool("tc", &args)?)?;
    let qdiscs = said.as_array().context("no list of qdiscs")?;
    let queue = qdiscs
        .iter()
        .find(|qdisc| qdisc["handle"] == "11:")
        .context("no queue")?;
    queue["drops"].as_u64().context("no drops")
}

#[test]
fn an_upload_leaves_room_for_all_else() -> Result<()> {
    let (scene, _installation, agent) = up()?;
    wait_for(&scene, &[ROOT, QUEUE])?;
    let found = shown(&scene)?;
    let ours = found.lines().find_map(|line| line.strip_prefix(QUEUE));
    // What `tc` prints with a unit it does not read with it.
    let ours = ours.context("no queue of ours")?.replacen("p ", " ", 1);
    let ours = format!("fq_codel{ours}");
    let mut medians = Vec::new();
    for (row, queue) in [
        ("pfifo of 1,000, the kernel's own", "pfifo limit 1000"),
        ("pfifo of 50, without sch_fq_codel", "pfifo limit 50"),
        ("ours", ours.as_str()),
    ] {
        let report = pinged(&scene, queue)?;
        let median = report
            .median_round_trip()
            .with_context(|| format!("{row}: {report}"))?;
        let (lost, sent) = (report.lost(), report.sent());
        figure(
            "ping through the tunnel during an upload of twice what the modem sends (2 Mbit/s): median, ms (lost)",
            row,
            format!("{} ({lost} of {sent})", median.as_millis()),
        );
        medians.push((median, lost));
    }
    // Five seconds and milliseconds: what the clock of a busy host adds is far below the difference.
    let [(long, _), _, (short, lost)] = medians[..] else {
        anyhow::bail!("{medians:?}");
    };
    ensure!(lost == 0, "ours lost {lost} pings");
    ensure!(
        short * 4 < long,
        "{short:?} with ours, {long:?} with a long one"
    );
    agent.interrupt()
}
