//! What the kernel reports: changes of links, addresses, routes, rules and TC, and of the guard
//! where its backend has a way to hear of them.

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
use crate::kernel::link::Found;
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
const BURST: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(25));

type Received =
    futures_channel::mpsc::UnboundedReceiver<(NetlinkMessage<Message>, rtnetlink::sys::SocketAddr)>;

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// A change that may concern us.
    Change,
    /// The modem is there, or is another than it was: its interface index.
    Modem(u32),
    /// The stream has ended.
    End,
}

/// The changes that may concern us. They are read as they come, whatever the agent is at, and a storm of
/// them is kept as one.
#[derive(Debug)]
pub(super) struct Events {
    news: Arc<News>,
    reader: JoinHandle<()>,
    guard: Option<AsyncFd<Watch>>,
}

/// What was read and not heard yet.
#[derive(Debug, Default)]
struct News {
    unheard: Mutex<Unheard>,
    some: Notify,
}

#[derive(Debug, Default)]
struct Unheard {
    modem: Option<u32>,
    change: bool,
    end: bool,
}

impl News {
    fn tell(&self, heard: Heard) {
        let mut unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        match heard {
            Heard::Change => unheard.change = true,
            Heard::Modem(index) => unheard.modem = Some(index),
            Heard::End => unheard.end = true,
        }
        self.some.notify_one();
    }

    fn take(&self) -> Option<Heard> {
        let mut unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = unheard.modem.take() {
            return Some(Heard::Modem(index));
        }
        if std::mem::take(&mut unheard.change) {
            return Some(Heard::Change);
        }
        unheard.end.then_some(Heard::End)
    }

    async fn next(&self) -> Heard {
        loop {
            match self.take() {
                Some(heard) => return heard,
                None => self.some.notified().await,
            }
        }
    }
}

/// Which routes can concern us.
#[derive(Debug)]
struct OfConcern {
    /// Those of our table.
    table: u32,
    /// Those to networks behind the tunnel: somebody else's stands in the way of ours.
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
        let routes = OfConcern {
            table: config.routing.table,
            networks: config
                .tunnel
                .peers
                .iter()
                .flat_map(|peer| peer.allowed_ips.clone())
                .collect(),
        };
        let news = Arc::new(News::default());
        let reader = read(
            received,
            routes,
            config.modem.identity.clone(),
            Arc::clone(&news),
        );
        Ok(Self {
            news,
            reader: tokio::spawn(reader),
            guard,
        })
    }

    /// Waits for the next change that may concern us. A full buffer counts as one: what was lost
    /// in it is found by looking at everything again.
    pub(super) async fn next(&mut self) -> Heard {
        tokio::select! {
            heard = self.news.next() => heard,
            () = of_the_guard(&mut self.guard) => Heard::Change,
        }
    }

    /// Waits until a burst of events is over, or has gone on for long enough.
    pub(super) async fn settle(&mut self) {
        let end = Instant::now() + BURST.1;
        loop {
            let quiet = (Instant::now() + BURST.0).min(end);
            match timeout_at(quiet, self.next()).await {
                Ok(Heard::Change | Heard::Modem(_)) if Instant::now() < end => {}
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

async fn read(mut received: Received, routes: OfConcern, identity: ModemIdentity, news: Arc<News>) {
    while let Some((message, _)) = received.next().await {
        match message.payload {
            NetlinkPayload::Overrun(_) => news.tell(Heard::Change),
            NetlinkPayload::InnerMessage(Message::NewLink(link)) => {
                let link = Found::from_message(link);
                let index = link.index;
                news.tell(match modem(&[link], &identity) {
                    Some(_) => Heard::Modem(index),
                    None => Heard::Change,
                });
            }
            NetlinkPayload::InnerMessage(message) if concerns(&message, &routes) => {
                news.tell(Heard::Change);
            }
            _ => {}
        }
    }
    news.tell(Heard::End);
}

async fn of_the_guard(guard: &mut Option<AsyncFd<Watch>>) {
    loop {
        let Some(watch) = guard else {
            return pending().await;
        };
        let told = match watch.readable_mut().await {
            Ok(mut ready) => {
                let told = ready.get_inner_mut().read();
                ready.clear_ready();
                told
            }
            Err(error) => Err(error),
        };
        match told {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                log::warn!("changes of the guard are no longer heard of at once: {error}");
                *guard = None;
            }
        }
    }
}

/// Whether a change can be to something of ours, or to the uplinks, or get before our rules. A
/// router's tables change all day for reasons of their own.
fn concerns(message: &Message, routes: &OfConcern) -> bool {
    match message {
        Message::NewRoute(route) | Message::DelRoute(route) => route_concerns(route, routes),
        Message::NewNeighbour(_) | Message::DelNeighbour(_) => false,
        _ => true,
    }
}

fn route_concerns(route: &RouteMessage, of: &OfConcern) -> bool {
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

    #[tokio::test]
    async fn a_storm_is_kept_as_one_and_the_modem_comes_first() {
        let news = News::default();
        for _ in 0..1000 {
            news.tell(Heard::Change);
        }
        news.tell(Heard::Modem(7));
        assert_eq!(news.next().await, Heard::Modem(7));
        assert_eq!(news.next().await, Heard::Change);
        assert_eq!(news.take(), None);
        news.tell(Heard::End);
        assert_eq!(news.next().await, Heard::End);
        assert_eq!(news.next().await, Heard::End, "it stays ended");
    }
}
