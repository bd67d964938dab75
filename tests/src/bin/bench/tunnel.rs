//! What a whole tunnel carries, by each way of keeping the SIM to it. Needs kernel WireGuard, and
//! the agent's path in `LTE_USERSPACE`.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lte_tests::addresses::TUNNEL_PEER;
use lte_tests::backend::Backend;
use lte_tests::fwmark_baseline::{self, ReversePath};
use lte_tests::installation::Installation;
use lte_tests::ping::{PACE, Pinger};
use lte_tests::process;
use lte_tests::topology::{Lab, Options};
use lte_tests::wait::TIMEOUT;

use crate::report::{Chapter, Goal, Row, progress};
use crate::setups::Setup;

/// How long TCP runs for one figure, seconds; the first of them is left out.
const SECONDS: &str = "5";
/// Of the rate by the usual recipe.
const GOAL: f64 = 0.98;

/// Megabits a second by way, each in a lab of its own, in turns.
pub(crate) fn measure(rounds: usize) -> Result<Chapter> {
    const WAYS: [Setup; 3] = [Setup::Recipe, Setup::Ebpf, Setup::Nft];
    let mut rates = [const { Vec::new() }; WAYS.len()];
    for round in 0..rounds {
        progress("tunnel", round, rounds);
        for (setup, rates) in WAYS.into_iter().zip(&mut rates) {
            rates.push(once(setup).with_context(|| setup.to_string())?);
        }
    }
    let recipe = rates[0].clone();
    let rows = WAYS.into_iter().zip(&rates).map(|(setup, rates)| {
        let ratios: Vec<f64> = rates.iter().zip(&recipe).map(|(a, b)| a / b).collect();
        let goal = (setup == Setup::Ebpf).then_some(Goal::AtLeast(GOAL));
        Row::new(setup.to_string(), rates, &ratios, goal)
    });
    Ok(Chapter {
        title: "iperf3 through the whole tunnel, in a virtual machine".to_owned(),
        unit: "Mbit/s".to_owned(),
        compared: "ratio to the usual recipe".to_owned(),
        rows: rows.collect(),
    })
}

fn once(setup: Setup) -> Result<f64> {
    let lab = Lab::build(&Options::default())?;
    let installation = Installation::new(&lab.router)?;
    let _agent = match setup {
        Setup::Ebpf => Some(installation.start(Backend::Ebpf)?),
        Setup::Nft => Some(installation.start(Backend::Nft)?),
        _ => {
            fwmark_baseline::set_up(&lab.router, ReversePath::Loose)?;
            None
        }
    };
    let pinger = Pinger::start(&lab.router, TUNNEL_PEER, PACE)?;
    pinger.wait_for_answer(TIMEOUT)?;
    pinger.stop()?;
    let mut server = Command::new("iperf3");
    server
        .args(["--server", "--one-off"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut server = lab.vps.netns.spawn(&mut server)?;
    let rate = client(&lab);
    server.kill().ok();
    server.wait()?;
    rate
}

fn client(lab: &Lab) -> Result<f64> {
    // The server needs a moment to listen.
    std::thread::sleep(Duration::from_millis(500));
    let to = TUNNEL_PEER.to_string();
    let mut client = Command::new("iperf3");
    client
        .args(["--client", &to, "--time", SECONDS, "--omit", "1", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = process::end_of(lab.router.spawn(&mut client)?, TIMEOUT)?;
    ensure!(ended.status.success(), "iperf3: {}", ended.stdout);
    let told: serde_json::Value = serde_json::from_str(&ended.stdout)?;
    let bits = told["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(bits.context("iperf3 tells no rate")? / 1e6)
}
