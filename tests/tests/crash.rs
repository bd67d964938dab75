//! The agent is killed at any moment of what it does: the next start finds its way, nothing is there
//! twice, and where the datapath was in place the session never noticed.

use std::fmt;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lte_tests::addresses::{LISTEN_PORT, TUNNEL, TUNNEL_PEER};
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::installation::Installation;
use lte_tests::ping::{PACE, Pinger};
use lte_tests::rng::Rng;
use lte_tests::scene::{Scene, rules, rules_back};
use lte_tests::snapshot::{Difference, Snapshot};
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use lte_tests::{for_each_backend, long_run};
use nix::sys::signal::Signal;

for_each_backend!(at_random_moments);

// Of the two between, one attaches programs in each way.
lte_tests::runs_on!(first_between, last_between; ebpf);
lte_tests::runs_on!(last_between; nft);

/// What the agent is doing when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Start,
    Adoption,
    RuleFlushed,
    LinkDown,
    Reload,
    Interrupt,
    Down,
}

const PHASES: [Phase; 7] = [
    Phase::Start,
    Phase::Adoption,
    Phase::RuleFlushed,
    Phase::LinkDown,
    Phase::Reload,
    Phase::Interrupt,
    Phase::Down,
];

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "the start",
            Self::Adoption => "the start beside a datapath that is up",
            Self::RuleFlushed => "the repair of a rule",
            Self::LinkDown => "the repair of the modem's link",
            Self::Reload => "the reload",
            Self::Interrupt => "the end by SIGINT",
            Self::Down => "`down`",
        })
    }
}

impl Phase {
    /// Whether the datapath is in place all the while, and the modem's link with it.
    fn keeps_pings(self) -> bool {
        matches!(self, Self::Adoption | Self::RuleFlushed | Self::Reload)
    }

    fn keeps_the_session(self) -> bool {
        self.keeps_pings() || self == Self::LinkDown
    }
}

fn at_random_moments(backend: Backend) -> Result<()> {
    let moments = if long_run::is_requested() {
        200
    } else {
        PHASES.len()
    };
    let scene = Scene::open(&Options::lte())?;
    let mut stage = Stage::open(&scene, backend)?;
    let mut rng = Rng::new()?;
    let lengths = stage.lengths()?;
    let mut agent = stage.start()?;
    let mut killed = 0;
    for moment in 0..moments {
        let phase = PHASES[moment % PHASES.len()];
        let delay = rng.time_below(lengths[moment % PHASES.len()]);
        println!("{moment}: killed {} ms into {phase}", delay.as_millis());
        let (next, was_killed) = stage.strike(agent, phase, delay).with_context(|| {
            format!(
                "moment {moment}: killed {delay:?} into {phase} (LTE_SEED={})",
                rng.seed()
            )
        })?;
        agent = next;
        killed += usize::from(was_killed);
    }
    ensure!(
        killed * 2 > moments,
        "of {moments} kills only {killed} came before the end"
    );
    scene.tunnel_is_sound()?;
    agent.interrupt()?;
    stage.before.assert_same(&scene.lab.router)
}

struct Stage<'a> {
    scene: &'a Scene,
    installation: Installation,
    backend: Backend,
    /// As it was found.
    before: Snapshot,
    /// As an undisturbed start leaves it.
    up: Snapshot,
    rules: usize,
}

impl<'a> Stage<'a> {
    fn open(scene: &'a Scene, backend: Backend) -> Result<Self> {
        let before = scene.lab.snapshot()?;
        let installation = scene.installation()?;
        let agent = installation.start(backend)?;
        scene.handshake_after(agent.started())?;
        let up = scene.lab.snapshot()?;
        let rules = rules(&scene.lab.router)?;
        agent.interrupt()?;
        before.assert_same(&scene.lab.router)?;
        Ok(Self {
            scene,
            installation,
            backend,
            before,
            up,
            rules,
        })
    }

