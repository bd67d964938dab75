//! The agent: brings the datapath up, and keeps it so until a signal ends it.

use std::cell::Cell;
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::apply::Failure;
use super::converge::{Convergence, Converger};
use super::events::{Events, Heard};
use super::hearing::Moment;
use super::permits;
use super::resolve::{Resolved, Resolver, Word};
use super::take_down;
use crate::backend::chain;
use crate::config::{BackendChoice, Config};
use crate::kernel::KernelError;
use crate::notify::{Notifier, Watchdog};
use crate::state::{Devices, Lock, Memory};

/// How often to look at what changes without a word from the kernel.
const GLANCE: Duration = Duration::from_millis(500);
/// How often to look at everything without a reason.
const SLOW: Duration = Duration::from_mins(1);
/// How long a turn may take: some calls that come to their deadlines, each of which is told. The watchdog
/// does not hear of one that takes longer.
const TURN: Duration = Duration::from_mins(5);

/// How the agent ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// Interrupted: everything was taken down, or all but this.
    Down(Vec<Failure>),
    /// Terminated: the datapath goes on.
    Left,
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    /// Makes what is as it is to be.
    pub converger: Converger,
    /// The config.
    pub config: Config,
    /// Where it is read from.
    pub path: PathBuf,
    /// The backend that the command line asks for, over the config's.
    pub backend: Option<BackendChoice>,
    /// The port and the names' addresses from earlier runs.
    pub memory: Memory,
    /// Held as long as the agent runs.
    pub lock: Lock,
    /// The service manager.
    pub notifier: Notifier,
}

