//! What is put back without a look at the guard: rules, routes and sysctls. They open nothing, they only
//! keep the tunnel's packets from going astray. So they come back first, and while the active backend is at
//! work, which may take long.

use std::io::ErrorKind;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval_at};

use super::apply::apply;
use super::converge::Converger;
use super::observe::Observed;
use super::plan::{GuardState, Step, sysctl_name};
use super::view::{Inputs, Sketch, ViewError};
use crate::backend::chain;
use crate::config::Config;
use crate::desired::Object;
use crate::state::Record;

/// How often it is looked for while the active backend is at work.
const EVERY: Duration = Duration::from_millis(200);

impl Converger {
    /// Waits for work in which the active backend may have a part.
    pub(super) async fn meanwhile<T>(
        &mut self,
        config: &Config,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        let mut tick = interval_at(tokio::time::Instant::now() + EVERY, EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = tick.tick() => {
                    // The work's own requests to the kernel are not to be met by the same.
                    if self.backends.are_busy() {
                        self.repair_quickly(config).await;
                        tick.reset();
                    }
                }
            }
        }
    }

    /// Puts back what opens nothing, where all was in place before, and not too often.
    pub(super) async fn repair_quickly(&mut self, config: &Config) {
        let now = Instant::now();
        if self.wanted.is_empty() || self.quick_pace.wait(now).is_some() {
            return;
        }
        self.quick_pace.note(now);
        if let Err(error) = self.quick_round(config).await {
            tell(&error);
        }
    }

    /// Closes a modem that has just been plugged in, before anybody sets it up: a DHCP client may be
    /// waiting for it. All else can wait for the rest of the news.
    pub(super) async fn modem_seen(&mut self, config: &Config, index: u32) {
        if self.modem_index != Some(index)
            && let Err(error) = self.quick_round(config).await
        {
            tell(&error);
        }
    }

    async fn quick_round(&mut self, config: &Config) -> Result<(), ViewError> {
        self.before.record.lacking = self.kernel.lacking();
        let inputs = Inputs {
            // WireGuard is not asked: nothing of this depends on its answer.
            device: Some(self.device.clone().unwrap_or_default()),
            ..self.inputs(config)
        };
        let sketch = Sketch::new(&self.kernel, &inputs).await?;
        let view = sketch.compare(config, &self.before.record, &GuardState::default())?;
        let observed = &view.observed;
        let now = Instant::now();
        let (mut due, _) = self.due(&view.plan.steps, now);
        due.retain(|step| opens_nothing(step, observed, &self.before.record));
        if !due.is_empty() {
            apply(&self.kernel, &self.backends, &due, &observed.indexes()).await;
            self.note(&due, now);
        }
        Ok(())
    }
}

/// What fails for long fails in the look at everything as well, which tells it. An answer that did not come is
/// asked for by another socket then.
fn tell(error: &ViewError) {
    match error {
        ViewError::Kernel(error) if error.source.kind() == ErrorKind::TimedOut => {
            log::warn!("{}", chain(error));
        }
        error => log::debug!("{}", chain(error)),
    }
}

/// Whether a step can be taken without knowing that the guard is in place, and with all that it
/// changes on record already.
fn opens_nothing(step: &Step, observed: &Observed, record: &Record) -> bool {
    let on_record = |interface: &str| {
        let link = observed.link(interface);
        link.is_some_and(|link| record.interfaces.contains_key(&link.index))
    };
    match step {
        Step::Put(Object::Rule(_)) => true,
        Step::Put(Object::Backstop(backstop)) => observed.closes_first(&backstop.interface),
        Step::Put(Object::Sysctl(sysctl)) => {
            let name = sysctl_name(sysctl.key);
            let found = observed.link(&sysctl.interface);
            found
                .and_then(|link| record.interfaces.get(&link.index))
                .is_some_and(|before| before.sysctls.contains_key(&name))
        }
        Step::Put(Object::Master(object)) => {
            object.master.is_none() && on_record(&object.interface)
        }
        // Where its interface is down or its source address is missing, that comes first. An
        // interface that goes down loses its IPv6 addresses.
        Step::Put(Object::Route(route)) => {
            observed.link(&route.interface).is_some_and(|link| link.up)
                && route.source.is_none_or(|source| {
                    observed
                        .addresses
                        .iter()
                        .any(|found| found.cidr.address == source)
                })
        }
        _ => false,
    }
}
