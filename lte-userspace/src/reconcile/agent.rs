//! The agent: brings the datapath up, and keeps it so until a signal ends it.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

use super::apply::Failure;
use super::converge::{Convergence, Converger};
use super::events::{Events, Heard};
use super::hearing::Moment;
use super::permits;
use super::port;
use super::resolve::{Resolved, Resolver, Word};
use super::take_down;
use crate::backend::Kind;
use crate::backend::select::{self, Purpose};
use crate::config::{BackendChoice, Config};
use crate::kernel::KernelError;
use crate::notify::Notifier;
use crate::state::{Lock, Memory};

/// After an event, how long to wait for more of the same burst, and how long at most.
const BURST: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(25));
/// How often to look at what changes without a word from the kernel.
const GLANCE: Duration = Duration::from_millis(500);
/// How often to look at everything without a reason.
const SLOW: Duration = Duration::from_mins(1);

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
        let mut hangup = signal(SignalKind::hangup())?;
        let mut slow = interval(SLOW);
        slow.set_missed_tick_behavior(MissedTickBehavior::Delay);
        slow.reset();
        let mut watchdog = interval(self.notifier.watchdog().unwrap_or(SLOW));
        let mut glance = interval(GLANCE);
        glance.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut events = self.listen()?;
        self.recall();
        let mut resolver = Resolver::start(&self.config);
        let mut status = String::new();
        loop {
            let outcome = self.converger.converge(&self.config).await;
            self.tell(&outcome, &mut status);
            if self.fall_back() {
                events = self.listen()?;
                continue;
            }
            let mut retry = std::pin::pin!(pause(outcome.retry));
            loop {
                tokio::select! {
                    biased;
                    () = received(&mut interrupt) => return Ok(self.down().await),
                    () = received(&mut terminate) => return Ok(self.leave()),
                    () = received(&mut hangup) => {
                        if self.reload() {
                            events = self.listen()?;
                            resolver = Resolver::start(&self.config);
                        }
                        break;
                    }
                    _ = watchdog.tick() => self.notifier.send("WATCHDOG=1"),
                    word = resolver.next() => if self.hear(word) { break },
                    heard = events.next() => {
                        match heard {
                            Heard::End => {
                                log::warn!("the kernel's event stream ended: opening it again");
                                events = self.listen()?;
                            }
                            Heard::Modem(index) => {
                                self.converger.modem_seen(&self.config, index).await;
                                settle(&mut events).await;
                            }
                            Heard::Change => settle(&mut events).await,
                        }
                        break;
                    }
                    _ = slow.tick() => {
                        self.converger.look_for_other_guards = true;
                        break;
                    }
                    _ = glance.tick() => {
                        self.notifier.flush();
                        let changed = self.converger.glance(&self.config);
                        resolver.told_silent(self.converger.endpoints.silent());
                        self.keep_what_proved();
                        if changed {
                            break;
                        }
                    }
                    () = &mut retry => break,
                }
            }
        }
    }

    fn listen(&self) -> Result<Events, KernelError> {
        let guard = self.converger.backends.first();
        Events::open(&self.config, guard.and_then(|guard| guard.watch()))
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
    fn recall(&mut self) {
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

    /// Hears a look-up. Returns whether anything changed.
    fn hear(&mut self, word: Word) -> bool {
        match word {
            Word::Found(answer) => return self.learn(&answer),
            Word::Wanted(request) => permits::grant(&mut self.converger, &self.config, request),
            Word::Done(permit) => permits::withdraw(&mut self.converger, &permit),
        }
        false
    }

    /// Takes an answer over. Returns whether anything changed.
    fn learn(&mut self, answer: &Resolved) -> bool {
        self.converger.hear_peers(&self.config);
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

    /// Reads the config again. An invalid one is refused and the old one stays.
    fn reload(&mut self) -> bool {
        self.notifier.send("RELOADING=1");
        let result = self.try_reload();
        match &result {
            Ok(()) => log::info!("the config was read again"),
            Err(error) => {
                log::error!("the new config is refused, the old one stays: {error:#}");
            }
        }
        self.notifier.send("READY=1");
        result.is_ok()
    }

    fn try_reload(&mut self) -> anyhow::Result<()> {
        let config = Config::load(&self.path)?;
        let choice = self.backend.unwrap_or(config.backend);
        let selected = select::select(choice, Purpose::Guard)?;
        let kind = selected.backend.kind();
        match config.tunnel.listen_port {
            Some(port) => self.converger.listen_port = port,
            // The one that the tunnel has goes on.
            None => port::keep(&self.memory, self.converger.listen_port)?,
        }
        // What another one keeps until now goes when this one's guard is in place.
        if self.converger.kind() != kind {
            self.converger.exchange(selected.backend);
        }
        self.converger.look_for_other_guards = true;
        self.converger.renew_patience();
        self.config = config;
        self.recall();
        self.converger.endpoints.believe();
        Ok(())
    }

    /// Takes nftables where eBPF was not asked for by name and has turned out not to do. Says whether it
    /// has.
    fn fall_back(&mut self) -> bool {
        let choice = self.backend.unwrap_or(self.config.backend);
        let Some(why) = self.converger.unfit() else {
            return false;
        };
        if choice != BackendChoice::Auto || self.converger.kind() == Kind::Nft {
            return false;
        }
        match select::select(BackendChoice::Nft, Purpose::Guard) {
            Ok(selected) => {
                log::info!("backend nft, since ebpf cannot run here: {why}");
                // What eBPF keeps until now goes when the other guard is in place.
                self.converger.exchange(selected.backend);
                true
            }
            Err(error) => {
                log::warn!("nor can backend nft keep the guard: {error}");
                false
            }
        }
    }

    async fn down(mut self) -> Ending {
        log::info!("interrupted: taking everything down");
        self.notifier.send("STOPPING=1");
        self.converger.open_others();
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

/// Waits until a burst of events is over, or has gone on for long enough.
async fn settle(events: &mut Events) {
    let end = Instant::now() + BURST.1;
    loop {
        let quiet = (Instant::now() + BURST.0).min(end);
        match timeout_at(quiet, events.next()).await {
            Ok(Heard::Change | Heard::Modem(_)) if Instant::now() < end => {}
            _ => return,
        }
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
