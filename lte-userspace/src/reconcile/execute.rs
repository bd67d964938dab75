//! Takes the steps of a plan, except those whose repair backs off.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::apply::{apply, requires_guard};
use super::plan::Step;
use super::reconciler::Reconciler;
use super::repair_backoff;
use crate::backend::{Guard, error_chain};
use crate::config::Config;
use crate::desired::Object;

impl Reconciler {
    /// Takes the steps that are due. Returns what failed, and how long until the first step that
    /// backs off is due, if no step was.
    pub(super) async fn execute(
        &mut self,
        config: &Config,
        steps: &[Step],
        seen: &BTreeMap<String, u32>,
    ) -> (BTreeSet<String>, Option<Duration>) {
        let now = Instant::now();
        let (due, held) = self.due(steps, now);
        self.import_remotes(config, &due).await;
        let (kernel, backends) = (self.kernel.clone(), self.backends.clone());
        let taken = self.with_fast_path(config, apply(&kernel, &backends, &due, seen));
        let outcome = taken.await;
        self.record_repairs(&due, now);
        let failed = outcome.failed.into_iter().map(|failure| failure.why);
        let next = held
            .iter()
            .filter_map(|step| self.repair_backoff.remaining(&key(step), now))
            .min();
        (failed.collect(), next.filter(|_| due.is_empty()))
    }

    /// The steps that are due now, and those that back off.
    pub(super) fn due(&self, steps: &[Step], now: Instant) -> (Vec<Step>, Vec<Step>) {
        let (mut due, mut held): (Vec<Step>, Vec<Step>) = steps.iter().cloned().partition(|step| {
            self.changed_guard(step).is_some()
                || self.repair_backoff.remaining(&key(step), now).is_none()
        });
        if held.iter().any(|step| matches!(step, Step::Guard(..))) {
            held.extend(due.extract_if(.., |step| requires_guard(step)));
        }
        (due, held)
    }

    /// Records that steps were taken, or tried.
    pub(super) fn record_repairs(&mut self, steps: &[Step], now: Instant) {
        for step in steps {
            if let Some(guard) = self.changed_guard(step) {
                self.guard = Some(guard);
                continue;
            }
            let key = key(step);
            let longest = match step {
                Step::Guard(..) => repair_backoff::LONGEST_WITHOUT_A_GUARD,
                _ => repair_backoff::LONGEST,
            };
            if let Some(pause) = self.repair_backoff.record(&key, longest, now) {
                log::warn!(
                    "{key}: undone repeatedly by another program; next repair in {} s",
                    pause.as_secs()
                );
            }
        }
    }

    /// The guard that a step is to set, if it differs from the last one. That is not drift:
    /// an interface has come or gone, as containers' do all the time.
    fn changed_guard(&self, step: &Step) -> Option<Guard> {
        match step {
            Step::Guard(object, _) => match &**object {
                Object::Guard(guard) if self.guard.as_ref() != Some(guard) => Some(guard.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    /// Imports the remotes of stale backends before this backend's guard takes over.
    async fn import_remotes(&mut self, config: &Config, due: &[Step]) {
        let (active, backends) = (self.kind(), self.backends.clone());
        let guards = &self.baseline_file.baseline.guards;
        if due.iter().any(|step| matches!(step, Step::Guard(..)))
            && guards.iter().any(|kind| *kind != active)
            && let Err(error) = self.with_fast_path(config, backends.import_remotes()).await
        {
            log::debug!("{}", error_chain(&error));
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
