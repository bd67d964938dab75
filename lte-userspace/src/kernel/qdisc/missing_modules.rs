//! What this kernel has been found to lack of what the backstop is made of, and when it is asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::desired::Queue;

/// A module that the backstop needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Module {
    /// The root: it drops what is in no class.
    SchDrr,
    /// The filter by mark.
    ClsFw,
    /// The filter that takes all of a protocol.
    ClsMatchall,
    /// The queue. There is another for kernels without it.
    SchFqCodel,
}

impl Module {
    /// Without one of these there is no backstop.
    pub const REQUIRED: [Self; 3] = [Self::SchDrr, Self::ClsFw, Self::ClsMatchall];

    /// Its name to modprobe.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SchDrr => "sch_drr",
            Self::ClsFw => "cls_fw",
            Self::ClsMatchall => "cls_matchall",
            Self::SchFqCodel => "sch_fq_codel",
        }
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The queue that a kernel can have; `None`: it cannot have the backstop at all.
pub fn queue(missing_modules: &BTreeSet<Module>) -> Option<Queue> {
    if Module::REQUIRED
        .iter()
        .any(|module| missing_modules.contains(module))
    {
        None
    } else if missing_modules.contains(&Module::SchFqCodel) {
        Some(Queue::Fifo)
    } else {
        Some(Queue::FqCodel)
    }
}

/// The pause before a kernel is asked again, the first and the longest. A module may be installed at any
/// time, and loading one can fail for other reasons than that it is not there; to be asked costs packets
/// where only a filter is missing.
const PAUSE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));

/// What was found missing.
#[derive(Debug, Default)]
pub(in crate::kernel) struct MissingModules {
    found: BTreeMap<Module, (Instant, Duration)>,
}

impl MissingModules {
    /// Notes that a module is missing.
    pub(in crate::kernel) fn note_missing(&mut self, module: Module, now: Instant) {
        let pause = match self.found.get(&module) {
            Some((_, pause)) => (*pause * 2).min(PAUSE.1),
            None => PAUSE.0,
        };
        self.found.insert(module, (now + pause, pause));
    }

    /// Notes that a module is there.
    pub(in crate::kernel) fn note_present(&mut self, module: Module) {
        self.found.remove(&module);
    }

    /// What is missing, and not to be asked for yet.
    pub(in crate::kernel) fn at(&self, now: Instant) -> BTreeSet<Module> {
        let held = self.found.iter().filter(|(_, (until, _))| now < *until);
        held.map(|(module, _)| *module).collect()
    }

    /// Everything may be asked for at once.
    pub(in crate::kernel) fn forget(&mut self) {
        self.found.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_asked_for_again_ever_more_rarely() {
        let mut missing_modules = MissingModules::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            missing_modules.note_missing(Module::ClsFw, now);
            let pause = (1..=PAUSE.1.as_secs())
                .map(Duration::from_secs)
                .find(|pause| missing_modules.at(now + *pause).is_empty())
                .unwrap_or_default();
            pauses.push(pause.as_secs() / 60);
            now += pause;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        missing_modules.note_missing(Module::ClsFw, now);
        missing_modules.forget();
        assert!(missing_modules.at(now).is_empty());
        missing_modules.note_missing(Module::ClsFw, now);
        missing_modules.note_present(Module::ClsFw);
        missing_modules.note_missing(Module::ClsFw, now);
        assert!(
            missing_modules.at(now + PAUSE.0).is_empty(),
            "it begins anew"
        );
    }

    #[test]
    fn without_its_queue_there_is_another_and_without_the_rest_nothing() {
        let of = |missing_modules: &[Module]| queue(&missing_modules.iter().copied().collect());
        assert_eq!(of(&[]), Some(Queue::FqCodel));
        assert_eq!(of(&[Module::SchFqCodel]), Some(Queue::Fifo));
        for module in Module::REQUIRED {
            assert_eq!(of(&[module, Module::SchFqCodel]), None);
        }
    }
}
