//! Events of the kernel: changes of links, addresses, routes, rules and TC, and of the guard
//! if its backend has a source of events.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::identity::modem;
use crate::backend::Watch;
use crate::config::{Cidr, Config, ModemIdentity};
use crate::kernel::link::ObservedLink;
use crate::kernel::route::destination;
use crate::kernel::{KernelError, PROTOCOL};

const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Tc,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// After an event, how long to wait for more of the same burst, and how long at most.
const DEBOUNCE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(25));

type Received =
    futures_channel::mpsc::UnboundedReceiver<(NetlinkMessage<Message>, rtnetlink::sys::SocketAddr)>;

/// An event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetlinkEvent {
    /// A change that may concern us.
    Change,
    /// The modem is there, or is another than it was: its interface index.
    Modem(u32),
    /// The stream has ended.
    End,
}

/// The relevant changes. They are read as they come, also while the agent is busy, and many are kept as
/// one.
#[derive(Debug)]
pub(super) struct Events {
    queue: Arc<EventQueue>,
    reader: JoinHandle<()>,
    guard: Option<AsyncFd<Watch>>,
}

/// Events that were read and not handled yet.
#[derive(Debug, Default)]
struct EventQueue {
    pending_events: Mutex<PendingEvents>,
    some: Notify,
}

#[derive(Debug, Default)]
struct PendingEvents {
    modem: Option<u32>,
    change: bool,
    end: bool,
}

impl EventQueue {
    fn push(&self, event: NetlinkEvent) {
        let mut pending_events = self
            .pending_events
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match event {
            NetlinkEvent::Change => pending_events.change = true,
            NetlinkEvent::Modem(index) => pending_events.modem = Some(index),
            NetlinkEvent::End => pending_events.end = true,
        }
        self.some.notify_one();
    }

    fn take(&self) -> Option<NetlinkEvent> {
        let mut pending_events = self
            .pending_events
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = pending_events.modem.take() {
            return Some(NetlinkEvent::Modem(index));
        }
        if std::mem::take(&mut pending_events.change) {
            return Some(NetlinkEvent::Change);
        }
        pending_events.end.then_some(NetlinkEvent::End)
    }

    async fn next(&self) -> NetlinkEvent {
        loop {
            match self.take() {
                Some(event) => return event,
                None => self.some.notified().await,
            }
        }
    }
}

/// Which routes are relevant.
#[derive(Debug)]
struct RouteFilter {
    /// Those of our table.
    table: u32,
    /// Those to networks behind the tunnel: a third party's conflicts with ours.
    networks: Vec<Cidr>,
}

impl Events {
    /// Listens, in the network namespace of the calling thread.
    pub(super) fn open(config: &Config, guard: Option<Watch>) -> Result<Self, KernelError> {
        let (connection, _, received) = rtnetlink::new_multicast_connection(&GROUPS)
            .map_err(|error| KernelError::new("listening for changes (netlink)", error))?;
        tokio::spawn(connection);
        let guard = guard.and_then(|watch| {
            // SAFETY: the watch owns its socket, hands out the same number always, and closes it only
            // when the AsyncFd that owns the watch is dropped.
            unsafe { AsyncFd::register_with_interest(watch, Interest::READABLE) }
                .inspect_err(|error| log::debug!("listening for changes of the guard: {error}"))
                .ok()
        });
        let routes = RouteFilter {
            table: config.routing.table,
            networks: config
                .tunnel
                .peers
                .iter()
                .flat_map(|peer| peer.allowed_ips.clone())
                .collect(),
        };
        let queue = Arc::new(EventQueue::default());
        let reader = read(
            received,
            routes,
            config.modem.identity.clone(),
            Arc::clone(&queue),
        );
        Ok(Self {
            queue,
            reader: tokio::spawn(reader),
            guard,
        })
    }

    /// Waits for the next relevant change. A full buffer counts as one: what was lost
    /// in it is found by comparing everything.
    pub(super) async fn next(&mut self) -> NetlinkEvent {
        tokio::select! {
            event = self.queue.next() => event,
            () = guard_changed(&mut self.guard) => NetlinkEvent::Change,
        }
    }

