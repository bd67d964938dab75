//! One round: compare, record the baseline, apply.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::backends::Backends;
use super::comparison::{Inputs, SnapshotError, Target};
use super::endpoints::Endpoints;
use super::handshake_backoff::HandshakeBackoff;
use super::handshakes::Handshakes;
use super::plan::Plan;
use super::precedence::RulePlacement;
use super::rate_limiter::RateLimiter;
use super::record_baseline::record_baseline;
use super::repair_backoff::RepairBackoff;
use super::step::{Action, Removal, Step};
use crate::backend::{Backend, BackendKind, Guard, error_chain};
use crate::config::Config;
use crate::desired::Object;
use crate::kernel::wireguard::ObservedDevice;
use crate::kernel::{Kernel, KernelOperations, MAIN_TABLE};
use crate::state::{BaselineFile, StateError};

/// How many rounds one call makes before it leaves the rest to the next event.
const MAX_ROUNDS: usize = 4;
/// Pauses after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Why a round could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReconcileError {
    /// No snapshot could be taken.
    #[error(transparent)]
    Comparison(#[from] SnapshotError),
    /// The baseline could not be saved, so nothing was changed.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Observes, plans and applies until there is no drift.
#[derive(Debug)]
pub struct Reconciler<K = Kernel> {
    /// The kernel.
    pub kernel: K,
    /// The active backend, then the stale ones while they are open.
    pub backends: Backends,
    active: BackendKind,
    /// Whether stale backends are open.
    stale_open: bool,
    /// How the machine was found.
    pub baseline_file: BaselineFile,
    /// The tunnel's UDP port, host byte order.
    pub listen_port: u16,
    /// What endpoint names are known to mean.
    pub(super) endpoints: Endpoints,
    /// When the peers were last heard.
    pub(super) handshakes: Handshakes,
    /// Whether stale guards are still to be looked for, when there is no other drift.
    pub check_stale_guards: bool,
    pub(super) repair_backoff: RepairBackoff,
    /// The guard that was set last, or was to be.
    pub(super) guard: Option<Guard>,
    /// The rule that ours were moved before, as `ip rule` prints it.
    reported_placement: Option<String>,
    pub(super) handshake_backoff: HandshakeBackoff,
    retry: Duration,
    /// Whether the last comparison found no drift.
    pub(super) converged: bool,
    /// The modem's interface index in the last snapshot.
    pub(super) modem_index: Option<u32>,
    /// The desired objects when there last was no drift; empty before that.
    pub(super) wanted: Vec<Object>,
    /// WireGuard's settings in the last snapshot.
    pub(super) device: Option<ObservedDevice>,
    limiter: RateLimiter,
    /// The rate limit of the fast path.
    pub(super) fast_path_limiter: RateLimiter,
    /// Failures and warnings that hold, to log each once.
    reported: BTreeSet<String>,
}

/// The result of a call.
#[derive(Debug, Default)]
pub struct ReconcileResult {
    /// Whether there is no drift.
    pub converged: bool,
    /// Whether the modem is there.
    pub modem: bool,
    /// When to try again though nothing happens.
    pub retry: Option<Duration>,
}

impl<K: KernelOperations> Reconciler<K> {
    /// Builds it; nothing is changed yet.
    pub fn new(
        kernel: K,
        backend: Box<dyn Backend>,
        mut baseline_file: BaselineFile,
        listen_port: u16,
    ) -> Self {
        // By now it may have been installed.
        baseline_file.baseline.missing_modules.clear();
        Self {
            kernel,
            active: backend.kind(),
            backends: Backends::new(vec![backend]),
            stale_open: false,
            baseline_file,
            listen_port,
            endpoints: Endpoints::default(),
            handshakes: Handshakes::default(),
            check_stale_guards: true,
            repair_backoff: RepairBackoff::default(),
            guard: None,
            reported_placement: None,
            handshake_backoff: HandshakeBackoff::default(),
            retry: RETRY.0,
            converged: false,
            modem_index: None,
            wanted: Vec::new(),
            device: None,
            limiter: RateLimiter::default(),
            fast_path_limiter: RateLimiter::default(),
            reported: BTreeSet::new(),
        }
    }

    /// Repeats rounds until there is no drift, or nothing more can be done now.
    pub async fn reconcile(&mut self, config: &Config) -> ReconcileResult {
        let mut outcome = ReconcileResult::default();
        self.run_fast_path(config).await;
        let now = Instant::now();
        if let Some(wait) = self.limiter.wait(now) {
            return ReconcileResult {
                converged: self.converged,
                modem: self.modem_index.is_some(),
                retry: Some(wait),
            };
        }
        self.limiter.record(now);
        self.converged = false;
        for _ in 0..MAX_ROUNDS {
            match self.run_once(config).await {
                Ok(next) => {
                    outcome = next;
                    if outcome.converged && std::mem::take(&mut self.check_stale_guards) {
                        self.open_stale(config).await;
                        continue;
                    }
                    if outcome.converged {
                        self.converged = true;
                        if outcome.retry.is_none() {
                            self.retry = RETRY.0;
                        }
                        self.close_stale().await;
                    }
                    if outcome.converged || outcome.retry.is_some() {
                        return outcome;
                    }
                }
                Err(error) => {
                    let line = error_chain(&error);
                    self.report(BTreeSet::new(), [line].into());
                    outcome.converged = false;
                    outcome.retry = Some(self.next_retry());
                    // The fast path does not wait for a successful snapshot.
                    self.run_fast_path(config).await;
                    return outcome;
                }
            }
        }
        outcome.retry = Some(self.next_retry());
        outcome
    }

    /// Ends all back-offs: with another config peers may answer, and modules may be installed.
    pub fn reset_backoff(&mut self) {
        self.handshake_backoff.reset();
        self.kernel.retry_modules();
    }

    /// The active backend.
    pub fn kind(&self) -> BackendKind {
        self.active
    }

    /// Makes another backend the active one, and ends the repair back-off.
    pub fn replace_backend(&mut self, backend: Box<dyn Backend>) {
        self.active = backend.kind();
        self.backends = self.backends.replaced_by(backend);
        self.stale_open = false;
        self.check_stale_guards = true;
        self.repair_backoff = RepairBackoff::default();
        self.retry = RETRY.0;
    }

    /// Opens the backends other than the active one, to see what they have left of earlier runs.
    async fn open_stale(&mut self, config: &Config) {
        let backends = self.backends.clone();
        match self.with_fast_path(config, backends.open_stale()).await {
            Ok(()) => self.stale_open = true,
            Err(error) => log::warn!("{}", error_chain(&error)),
        }
    }

    /// Records what the SIM has carried.
    pub(super) async fn record_usage(&mut self, config: &Config) {
        let backends = self.backends.clone();
        self.with_fast_path(config, backends.record()).await;
    }

    async fn close_stale(&mut self) {
        if std::mem::take(&mut self.stale_open)
            && let Err(error) = self.backends.close_stale().await
        {
            log::debug!("{}", error_chain(&error));
        }
    }

    /// The next, longer pause after a failure.
    fn next_retry(&mut self) -> Duration {
        let pause = self.retry;
        self.retry = (pause * 2).min(RETRY.1);
        pause
    }

    pub(super) fn inputs<'a>(&'a self, config: &'a Config) -> Inputs<'a> {
        Inputs {
            config,
            baseline: &self.baseline_file.baseline,
            listen_port: self.listen_port,
            resolved: self.endpoints.current(),
            backed_off: self.handshake_backoff.backed_off(),
            active: Some(self.active),
            device: None,
        }
    }

    async fn run_once(&mut self, config: &Config) -> Result<ReconcileResult, ReconcileError> {
        let started = Instant::now();
        self.baseline_file.baseline.missing_modules = self.kernel.missing_modules();
        let target = Target::new(&self.kernel, &self.inputs(config)).await?;
        self.device.clone_from(&target.snapshot.device);
        let (backends, guard) = (self.backends.clone(), target.guard().cloned());
        let guard = self.with_fast_path(config, backends.state(guard)).await;
        let guard = guard.map_err(SnapshotError::from)?;
        let comparison =
            target.compare(&self.kernel, config, &self.baseline_file.baseline, &guard)?;
        let modem = comparison.facts.modem.as_ref().map(|modem| modem.index);
        self.handshake_backoff.on_modem(modem);
        if self.modem_index != modem {
            // What another modem needs was not undone by a third party.
            self.modem_index = modem;
            self.repair_backoff = RepairBackoff::default();
            self.kernel.retry_modules();
        }
        log::debug!(
            "looked in {} ms (other backends: {}): {} steps",
            started.elapsed().as_millis(),
            self.stale_open,
            comparison.plan.steps.len()
        );
        let mut outcome = ReconcileResult {
            modem: comparison.facts.modem.is_some(),
            ..ReconcileResult::default()
        };
        self.report_rules(&comparison.placement);
        let active = self.kind();
        record_baseline(
            &mut self.baseline_file.baseline,
            config,
            &comparison,
            active,
            |link| self.kernel.hardware(link),
        );
        self.baseline_file.save()?;
        let Plan { steps, blocked } = &comparison.plan;
        let mut errors: BTreeSet<String> = blocked.iter().cloned().collect();
        if steps.is_empty() && blocked.is_empty() {
            outcome.converged = true;
            self.wanted = comparison.objects();
            errors.extend(comparison.faults);
            self.report(comparison.warnings, errors);
            return Ok(outcome);
        }
        let (taken, held) = self
            .execute(config, steps, &comparison.snapshot.indexes())
            .await;
        self.baseline_file.baseline.missing_modules = self.kernel.missing_modules();
        let skipped = taken.skipped_lines();
        errors.extend(taken.failed.into_iter().map(|failure| failure.why));
        let failed = (!errors.is_empty()).then(|| self.next_retry());
        outcome.retry = [failed, held].into_iter().flatten().min();
        // The pending steps are not essential: guard and tunnel are up, and are polled.
        let modem = comparison.facts.modem.as_ref();
        let modem = modem.map(|modem| modem.name.as_str());
        let is_essential = |step: &Step| is_essential(step, modem);
        if blocked.is_empty() && outcome.retry.is_some() && !steps.iter().any(is_essential) {
            outcome.converged = true;
            self.wanted = comparison.objects();
        }
        errors.extend(comparison.faults);
        let warnings = comparison.warnings.into_iter().chain(skipped);
        self.report(warnings.collect(), errors);
        Ok(outcome)
    }

    /// Logs which rule ours were moved before, if they are not at the configured priority.
    fn report_rules(&mut self, placement: &RulePlacement) {
        if placement.moved_for != self.reported_placement {
            if let Some(text) = &placement.moved_for {
                log::info!(
                    "the agent's rules move before the rule `{text}`: from priority {} on",
                    placement.first
                );
            }
            self.reported_placement.clone_from(&placement.moved_for);
        }
    }

    /// Logs each new warning and error once.
    fn report(&mut self, warnings: BTreeSet<String>, errors: BTreeSet<String>) {
        for line in errors.difference(&self.reported) {
            log::error!("{line}");
        }
        for line in warnings.difference(&self.reported) {
            log::warn!("{line}");
        }
        self.reported = warnings;
        self.reported.extend(errors);
    }
}

/// Whether guard or tunnel need a step. If one that is not essential fails, the agent goes on without it.
fn is_essential(step: &Step, modem: Option<&str>) -> bool {
    match &step.action {
        Action::Set(Object::Route(route)) => route.table != MAIN_TABLE,
        Action::Set(_) | Action::Remove(Removal::Guard(_)) => true,
        // Of other interfaces: restored as found.
        Action::Restore(object) => modem.is_some() && object.interface() == modem,
        Action::Remove(_) => false,
    }
}
