//! The fast path: rules, routes and sysctls are repaired before the guard is compared. They let no other
//! packet pass, they only route the tunnel's. So they are repaired first, and also during a call of the
//! active backend, which may take long.

use std::io::ErrorKind;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval_at};

use super::apply::apply;
use super::comparison::{Inputs, SnapshotError, Target};
use super::plan::GuardState;
use super::reconciler::Reconciler;
use super::restore::sysctl_name;
use super::snapshot::Snapshot;
use super::step::Step;
use crate::backend::error_chain;
use crate::config::Config;
use crate::desired::Object;
use crate::kernel::KernelOperations;
use crate::state::Baseline;

/// How often it runs during a call of the active backend.
const INTERVAL: Duration = Duration::from_millis(200);

impl<K: KernelOperations> Reconciler<K> {
    /// Waits for work that may call the active backend, and runs the fast path meanwhile.
    pub(super) async fn with_fast_path<T>(
        &mut self,
        config: &Config,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        let mut tick = interval_at(tokio::time::Instant::now() + INTERVAL, INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = tick.tick() => {
                    // Not while the work itself sends requests to the kernel.
                    if self.backends.are_busy() {
                        self.run_fast_path(config).await;
                        tick.reset();
                    }
                }
            }
        }
    }

    /// Runs the fast path if there was no drift before, within its rate limit.
    pub(super) async fn run_fast_path(&mut self, config: &Config) {
        let now = Instant::now();
        if self.wanted.is_empty() || self.fast_path_limiter.wait(now).is_some() {
            return;
        }
        self.fast_path_limiter.record(now);
        if let Err(error) = self.fast_path(config).await {
            log_error(&error);
        }
    }

    /// Closes a modem that has just been plugged in, before a DHCP client can use it. All else waits
    /// until the burst of events is over.
    pub(super) async fn on_modem(&mut self, config: &Config, index: u32) {
        if self.modem_index != Some(index)
            && let Err(error) = self.fast_path(config).await
        {
            log_error(&error);
        }
    }

    async fn fast_path(&mut self, config: &Config) -> Result<(), SnapshotError> {
        self.baseline_file.baseline.missing_modules = self.kernel.missing_modules();
        let inputs = Inputs {
            // WireGuard is not asked: nothing of this depends on its answer.
            device: Some(self.device.clone().unwrap_or_default()),
            ..self.inputs(config)
        };
        let target = Target::new(&self.kernel, &inputs).await?;
        let comparison = target.compare(
            &self.kernel,
            config,
            &self.baseline_file.baseline,
            &GuardState::default(),
        )?;
        let snapshot = &comparison.snapshot;
        let now = Instant::now();
        let (mut due, _) = self.due(&comparison.plan.steps, now);
        due.retain(|step| is_safe_without_guard(step, snapshot, &self.baseline_file.baseline));
        if !due.is_empty() {
            apply(&self.kernel, &self.backends, &due, &snapshot.indexes()).await;
            self.record_repairs(&due, now);
        }
        Ok(())
    }
}

/// An error that persists is logged by the full comparison as well, so only a time-out is logged here as a
/// warning.
fn log_error(error: &SnapshotError) {
    match error {
        SnapshotError::Kernel(error) if error.source.kind() == ErrorKind::TimedOut => {
            log::warn!("{}", error_chain(error));
        }
        error => log::debug!("{}", error_chain(error)),
    }
}

/// Whether a step can be taken without knowing that the guard is in place, and with all that it
/// changes on record already.
fn is_safe_without_guard(step: &Step, snapshot: &Snapshot, baseline: &Baseline) -> bool {
    let on_record = |interface: &str| {
        let link = snapshot.link(interface);
        link.is_some_and(|link| baseline.interfaces.contains_key(&link.index))
    };
    match step.writes() {
        Some(Object::Rule(_)) => true,
        Some(Object::Backstop(backstop)) => snapshot.closes_first(&backstop.interface),
        Some(Object::Sysctl(sysctl)) => {
            let name = sysctl_name(sysctl.key);
            let found = snapshot.link(&sysctl.interface);
            found
                .and_then(|link| baseline.interfaces.get(&link.index))
                .is_some_and(|before| before.sysctls.contains_key(&name))
        }
        Some(Object::Master(object)) => object.master.is_none() && on_record(&object.interface),
        // Where its interface is down or its source address is missing, that comes first. An
        // interface that goes down loses its IPv6 addresses.
        Some(Object::Route(route)) => {
            snapshot.link(&route.interface).is_some_and(|link| link.up)
                && route.source.is_none_or(|source| {
                    snapshot
                        .addresses
                        .iter()
                        .any(|found| found.cidr.address == source)
                })
        }
        _ => false,
    }
}