    /// Waits until a burst of events is over, or has gone on for long enough.
    pub(super) async fn debounce(&mut self) {
        let end = Instant::now() + DEBOUNCE.1;
        loop {
            let quiet = (Instant::now() + DEBOUNCE.0).min(end);
            match timeout_at(quiet, self.next()).await {
                Ok(NetlinkEvent::Change | NetlinkEvent::Modem(_)) if Instant::now() < end => {}
                _ => return,
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(
    mut received: Received,
    routes: RouteFilter,
    identity: ModemIdentity,
    queue: Arc<EventQueue>,
) {
    while let Some((message, _)) = received.next().await {
        match message.payload {
            NetlinkPayload::Overrun(_) => queue.push(NetlinkEvent::Change),
            NetlinkPayload::InnerMessage(Message::NewLink(link)) => {
                let link = ObservedLink::from_message(link);
                let index = link.index;
                queue.push(match modem(&[link], &identity) {
                    Some(_) => NetlinkEvent::Modem(index),
                    None => NetlinkEvent::Change,
                });
            }
            NetlinkPayload::InnerMessage(message) if is_relevant(&message, &routes) => {
                queue.push(NetlinkEvent::Change);
            }
            _ => {}
        }
    }
    queue.push(NetlinkEvent::End);
}

async fn guard_changed(guard: &mut Option<AsyncFd<Watch>>) {
    loop {
        let Some(watch) = guard else {
            return pending().await;
        };
        let readable = match watch.readable_mut().await {
            Ok(mut ready) => {
                let readable = ready.get_inner_mut().read();
                ready.clear_ready();
                readable
            }
            Err(error) => Err(error),
        };
        match readable {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                log::warn!(
                    "no more events of the guard, its changes are found by polling: {error}"
                );
                *guard = None;
            }
        }
    }
}

/// Whether a change can be to something of ours, or to the uplinks, or get before our rules. A
/// router's tables change all day for reasons of their own.
fn is_relevant(message: &Message, routes: &RouteFilter) -> bool {
    match message {
        Message::NewRoute(route) | Message::DelRoute(route) => is_relevant_route(route, routes),
        Message::NewNeighbour(_) | Message::DelNeighbour(_) => false,
        _ => true,
    }
}

fn is_relevant_route(route: &RouteMessage, of: &RouteFilter) -> bool {
    let table = of.table;
    let own_table =
        route.attributes.iter().any(
            |attribute| matches!(attribute, RouteAttribute::Table(number) if *number == table),
        ) || u32::from(route.header.table) == table;
    own_table
        || u8::from(route.header.protocol) == PROTOCOL
        || route.header.destination_prefix_length <= 1
        || destination(route).is_some_and(|to| of.networks.contains(&to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_without_an_end_is_waited_for_no_longer_than_the_limit() {
        let queue = Arc::new(EventQueue::default());
        let mut events = Events {
            queue: Arc::clone(&queue),
            reader: tokio::spawn(pending()),
            guard: None,
        };
        let began = Instant::now();
        let storm = async {
            for _ in 0..1000 {
                queue.push(NetlinkEvent::Change);
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            () = events.debounce() => {}
            () = storm => panic!("it waits for the end"),
        }
        let waited = began.elapsed();
        assert!(
            waited >= DEBOUNCE.1 && waited <= DEBOUNCE.1 + DEBOUNCE.0,
            "{waited:?}"
        );
    }

    #[tokio::test]
    async fn a_storm_is_kept_as_one_and_the_modem_comes_first() {
        let queue = EventQueue::default();
        for _ in 0..1000 {
            queue.push(NetlinkEvent::Change);
        }
        queue.push(NetlinkEvent::Modem(7));
        assert_eq!(queue.next().await, NetlinkEvent::Modem(7));
        assert_eq!(queue.next().await, NetlinkEvent::Change);
        assert_eq!(queue.take(), None);
        queue.push(NetlinkEvent::End);
        assert_eq!(queue.next().await, NetlinkEvent::End);
        assert_eq!(queue.next().await, NetlinkEvent::End, "it stays ended");
    }
}
