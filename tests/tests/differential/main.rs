//! The pure policy and the loaded programs, packet by packet: they agree on what becomes of it,
//! on its mark, its counter and its bytes, and on what is remembered. Needs root.
//!
//! `LTE_DIFF_PACKETS` sets how many packets are tried, `LTE_DIFF_SEED` which.

#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

mod judges;
mod packets;
mod scenario;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::env;
use std::time::{Duration, Instant};

use lte_common::headers::Joined;
use lte_common::policy::{Class, Hook};
use lte_tests::corpus::Sender;
use lte_tests::corpus::program::SHORTEST;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::judges::Judges;
use crate::packets::CASES;
use crate::scenario::{Scenario, Step, scenario};

/// What is tried where no number is given: as many as fit into the time, within bounds. Four
/// kernels, each with its own seed, make fifty thousand.
const USUAL: u64 = 50_000;
const AT_LEAST: u64 = 12_500;
const TIME: Duration = Duration::from_secs(15);

fn wanted_packets() -> Option<u64> {
    let text = env::var("LTE_DIFF_PACKETS").ok()?;
    Some(
        text.replace('_', "")
            .parse()
            .expect("LTE_DIFF_PACKETS is a number"),
    )
}

fn seed() -> u64 {
    match env::var("LTE_DIFF_SEED") {
        Ok(text) => text.parse().expect("LTE_DIFF_SEED is a number"),
        Err(_) => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    }
}

fn generator(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        max_shrink_iters: 5_000,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

#[test]
fn generated_packets_are_judged_alike() {
    let wanted = wanted_packets();
    let seed = seed();
    println!("LTE_DIFF_SEED={seed}");
    let judges = RefCell::new(Judges::new().unwrap());
    let mut runner = generator(seed);
    let strategy = scenario();
    let start = Instant::now();
    loop {
        let tried = judges.borrow().packets();
        let enough = match wanted {
            Some(wanted) => tried >= wanted,
            None => tried >= USUAL || tried >= AT_LEAST && start.elapsed() >= TIME,
        };
        if enough {
            break;
        }
        let tree = strategy.new_tree(&mut runner).unwrap();
        let result = runner.run_one(tree, |scenario| judges.borrow_mut().play(&scenario));
        if let Err(error) = result {
            panic!("LTE_DIFF_SEED={seed}, after {tried} packets: {error}");
        }
    }
    let mut judges = judges.into_inner();
    judges.compare_counters().unwrap();
    println!(
        "{} packets, {} refused by test_run, in {:.1} s",
        judges.packets(),
        judges.refused(),
        start.elapsed().as_secs_f64()
    );
    for (hook, class, packets) in judges.tally() {
        println!("  {:<10}  {:<18}  {packets:>9}", hook.name(), class.name());
    }
    // A generator that meets only a few of the rows proves little.
    let met: BTreeSet<Class> = judges.tally().map(|(_, class, _)| class).collect();
    // Where test_run makes every packet a local one, the corpus really sends the forwarded ones.
    let shown = |c: &&Class| judges.forwarded_in_context() || **c != Class::DropForwarded;
    let unmet: Vec<_> = Class::ALL
        .iter()
        .filter(shown)
        .filter(|c| !met.contains(c))
        .collect();
    assert!(unmet.is_empty(), "no packet was in {unmet:?}");
}

/// Every beginning of a frame of the corpus: of one for each counter of each hook, and of all
/// where a million packets are asked for.
#[test]
fn frames_cut_at_every_length_are_judged_alike() {
    let all = wanted_packets().is_some_and(|wanted| wanted >= 1_000_000);
    let mut judges = Judges::new().unwrap();
    let mut met = BTreeSet::new();
    for case in CASES.iter() {
        let family = case
            .frame
            .get(case.site.device.header_len())
            .map(|b| b >> 4);
        let kind: (Hook, Option<Class>, _, _) = (
            case.hook,
            case.want.counter.map(|(class, _)| class),
            case.site.device,
            family,
        );
        if !met.insert(format!("{kind:?}")) && !all {
            continue;
        }
        for len in SHORTEST..=case.frame.len().min(260) {
            let scenario = Scenario {
                site: case.site,
                known: case.known.clone(),
                steps: vec![Step {
                    hook: case.hook,
                    forwarded: case.forwarded,
                    // No packet here belongs to a socket.
                    sender: Sender {
                        socket: 0,
                        ..case.sender
                    },
                    mark: case.mark,
                    frame: case.frame[..len].to_vec(),
                    joined: Joined::default(),
                }],
            };
            if let Err(error) = judges.play(&scenario) {
                panic!("{case}, the first {len} bytes: {error}");
            }
        }
    }
    judges.compare_counters().unwrap();
    println!(
        "{} packets, {} refused by test_run",
        judges.packets(),
        judges.refused()
    );
}
