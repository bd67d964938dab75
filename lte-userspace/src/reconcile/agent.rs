//! The agent: brings the datapath up, and keeps it so until a signal ends it.

use std::cell::Cell;
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::apply::Failure;
use super::events::{Events, NetlinkEvent};
use super::handshakes::BootTime;
use super::permits;
use super::reconciler::{ReconcileResult, Reconciler};
use super::resolve::{Resolved, Resolver, ResolverEvent};
use super::take_down;
use crate::backend::error_chain;
use crate::config::{BackendChoice, Config};
use crate::kernel::KernelError;
use crate::notify::{Notifier, Watchdog};
use crate::state::{Lock, ModemDevices, PersistentState};

/// How often to poll the values of which the kernel sends no event.
const POLL: Duration = Duration::from_millis(500);
/// How often to compare everything without an event.
const FULL_CHECK: Duration = Duration::from_mins(1);
/// How often to save what was counted, if anything was: a power cut loses no more. It is less than
/// 300 times a day.
const SAVE_USAGE: Duration = Duration::from_mins(5);
/// How long an agent that is terminated may take to save it.
const LAST_SAVE: Duration = Duration::from_secs(1);
/// How long a turn of the loop may take: several calls that reach their deadlines, each of which is logged.
/// The watchdog is not fed in a turn that takes longer.
const MAX_TURN: Duration = Duration::from_mins(5);

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
    /// Keeps the kernel in the desired state.
    pub reconciler: Reconciler,
    /// The config.
    pub config: Config,
    /// Where it is read from.
    pub path: PathBuf,
    /// The backend that the command line asks for, over the config's.
    pub backend: Option<BackendChoice>,
    /// The port and the names' addresses from earlier runs.
    pub persistent: PersistentState,
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
        let mut beat = interval(watchdog.as_ref().map_or(FULL_CHECK, Watchdog::every));
        let turn_began = Cell::new(Instant::now());
        let interrupted = {
            // Whatever it waits for is left where it is.
            let mut keeping = pin!(self.run_loop(&turn_began));
            loop {
                tokio::select! {
                    biased;
                    () = received(&mut interrupt) => break true,
                    () = received(&mut terminate) => break false,
                    _ = beat.tick() => if let Some(watchdog) = &watchdog
                        && turn_began.get().elapsed() < MAX_TURN
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
            Ok(self.leave().await)
        }
    }

    /// Reconciles on each event, poll and reload; sets when each turn began.
    async fn run_loop(&mut self, turn_began: &Cell<Instant>) -> anyhow::Result<Infallible> {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut full_check = interval(FULL_CHECK);
        full_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        full_check.reset();
        let mut poll = interval(POLL);
        let mut save_usage = interval(SAVE_USAGE);
        save_usage.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut events = self.open_events().await?;
        self.load_endpoints();
        let mut devices = self.load_devices();
        let mut resolver = Resolver::start(&self.config);
        let mut status = String::new();
        loop {
            turn_began.set(Instant::now());
            let outcome = self.reconciler.reconcile(&self.config).await;
            self.save_devices(&mut devices);
            self.report(&outcome, &mut status);
            if self.fall_back().await {
                events = self.open_events().await?;
                continue;
            }
            let mut retry = pin!(pause(outcome.retry));
            loop {
                turn_began.set(Instant::now());
                let turn = next_turn(
                    received(&mut hangup),
                    poll.tick(),
                    full_check.tick(),
                    save_usage.tick(),
                    &mut retry,
                    resolver.next(),
                    events.next(),
                );
                match turn.await {
                    Turn::Reload => {
                        if self.reload().await {
                            events = self.open_events().await?;
                            resolver = Resolver::start(&self.config);
                        }
                        break;
                    }
                    Turn::Poll => {
                        self.notifier.flush();
                        let changed = self.reconciler.poll(&self.config).await;
                        // However long that took, events have their turn.
                        poll.reset();
                        resolver.set_silent(self.reconciler.endpoints.silent());
                        self.save_endpoints();
                        if changed {
                            break;
                        }
                    }
                    Turn::FullCheck => {
                        self.reconciler.check_stale_guards = true;
                        break;
                    }
                    Turn::SaveUsage => self.reconciler.record_usage(&self.config).await,
                    Turn::Retry => break,
                    Turn::Resolver(event) => {
                        if self.on_resolver_event(event).await {
                            break;
                        }
                    }
                    Turn::Netlink(event) => {
                        match event {
                            NetlinkEvent::End => {
                                log::warn!("the kernel's event stream ended: opening it again");
                                events = self.open_events().await?;
                            }
                            NetlinkEvent::Modem(index) => {
                                self.reconciler.on_modem(&self.config, index).await;
                                events.debounce().await;
                            }
                            NetlinkEvent::Change => events.debounce().await,
                        }
                        break;
                    }
                }
            }
        }
    }

    async fn open_events(&self) -> Result<Events, KernelError> {
        Events::open(&self.config, self.reconciler.backends.watch().await)
    }

    /// Reports the status to the log and the service manager when it has changed.
    fn report(&mut self, outcome: &ReconcileResult, status: &mut String) {
        let now = match (outcome.converged, outcome.modem) {
            (true, true) => format!(
                "the datapath is in place: {} over the modem, port {}, backend {}",
                self.config.tunnel.interface,
                self.reconciler.listen_port,
                self.reconciler.kind()
            ),
            (true, false) => format!(
                "waiting for the modem ({}); the tunnel sends nothing until it is plugged in",
                self.config.modem.identity
            ),
            (false, _) => "degraded: some objects are missing or changed".to_owned(),
        };
        if now == *status {
            return;
        }
        if outcome.converged {
            log::info!("{now}");
            self.notifier.send(&format!("READY=1\nSTATUS={now}"));
        } else {
            self.notifier.send(&format!("STATUS={now}"));
        }
        *status = now;
    }

    /// Loads the verified addresses of endpoint names from earlier runs.
    pub(super) fn load_endpoints(&mut self) {
        let known = self.persistent.endpoints();
        for peer in &self.config.tunnel.peers {
            if let Some(address) = known.get(&peer.endpoint.to_string())
                && self.config.modem.has_family(address.ip())
            {
                self.reconciler
                    .endpoints
                    .restore(&peer.endpoint, *address, BootTime::now());
            }
        }
    }

    /// Loads the modem devices known from earlier boots, if this boot knows none.
    fn load_devices(&mut self) -> ModemDevices {
        let kept = self.persistent.devices();
        let devices = &mut self.reconciler.baseline_file.baseline.devices;
        if devices.known.is_empty() {
            devices.clone_from(&kept);
        }
        kept
    }

    fn save_devices(&self, kept: &mut ModemDevices) {
        let devices = self
            .reconciler
            .baseline_file
            .baseline
            .devices
            .without_indexes();
        if devices != *kept {
            if let Err(error) = self.persistent.save_devices(&devices) {
                log::warn!("{error}");
            }
            *kept = devices;
        }
    }

    /// Handles an event of the resolver. Returns whether anything changed.
    async fn on_resolver_event(&mut self, event: ResolverEvent) -> bool {
        match event {
            ResolverEvent::Resolved(answer) => return self.on_resolved(&answer).await,
            ResolverEvent::PermitRequested(request) => {
                permits::grant(&mut self.reconciler, &self.config, request).await;
            }
            ResolverEvent::PermitDone(permit) => {
                permits::revoke(&mut self.reconciler, &self.config, permit).await;
            }
        }
        false
    }

    /// Handles an answer. Returns whether an address changed.
    async fn on_resolved(&mut self, answer: &Resolved) -> bool {
        self.reconciler.read_handshakes(&self.config).await;
        let endpoints = &mut self.reconciler.endpoints;
        let now = BootTime::now();
        let Some(address) = endpoints.on_answer(&answer.endpoint, &answer.addresses, now) else {
            return false;
        };
        log::info!("{} is {}", answer.endpoint, address.ip());
        true
    }

    /// Saves newly verified addresses for the next start.
    fn save_endpoints(&mut self) {
        let endpoints = &mut self.reconciler.endpoints;
        if endpoints.take_newly_verified() {
            let good = endpoints.verified();
            if let Err(error) = self.persistent.save_endpoints(&good) {
                log::warn!("{error}");
            }
        }
    }

    async fn down(mut self) -> Ending {
        log::info!("interrupted: taking everything down");
        self.notifier.send("STOPPING=1");
        if let Err(error) = self.reconciler.backends.open_stale().await {
            log::warn!("{}", error_chain(&error));
        }
        let Reconciler {
            kernel,
            backends,
            baseline_file,
            ..
        } = &mut self.reconciler;
        let (_, failed) = take_down(kernel, backends, baseline_file).await;
        Ending::Down(failed)
    }

    async fn leave(mut self) -> Ending {
        log::info!(
            "terminated: tunnel and guard go on without the agent (lte-userspace down takes them down)"
        );
        self.notifier.send("STOPPING=1");
        // The kernel's counters go on, and so nothing is lost by not waiting for what hangs.
        let backends = &self.reconciler.backends;
        if backends.are_busy() || timeout(LAST_SAVE, backends.record()).await.is_err() {
            log::info!("the usage was not saved: it stays in the kernel's counters");
        }
        Ending::Left
    }
}

