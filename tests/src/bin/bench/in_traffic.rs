//! What each program takes while packets go through veth, by the kernel's own clock
//! (`BPF_ENABLE_STATS`): between two of its runs others have used the caches, which
//! `BPF_PROG_TEST_RUN` does not show. The clock is read twice a run and costs some of what it shows;
//! so the empty programs are measured by it, too.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};

use crate::report::{Chapter, Row, progress};
use crate::setups::{Built, Setup};
use crate::veth::{Direction, SIZES, on_one_processor, once, warm_up};

/// A way that has programs.
struct Subject {
    built: Built,
    /// Their numbers. In each direction packets meet one of them.
    programs: BTreeSet<u32>,
}

impl Subject {
    fn new(setup: Setup) -> Result<Self> {
        let others = programs()?;
        let mut built = Built::new(setup)?;
        warm_up(&mut built)?;
        let programs = programs()?.difference(&others).copied().collect();
        Ok(Self { built, programs })
    }

    /// Nanoseconds a run.
    fn once(&mut self, direction: Direction, payload: usize) -> Result<f64> {
        let (time, runs) = self.so_far()?;
        once(&mut self.built, direction, payload)?;
        let (later, more) = self.so_far()?;
        ensure!(more > runs, "no program of {} has run", self.built.setup);
        let runs = u32::try_from(more - runs)?;
        Ok(later.saturating_sub(time).as_secs_f64() * 1e9 / f64::from(runs))
    }

    /// What its programs have taken, and how often they ran.
    fn so_far(&self) -> Result<(Duration, u64)> {
        let mut sum = (Duration::ZERO, 0);
        for info in loaded_programs() {
            let info = info?;
            if self.programs.contains(&info.id()) {
                sum.0 += info.run_time();
                sum.1 += info.run_count();
            }
        }
        Ok(sum)
    }
}

fn programs() -> Result<BTreeSet<u32>> {
    Ok(loaded_programs()
        .map(|info| Ok(info?.id()))
        .collect::<Result<_, aya::programs::ProgramError>>()?)
}

/// Measures all, round by round.
pub(crate) fn measure(rounds: usize) -> Result<Chapter> {
    on_one_processor()?;
    let _stats = enable_stats(Stats::RunTime).context("the kernel's clock for programs")?;
    let mut empty = Subject::new(Setup::Empty)?;
    let mut ours = Subject::new(Setup::Ebpf)?;
    let mut rows = Vec::new();
    for direction in [Direction::Out, Direction::In] {
        for (payload, ip) in SIZES {
            let (mut floor, mut times) = (Vec::new(), Vec::new());
            for round in 0..rounds {
                progress("programs in traffic", round, rounds);
                floor.push(empty.once(direction, payload)?);
                times.push(ours.once(direction, payload)?);
            }
            let over: Vec<f64> = times.iter().zip(&floor).map(|(ns, by)| ns - by).collect();
            let name = |setup: Setup| format!("{setup}, {direction:?}, {ip} bytes").to_lowercase();
            rows.push(Row::new(
                name(Setup::Empty),
                &floor,
                &vec![0.0; rounds],
                None,
            ));
            rows.push(Row::new(name(Setup::Ebpf), &times, &over, None));
        }
    }
    Ok(Chapter {
        title: "Each program in traffic through veth, ns a packet (BPF_ENABLE_STATS)".to_owned(),
        unit: "ns".to_owned(),
        compared: "over the empty program".to_owned(),
        rows,
    })
}
