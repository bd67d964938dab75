//! A short look at what changes without the kernel's telling anybody: WireGuard's settings,
//! sysctls, links that hold programs. It is taken twice a second and compares a few values; that
//! something differs is all that it finds out.
//!
//! A thread of its own takes it, since WireGuard and the backends block, and wakes the agent's only
//! where there is something to be done or to be known.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::backends::Backends;
use super::converge::Converger;
use super::hearing::Moment;
use super::patience::SESSION;
use super::view::ViewError;
use crate::backend::{Guard, chain};
use crate::config::Config;
use crate::desired::Object;
use crate::kernel::wireguard::{self, Found};
use crate::kernel::{KernelError, sysctl};

/// How often to look. On it rests that what nobody is told of is repaired within a second.
const GLANCE: Duration = Duration::from_millis(500);
/// How often to see whether a peer has fallen silent, while all are heard: minutes are what counts then.
const HEARD: Duration = Duration::from_secs(5);

/// What is to be looked at.
#[derive(Debug)]
pub(super) struct Order {
    /// The WireGuard interface.
    interface: String,
    /// What was wanted when all was last in place; `None`: a longer look is due anyway.
    want: Option<Vec<Object>>,
    backends: Backends,
}

/// What a glance has seen.
#[derive(Debug)]
pub(super) struct Seen {
    device: Found,
    /// Whether something is not as wanted.
    differs: bool,
}

/// What was seen, and by which order.
type Told = (Arc<Order>, Result<Seen, ViewError>);

/// The thread that looks. It ends when nobody gives it orders any more.
#[derive(Debug)]
pub(super) struct Glances {
    orders: Sender<Arc<Order>>,
    told: UnboundedReceiver<Told>,
    /// The one that is being carried out.
    last: Option<Arc<Order>>,
}

impl Glances {
    /// Starts the thread, in the network namespace of the calling one.
    pub(super) fn start() -> std::io::Result<Self> {
        let (orders, given) = channel();
        let (tell, told) = unbounded_channel();
        thread::Builder::new()
            .name("glance".to_owned())
            .spawn(move || keep_looking(&given, &tell))?;
        Ok(Self {
            orders,
            told,
            last: None,
        })
    }

    /// From now on this is to be looked at.
    pub(super) fn order(&mut self, order: Order) {
        self.last = Some(Arc::new(order));
        self.go_on();
    }

    /// What was told has been heard: the thread waits for that.
    pub(super) fn go_on(&self) {
        if let Some(order) = &self.last {
            // It ends only with the agent.
            self.orders.send(Arc::clone(order)).ok();
        }
    }

