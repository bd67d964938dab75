//! One round: look, write down how things were found, act.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use super::apply::{apply, rests_on_the_guard};
use super::endpoints::Endpoints;
use super::glance;
use super::hearing::{Hearing, Moment};
use super::observe::Observed;
use super::pace::Pace;
use super::patience::Patience;
use super::plan::{Plan, Removal, Step};
use super::precedence::Standing;
use super::repairs::{self, Repairs};
use super::view::{Inputs, View, ViewError};
use super::write_down::write_down;
use crate::backend::select::others;
use crate::backend::{Backend, Guard, Kind, chain};
use crate::config::Config;
use crate::desired::{Object, Route};
use crate::kernel::{Kernel, MAIN_TABLE, wireguard};
use crate::state::{Before, Record, StateError};

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
    pub backends: Vec<Box<dyn Backend>>,
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
    repairs: Repairs,
    /// The guard that was set last, or was to be.
    guard: Option<Guard>,
    /// Whose rule ours were moved before, as `ip rule` prints it.
    rules_moved_for: Option<String>,
    patience: Patience,
    retry: Duration,
    /// Whether all was in place at the last look, and the modem among it.
    settled: bool,
    modem: bool,
    /// The modem's interface index at the last look.
    modem_index: Option<u32>,
    /// What was wanted when all was last in place.
    wanted: Vec<Object>,
    pace: Pace,
    /// That of the looks that leave the guard out.
    quick_pace: Pace,
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
            backends: vec![backend],
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
            modem: false,
            modem_index: None,
            wanted: Vec::new(),
            pace: Pace::default(),
            quick_pace: Pace::default(),
            said: BTreeSet::new(),
        }
    }

    /// Looks and acts until nothing is left to do, or nothing more can be done now.
    pub async fn converge(&mut self, config: &Config) -> Convergence {
        let mut outcome = Convergence::default();
        let now = Instant::now();
        if self.settled && self.quick_pace.wait(now).is_none() {
            self.quick_pace.note(now);
            // Rules and routes come back without waiting for a look at the guard: they open
            // nothing, they only keep the tunnel's packets from going astray.
            if let Err(error) = self.quick_round(config).await {
                log::debug!("{}", chain(&error));
            }
        }
        let now = Instant::now();
        if let Some(wait) = self.pace.wait(now) {
            return Convergence {
                settled: self.settled,
                modem: self.modem,
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
                        self.open_others();
                        continue;
                    }
                    if outcome.settled {
                        self.settled = true;
                        self.modem = outcome.modem;
                        if outcome.retry.is_none() {
                            self.retry = RETRY.0;
                        }
                        self.backends.truncate(1);
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
                    return outcome;
                }
            }
        }
        outcome.retry = Some(self.pause());
        outcome
    }

    /// A short look at what changes without anybody's being told. Returns whether a longer one is
    /// due; while not all is in place, that is known already.
    pub fn glance(&mut self, config: &Config) -> bool {
        if !self.settled {
            return false;
        }
        let device = wireguard::read(&config.tunnel.interface).map_err(ViewError::from);
        let as_wanted = device.and_then(|device| {
            let (now, moment) = (Instant::now(), Moment::now());
            let (tunnel, hearing) = (&config.tunnel, &mut self.hearing);
            hearing.look(&device, moment, SystemTime::now());
            self.endpoints.look(&tunnel.peers, hearing, moment);
            let changed = self.patience.consider(tunnel, hearing, (now, moment));
            let keeper = self.backends.first_mut();
            Ok(!changed && glance::as_wanted(&self.wanted, &device, keeper)?)
        });
        as_wanted
            .inspect_err(|error| log::debug!("{}", chain(error)))
            .map_or(true, |as_wanted| !as_wanted)
    }

    /// Looks whether the peers were heard, so that what is heard next was heard later than now.
    pub(super) fn hear_peers(&mut self, config: &Config) {
        match wireguard::read(&config.tunnel.interface) {
            Ok(device) => {
                let clock = SystemTime::now();
                self.hearing.look(&device, Moment::now(), clock);
            }
            Err(error) => log::debug!("{}", chain(&error)),
        }
    }

    /// What did not answer may answer now, and what was missing may be there: the config is another.
    pub fn renew_patience(&mut self) {
        self.patience.renew();
        self.kernel.ask_for_modules_again();
    }

    /// The backend that keeps the guard.
    pub fn kind(&self) -> Kind {
        self.backends[0].kind()
    }

    /// Why the backend cannot keep the guard after all.
    pub fn unfit(&self) -> Option<String> {
        self.backends.first().and_then(|backend| backend.unfit())
    }

    /// Has another backend keep the guard. What was tried in vain with the one before is tried at once.
    pub fn exchange(&mut self, backend: Box<dyn Backend>) {
        self.backends = vec![backend];
        self.look_for_other_guards = true;
        self.repairs = Repairs::default();
        self.retry = RETRY.0;
    }

    /// Opens the backends that do not keep the guard, to see what they have left of earlier runs.
    pub fn open_others(&mut self) {
        self.backends.truncate(1);
        self.backends.extend(others(Some(self.kind())));
    }

    /// The next, longer pause after a failure.
    fn pause(&mut self) -> Duration {
        let pause = self.retry;
        self.retry = (pause * 2).min(RETRY.1);
        pause
    }

    /// Closes a modem that has just been plugged in, before anybody sets it up: a DHCP client may be
    /// waiting for it. All else can wait for the rest of the news.
    pub(super) async fn modem_seen(&mut self, config: &Config, index: u32) {
        if self.modem_index != Some(index)
            && let Err(error) = self.quick_round(config).await
        {
            log::debug!("{}", chain(&error));
        }
    }

    /// Puts back rules, routes and sysctls, if any are missing.
    async fn quick_round(&mut self, config: &Config) -> Result<(), ViewError> {
        self.before.record.lacking = self.kernel.lacking();
        let inputs = self.inputs(config);
        let view = View::new(&self.kernel, &mut [], inputs).await?;
        let observed = &view.observed;
        let steps: Vec<Step> = view
            .plan
            .steps
            .iter()
            .filter(|step| opens_nothing(step, observed, &self.before.record))
            .cloned()
            .collect();
        if !steps.is_empty() {
            let seen = observed.indexes();
            self.act(&steps, &seen).await;
        }
        Ok(())
    }

    fn inputs<'a>(&'a self, config: &'a Config) -> Inputs<'a> {
        Inputs {
            config,
            record: &self.before.record,
            listen_port: self.listen_port,
            resolved: self.endpoints.current(),
            resting: self.patience.resting(),
        }
    }

    /// Takes the steps that are not held back. Returns what failed, and when the first that is
    /// held back may be tried, where nothing else was to be done.
    async fn act(
        &mut self,
        steps: &[Step],
        seen: &BTreeMap<String, u32>,
    ) -> (BTreeSet<String>, Option<Duration>) {
        let now = Instant::now();
        let another = self.another_guard(steps);
        let anew = |step: &Step| another.is_some() && matches!(step, Step::Guard(..));
        let (mut due, mut held): (Vec<Step>, Vec<Step>) = steps
            .iter()
            .cloned()
            .partition(|step| anew(step) || self.repairs.held(&key(step), now).is_none());
        if held.iter().any(|step| matches!(step, Step::Guard(..))) {
            held.extend(due.extract_if(.., |step| rests_on_the_guard(step)));
        }
        self.inherit(&due);
        let outcome = apply(&self.kernel, &mut self.backends, &due, seen).await;
        for step in due.iter().filter(|step| !anew(step)) {
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
        if another.is_some() {
            self.guard = another;
        }
        let failed = outcome.failed.into_iter().map(|failure| failure.why);
        let next = held
            .iter()
            .filter_map(|step| self.repairs.held(&key(step), now))
            .min();
        (failed.collect(), next.filter(|_| due.is_empty()))
    }

    /// The guard that is to be set, where it is another than the last one. That is nobody's damage:
    /// an interface has come or gone, as containers' do all the time.
    fn another_guard(&self, steps: &[Step]) -> Option<Guard> {
        steps.iter().find_map(|step| match step {
            Step::Guard(object, _) => match &**object {
                Object::Guard(guard) if self.guard.as_ref() != Some(guard) => Some(guard.clone()),
                _ => None,
            },
            _ => None,
        })
    }

    /// Where this backend's guard is about to take over from another's: hands it the far ends that
    /// the other remembers, for the peer may speak first.
    fn inherit(&mut self, due: &[Step]) {
        let keeper = self.kind();
        let guards = &self.before.record.guards;
        if !due.iter().any(|step| matches!(step, Step::Guard(..)))
            || guards.iter().all(|kind| *kind == keeper)
        {
            return;
        }
        let mut remotes = BTreeMap::new();
        for mut other in others(Some(keeper)) {
            match other.remotes() {
                Ok(found) => remotes.extend(found),
                Err(error) => log::debug!("{}", chain(&error)),
            }
        }
        if let Some(keeper) = self.backends.first_mut() {
            keeper.inherit(remotes);
        }
    }

    async fn round(&mut self, config: &Config) -> Result<Convergence, RoundError> {
        let started = Instant::now();
        let others = self.backends.len() > 1;
        self.before.record.lacking = self.kernel.lacking();
        let inputs = Inputs {
            config,
            record: &self.before.record,
            listen_port: self.listen_port,
            resolved: self.endpoints.current(),
            resting: self.patience.resting(),
        };
        let view = View::new(&self.kernel, &mut self.backends, inputs).await?;
        let modem = view.facts.modem.as_ref().map(|modem| modem.index);
        self.patience.with_modem(modem);
        if self.modem_index != modem {
            // What another modem needs, nobody has undone.
            self.modem_index = modem;
            self.repairs = Repairs::default();
            self.kernel.ask_for_modules_again();
        }
        log::debug!(
            "looked in {} ms (other backends: {others}): {} steps",
            started.elapsed().as_millis(),
            view.plan.steps.len()
        );
        let mut outcome = Convergence {
            modem: view.facts.modem.is_some(),
            ..Convergence::default()
        };
        self.tell_of_rules(&view.standing);
        let keeper = self.kind();
        write_down(&mut self.before.record, config, &view, keeper);
        self.before.save()?;
        let Plan { steps, blocked } = &view.plan;
        let mut errors: BTreeSet<String> = blocked.iter().cloned().collect();
        if steps.is_empty() && blocked.is_empty() {
            outcome.settled = true;
            self.wanted = view.want;
            self.say(view.warnings, errors);
            return Ok(outcome);
        }
        let (failed, held) = self.act(steps, &view.observed.indexes()).await;
        self.before.record.lacking = self.kernel.lacking();
        errors.extend(failed);
        let failed = (!errors.is_empty()).then(|| self.pause());
        outcome.retry = [failed, held].into_iter().flatten().min();
        // What is left bears nothing: guard and tunnel are up, and watched as ever.
        if blocked.is_empty() && outcome.retry.is_some() && !steps.iter().any(bears) {
            outcome.settled = true;
            self.wanted = view.want;
        }
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

/// Whether a step can be taken without knowing that the guard is in place, and with all that it
/// changes on record already.
fn opens_nothing(step: &Step, observed: &Observed, record: &Record) -> bool {
    match step {
        Step::Put(Object::Rule(_)) => true,
        Step::Put(Object::Backstop(backstop)) => observed.closes_first(&backstop.interface),
        Step::Put(Object::Sysctl(sysctl)) => observed
            .link(&sysctl.interface)
            .is_some_and(|link| record.interfaces.contains_key(&link.index)),
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

/// Whether guard or tunnel rest on a step. What does not rest on one that fails goes on without it.
fn bears(step: &Step) -> bool {
    !matches!(
        step,
        Step::Put(Object::Route(Route {
            table: MAIN_TABLE,
            ..
        })) | Step::Remove(Removal::Route { .. } | Removal::Rule { .. } | Removal::Address { .. })
    )
}

/// What a step repairs, whatever the reason.
fn key(step: &Step) -> String {
    match step {
        Step::Guard(..) => "set the guard".to_owned(),
        step => step.to_string(),
    }
}
