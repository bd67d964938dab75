//! Looking up endpoint names in the background. The datapath never waits for it.
//!
//! The system's resolver is asked first. If it fails, as without an uplink, the configured name servers
//! are asked over the modem; the agent grants a permit for each query.

mod query;
mod refresh_schedule;

pub(super) use query::MAX_DURATION as MAX_QUERY_DURATION;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use self::refresh_schedule::RefreshSchedule;
use crate::backend::{Permit, Protocol};
use crate::config::{Config, Endpoint, Modem};

/// How long one look-up may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The first and the longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// An answer.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The name.
    pub endpoint: Endpoint,
    /// What it means.
    pub addresses: Vec<SocketAddr>,
}

/// An event of a look-up for the agent.
#[derive(Debug)]
pub(super) enum ResolverEvent {
    /// An answer.
    Resolved(Resolved),
    /// It asks for a permit to query a name server over the modem.
    PermitRequested(PermitRequest),
    /// Its query is done, and the permit is not needed any more.
    PermitDone(Permit),
}

/// A request for a permit.
#[derive(Debug)]
pub(super) struct PermitRequest {
    /// The name.
    pub endpoint: Endpoint,
    /// The flow to the name server.
    pub permit: Permit,
    /// Gets whether it is granted.
    pub granted: oneshot::Sender<bool>,
}

/// One task for each name.
#[derive(Debug)]
pub(super) struct Resolver {
    tasks: Vec<JoinHandle<()>>,
    events: mpsc::UnboundedReceiver<ResolverEvent>,
    silent: watch::Sender<BTreeSet<Endpoint>>,
}

impl Resolver {
    /// Starts looking up the names of all peers.
    pub(super) fn start(config: &Config) -> Self {
        let (send, events) = mpsc::unbounded_channel();
        let (silent, _) = watch::channel(BTreeSet::new());
        let tasks = config
            .tunnel
            .peers
            .iter()
            .filter(|peer| matches!(peer.endpoint, Endpoint::Name { .. }))
            .map(|peer| {
                let endpoint = peer.endpoint.clone();
                let schedule = RefreshSchedule::new(silent.subscribe());
                tokio::spawn(resolve_loop(
                    endpoint,
                    config.modem.clone(),
                    send.clone(),
                    schedule,
                ))
            })
            .collect();
        Self {
            tasks,
            events,
            silent,
        }
    }

    /// Sets which endpoints' peers are silent.
    pub(super) fn set_silent(&self, endpoints: BTreeSet<Endpoint>) {
        self.silent.send_if_modified(|known| {
            let changed = *known != endpoints;
            *known = endpoints;
            changed
        });
    }

