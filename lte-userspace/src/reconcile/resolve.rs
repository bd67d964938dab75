//! Looking up endpoint names in the background. The datapath never waits for it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::config::{Config, Endpoint, Modem};

/// How long one look-up may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The first and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));
/// How long an answer is believed.
const AGAIN: Duration = Duration::from_mins(10);

/// An answer.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The name.
    pub endpoint: Endpoint,
    /// What it means.
    pub addresses: Vec<SocketAddr>,
}

/// One task for each name.
#[derive(Debug)]
pub(super) struct Resolver {
    tasks: Vec<JoinHandle<()>>,
    answers: mpsc::UnboundedReceiver<Resolved>,
}

impl Resolver {
    /// Starts looking up the names of all peers.
    pub(super) fn start(config: &Config) -> Self {
        let (send, answers) = mpsc::unbounded_channel();
        let tasks = config
            .tunnel
            .peers
            .iter()
            .filter(|peer| matches!(peer.endpoint, Endpoint::Name { .. }))
            .map(|peer| {
                let endpoint = peer.endpoint.clone();
                tokio::spawn(keep_looking(endpoint, config.modem.clone(), send.clone()))
            })
            .collect();
        Self { tasks, answers }
    }

    /// The next answer. Never comes where there is no name.
    pub(super) async fn next(&mut self) -> Resolved {
        match self.answers.recv().await {
            Some(resolved) => resolved,
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

async fn keep_looking(endpoint: Endpoint, modem: Modem, send: mpsc::UnboundedSender<Resolved>) {
    let Endpoint::Name { host, port } = &endpoint else {
        return;
    };
    let mut pause = PAUSES.0;
    loop {
        let why = match timeout(DEADLINE, tokio::net::lookup_host((host.as_str(), *port))).await {
            Ok(Ok(found)) => {
                let addresses = reachable(&modem, found);
                if addresses.is_empty() {
                    format!(
                        "it has no {} address, and the modem no other",
                        families(&modem)
                    )
                } else {
                    let endpoint = endpoint.clone();
                    if send
                        .send(Resolved {
                            endpoint,
                            addresses,
                        })
                        .is_err()
                    {
                        return;
                    }
                    pause = PAUSES.0;
                    sleep(AGAIN).await;
                    continue;
                }
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", DEADLINE.as_secs()),
        };
        log::warn!("looking up {host}: {why}; again in {} s", pause.as_secs());
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
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
            };
            assert_eq!(reachable(&modem, answers.into_iter()), taken);
        }
    }
}
