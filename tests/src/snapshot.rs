//! The exact state of a namespace, and what differs between two of them.
//!
//! A snapshot is a bag of lines, each a fact: an interface's field, an address, a route, a rule, a
//! sysctl, a qdisc, a filter, a line of the nft ruleset, a loaded program, a pin. Counters,
//! lifetimes and ages are left out; interface indexes stay, since an interface that was deleted
//! and made anew is not as it was found.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::netns::Netns;
use crate::{bpf, ruleset, sysctl, wait};

/// Fields that change by themselves.
const MOVING: &[&str] = &[
    "stats",
    "stats64",
    "valid_life_time",
    "preferred_life_time",
    "expires",
    "used",
    "age",
    "link_index",
    // Found out a moment after a link is up.
    "operstate",
    // Which processor's memory a device was given is of no interest.
    "tso_max_size",
    "tso_max_segs",
];

/// A namespace's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    lines: BTreeMap<String, usize>,
}

/// What is in one snapshot and not in the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Lines that are gone.
    pub gone: Vec<String>,
    /// Lines that are new.
    pub new: Vec<String>,
}

impl Difference {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.new.is_empty()
    }

    /// Only the lines that `wanted` picks.
    #[must_use]
    pub fn only(&self, wanted: impl Fn(&str) -> bool) -> Self {
        let pick = |lines: &[String]| lines.iter().filter(|line| wanted(line)).cloned().collect();
        Self {
            gone: pick(&self.gone),
            new: pick(&self.new),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.gone {
            writeln!(f, "- {line}")?;
        }
        for line in &self.new {
            writeln!(f, "+ {line}")?;
        }
        Ok(())
    }
}

impl Snapshot {
    /// Takes one.
    pub fn take(netns: &Netns) -> Result<Self> {
        let mut snapshot = Self {
            lines: BTreeMap::new(),
        };
        snapshot
            .read(netns)
            .with_context(|| format!("snapshot of {}", netns.name()))?;
        Ok(snapshot)
    }

    fn read(&mut self, netns: &Netns) -> Result<()> {
        // Routes of all tables are shown for both families in one; rules are not.
        let common = netns.tool_with_input(
            "ip",
            &["-json", "-details", "-batch", "-"],
            "addr show\nroute show table all\nrule show\n",
        )?;
        self.add_ip("ipv4", &common)?;
        let ipv6 = netns.tool("ip", &["-6", "-json", "rule", "show"])?;
        self.add_ip("ipv6", &ipv6)?;
        self.add_traffic_control(netns)?;
        let rules = netns.tool("nft", &["--stateless", "list", "ruleset"])?;
        for line in ruleset::lines(&rules) {
            self.add(format!("nft {line}"));
        }
        for line in netns.tool("wg", &["show", "all", "dump"])?.lines() {
            self.add(format!("wireguard {}", configuration(line)));
        }
        for (key, value) in sysctl::all(netns)? {
            self.add(format!("sysctl net/{key} = {value}"));
        }
        for object in bpf::objects()? {
            self.add(object);
        }
        let resolver = match fs::read_to_string("/etc/resolv.conf") {
            Ok(text) => text,
            Err(error) => format!("({})", error.kind()),
        };
        self.add(format!("resolver {resolver:?}"));
        Ok(())
    }

    /// What became of it: the lines gone and the lines new in `later`.
    pub fn difference(&self, later: &Self) -> Difference {
        let missing = |from: &Self, other: &Self| {
            let mut lines = Vec::new();
            for (line, &count) in &from.lines {
                let there = other.lines.get(line).copied().unwrap_or(0);
                for _ in there..count {
                    lines.push(line.clone());
                }
            }
            lines
        };
        Difference {
            gone: missing(self, later),
            new: missing(later, self),
        }
    }

    /// Takes a new one until it is as this one. The kernel frees programs and interfaces a moment
    /// after they were let go, so that "at once" would be wrong; past two seconds it is an error
    /// that shows what differs.
    pub fn assert_same(&self, netns: &Netns) -> Result<()> {
        let mut difference = None;
        let settled = wait::until(std::time::Duration::from_secs(2), "the old state", || {
            let now = self.difference(&Self::take(netns)?);
            let same = now.is_empty();
            difference = Some(now);
            Ok(same.then_some(()))
        });
        match (settled, difference) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(difference)) => {
                bail!("{} is not as it was:\n{difference}", netns.name())
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Its lines, each once.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.keys().map(String::as_str)
    }

    fn add(&mut self, line: String) {
        *self.lines.entry(line).or_default() += 1;
    }

    /// Each command of a batch prints one JSON array.
    fn add_ip(&mut self, family: &str, printed: &str) -> Result<()> {
        for array in serde_json::Deserializer::from_str(printed).into_iter::<Vec<Value>>() {
            for object in array.context("what `ip -json` printed")? {
                let Value::Object(object) = object else {
                    continue;
                };
                if object.contains_key("ifname") {
                    self.add_link(object);
                } else if object.contains_key("priority") {
                    self.add(format!("rule {family} {}", shown(object)));
                } else if object.contains_key("dst") {
                    self.add(format!("route {}", shown(object)));
                }
            }
        }
        Ok(())
    }

    fn add_link(&mut self, mut link: Map<String, Value>) {
        let Some(Value::String(name)) = link.remove("ifname") else {
            return;
        };
        if let Some(Value::Array(addresses)) = link.remove("addr_info") {
            for address in addresses {
                if let Value::Object(address) = address {
                    self.add(format!("address {name} {}", shown(address)));
                }
            }
        }
        for (field, value) in still(link) {
            self.add(format!("link {name} {field} = {value}"));
        }
    }

