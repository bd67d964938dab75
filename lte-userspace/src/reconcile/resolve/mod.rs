//! Looking up endpoint names in the background. The datapath never waits for it.
//!
//! The system is asked first. Where it knows nothing, as with no uplink, the config's own name
//! servers are asked over the modem; the agent opens the way for each question.

mod query;
mod rhythm;

pub(super) use query::LONGEST as LONGEST_QUESTION;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use self::rhythm::Rhythm;
use crate::backend::{Permit, Protocol};
use crate::config::{Config, Endpoint, Modem};

/// How long one look-up may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The first and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// An answer.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The name.
    pub endpoint: Endpoint,
    /// What it means.
    pub addresses: Vec<SocketAddr>,
}

/// What a look-up has to say to the agent.
#[derive(Debug)]
pub(super) enum Word {
    /// An answer.
    Found(Resolved),
    /// It would ask a name server over the modem.
    Wanted(Request),
    /// It has asked.
    Done(Permit),
}

/// A question that needs a permit.
#[derive(Debug)]
pub(super) struct Request {
    /// The name.
    pub endpoint: Endpoint,
    /// The way to the name server.
    pub permit: Permit,
    /// Whether it may.
    pub granted: oneshot::Sender<bool>,
}

/// One task for each name.
#[derive(Debug)]
pub(super) struct Resolver {
    tasks: Vec<JoinHandle<()>>,
    words: mpsc::UnboundedReceiver<Word>,
    silent: watch::Sender<BTreeSet<Endpoint>>,
}

impl Resolver {
    /// Starts looking up the names of all peers.
    pub(super) fn start(config: &Config) -> Self {
        let (send, words) = mpsc::unbounded_channel();
        let (silent, _) = watch::channel(BTreeSet::new());
        let tasks = config
            .tunnel
            .peers
            .iter()
            .filter(|peer| matches!(peer.endpoint, Endpoint::Name { .. }))
            .map(|peer| {
                let endpoint = peer.endpoint.clone();
                let rhythm = Rhythm::new(silent.subscribe());
                tokio::spawn(keep_looking(
                    endpoint,
                    config.modem.clone(),
                    send.clone(),
                    rhythm,
                ))
            })
            .collect();
        Self {
            tasks,
            words,
            silent,
        }
    }

    /// Hears which endpoints' peers are not heard of.
    pub(super) fn told_silent(&self, endpoints: BTreeSet<Endpoint>) {
        self.silent.send_if_modified(|known| {
            let changed = *known != endpoints;
            *known = endpoints;
            changed
        });
    }

    /// The next word. Never comes where there is no name.
    pub(super) async fn next(&mut self) -> Word {
        match self.words.recv().await {
            Some(word) => word,
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

async fn keep_looking(
    endpoint: Endpoint,
    modem: Modem,
    send: mpsc::UnboundedSender<Word>,
    mut rhythm: Rhythm,
) {
    let Endpoint::Name { host, port } = &endpoint else {
        return;
    };
    let mut pause = PAUSES.0;
    loop {
        let looked = match by_the_system(host, *port, &modem).await {
            Ok(found) => Ok(found),
            Err(why) => match over_the_modem(&endpoint, &modem, &send).await {
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
                if send.send(Word::Found(found)).is_err() {
                    return;
                }
                pause = PAUSES.0;
                rhythm.until_due(&endpoint).await;
                continue;
            }
            Err(why) => why,
        };
        log::warn!("looking up {host}: {why}; again in {} s", pause.as_secs());
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn by_the_system(host: &str, port: u16, modem: &Modem) -> Result<Vec<SocketAddr>, String> {
    let found = match timeout(DEADLINE, tokio::net::lookup_host((host, port))).await {
        Ok(found) => found.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("no answer within {} s", DEADLINE.as_secs())),
    };
    some_of(reachable(modem, found), modem)
}

fn some_of(addresses: Vec<SocketAddr>, modem: &Modem) -> Result<Vec<SocketAddr>, String> {
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
async fn over_the_modem(
    endpoint: &Endpoint,
    modem: &Modem,
    send: &mpsc::UnboundedSender<Word>,
) -> Option<Result<Vec<SocketAddr>, String>> {
    let Endpoint::Name { host, port } = endpoint else {
        return None;
    };
    let mut why = None;
    for server in &modem.name_servers {
        let own = modem.places().map(|place| place.address.address);
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
        let request = Request {
            endpoint: endpoint.clone(),
            permit,
            granted,
        };
        send.send(Word::Wanted(request)).ok()?;
        if !answer.await.unwrap_or(false) {
            return None;
        }
        let found = query::ask(socket, *server, host, modem).await;
        // Without an agent to hear it the permit ends by itself.
        send.send(Word::Done(permit)).ok();
        let found = found.map(|found| found.into_iter().map(|ip| SocketAddr::new(ip, *port)));
        match found.and_then(|found| some_of(found.collect(), modem)) {
            Ok(addresses) => return Some(Ok(addresses)),
            Err(error) => why = Some(Err(format!("{server}: {error}"))),
        }
    }
    why
}

/// Those of a family that the modem has, in the order of the answer.
fn reachable(modem: &Modem, found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    found.filter(|address| modem.speaks(address.ip())).collect()
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
    use crate::config::{ModemIdentity, Place};

    #[test]
    fn of_a_name_only_the_modems_families_are_taken() {
        let place = |address: &str| {
            Some(Place {
                address: address.parse().unwrap(),
                gateway: None,
                admin: None,
            })
        };
        let (v4, v6) = (place("192.168.0.2/32"), place("2001:db8::2/128"));
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