impl Agent {
    /// Runs until a signal ends it.
    pub async fn run(mut self) -> anyhow::Result<Ending> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let watchdog = self.notifier.watchdog();
        let mut beat = interval(watchdog.as_ref().map_or(SLOW, Watchdog::every));
        let turn = Cell::new(Instant::now());
        let interrupted = {
            // Whatever it waits for is left where it is.
            let mut keeping = pin!(self.keep(&turn));
            loop {
                tokio::select! {
                    biased;
                    () = received(&mut interrupt) => break true,
                    () = received(&mut terminate) => break false,
                    _ = beat.tick() => if let Some(watchdog) = &watchdog
                        && turn.get().elapsed() < TURN
                    {
                        watchdog.beat();
                    },
                    ended = &mut keeping => match ended? {},
                }
            }
        };
        if interrupted {
            Ok(self.down().await)
        } else {
            Ok(self.leave())
        }
    }

    /// Keeps all as it is to be, and notes when each turn began.
    async fn keep(&mut self, turn: &Cell<Instant>) -> anyhow::Result<Infallible> {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut slow = interval(SLOW);
        slow.set_missed_tick_behavior(MissedTickBehavior::Delay);
        slow.reset();
        let mut glance = interval(GLANCE);
        let mut events = self.listen().await?;
        self.recall();
        let mut devices = self.recall_devices();
        let mut resolver = Resolver::start(&self.config);
        let mut status = String::new();
        loop {
            turn.set(Instant::now());
            let outcome = self.converger.converge(&self.config).await;
            self.keep_devices(&mut devices);
            self.tell(&outcome, &mut status);
            if self.fall_back().await {
                events = self.listen().await?;
                continue;
            }
            let mut retry = pin!(pause(outcome.retry));
            loop {
                turn.set(Instant::now());
                tokio::select! {
                    // What comes seldom is asked first: there may always be one more event.
                    biased;
                    () = received(&mut hangup) => {
                        if self.reload().await {
                            events = self.listen().await?;
                            resolver = Resolver::start(&self.config);
                        }
                        break;
                    }
                    _ = glance.tick() => {
                        self.notifier.flush();
                        let changed = self.converger.glance(&self.config).await;
                        // However long that took, events have their turn.
                        glance.reset();
                        resolver.told_silent(self.converger.endpoints.silent());
                        self.keep_what_proved();
                        if changed {
                            break;
                        }
                    }
                    _ = slow.tick() => {
                        self.converger.look_for_other_guards = true;
                        break;
                    }
                    () = &mut retry => break,
                    word = resolver.next() => if self.hear(word).await { break },
                    heard = events.next() => {
                        match heard {
                            Heard::End => {
                                log::warn!("the kernel's event stream ended: opening it again");
                                events = self.listen().await?;
                            }
                            Heard::Modem(index) => {
                                self.converger.modem_seen(&self.config, index).await;
                                events.settle().await;
                            }
                            Heard::Change => events.settle().await,
                        }
                        break;
                    }
                }
            }
        }
    }

    async fn listen(&self) -> Result<Events, KernelError> {
        Events::open(&self.config, self.converger.backends.watch().await)
    }

    /// Says how things stand, when that has changed.
    fn tell(&mut self, outcome: &Convergence, status: &mut String) {
        let now = match (outcome.settled, outcome.modem) {
            (true, true) => format!(
                "the datapath is in place: {} over the modem, port {}, backend {}",
                self.config.tunnel.interface,
                self.converger.listen_port,
                self.converger.kind()
            ),
            (true, false) => format!(
                "waiting for the modem ({}); until it is there, nothing of the tunnel leaves",
                self.config.modem.identity
            ),
            (false, _) => "not all is in place".to_owned(),
        };
        if now == *status {
            return;
        }
        if outcome.settled {
            log::info!("{now}");
            self.notifier.send(&format!("READY=1\nSTATUS={now}"));
        } else {
            self.notifier.send(&format!("STATUS={now}"));
        }
        *status = now;
    }

    /// Takes the last good addresses of the names from earlier runs.
    pub(super) fn recall(&mut self) {
        let known = self.memory.endpoints();
        for peer in &self.config.tunnel.peers {
            if let Some(address) = known.get(&peer.endpoint.to_string())
                && self.config.modem.speaks(address.ip())
            {
                self.converger
                    .endpoints
                    .recall(&peer.endpoint, *address, Moment::now());
            }
        }
    }

    /// Takes what is known of the modem's device from earlier boots, where this one knows of none.
    fn recall_devices(&mut self) -> Devices {
        let kept = self.memory.devices();
        let devices = &mut self.converger.before.record.devices;
        if devices.known.is_empty() {
            devices.clone_from(&kept);
        }
        kept
    }

    fn keep_devices(&self, kept: &mut Devices) {
        let devices = self.converger.before.record.devices.of_an_earlier_boot();
        if devices != *kept {
            if let Err(error) = self.memory.keep_devices(&devices) {
                log::warn!("{error}");
            }
            *kept = devices;
        }
    }

    /// Hears a look-up. Returns whether anything changed.
    async fn hear(&mut self, word: Word) -> bool {
        match word {
            Word::Found(answer) => return self.learn(&answer).await,
            Word::Wanted(request) => {
                permits::grant(&mut self.converger, &self.config, request).await;
            }
            Word::Done(permit) => {
                permits::withdraw(&mut self.converger, &self.config, permit).await;
            }
        }
        false
    }

    /// Takes an answer over. Returns whether anything changed.
    async fn learn(&mut self, answer: &Resolved) -> bool {
        self.converger.hear_peers(&self.config).await;
        let endpoints = &mut self.converger.endpoints;
        let now = Moment::now();
        let Some(address) = endpoints.hear(&answer.endpoint, &answer.addresses, now) else {
            return false;
        };
        log::info!("{} is {}", answer.endpoint, address.ip());
        true
    }

    /// Keeps addresses that have proved good for the next start.
    fn keep_what_proved(&mut self) {
        let endpoints = &mut self.converger.endpoints;
        if endpoints.have_proved() {
            let good = endpoints.good();
            if let Err(error) = self.memory.keep_endpoints(&good) {
                log::warn!("{error}");
            }
        }
    }

    async fn down(mut self) -> Ending {
        log::info!("interrupted: taking everything down");
        self.notifier.send("STOPPING=1");
        if let Err(error) = self.converger.backends.open_others().await {
            log::warn!("{}", chain(&error));
        }
        let Converger {
            kernel,
            backends,
            before,
            ..
        } = &mut self.converger;
        let (_, failed) = take_down(kernel, backends, before).await;
        Ending::Down(failed)
    }

    fn leave(mut self) -> Ending {
        log::info!(
            "terminated: tunnel and guard go on without the agent (lte-userspace down takes them down)"
        );
        self.notifier.send("STOPPING=1");
        Ending::Left
    }
}

async fn pause(duration: Option<Duration>) {
    match duration {
        Some(duration) => sleep(duration).await,
        None => std::future::pending().await,
    }
}

async fn received(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}
