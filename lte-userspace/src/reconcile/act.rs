//! Taking steps, but for those that keep being undone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::apply::{apply, rests_on_the_guard};
use super::converge::Converger;
use super::plan::Step;
use super::repairs;
use crate::backend::{Guard, chain};
use crate::config::Config;
use crate::desired::Object;

impl Converger {
    /// Takes the steps that are not held back. Returns what failed, and when the first that is
    /// held back may be tried, where nothing else was to be done.
    pub(super) async fn act(
        &mut self,
        config: &Config,
        steps: &[Step],
        seen: &BTreeMap<String, u32>,
    ) -> (BTreeSet<String>, Option<Duration>) {
        let now = Instant::now();
        let (due, held) = self.due(steps, now);
        self.inherit(config, &due).await;
        let (kernel, backends) = (self.kernel.clone(), self.backends.clone());
        let taken = self.meanwhile(config, apply(&kernel, &backends, &due, seen));
        let outcome = taken.await;
        self.note(&due, now);
        let failed = outcome.failed.into_iter().map(|failure| failure.why);
        let next = held
            .iter()
            .filter_map(|step| self.repairs.held(&key(step), now))
            .min();
        (failed.collect(), next.filter(|_| due.is_empty()))
    }

    /// The steps that may be taken now, and those that are held back.
    pub(super) fn due(&self, steps: &[Step], now: Instant) -> (Vec<Step>, Vec<Step>) {
        let (mut due, mut held): (Vec<Step>, Vec<Step>) = steps.iter().cloned().partition(|step| {
            self.another_guard(step).is_some() || self.repairs.held(&key(step), now).is_none()
        });
        if held.iter().any(|step| matches!(step, Step::Guard(..))) {
            held.extend(due.extract_if(.., |step| rests_on_the_guard(step)));
        }
        (due, held)
    }

    /// Notes that steps were taken, or tried.
    pub(super) fn note(&mut self, steps: &[Step], now: Instant) {
        for step in steps {
            if let Some(guard) = self.another_guard(step) {
                self.guard = Some(guard);
                continue;
            }
            let key = key(step);
            let longest = match step {
                Step::Guard(..) => repairs::LONGEST_WITHOUT_A_GUARD,
                _ => repairs::LONGEST,
            };
            if let Some(pause) = self.repairs.note(&key, longest, now) {
                log::warn!(
                    "{key}: keeps being undone by somebody else; next repair in {} s",
                    pause.as_secs()
                );
            }
        }
    }

    /// The guard that a step is to set, where it is another than the last one. That is nobody's damage:
    /// an interface has come or gone, as containers' do all the time.
    fn another_guard(&self, step: &Step) -> Option<Guard> {
        match step {
            Step::Guard(object, _) => match &**object {
                Object::Guard(guard) if self.guard.as_ref() != Some(guard) => Some(guard.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    /// Where this backend's guard is about to take over from another's.
    async fn inherit(&mut self, config: &Config, due: &[Step]) {
        let (active, backends) = (self.kind(), self.backends.clone());
        let guards = &self.before.record.guards;
        if due.iter().any(|step| matches!(step, Step::Guard(..)))
            && guards.iter().any(|kind| *kind != active)
            && let Err(error) = self.meanwhile(config, backends.inherit()).await
        {
            log::debug!("{}", chain(&error));
        }
    }
}

/// What a step repairs, whatever the reason.
fn key(step: &Step) -> String {
    match step {
        Step::Guard(..) => "set the guard".to_owned(),
        step => step.to_string(),
    }
}
