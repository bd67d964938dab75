//! Both judges side by side.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use lte_common::policy::{Class, Hook};
use lte_tests::corpus::check::differences;
use lte_tests::corpus::model::Model;
use lte_tests::corpus::program::Programs;
use lte_tests::corpus::{Clocks, Fate, GuardState, Outcome, Seen, Subject};
use lte_tests::properties::quick_ways_agree;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use proptest::test_runner::{TestCaseError, TestCaseResult};

use crate::scenario::{Scenario, Step, next};

/// Dates that are further apart are of different packets; what is known is older by far.
const SAME_SECONDS: u64 = 2;
/// All counters are read after so many scenarios, and one after each packet.
const COMPARE_EVERY: u64 = 256;

/// The pure policy, the programs, and what has been shown to both.
pub(crate) struct Judges {
    model: Model,
    programs: Programs,
    counted: BTreeMap<(u32, Class), (u64, u64)>,
    packets: u64,
    scenarios: u64,
    refused: u64,
}

impl Judges {
    pub(crate) fn new() -> Result<Self> {
        // What a CPU keeps at hand is then what was last written.
        let mut cpus = CpuSet::new();
        cpus.set(nix::sched::sched_getcpu()?)?;
        sched_setaffinity(Pid::from_raw(0), &cpus)?;
        let programs = Programs::new()?;
        if !programs.forwarded_in_context() {
            println!("test_run takes no ingress_ifindex here: all packets are local");
        }
        Ok(Self {
            model: Model::at(programs.now()?),
            programs,
            counted: BTreeMap::new(),
            packets: 0,
            scenarios: 0,
            refused: 0,
        })
    }

    /// Whether a forwarded packet can be shown to the programs.
    pub(crate) fn forwarded_in_context(&self) -> bool {
        self.programs.forwarded_in_context()
    }

    /// How many packets have been shown.
    pub(crate) fn packets(&self) -> u64 {
        self.packets
    }

    /// How many frames test_run did not take.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// How many of them each counter has counted.
    pub(crate) fn tally(&self) -> impl Iterator<Item = (Hook, Class, u64)> {
        self.counted
            .iter()
            .map(|((hook, class), (packets, _))| (Hook::ALL[*hook as usize], *class, *packets))
    }

    /// Shows a scenario to both.
    pub(crate) fn play(&mut self, scenario: &Scenario) -> TestCaseResult {
        self.try_play(scenario)
            .map_err(|error| TestCaseError::fail(format!("{error:#}")))
    }

    fn try_play(&mut self, scenario: &Scenario) -> Result<()> {
        let now = self.programs.now()?;
        let state = GuardState::of(&scenario.known, now);
        self.model.set_now(now);
        self.model.set_state(&state)?;
        self.programs.set_state(&state)?;
        for (at, step) in scenario.steps.iter().enumerate() {
            let place = || {
                format!(
                    "packet {at} of {}, on {}",
                    scenario.steps.len(),
                    step.hook.name()
                )
            };
            let steered = self.step(scenario, step).with_context(place)?;
            if let Some(step) = steered {
                self.step(scenario, &step)
                    .with_context(place)
                    .context("steered, on the modem")?;
            }
        }
        self.compare_memory(now)?;
        self.scenarios += 1;
        if self.scenarios.is_multiple_of(COMPARE_EVERY) {
            self.compare_counters()?;
        }
        Ok(())
    }

    /// Shows a packet to both; what is to be shown next, if it was steered.
    fn step(&mut self, scenario: &Scenario, step: &Step) -> Result<Option<Step>> {
        let seen = Seen {
            hook: step.hook,
            site: scenario.site,
            forwarded: step.forwarded && self.programs.forwarded_in_context(),
            sender: step.sender,
            mark: step.mark,
            frame: &step.frame,
            joined: step.joined,
        };
        quick_ways_agree(&step.frame)?;
        let Some(found) = self.programs.test(&seen)? else {
            self.refused += 1;
            return Ok(None);
        };
        let mut wanted = self.model.judge(&seen)?.context("the model judges all")?;
        for (hook, class, packets, bytes) in std::mem::take(&mut wanted.counters) {
            let tally = self.counted.entry((hook as u32, class)).or_default();
            *tally = (tally.0 + packets, tally.1 + bytes);
            let counted = self.programs.counter(hook, class)?;
            if counted != *tally {
                let tally = *tally;
                // So that the next packet, which a search for less begins with, starts afresh.
                self.counted.insert((hook as u32, class), counted);
                anyhow::bail!(
                    "{}/{} is {counted:?} (packets, bytes) and not {tally:?}",
                    hook.name(),
                    class.name()
                );
            }
        }
        self.packets += 1;
        let same = GuardState::default();
        let text = differences(&wanted, &found, &same, &same);
        anyhow::ensure!(text.is_empty(), "\n{text}");
        Ok(match wanted.fate {
            Fate::Steered => next(scenario.site, &wanted.bytes, wanted.mark),
            Fate::Passed | Fate::Dropped => None,
        })
    }

    fn compare_memory(&self, now: Clocks) -> Result<()> {
        let wanted = settled(self.model.state()?, now);
        let found = settled(self.programs.state()?, now);
        let nothing = Outcome {
            fate: Fate::Passed,
            mark: 0,
            counters: Vec::new(),
            bytes: Vec::new(),
        };
        let text = differences(&nothing, &nothing, &wanted, &found);
        anyhow::ensure!(text.is_empty(), "\n{text}");
        Ok(())
    }

    /// All counters against all that was shown.
    pub(crate) fn compare_counters(&mut self) -> Result<()> {
        for hook in Hook::ALL {
            for class in Class::ALL {
                let tally = self.counted.get(&(hook as u32, *class));
                let tally = tally.copied().unwrap_or_default();
                let counted = self.programs.counter(hook, *class)?;
                anyhow::ensure!(
                    counted == tally,
                    "{}/{} is {counted:?} (packets, bytes) and not {tally:?}",
                    hook.name(),
                    class.name()
                );
            }
        }
        Ok(())
    }
}

/// With dates that are about now set to now: both have their own clocks.
fn settled(state: GuardState, now: Clocks) -> GuardState {
    let to = Clocks {
        ticks: now.ticks + 3600 * now.hz,
        ..now
    };
    let from = Clocks {
        ticks: now.ticks - SAME_SECONDS * now.hz,
        ..now
    };
    state.dated(from, to)
}