    /// The next event. Never comes if no endpoint is a name.
    pub(super) async fn next(&mut self) -> ResolverEvent {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn resolve_loop(
    endpoint: Endpoint,
    modem: Modem,
    send: mpsc::UnboundedSender<ResolverEvent>,
    mut schedule: RefreshSchedule,
) {
    let Endpoint::Name { host, port } = &endpoint else {
        return;
    };
    let mut pause = RETRY.0;
    loop {
        let looked = match system_lookup(host, *port, &modem).await {
            Ok(found) => Ok(found),
            Err(why) => match modem_lookup(&endpoint, &modem, &send).await {
                None => Err(why),
                Some(Ok(found)) => Ok(found),
                Some(Err(more)) => Err(format!("{why}; over the modem: {more}")),
            },
        };
        let why = match looked {
            Ok(addresses) => {
                let found = Resolved {
                    endpoint: endpoint.clone(),
                    addresses,
                };
                if send.send(ResolverEvent::Resolved(found)).is_err() {
                    return;
                }
                pause = RETRY.0;
                schedule.until_due(&endpoint).await;
                continue;
            }
            Err(why) => why,
        };
        log::warn!("looking up {host}: {why}; again in {} s", pause.as_secs());
        sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

async fn system_lookup(host: &str, port: u16, modem: &Modem) -> Result<Vec<SocketAddr>, String> {
    let found = match timeout(DEADLINE, tokio::net::lookup_host((host, port))).await {
        Ok(found) => found.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("no answer within {} s", DEADLINE.as_secs())),
    };
    require_some(reachable(modem, found), modem)
}

fn require_some(addresses: Vec<SocketAddr>, modem: &Modem) -> Result<Vec<SocketAddr>, String> {
    if addresses.is_empty() {
        return Err(format!(
            "it has no {} address, and the modem no other",
            families(modem)
        ));
    }
    Ok(addresses)
}

/// Asks the config's name servers, one after the other. `None` where there are none, or where the
/// agent does not want it.
async fn modem_lookup(
    endpoint: &Endpoint,
    modem: &Modem,
    send: &mpsc::UnboundedSender<ResolverEvent>,
) -> Option<Result<Vec<SocketAddr>, String>> {
    let Endpoint::Name { host, port } = endpoint else {
        return None;
    };
    let mut why = None;
    for server in &modem.name_servers {
        let own = modem.interface_addrs().map(|addr| addr.address.address);
        let own = own
            .into_iter()
            .find(|own| own.is_ipv4() == server.is_ipv4())?;
        // The source address leads it to the modem, by the rule for what bears it.
        let socket = match query::open(own) {
            Ok(socket) => socket,
            Err(error) => return Some(Err(format!("from {own}: {error}"))),
        };
        let permit = Permit {
            protocol: Protocol::Udp,
            local_port: socket.local_addr().ok()?.port(),
            remote: Some(*server),
            remote_port: query::PORT,
        };
        let (granted, answer) = oneshot::channel();
        let request = PermitRequest {
            endpoint: endpoint.clone(),
            permit,
            granted,
        };
        send.send(ResolverEvent::PermitRequested(request)).ok()?;
        if !answer.await.unwrap_or(false) {
            return None;
        }
        let found = query::lookup(socket, *server, host, modem).await;
        // Without an agent to hear it the permit ends by itself.
        send.send(ResolverEvent::PermitDone(permit)).ok();
        let found = found.map(|found| found.into_iter().map(|ip| SocketAddr::new(ip, *port)));
        match found.and_then(|found| require_some(found.collect(), modem)) {
            Ok(addresses) => return Some(Ok(addresses)),
            Err(error) => why = Some(Err(format!("{server}: {error}"))),
        }
    }
    why
}

/// Those of a family that the modem has, in the order of the answer.
fn reachable(modem: &Modem, found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    found
        .filter(|address| modem.has_family(address.ip()))
        .collect()
}

fn families(modem: &Modem) -> &'static str {
    match (modem.v4, modem.v6) {
        (Some(_), Some(_)) => "IPv4 or IPv6",
        (None, Some(_)) => "IPv6",
        _ => "IPv4",
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    reason = "a wrong literal in a test is to fail it"
)]
mod tests {
    use super::*;
    use crate::config::{InterfaceAddr, ModemIdentity};

    #[test]
    fn of_a_name_only_the_modems_families_are_taken() {
        let addr = |address: &str| {
            Some(InterfaceAddr {
                address: address.parse().unwrap(),
                gateway: None,
                admin: None,
            })
        };
        let (v4, v6) = (addr("192.168.0.2/32"), addr("2001:db8::2/128"));
        let answers = ["[2001:db8::10]:1", "192.0.2.10:1", "[2001:db8::11]:1"]
            .map(|text| text.parse::<SocketAddr>().unwrap());
        for (v4, v6, taken) in [
            (v4, None, vec![answers[1]]),
            (None, v6, vec![answers[0], answers[2]]),
            (v4, v6, answers.to_vec()),
        ] {
            let modem = Modem {
                identity: ModemIdentity::Interface("modem".to_owned()),
                v4,
                v6,
                admin_ports: Vec::new(),
                name_servers: vec![],
            };
            assert_eq!(reachable(&modem, answers.into_iter()), taken);
        }
    }
}