    /// `tc` prints no filters unless asked for each interface and hook.
    fn add_traffic_control(&mut self, netns: &Netns) -> Result<()> {
        let qdiscs = netns.tool("tc", &["qdisc", "show"])?;
        let mut questions = Vec::new();
        for line in qdiscs.lines() {
            self.add(format!("tc {}", line.trim_end()));
            if let Some(("clsact" | "ingress", rest)) = line
                .strip_prefix("qdisc ")
                .and_then(|line| line.split_once(' '))
                && let Some((_, rest)) = rest.split_once(" dev ")
                && let Some(device) = rest.split_whitespace().next()
            {
                for hook in ["ingress", "egress"] {
                    questions.push(format!("filter show dev {device} {hook}\n"));
                }
            }
        }
        if !questions.is_empty() {
            let filters = netns.tool_with_input("tc", &["-batch", "-"], &questions.concat())?;
            for line in filters.lines().filter(|line| !line.trim().is_empty()) {
                self.add(format!("tc {}", line.trim_end()));
            }
        }
        Ok(())
    }
}

fn still(object: Map<String, Value>) -> impl Iterator<Item = (String, Value)> {
    object
        .into_iter()
        .filter(|(field, _)| !MOVING.contains(&field.as_str()))
}

fn shown(object: Map<String, Value>) -> String {
    let words: Vec<String> = still(object)
        .filter(|(_, value)| *value != Value::Array(Vec::new()))
        .map(|(field, value)| match value {
            Value::String(text) => format!("{field} {text}"),
            Value::Null => field,
            other => format!("{field} {other}"),
        })
        .collect();
    words.join(", ")
}

/// A line of `wg show all dump` without keys that are secret, times and counters.
pub fn configuration(line: &str) -> String {
    let fields: Vec<&str> = line.split('\t').collect();
    match fields.as_slice() {
        // interface, private key, public key, listen port, mark
        [interface, _, public, port, mark] => format!("{interface} {public} {port} {mark}"),
        // interface, public key, preshared key, endpoint, allowed, handshake, rx, tx, keepalive
        [interface, public, _, endpoint, allowed, _, _, _, keepalive] => {
            format!("{interface} peer {public} {endpoint} {allowed} {keepalive}")
        }
        _ => "(unknown form)".to_owned(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use crate::topology::{Lab, Options};

    fn lab() -> Lab {
        Lab::build(&Options {
            server: false,
            ..Options::default()
        })
        .unwrap()
    }

    #[test]
    fn nothing_done_is_no_difference() {
        let lab = lab();
        let before = lab.snapshot().unwrap();
        assert!(
            before
                .lines()
                .any(|line| line.contains("conf/wan/rp_filter = 1"))
        );
        before.assert_same(&lab.router).unwrap();
    }

    #[test]
    fn every_kind_of_change_shows() {
        let lab = lab();
        let before = lab.snapshot().unwrap();
        for (change, undo, shows) in [
            (
                "ip address add 10.1.1.1/24 dev lan0",
                "ip address del 10.1.1.1/24 dev lan0",
                "10.1.1.1",
            ),
            (
                "ip link set lan0 mtu 1400",
                "ip link set lan0 mtu 1500",
                "mtu",
            ),
            (
                "ip link set modem up",
                "ip link set modem down",
                "link modem",
            ),
            (
                "ip route add 10.2.0.0/16 via 192.168.77.9 table 99",
                "ip route del 10.2.0.0/16 table 99",
                "10.2.0.0",
            ),
            (
                "ip rule add fwmark 9 lookup 99",
                "ip rule del fwmark 9 lookup 99",
                "rule ipv4",
            ),
            (
                "ip -6 rule add fwmark 9 lookup 99",
                "ip -6 rule del fwmark 9 lookup 99",
                "rule ipv6",
            ),
            (
                "tc qdisc add dev modem clsact",
                "tc qdisc del dev modem clsact",
                "clsact",
            ),
            (
                "nft add table inet other",
                "nft delete table inet other",
                "table inet other",
            ),
            (
                "sysctl -q net.ipv4.conf.modem.rp_filter=2",
                "sysctl -q net.ipv4.conf.modem.rp_filter=1",
                "conf/modem/rp_filter",
            ),
            (
                "sysctl -q net.ipv6.conf.wan.accept_ra=2",
                "sysctl -q net.ipv6.conf.wan.accept_ra=1",
                "conf/wan/accept_ra",
            ),
        ] {
            let run = |line: &str| {
                let words: Vec<&str> = line.split(' ').collect();
                lab.router.tool(words[0], &words[1..]).unwrap();
            };
            run(change);
            let difference = before.difference(&lab.snapshot().unwrap());
            assert!(
                difference.to_string().contains(shows),
                "{change}:\n{difference}"
            );
            run(undo);
            before.assert_same(&lab.router).expect(undo);
        }
    }

    #[test]
    fn what_stays_changed_is_an_error() {
        let lab = lab();
        let before = lab.snapshot().unwrap();
        lab.router.ip("link set lan0 mtu 1400\n").unwrap();
        let error = before.assert_same(&lab.router).unwrap_err().to_string();
        assert!(error.contains("+ link lan0 mtu = 1400"), "{error}");
    }

    #[test]
    fn filters_show() {
        let lab = lab();
        lab.router
            .tool("tc", &["qdisc", "add", "dev", "wan", "clsact"])
            .unwrap();
        let before = lab.snapshot().unwrap();
        lab.router
            .tool_with_input(
                "tc",
                &["-batch", "-"],
                "filter add dev wan egress protocol ip u32 match u32 0 0 classid 1:1
",
            )
            .unwrap();
        let difference = before.difference(&lab.snapshot().unwrap());
        assert!(difference.to_string().contains("u32"), "{difference}");
    }
}