/// What a turn of the loop is for.
#[derive(Debug)]
enum Turn {
    Reload,
    Poll,
    FullCheck,
    SaveUsage,
    Retry,
    Resolver(ResolverEvent),
    Netlink(NetlinkEvent),
}

/// Waits for the next turn. What comes seldom is asked first: there may always be one more event.
async fn next_turn<T>(
    reload: impl Future<Output = ()>,
    poll: impl Future<Output = T>,
    full_check: impl Future<Output = T>,
    save_usage: impl Future<Output = T>,
    retry: impl Future<Output = ()>,
    resolver: impl Future<Output = ResolverEvent>,
    netlink: impl Future<Output = NetlinkEvent>,
) -> Turn {
    tokio::select! {
        biased;
        () = reload => Turn::Reload,
        _ = poll => Turn::Poll,
        _ = full_check => Turn::FullCheck,
        _ = save_usage => Turn::SaveUsage,
        () = retry => Turn::Retry,
        event = resolver => Turn::Resolver(event),
        event = netlink => Turn::Netlink(event),
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a name is well formed")]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    /// The turn that is taken while there always is one more event of the kernel.
    async fn turn(due: [bool; 5]) -> Turn {
        async fn at(due: bool) {
            if !due {
                pending::<()>().await;
            }
        }
        let [reload, poll, full_check, save_usage, retry] = due.map(at);
        let resolver = pending();
        let netlink = ready(NetlinkEvent::Change);
        next_turn(
            reload, poll, full_check, save_usage, retry, resolver, netlink,
        )
        .await
    }

    #[tokio::test]
    async fn events_without_an_end_keep_nothing_else_back() {
        let storm = turn([false; 5]).await;
        assert!(matches!(storm, Turn::Netlink(_)), "{storm:?}");
        let reload = turn([true; 5]).await;
        assert!(matches!(reload, Turn::Reload), "{reload:?}");
        let poll = turn([false, true, true, true, true]).await;
        assert!(matches!(poll, Turn::Poll), "{poll:?}");
        let full_check = turn([false, false, true, true, true]).await;
        assert!(matches!(full_check, Turn::FullCheck), "{full_check:?}");
        let save_usage = turn([false, false, false, true, true]).await;
        assert!(matches!(save_usage, Turn::SaveUsage), "{save_usage:?}");
        let retry = turn([false, false, false, false, true]).await;
        assert!(matches!(retry, Turn::Retry), "{retry:?}");
        let answered = ResolverEvent::Resolved(Resolved {
            endpoint: "vpn.example.org:51820".parse().unwrap(),
            addresses: Vec::new(),
        });
        let (resolver, netlink) = (ready(answered), ready(NetlinkEvent::Change));
        let resolver = next_turn(
            pending(),
            pending::<()>(),
            pending(),
            pending(),
            pending(),
            resolver,
            netlink,
        );
        let resolver = resolver.await;
        assert!(matches!(resolver, Turn::Resolver(_)), "{resolver:?}");
    }
}
