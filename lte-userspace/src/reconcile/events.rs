//! What the kernel reports: changes of links, addresses, routes, rules and TC, and of the guard
//! where its backend has a way to hear of them.

use std::future::pending;

use futures_util::StreamExt as _;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::observe::modem;
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

/// The stream of changes that may concern us.
#[derive(Debug)]
pub(super) struct Events {
    received: Received,
    routes: OfConcern,
    modem: ModemIdentity,
    guard: Option<AsyncFd<Watch>>,
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
        Ok(Self {
            received,
            routes: OfConcern {
                table: config.routing.table,
                networks: config
                    .tunnel
                    .peers
                    .iter()
                    .flat_map(|peer| peer.allowed_ips.clone())
                    .collect(),
            },
            modem: config.modem.identity.clone(),
            guard,
        })
    }

    /// Waits for the next change that may concern us. A full buffer counts as one: what was lost
    /// in it is found by looking at everything again.
    pub(super) async fn next(&mut self) -> Heard {
        let Self {
            received,
            routes,
            modem,
            guard,
        } = self;
        tokio::select! {
            heard = of_objects(received, routes, modem) => heard,
            () = of_the_guard(guard) => Heard::Change,
        }
    }
}

async fn of_objects(
    received: &mut Received,
    routes: &OfConcern,
    identity: &ModemIdentity,
) -> Heard {
    while let Some((message, _)) = received.next().await {
        match message.payload {
            NetlinkPayload::Overrun(_) => return Heard::Change,
            NetlinkPayload::InnerMessage(Message::NewLink(link)) => {
                let link = Found::from_message(link);
                let index = link.index;
                return match modem(&[link], identity) {
                    Some(_) => Heard::Modem(index),
                    None => Heard::Change,
                };
            }
            NetlinkPayload::InnerMessage(message) if concerns(&message, routes) => {
                return Heard::Change;
            }
            _ => {}
        }
    }
    Heard::End
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
