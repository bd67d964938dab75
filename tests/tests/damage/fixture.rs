//! The fixture of a damage: a lab in which the tunnel is up, with background traffic.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lte_tests::addresses::CARRIER;
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::background_traffic::{self, BackgroundTraffic};
use lte_tests::capture::Seen;
use lte_tests::config::Config;
use lte_tests::installation::Installation;
use lte_tests::networkd::Networkd;
use lte_tests::ping::Pinger;
use lte_tests::process;
use lte_tests::scene::{Scene, foreign, steered};
use lte_tests::topology::Options;
use lte_tests::wait::TIMEOUT;

use crate::damage::Damage;
use crate::probe::{Aspect, Observations, Probe};

/// Of what others send, at least so much has to be seen trying.
const TRIED: usize = 100;
/// Between two looks.
const PACE: Duration = Duration::from_millis(8);
/// How long a damage is looked for that may have been repaired before anybody saw it.
const UNSEEN: Duration = Duration::from_millis(50);

pub(crate) struct Fixture {
    pub(crate) scene: Scene,
    pub(crate) backend: Backend,
    pub(crate) agent: Agent,
    pub(crate) probe: Probe,
    installation: Installation,
    /// How it is when all is in place.
    expected: Mutex<BTreeMap<Aspect, Observations>>,
    pinger: Pinger,
    background: BackgroundTraffic,
    networkd: Mutex<Option<Networkd>>,
    /// A private key that no other device has.
    another_key: String,
}

/// How a repair went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repair {
    /// From the damage to the end of the repair, as far as both were seen.
    pub(crate) took: Duration,
    /// Whether the damage was seen at all: a quick repair may come between two looks.
    pub(crate) seen: bool,
}

impl Fixture {
    /// Tunnel up, pings and others under way, and a default route on the modem for any program.
    pub(crate) fn open(backend: Backend) -> Result<Self> {
        Self::open_with(backend, Ok)
    }

    pub(crate) fn open_with(
        backend: Backend,
        config: impl FnOnce(Config) -> Result<Config>,
    ) -> Result<Self> {
        let scene = Scene::open(&Options::lte())?;
        let mut installation = scene.installation()?;
        installation.config = config(installation.config)?;
        let agent = installation.start(backend)?;
        scene.handshake_after(agent.started())?;
        let probe = Probe::open(&scene.lab.router, backend)?;
        let pinger = scene.ping_tunnel()?;
        let fixture = Self {
            background: BackgroundTraffic::start(&scene.lab)?,
            another_key: process::tool("wg", &["genkey"], "")?,
            expected: Mutex::default(),
            networkd: Mutex::default(),
            scene,
            backend,
            agent,
            probe,
            installation,
            pinger,
        };
        fixture.route_by_modem("modem")?;
        fixture.record_expected()?;
        Ok(fixture)
    }

    pub(crate) fn another_key(&self) -> String {
        self.another_key.clone()
    }

    /// Has systemd-networkd run beside the agent; the one before, if any, goes.
    pub(crate) fn keep_networkd(&self, networkd: Option<Networkd>) -> Result<()> {
        *self.networkd.lock().map_err(|_| poisoned())? = networkd;
        Ok(())
    }

    /// Asks the systemd-networkd that runs.
    pub(crate) fn with_networkd<T>(
        &self,
        ask: impl FnOnce(&mut Networkd) -> Result<T>,
    ) -> Result<T> {
        let mut networkd = self.networkd.lock().map_err(|_| poisoned())?;
        ask(networkd.as_mut().context("networkd does not run")?)
    }

    /// Takes what there is now for what is to be there.
    pub(crate) fn record_expected(&self) -> Result<()> {
        let expected = self.scene.lab.router.run(|| {
            let read = |aspect| Ok((aspect, self.probe.read(aspect)?));
            Aspect::ALL.into_iter().map(read).collect::<Result<_>>()
        })?;
        *self.expected.lock().map_err(|_| poisoned())? = expected;
        Ok(())
    }

    /// What is usually to be seen.
    pub(crate) fn expected(&self, aspect: Aspect) -> Result<Observations> {
        let expected = self.expected.lock().map_err(|_| poisoned())?;
        expected.get(&aspect).cloned().context("never looked at")
    }

    /// In the main table a default route by the modem wins over the uplink's.
    pub(crate) fn route_by_modem(&self, modem: &str) -> Result<()> {
        let route = format!("route replace default via 192.168.0.1 dev {modem} metric 1 onlink\n");
        self.scene.lab.router.ip(&route).map(drop)
    }

    /// As it usually is: no route leads to the modem.
    pub(crate) fn route_by_uplink(&self) -> Result<()> {
        let router = &self.scene.lab.router;
        router.ip("route del default metric 1\n").map(drop)
    }

    /// What differs from what is to be there. To be called inside the router.
    fn differences(&self, aspects: &[Aspect]) -> Result<Vec<String>> {
        let mut differences = Vec::new();
        for aspect in aspects {
            let now = self.probe.read(*aspect)?;
            let expected = self.expected(*aspect)?;
            differences.extend(expected.difference(&now).map(|fact| format!("- {fact}")));
            differences.extend(now.difference(&expected).map(|fact| format!("+ {fact}")));
        }
        Ok(differences)
    }

