//! Takes the steps of a plan, except those whose repair backs off.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::apply::{Outcome, apply};
use super::reconciler::Reconciler;
use super::repair_backoff;
use super::step::{ObjectId, Step};
use crate::backend::{Guard, error_chain};
use crate::config::Config;
use crate::kernel::KernelOperations;

impl<K: KernelOperations> Reconciler<K> {
    /// Takes the steps that are due. Returns what they came to, and how long until the first step that
    /// backs off is due, if no step was.
    pub(super) async fn execute(
        &mut self,
        config: &Config,
        steps: &[Step],
        seen: &BTreeMap<String, u32>,
    ) -> (Outcome, Option<Duration>) {
        let now = Instant::now();
        let (due, held) = self.due(steps, now);
        self.import_remotes(config, &due).await;
        let (kernel, backends) = (self.kernel.clone(), self.backends.clone());
        let taken = self.with_fast_path(config, apply(&kernel, &backends, &due, seen));
        let outcome = taken.await;
        if self.has_lost_an_interface(&due).await {
            let is_guard = |step: &Step| step.guard().is_some();
            let others: Vec<Step> = due.iter().filter(|s| !is_guard(s)).cloned().collect();
            self.record_repairs(&others, now);
        } else {
            self.record_repairs(&due, now);
        }
        let next = held
            .iter()
            .filter_map(|step| self.repair_backoff.remaining(&step.id(), now))
            .min();
        (outcome, next.filter(|_| due.is_empty()))
    }

    /// The steps that are due now, and those that back off, or need one that does.
    pub(super) fn due(&self, steps: &[Step], now: Instant) -> (Vec<Step>, Vec<Step>) {
        let (mut due, mut held): (Vec<Step>, Vec<Step>) = steps.iter().cloned().partition(|step| {
            self.changed_guard(step).is_some()
                || self.repair_backoff.remaining(&step.id(), now).is_none()
        });
        let objects = held.iter().filter_map(Step::sets).map(ObjectId::of);
        let objects: Vec<ObjectId> = objects.collect();
        held.extend(due.extract_if(.., |step| {
            step.needs.iter().any(|needs| objects.contains(needs))
        }));
        (due, held)
    }

    /// Whether an interface of a guard that was to be set has gone since the snapshot. Then that is what
    /// differed, and no other program has undone anything.
    async fn has_lost_an_interface(&self, steps: &[Step]) -> bool {
        let Some(guard) = steps.iter().find_map(Step::guard) else {
            return false;
        };
        match self.kernel.links().await {
            Ok(links) => {
                let is_there = |index: u32| links.iter().any(|link| link.index == index);
                !guard.interfaces().all(is_there)
            }
            Err(_) => false,
        }
    }

    /// Records that steps were taken, or tried.
    pub(super) fn record_repairs(&mut self, steps: &[Step], now: Instant) {
        for step in steps {
            if let Some(guard) = self.changed_guard(step) {
                self.guard = Some(guard);
                continue;
            }
            let longest = match step.guard() {
                Some(_) => repair_backoff::LONGEST_WITHOUT_A_GUARD,
                None => repair_backoff::LONGEST,
            };
            if let Some(pause) = self.repair_backoff.record(&step.id(), longest, now) {
                let text = match step.guard() {
                    Some(_) => "set the guard".to_owned(),
                    None => step.to_string(),
                };
                log::warn!(
                    "{text}: undone repeatedly by another program; next repair in {} s",
                    pause.as_secs()
                );
            }
        }
    }

    /// The guard that a step is to set, if it differs from the last one. That is not drift:
    /// an interface has come or gone, as containers' do all the time.
    fn changed_guard(&self, step: &Step) -> Option<Guard> {
        let guard = step.guard()?;
        (self.guard.as_ref() != Some(guard)).then(|| guard.clone())
    }

    /// Imports the remotes of stale backends before this backend's guard takes over.
    async fn import_remotes(&mut self, config: &Config, due: &[Step]) {
        let (active, backends) = (self.kind(), self.backends.clone());
        let guards = &self.baseline_file.baseline.guards;
        if due.iter().any(|step| step.guard().is_some())
            && guards.iter().any(|kind| *kind != active)
            && let Err(error) = self.with_fast_path(config, backends.import_remotes()).await
        {
            log::debug!("{}", error_chain(&error));
        }
    }
}