    /// Starts the agent and waits until it is ready and the tunnel carries.
    fn start(&self) -> Result<Agent> {
        let agent = self.installation.start(self.backend)?;
        let pinger = Pinger::start(&self.scene.lab.router, TUNNEL_PEER, PACE)?;
        pinger.wait_for_answer(TIMEOUT)?;
        Ok(agent)
    }

    /// How long each phase takes when no agent is killed.
    fn lengths(&mut self) -> Result<Vec<Duration>> {
        let timed = |started: Instant| started.elapsed();
        let mut lengths = Vec::new();
        let mut agent = self.start()?;
        for phase in PHASES {
            if matches!(phase, Phase::Start) {
                agent.interrupt()?;
                agent = self.installation.launch(self.backend)?;
            } else if phase == Phase::Adoption {
                agent.terminate()?;
                agent = self.installation.launch(self.backend)?;
            }
            let started = Instant::now();
            match phase {
                Phase::Start | Phase::Adoption => agent = agent.wait_ready(TIMEOUT)?,
                Phase::RuleFlushed => {
                    self.flush_port_rule()?;
                    rules_back(&self.scene.lab.router, self.rules)?;
                }
                Phase::LinkDown => {
                    self.link_down()?;
                    wait::until(TIMEOUT, "the modem's route to be back", || {
                        let routes = self
                            .scene
                            .lab
                            .router
                            .tool("ip", &["route", "show", "table", "123"])?;
                        Ok(routes.contains("default").then_some(()))
                    })?;
                }
                Phase::Reload => {
                    self.reload(&agent, 79)?;
                    wait::until(TIMEOUT, "the new keepalive", || {
                        let words = ["show", TUNNEL, "persistent-keepalive"];
                        let shown = self.scene.lab.router.tool("wg", &words)?;
                        Ok(shown.contains("79").then_some(()))
                    })?;
                }
                Phase::Interrupt => {
                    agent.interrupt()?;
                    lengths.push(timed(started));
                    agent = self.start()?;
                    agent.terminate()?;
                    agent = self.installation.start(self.backend)?;
                    continue;
                }
                Phase::Down => {
                    agent.terminate()?;
                    let started = Instant::now();
                    self.down()?;
                    lengths.push(timed(started));
                    self.keepalive(80)?;
                    return Ok(lengths);
                }
            }
            lengths.push(timed(started));
        }
        Ok(lengths)
    }

    /// Has the agent do something, kills it after a while, and starts another, which has to bring
    /// everything in order. Returns that, and whether the first was killed before it was done.
    fn strike(&mut self, agent: Agent, phase: Phase, delay: Duration) -> Result<(Agent, bool)> {
        let router = &self.scene.lab.router;
        let pinger = if phase.keeps_pings() {
            Some(Pinger::start(router, TUNNEL_PEER, PACE)?)
        } else {
            None
        };
        if let Some(pinger) = &pinger {
            pinger.wait_for_more(2)?;
        }
        let since = Instant::now();
        let mut victim = agent;
        match phase {
            Phase::Start => {
                victim.interrupt()?;
                self.before.assert_same(router)?;
                victim = self.installation.launch(self.backend)?;
            }
            Phase::Adoption => {
                victim.terminate()?;
                victim = self.installation.launch(self.backend)?;
            }
            Phase::RuleFlushed => self.flush_port_rule()?,
            Phase::LinkDown => self.link_down()?,
            Phase::Reload => self.reload(&victim, 79)?,
            Phase::Interrupt => victim.signal(Signal::SIGINT)?,
            Phase::Down => {
                victim.terminate()?;
                let killed = kill_after(self.spawn_down()?, delay)?;
                self.down()?;
                self.before.assert_same(router)?;
                let agent = self.start()?;
                self.is_as_after_a_clean_start()?;
                return Ok((agent, killed));
            }
        }
        std::thread::sleep(delay);
        let killed = victim.kill_unless_ended()?;
        self.keepalive(80)?;
        let agent = self.start()?;
        self.is_as_after_a_clean_start()?;
        if let Some(pinger) = pinger {
            pinger.wait_for_more(2)?;
            let report = pinger.stop()?;
            ensure!(report.lost() == 0, "{report}");
        }
        if phase.keeps_the_session() {
            self.scene.session_kept(since)?;
        }
        Ok((agent, killed))
    }

