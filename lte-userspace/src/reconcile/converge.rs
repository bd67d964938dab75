//! One round: look, write down how things were found, act.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::backends::Backends;
use super::endpoints::Endpoints;
use super::hearing::Hearing;
use super::pace::Pace;
use super::patience::Patience;
use super::plan::{Plan, Removal, Step};
use super::precedence::Standing;
use super::repairs::Repairs;
use super::view::{Inputs, Sketch, ViewError};
use super::write_down::write_down;
use crate::backend::{Backend, Guard, Kind, chain};
use crate::config::Config;
use crate::desired::Object;
use crate::kernel::wireguard::Found;
use crate::kernel::{Kernel, MAIN_TABLE};
use crate::state::{Before, StateError};

/// How often one convergence looks before it leaves the rest to the next event.
const ROUNDS: usize = 4;
/// Pauses after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Why a round could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoundError {
    /// The machine could not be looked at.
    #[error(transparent)]
    View(#[from] ViewError),
    /// How things were found could not be written down, so nothing was changed.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Makes what is as it is to be.
#[derive(Debug)]
pub struct Converger {
    /// The kernel.
    pub kernel: Kernel,
    /// The backend that keeps the guard, then all others once they have been looked for.
    pub backends: Backends,
    active: Kind,
    /// Whether the others are open.
    others: bool,
    /// How things were found.
    pub before: Before,
    /// The tunnel's UDP port, host byte order.
    pub listen_port: u16,
    /// What endpoint names are known to mean.
    pub(super) endpoints: Endpoints,
    /// When the peers were last heard.
    pub(super) hearing: Hearing,
    /// Whether what other backends have left is still to be looked for, when all else is done.
    pub look_for_other_guards: bool,
    pub(super) repairs: Repairs,
    /// The guard that was set last, or was to be.
    pub(super) guard: Option<Guard>,
    /// Whose rule ours were moved before, as `ip rule` prints it.
    rules_moved_for: Option<String>,
    pub(super) patience: Patience,
    retry: Duration,
    /// Whether all was in place at the last look.
    pub(super) settled: bool,
    /// The modem's interface index at the last look.
    pub(super) modem_index: Option<u32>,
    /// What was wanted when all was last in place; empty before that.
    pub(super) wanted: Vec<Object>,
    /// WireGuard's settings at the last look.
    pub(super) device: Option<Found>,
    pace: Pace,
    /// That of the looks that leave the guard out.
    pub(super) quick_pace: Pace,
    /// Failures and warnings that hold, to say each once.
    said: BTreeSet<String>,
}

/// How a convergence came out.
#[derive(Debug, Default)]
pub struct Convergence {
    /// Whether all is as it is to be.
    pub settled: bool,
    /// Whether the modem is there.
    pub modem: bool,
    /// When to try again though nothing happens.
    pub retry: Option<Duration>,
}

impl Converger {
    /// Builds it; nothing is changed yet.
    pub fn new(
        kernel: Kernel,
        backend: Box<dyn Backend>,
        mut before: Before,
        listen_port: u16,
    ) -> Self {
        // By now it may have been installed.
        before.record.lacking.clear();
        Self {
            kernel,
            active: backend.kind(),
            backends: Backends::new(vec![backend]),
            others: false,
            before,
            listen_port,
            endpoints: Endpoints::default(),
            hearing: Hearing::default(),
            look_for_other_guards: true,
            repairs: Repairs::default(),
            guard: None,
            rules_moved_for: None,
            patience: Patience::default(),
            retry: RETRY.0,
            settled: false,
            modem_index: None,
            wanted: Vec::new(),
            device: None,
            pace: Pace::default(),
            quick_pace: Pace::default(),
            said: BTreeSet::new(),
        }
    }

    /// Looks and acts until nothing is left to do, or nothing more can be done now.
    pub async fn converge(&mut self, config: &Config) -> Convergence {
        let mut outcome = Convergence::default();
        self.repair_quickly(config).await;
        let now = Instant::now();
        if let Some(wait) = self.pace.wait(now) {
            return Convergence {
                settled: self.settled,
                modem: self.modem_index.is_some(),
                retry: Some(wait),
            };
        }
        self.pace.note(now);
        self.settled = false;
        for _ in 0..ROUNDS {
            match self.round(config).await {
                Ok(next) => {
                    outcome = next;
                    if outcome.settled && std::mem::take(&mut self.look_for_other_guards) {
                        self.open_others(config).await;
                        continue;
                    }
                    if outcome.settled {
                        self.settled = true;
                        if outcome.retry.is_none() {
                            self.retry = RETRY.0;
                        }
                        self.close_others().await;
                    }
                    if outcome.settled || outcome.retry.is_some() {
                        return outcome;
                    }
                }
                Err(error) => {
                    let line = chain(&error);
                    self.say(BTreeSet::new(), [line].into());
                    outcome.settled = false;
                    outcome.retry = Some(self.pause());
                    // What opens nothing does not wait for a look that succeeds.
                    self.repair_quickly(config).await;
                    return outcome;
                }
            }
        }
        outcome.retry = Some(self.pause());
        outcome
    }

    /// What did not answer may answer now, and what was missing may be there: the config is another.
    pub fn renew_patience(&mut self) {
        self.patience.renew();
        self.kernel.ask_for_modules_again();
    }

    /// The backend that keeps the guard.
    pub fn kind(&self) -> Kind {
        self.active
    }

    /// Has another backend keep the guard. What was tried in vain with the one before is tried at once.
    pub fn exchange(&mut self, backend: Box<dyn Backend>) {
        self.active = backend.kind();
        self.backends = Backends::new(vec![backend]);
        self.others = false;
        self.look_for_other_guards = true;
        self.repairs = Repairs::default();
        self.retry = RETRY.0;
    }

    /// Opens the backends that do not keep the guard, to see what they have left of earlier runs.
    async fn open_others(&mut self, config: &Config) {
        let backends = self.backends.clone();
        match self.meanwhile(config, backends.open_others()).await {
            Ok(()) => self.others = true,
            Err(error) => log::warn!("{}", chain(&error)),
        }
    }

    async fn close_others(&mut self) {
        if std::mem::take(&mut self.others)
            && let Err(error) = self.backends.close_others().await
        {
            log::debug!("{}", chain(&error));
        }
    }

    /// The next, longer pause after a failure.
    fn pause(&mut self) -> Duration {
        let pause = self.retry;
        self.retry = (pause * 2).min(RETRY.1);
        pause
    }

    pub(super) fn inputs<'a>(&'a self, config: &'a Config) -> Inputs<'a> {
        Inputs {
            config,
            record: &self.before.record,
            listen_port: self.listen_port,
            resolved: self.endpoints.current(),
            resting: self.patience.resting(),
            active: Some(self.active),
            device: None,
        }
    }

    async fn round(&mut self, config: &Config) -> Result<Convergence, RoundError> {
        let started = Instant::now();
        self.before.record.lacking = self.kernel.lacking();
        let sketch = Sketch::new(&self.kernel, &self.inputs(config)).await?;
        self.device.clone_from(&sketch.observed.device);
        let (backends, guard) = (self.backends.clone(), sketch.guard().cloned());
        let guard = self.meanwhile(config, backends.state(guard)).await;
        let guard = guard.map_err(ViewError::from)?;
        let view = sketch.compare(config, &self.before.record, &guard)?;
        let modem = view.facts.modem.as_ref().map(|modem| modem.index);
        self.patience.with_modem(modem);
        if self.modem_index != modem {
            // What another modem needs, nobody has undone.
            self.modem_index = modem;
            self.repairs = Repairs::default();
            self.kernel.ask_for_modules_again();
        }
        log::debug!(
            "looked in {} ms (other backends: {}): {} steps",
            started.elapsed().as_millis(),
            self.others,
            view.plan.steps.len()
        );
        let mut outcome = Convergence {
            modem: view.facts.modem.is_some(),
            ..Convergence::default()
        };
        self.tell_of_rules(&view.standing);
        let active = self.kind();
        write_down(&mut self.before.record, config, &view, active);
        self.before.save()?;
        let Plan { steps, blocked } = &view.plan;
        let mut errors: BTreeSet<String> = blocked.iter().cloned().collect();
        if steps.is_empty() && blocked.is_empty() {
            outcome.settled = true;
            self.wanted = view.want;
            errors.extend(view.faults);
            self.say(view.warnings, errors);
            return Ok(outcome);
        }
        let (failed, held) = self.act(config, steps, &view.observed.indexes()).await;
        self.before.record.lacking = self.kernel.lacking();
        errors.extend(failed);
        let failed = (!errors.is_empty()).then(|| self.pause());
        outcome.retry = [failed, held].into_iter().flatten().min();
        // What is left bears nothing: guard and tunnel are up, and watched as ever.
        let modem = view.facts.modem.as_ref().map(|modem| modem.name.as_str());
        let bears = |step: &Step| bears(step, modem);
        if blocked.is_empty() && outcome.retry.is_some() && !steps.iter().any(bears) {
            outcome.settled = true;
            self.wanted = view.want;
        }
        errors.extend(view.faults);
        self.say(view.warnings, errors);
        Ok(outcome)
    }

    /// Says for whose sake the rules are not where the config has them.
    fn tell_of_rules(&mut self, standing: &Standing) {
        if standing.moved_for != self.rules_moved_for {
            if let Some(text) = &standing.moved_for {
                log::info!(
                    "the agent's rules are to be asked before the rule `{text}`: from priority {} on",
                    standing.first
                );
            }
            self.rules_moved_for.clone_from(&standing.moved_for);
        }
    }

    /// Says what is new among warnings and errors, and what has passed.
    fn say(&mut self, warnings: BTreeSet<String>, errors: BTreeSet<String>) {
        for line in errors.difference(&self.said) {
            log::error!("{line}");
        }
        for line in warnings.difference(&self.said) {
            log::warn!("{line}");
        }
        self.said = warnings;
        self.said.extend(errors);
    }
}

/// Whether guard or tunnel rest on a step. What does not rest on one that fails goes on without it.
fn bears(step: &Step, modem: Option<&str>) -> bool {
    match step {
        Step::Put(Object::Route(route)) => route.table != MAIN_TABLE,
        // Others' are put back as they were.
        Step::Put(Object::Sysctl(sysctl)) => modem == Some(&sysctl.interface),
        Step::Put(Object::Admin(admin)) => admin.up,
        Step::Guard(..) | Step::Put(_) | Step::Remove(Removal::Guard(_)) => true,
        Step::Remove(_) => false,
    }
}
