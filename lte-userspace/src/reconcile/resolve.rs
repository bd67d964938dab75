//! Looking up endpoint names in the background. The datapath never waits for it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::config::{Config, Endpoint};

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
            .map(|peer| tokio::spawn(keep_looking(peer.endpoint.clone(), send.clone())))
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

async fn keep_looking(endpoint: Endpoint, send: mpsc::UnboundedSender<Resolved>) {
    let Endpoint::Name { host, port } = &endpoint else {
        return;
    };
    let mut pause = PAUSES.0;
    loop {
        let why = match timeout(DEADLINE, tokio::net::lookup_host((host.as_str(), *port))).await {
            Ok(Ok(found)) => {
                // The modem has IPv4 alone.
                let addresses: Vec<SocketAddr> = found.filter(SocketAddr::is_ipv4).collect();
                if addresses.is_empty() {
                    "it has no IPv4 address".to_owned()
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