    /// Nothing is missing, nothing is there twice, nothing to do.
    fn is_as_after_a_clean_start(&self) -> Result<()> {
        let mut difference = String::new();
        let same = wait::until(Duration::from_secs(5), "the state of a clean start", || {
            let now = self.scene.lab.snapshot()?;
            // An interface that was made anew has a number of its own, and so has a program.
            let number = format!("link {TUNNEL} ifindex");
            let found = self
                .up
                .difference(&now)
                .only(|line| !line.starts_with(&number));
            let [mut gone, mut new] = [found.gone, found.new].map(|lines| {
                lines
                    .iter()
                    .map(|line| unnumbered(line))
                    .collect::<Vec<_>>()
            });
            gone.sort_unstable();
            new.sort_unstable();
            difference = Difference {
                gone: gone.clone(),
                new: new.clone(),
            }
            .to_string();
            Ok((gone == new).then_some(()))
        });
        same.with_context(|| format!("it is not as after a clean start:\n{difference}"))?;
        let plan = self.installation.run(Some(self.backend), &["plan"])?;
        ensure!(
            plan.status.success() && plan.stdout.contains("nothing to do"),
            "plan: {plan:?}"
        );
        Ok(())
    }

    fn flush_port_rule(&self) -> Result<()> {
        let port = LISTEN_PORT.to_string();
        let rule = [
            "rule", "del", "ipproto", "udp", "sport", &port, "lookup", "123",
        ];
        self.scene.lab.router.tool("ip", &rule).map(drop)
    }

    fn link_down(&self) -> Result<()> {
        self.scene.lab.router.ip("link set modem down\n").map(drop)
    }

    fn reload(&mut self, agent: &Agent, keepalive: u32) -> Result<()> {
        self.keepalive(keepalive)?;
        agent.signal(Signal::SIGHUP)
    }

    /// Writes the config with another keepalive.
    fn keepalive(&mut self, seconds: u32) -> Result<()> {
        let passage = "persistent_keepalive = ";
        let config = &mut self.installation.config.0;
        let start = config.find(passage).context("no keepalive")? + passage.len();
        config.replace_range(start..start + 2, &seconds.to_string());
        self.installation.write_config().map(drop)
    }

    fn spawn_down(&self) -> Result<Child> {
        let mut command = self.installation.command(Some(self.backend), &["down"])?;
        self.scene.lab.router.spawn(&mut command)
    }

    fn down(&self) -> Result<()> {
        let ended = self.installation.run(Some(self.backend), &["down"])?;
        ensure!(ended.status.success(), "down: {ended:?}");
        Ok(())
    }
}

/// A filter's line without the number of its program, which no two have in common, and a set's without
/// the time that a packet gave its element: it is shown or not, as the set's own time was then.
fn unnumbered(line: &str) -> String {
    if line.contains("elements = ")
        && let Some((element, _)) = line.split_once(" timeout ")
    {
        return format!("{element} }}");
    }
    match line.split_once(" not_in_hw id ") {
        Some((filter, program)) => {
            let name = program.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{filter} not_in_hw{name}")
        }
        None => line.to_owned(),
    }
}

/// Returns whether it was killed before it had ended.
fn kill_after(mut child: Child, delay: Duration) -> Result<bool> {
    std::thread::sleep(delay);
    child.kill().context("killing `down`")?;
    Ok(!child.wait()?.success())
}