    /// The next thing that is worth knowing.
    pub(super) async fn next(&mut self) -> Result<Seen, ViewError> {
        loop {
            match self.told.recv().await {
                // What an earlier order was about has been looked at since.
                Some((of, seen))
                    if self
                        .last
                        .as_ref()
                        .is_some_and(|last| Arc::ptr_eq(last, &of)) =>
                {
                    return seen;
                }
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}

fn keep_looking(given: &Receiver<Arc<Order>>, tell: &UnboundedSender<Told>) {
    let Ok(mut order) = given.recv() else {
        return;
    };
    // As it was told last, to the order that is carried out.
    let mut told: Option<Found> = None;
    let mut next = Instant::now() + GLANCE;
    loop {
        match given.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(another) => {
                order = another;
                told = None;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let seen = order.look();
        // However long that took, others have their turn.
        next = Instant::now() + GLANCE;
        let device = seen.as_ref().ok().map(|seen| &seen.device);
        let differs = seen.as_ref().map_or(true, |seen| seen.differs);
        let is_news = match (device, &told) {
            (Some(device), Some(told)) => !device.is_like(told),
            _ => true,
        };
        if !differs && !is_news {
            continue;
        }
        told = device.cloned();
        if tell.send((Arc::clone(&order), seen)).is_err() {
            return;
        }
        match given.recv() {
            Ok(another) if Arc::ptr_eq(&another, &order) => {}
            Ok(another) => {
                order = another;
                told = None;
            }
            Err(_) => return,
        }
    }
}

impl Order {
    fn look(&self) -> Result<Seen, ViewError> {
        let device = wireguard::read(&self.interface).map_err(|error| {
            KernelError::new(
                format!("reading WireGuard interface {}", self.interface),
                error,
            )
        })?;
        let Some(want) = &self.want else {
            return Ok(Seen {
                device,
                differs: false,
            });
        };
        let (as_wanted, guard) = as_wanted(want, &device)?;
        let differs = match guard {
            Some(guard) if as_wanted => !self.backends.differences_here(guard)?.is_empty(),
            _ => !as_wanted,
        };
        Ok(Seen { device, differs })
    }
}

impl Converger {
    /// What is to be looked at twice a second.
    pub(super) fn order(&self, config: &Config) -> Order {
        Order {
            interface: config.tunnel.interface.clone(),
            want: self.settled.then(|| self.wanted.clone()),
            backends: self.backends.clone(),
        }
    }

    /// Takes over what a glance has seen. Returns whether a longer look is due.
    pub(super) fn glanced(&mut self, config: &Config, seen: Result<Seen, ViewError>) -> bool {
        match seen {
            Ok(seen) => {
                let clock = SystemTime::now();
                self.hearing.look(&seen.device, Moment::now(), clock);
                // While not all is in place, a longer look is due anyway.
                self.consider_peers(config) || (seen.differs && self.settled)
            }
            Err(error) => {
                log::debug!("{}", chain(&error));
                self.settled
            }
        }
    }

    /// Considers who is heard and who is not. Returns whether a longer look is due.
    pub(super) fn consider_peers(&mut self, config: &Config) -> bool {
        let (now, moment) = (Instant::now(), Moment::now());
        let (tunnel, hearing) = (&config.tunnel, &self.hearing);
        self.endpoints.look(&tunnel.peers, hearing, moment);
        self.patience.consider(tunnel, hearing, (now, moment))
    }

    /// After how long peers are to be considered again, though nothing is heard of them.
    pub(super) fn until_peers_are_due(&self, config: &Config) -> Duration {
        let now = Moment::now();
        let are_heard = config.tunnel.peers.iter().all(|peer| {
            let age = SESSION + peer.persistent_keepalive;
            self.hearing.within(&peer.public_key, age, now)
        });
        if are_heard { HEARD } else { GLANCE }
    }

    /// Looks whether the peers were heard, so that what is heard next was heard later than now.
    pub(super) async fn hear_peers(&mut self, config: &Config) {
        match self.kernel.wireguard(&config.tunnel.interface).await {
            Ok(device) => {
                let clock = SystemTime::now();
                self.hearing.look(&device, Moment::now(), clock);
            }
            Err(error) => log::debug!("{}", chain(&error)),
        }
    }
}
/// Whether what was wanted at the last look, and there, is still there; the guard, which is not looked at,
/// is returned.
fn as_wanted<'a>(
    want: &'a [Object],
    device: &Found,
) -> Result<(bool, Option<&'a Guard>), KernelError> {
    let mut guard = None;
    for object in want {
        let there = match object {
            Object::Sysctl(want) => {
                sysctl::read(&want.interface, want.key)?.is_some_and(|value| value == want.value)
            }
            Object::Device(want) => device.is(want),
            Object::Peer(want) => device.has(want),
            Object::Guard(want) => {
                guard = Some(want);
                true
            }
            _ => true,
        };
        if !there {
            return Ok((false, guard));
        }
    }
    let wanted = |key| {
        want.iter()
            .any(|object| matches!(object, Object::Peer(peer) if peer.public_key == key))
    };
    Ok((device.peers.keys().all(|key| wanted(*key)), guard))
}
