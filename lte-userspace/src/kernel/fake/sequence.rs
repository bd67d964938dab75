//! Operations as text, for any kernel, so that the model can be compared with the running one.

use std::str::FromStr;
use std::time::Duration;

use super::dump::{TABLE, names};
use super::sysctls;
use crate::config::{Cidr, PrivateKey, PublicKey};
use crate::desired::{
    Address, Backstop, IpFamily, Offload, OffloadKey, Peer, Queue, Route, Rule, SysctlKey,
    WireguardDevice,
};
use crate::kernel::{KernelError, KernelOperations, MAIN_TABLE, route, rule};

/// No interface has it.
const NO_INDEX: u32 = u32::MAX >> 1;

/// The words of a step.
struct Words<'a>(Vec<&'a str>);

impl Words<'_> {
    fn at(&self, at: usize) -> &str {
        self.0.get(at).copied().unwrap_or_default()
    }

    fn parse<T: FromStr>(&self, at: usize) -> T {
        let word = self.at(at);
        let parsed = word.parse().ok();
        parsed.unwrap_or_else(|| panic!("{word:?} in the step {:?}", self.0.join(" ")))
    }

    fn after<T: FromStr>(&self, key: &str) -> Option<T> {
        let at = self.0.iter().position(|word| *word == key)?;
        Some(self.parse(at + 1))
    }

    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    /// A network, or `default`.
    fn network(&self, at: usize) -> Cidr {
        match self.at(at) {
            "default" => IpFamily::V4.everything(),
            "default6" => IpFamily::V6.everything(),
            _ => self.parse(at),
        }
    }
}

/// Takes one step. The verbs are those of `ip`, `wg` and `sysctl`, shortened.
pub(crate) async fn take<K: KernelOperations>(kernel: &K, step: &str) -> Result<(), KernelError> {
    let words = Words(step.split_whitespace().collect());
    let name = words.at(1).to_owned();
    // Of an interface that is not there the kernel is asked all the same.
    let index = async |name: &str| kernel.index(name).await.unwrap_or(NO_INDEX);
    match words.at(0) {
        "create" => kernel.create_wireguard(&name, words.parse(2)).await,
        "up" => kernel.set_up(index(&name).await, &name, true).await,
        "down" => kernel.set_up(index(&name).await, &name, false).await,
        "mtu" => {
            let mtu = words.parse(2);
            kernel.set_mtu(index(&name).await, &name, mtu).await
        }
        "alias" => kernel.set_alias(index(&name).await, &name).await,
        "master" => {
            let master = match words.at(2) {
                "-" => None,
                master => Some(index(master).await),
            };
            kernel.set_master(index(&name).await, &name, master).await
        }
        "delete" => kernel.delete_link(index(&name).await, &name).await,
        "+address" => {
            let address = Address {
                interface: name.clone(),
                cidr: words.parse(2),
                prefix_route: words.has("prefix"),
            };
            kernel.add_address(index(&name).await, &address).await
        }
        "-address" => {
            let cidr = words.parse(2);
            kernel.remove_address(index(&name).await, cidr).await
        }
        "+route" => {
            let route = route_of(&words);
            kernel.add_route(index(&name).await, &route).await
        }
        "-route" => remove_route(kernel, index(&name).await, &route_of(&words)).await,
        "+rule" => kernel.add_rule(&rule_of(&words)).await,
        "-rule" => {
            let message = rule::message(&rule_of(&words));
            let found = kernel.rules().await?.ours;
            let priority = rule::priority(&message);
            let found = found
                .into_iter()
                .map(|found| found.message)
                .find(|found| rule::priority(found) == priority);
            kernel.remove_rule(&found.unwrap_or(message), step).await
        }
        _ => take_setting(kernel, step, &words).await,
    }
}

/// Takes a step that is about something else than addresses, routes and rules.
async fn take_setting<K: KernelOperations>(
    kernel: &K,
    step: &str,
    words: &Words<'_>,
) -> Result<(), KernelError> {
    let name = words.at(1).to_owned();
    let index = async |name: &str| kernel.index(name).await.unwrap_or(NO_INDEX);
    match words.at(0) {
        "+backstop" => {
            let backstop = Backstop {
                interface: name.clone(),
                mark: words.after("mark").unwrap_or(0x7b),
                mask: 0xff,
                queue: Queue::FqCodel,
            };
            let index = index(&name).await;
            kernel.add_backstop(index, &backstop).await.map(drop)
        }
        "-backstop" => kernel.remove_backstop(index(&name).await, &name).await,
        "offload" => {
            let mut keys = OffloadKey::ALL.into_iter();
            let key = keys.find(|key| key.name() == words.at(2));
            let offload = Offload {
                interface: name.clone(),
                key: key.expect("a feature that the agent knows"),
                value: words.parse(3),
            };
            kernel.set_offload(index(&name).await, &offload).await
        }
        "sysctl" => kernel.write_sysctl(&name, key_of(words.at(2)), words.at(3)),
        "device" => {
            let device = WireguardDevice {
                interface: name,
                private_key: PrivateKey::new(&[words.parse(2); 32]),
                listen_port: words.parse(3),
            };
            kernel.set_device(&device).await
        }
        "+peer" => {
            let peer = Peer {
                interface: name,
                public_key: PublicKey([words.parse(2); 32]),
                endpoint: words.after("endpoint"),
                allowed_ips: words.after("allowed").into_iter().collect(),
                keepalive: Duration::from_secs(words.after("keepalive").unwrap_or(0)),
            };
            kernel.set_peer(&peer).await
        }
        "-peer" => {
            let key = PublicKey([words.parse(2); 32]);
            kernel.remove_peer(&name, key).await
        }
        _ => panic!("{step:?} is no step"),
    }
}

fn key_of(name: &str) -> SysctlKey {
    let mut keys = sysctls::KEYS.into_iter();
    let key = keys.find(|key| key.path().1 == name);
    key.expect("a sysctl that the agent knows")
}

fn route_of(words: &Words<'_>) -> Route {
    Route {
        destination: words.network(2),
        gateway: words.after("via"),
        interface: words.at(1).to_owned(),
        source: words.after("src"),
        table: words.after("table").unwrap_or(MAIN_TABLE),
    }
}

fn rule_of(words: &Words<'_>) -> Rule {
    Rule {
        family: if words.at(1) == "v6" {
            IpFamily::V6
        } else {
            IpFamily::V4
        },
        priority: words.parse(2),
        local: words.has("local"),
        source: words.after("from"),
        udp_source_port: words.after("sport"),
        mark: words.after("mark").map(|mark| (mark, 0xff)),
        table: words.after("table").unwrap_or(TABLE),
    }
}

async fn remove_route<K: KernelOperations>(
    kernel: &K,
    index: u32,
    route: &Route,
) -> Result<(), KernelError> {
    let names = names(kernel).await?;
    let found = kernel.routes(&names).await?.ours;
    let found = found
        .into_iter()
        .find(|found| found.route.as_ref() == Some(route));
    let message = found.map_or_else(|| route::message(route, index), |found| found.message);
    kernel.remove_route(&message, &route.to_string()).await
}