    /// Does a damage and watches until all is back.
    pub(crate) fn repair(&self, damage: &Damage) -> Result<Repair> {
        let injected = AtomicBool::new(false);
        let begun = Instant::now();
        thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let router = &self.scene.lab.router;
                router.run(|| self.watch(damage, begun, &injected))
            });
            // The watcher is to look before anything happens.
            thread::sleep(PACE * 5);
            let done = damage.inject(self);
            injected.store(true, Ordering::Release);
            let repair = watcher.join().map_err(|_| anyhow::anyhow!("it panicked"));
            done?;
            repair?
        })
        .with_context(|| damage.name)
    }

    fn watch(&self, damage: &Damage, begun: Instant, injected: &AtomicBool) -> Result<Repair> {
        let (mut broken, mut whole, mut all_done) = (None, None, None);
        loop {
            let over = injected.load(Ordering::Acquire);
            let differences = self.differences(damage.shows)?;
            let now = Instant::now();
            if over {
                all_done.get_or_insert(now);
            }
            if differences.is_empty() {
                whole.get_or_insert(now);
            } else {
                if broken.is_none() {
                    broken = Some(now);
                }
                whole = None;
            }
            match (broken, whole, all_done) {
                (Some(broken), Some(whole), Some(done)) => {
                    // What takes several steps can be repaired after the last at the earliest.
                    let from = if damage.takes_steps() { done } else { broken };
                    return Ok(Repair {
                        took: whole.saturating_duration_since(from),
                        seen: true,
                    });
                }
                (None, Some(_), Some(done)) if now > done + UNSEEN => {
                    return Ok(Repair {
                        took: done.saturating_duration_since(begun),
                        seen: false,
                    });
                }
                (_, _, Some(done)) if now > done + damage.detection.limit() => {
                    bail!(
                        "not back after {:?}: {differences:#?}; the agent said: {:#?}",
                        damage.detection.limit(),
                        self.last_lines()
                    );
                }
                _ => thread::sleep(PACE),
            }
        }
    }

    pub(crate) fn last_lines(&self) -> Vec<String> {
        let log = self.agent.log();
        let mut words = log[log.len().saturating_sub(15)..].to_vec();
        words.extend(self.agent.thread_states());
        words
    }

    /// Waits until all of everything is as usual.
    pub(crate) fn all_in_place(&self, within: Duration) -> Result<Duration> {
        let begun = Instant::now();
        self.scene.lab.router.run(|| {
            loop {
                let differences = self.differences(&Aspect::ALL)?;
                if differences.is_empty() {
                    return Ok(begun.elapsed());
                }
                ensure!(
                    begun.elapsed() < within,
                    "not in place after {within:?}: {differences:#?}; the agent said: {:#?}",
                    self.last_lines()
                );
                thread::sleep(PACE * 5);
            }
        })
    }

    /// Nothing leaked so far. Some damages give the tunnel another port: until it has its own again,
    /// it is steered as what goes to its peer. No bystander's packet is: theirs have their own length.
    pub(crate) fn nothing_leaked(&self) -> Result<()> {
        let of_any_port = |seen: &Seen| steered(seen) && !background_traffic::is_look_alike(seen);
        let nothing = self
            .scene
            .nothing_leaked_but(background_traffic::is_look_alike, of_any_port);
        nothing.with_context(|| self.when_they_left())
    }

    /// Of foreign packets on the modem, how long ago the first and the last were seen.
    fn when_they_left(&self) -> String {
        let foreign = self.scene.at_carrier.packets(foreign).unwrap_or_default();
        let ago = |seen: Option<&Seen>| seen.map_or(0, |seen| seen.at.elapsed().as_millis());
        format!(
            "foreign packets on the modem from {} ms until {} ms ago",
            ago(foreign.first()),
            ago(foreign.last())
        )
    }

    /// All is in place, the tunnel carries, nothing has leaked, and the agent has nothing to do.
    pub(crate) fn close(self) -> Result<()> {
        self.all_in_place(TIMEOUT)?;
        let answered = self.scene.ping_tunnel()?;
        answered
            .wait_for_answer(TIMEOUT)
            .context("all is in place, and the tunnel does not carry")?;
        answered.stop()?;
        let endpoint = self.scene.lab.vps.endpoint()?.map(|endpoint| endpoint.ip());
        ensure!(
            endpoint == Some(CARRIER.into()),
            "the peer sees {endpoint:?}"
        );
        let pings = self.pinger.so_far();
        eprintln!("{pings}");
        let planned = self.installation.run(Some(self.backend), &["plan"])?;
        ensure!(
            planned.status.success() && planned.stdout.contains("nothing to do"),
            "{planned:?}"
        );
        self.nothing_leaked()?;
        let Self {
            agent, background, ..
        } = self;
        let tried = background.stop()?;
        ensure!(tried >= TRIED, "only {tried} packets of others were sent");
        agent.interrupt()
    }
}

fn poisoned() -> anyhow::Error {
    anyhow::anyhow!("another look panicked")
}
