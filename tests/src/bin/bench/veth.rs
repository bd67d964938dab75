//! Packets a second of the tunnel's kind through veth, both directions, by each way of keeping
//! the SIM to the tunnel.

use std::io::IoSlice;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lte_tests::corpus::packet::udp;
use lte_tests::drops;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use nix::unistd::Pid;

use crate::guard::{MODEM, PEER, PORT, wireguard};
use crate::report::{Chapter, Goal, Row, progress};
use crate::setups::{Built, Setup};

/// How long one figure is measured.
const TIME: Duration = Duration::from_millis(100);
/// Packets handed to the kernel in one call.
const BATCH: u8 = 64;
/// WireGuard's data in a full packet and in an empty one (a keepalive), and the IP packets' sizes.
pub(crate) const SIZES: [(usize, usize); 2] = [(1376, 1404), (32, 60)];
/// Of the rate without the guard, or by the usual recipe.
const GOAL: f64 = 0.98;

/// Which way packets go, seen from the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Out,
    In,
}

/// Sender, receiver and guard on one processor: nothing moves between two of them.
pub(crate) fn on_one_processor() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(sched_getcpu()?)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cpus)?)
}

/// Neighbours are found, queues filled, and the peer has been sent to.
pub(crate) fn warm_up(built: &mut Built) -> Result<()> {
    for direction in [Direction::Out, Direction::In] {
        once(built, direction, SIZES[1].0)?;
    }
    Ok(())
}

/// Rates by way, direction and size: one chapter for each of the two baselines.
pub(crate) fn measure(rounds: usize) -> Result<Vec<Chapter>> {
    on_one_processor()?;
    let mut built = Setup::ALL
        .iter()
        .map(|setup| Built::new(*setup))
        .collect::<Result<Vec<_>>>()?;
    let kinds: Vec<(Direction, usize, usize)> = [Direction::Out, Direction::In]
        .into_iter()
        .flat_map(|direction| SIZES.map(|(payload, ip)| (direction, payload, ip)))
        .collect();
    let mut rates = vec![vec![Vec::new(); kinds.len()]; built.len()];
    for built in &mut built {
        warm_up(built)?;
    }
    for round in 0..rounds {
        progress("veth", round, rounds);
        for (kind, (direction, payload, _)) in kinds.iter().enumerate() {
            for (setup, built) in built.iter_mut().enumerate() {
                let rate = once(built, *direction, *payload)
                    .with_context(|| format!("{direction:?}, {payload} bytes, {}", built.setup))?;
                rates[setup][kind].push(rate);
            }
        }
    }
    let chapter = |title: &str, compared: &str, baseline: Setup, setups: &[Setup]| {
        let index = |setup: Setup| Setup::ALL.iter().position(|other| *other == setup);
        let mut rows = Vec::new();
        for (kind, (direction, _, ip)) in kinds.iter().enumerate() {
            for setup in setups {
                let (Some(this), Some(base)) = (index(*setup), index(baseline)) else {
                    continue;
                };
                let values = &rates[this][kind];
                let ratios: Vec<f64> = values
                    .iter()
                    .zip(&rates[base][kind])
                    .map(|(rate, base)| rate / base)
                    .collect();
                let name = format!("{setup}, {direction:?}, {ip} bytes").to_lowercase();
                let goal = (*setup == Setup::Ebpf).then_some(Goal::AtLeast(GOAL));
                rows.push(Row::new(name, values, &ratios, goal));
            }
        }
        Chapter {
            title: title.to_owned(),
            unit: "packets/s".to_owned(),
            compared: compared.to_owned(),
            rows,
        }
    };
    Ok(vec![
        chapter(
            "With the guard and without, through veth",
            "ratio to our rules without a guard",
            Setup::Rules,
            &[Setup::Rules, Setup::Empty, Setup::Ebpf],
        ),
        chapter(
            "Ways of keeping the SIM to the tunnel, through veth",
            "ratio to the usual recipe",
            Setup::Recipe,
            &[Setup::Nothing, Setup::Recipe, Setup::Ebpf, Setup::Nft],
        ),
    ])
}

/// Packets a second. That all of them arrive, and that the guard has counted each, is made sure of.
pub(crate) fn once(built: &mut Built, direction: Direction, payload: usize) -> Result<f64> {
    let counted = built.counted()?;
    let receiver = match direction {
        Direction::Out => built.carrier.clone(),
        Direction::In => built.router.clone(),
    };
    let arrived = drops::udp_not_queued(&receiver)?;
    let payload = wireguard(payload);
    let (sent, took) = match direction {
        Direction::Out => send(built.near.as_fd(), &datagram(payload))?,
        Direction::In => send(built.far.as_fd(), &payload)?,
    };
    let arrived = drops::udp_not_queued(&receiver)? - arrived;
    // A queue that was empty takes a few.
    ensure!(
        arrived <= sent && sent - arrived < 16,
        "of {sent} packets {arrived} arrived"
    );
    if let (Some(before), Some(after)) = (counted, built.counted()?) {
        let counted = match direction {
            Direction::Out => after.0 - before.0,
            Direction::In => after.1 - before.1,
        };
        ensure!(counted == sent, "of {sent} packets {counted} were counted");
    }
    Ok(f64::from(BATCH) / took.as_secs_f64())
}

/// A whole packet of the tunnel's. The kernel puts in what it puts in for everybody.
fn datagram(payload: Vec<u8>) -> Vec<u8> {
    udp((MODEM.into(), PORT), (PEER.into(), PORT), payload)
        .unsummed()
        .ip()
}

/// How many were sent, and how long the middlemost batch took: what else the machine does meanwhile
/// falls into few of them.
fn send(socket: BorrowedFd<'_>, payload: &[u8]) -> Result<(u64, Duration)> {
    let message = [IoSlice::new(payload)];
    let messages = [message; BATCH as usize];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH.into(), None);
    let mut batches = Vec::new();
    let end = Instant::now() + TIME;
    while batches.is_empty() || Instant::now() < end {
        let to = [None; BATCH as usize];
        let start = Instant::now();
        let done = sendmmsg(
            socket.as_raw_fd(),
            &mut headers,
            &messages,
            to,
            [],
            MsgFlags::empty(),
        );
        let done = done.context("sending")?.count();
        batches.push(start.elapsed());
        ensure!(
            done == usize::from(BATCH),
            "of {BATCH} packets {done} were taken"
        );
    }
    batches.sort_unstable();
    let sent = batches.len() * usize::from(BATCH);
    Ok((sent as u64, batches[batches.len() / 2]))
}
