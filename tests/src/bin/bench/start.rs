//! How long it takes from nothing to the first packet of data at the server, by each way of keeping the SIM to
//! the tunnel. Needs kernel WireGuard, and the agent's path in `LTE_USERSPACE`.

use std::time::Instant;

use anyhow::{Context as _, Result};
use lte_tests::backend::Backend;
use lte_tests::fwmark_baseline::{self, ReversePath};
use lte_tests::scene::Scene;
use lte_tests::topology::Options;

use crate::report::{Chapter, Goal, Row, progress};
use crate::setups::Setup;

/// Of the time by the usual recipe, which `ip` and `wg` set up.
const GOAL: f64 = 1.5;

/// Milliseconds by way, each in a lab of its own, in turns.
pub(crate) fn measure(rounds: usize) -> Result<Chapter> {
    const WAYS: [Setup; 3] = [Setup::Recipe, Setup::Ebpf, Setup::Nft];
    let mut times = [const { Vec::new() }; WAYS.len()];
    for round in 0..rounds {
        progress("start", round, rounds);
        for (setup, times) in WAYS.into_iter().zip(&mut times) {
            times.push(once(setup).with_context(|| setup.to_string())?);
        }
    }
    let recipe = times[0].clone();
    let rows = WAYS.into_iter().zip(&times).map(|(setup, times)| {
        let ratios: Vec<f64> = times.iter().zip(&recipe).map(|(a, b)| a / b).collect();
        let goal = (setup != Setup::Recipe).then_some(Goal::AtMost(GOAL));
        Row::new(setup.to_string(), times, &ratios, goal)
    });
    Ok(Chapter {
        title: "From the start to the first data at the server, in a virtual machine".to_owned(),
        unit: "ms".to_owned(),
        compared: "ratio to the usual recipe".to_owned(),
        rows: rows.collect(),
    })
}

fn once(setup: Setup) -> Result<f64> {
    let scene = Scene::open(&Options::lte())?;
    let installation = scene.installation()?;
    let backend = match setup {
        Setup::Ebpf => Some(Backend::Ebpf),
        Setup::Nft => Some(Backend::Nft),
        _ => None,
    };
    let began = Instant::now();
    let took = if let Some(backend) = backend {
        let agent = installation.start(backend)?;
        scene.handshake_after(agent.started())?
    } else {
        fwmark_baseline::set_up(&scene.lab.router, ReversePath::Loose)?;
        scene.handshake_after(began)?
    };
    Ok(took.as_secs_f64() * 1e3)
}
