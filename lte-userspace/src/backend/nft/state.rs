//! Our tables as they are in the kernel: plain JSON, because counters have 64 bits.

use super::expr::RuleFamily;
use super::netdev::header_len;
use super::ruleset::Fnv;
use super::run::{Program, RunError};
use super::seal::{SEAL, Seal};
use super::table::{NAME, ORIGIN, is_counter_name};
use crate::backend::Remote;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Packets, and bytes from the IP header on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CounterValue {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// One of our tables as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TableState {
    /// What it holds, each object as `{kind: {…}}`.
    objects: Vec<Value>,
}

/// Both of our tables as they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct State {
    pub(super) inet: Option<TableState>,
    pub(super) netdev: Option<TableState>,
}

impl State {
    /// Reads both; other people's tables are not read, whatever is in them.
    pub(super) fn read(nft: &Program) -> Result<Self, RunError> {
        let table = |family: &str| match list(nft, &["list", "table", family, NAME]) {
            Ok(objects) => Ok(Some(TableState { objects })),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        };
        let mut netdev = table("netdev")?;
        if let Some(table) = &mut netdev
            && table.lacks_devices()
        {
            table.add_devices(&nft.call(&["list", "table", "netdev", NAME], "")?);
        }
        Ok(Self {
            inet: table("inet")?,
            netdev,
        })
    }

    /// Reads the counters of both and nothing else, which costs much less.
    pub(super) fn read_counters(nft: &Program) -> Result<Self, RunError> {
        let table = |family| match list(nft, &["list", "counters", "table", family, NAME]) {
            Ok(objects) => Ok(Some(TableState { objects })),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        };
        Ok(Self {
            inet: table("inet")?,
            netdev: table("netdev")?,
        })
    }

    /// Bytes of link header in each packet that the egress chain's counters have.
    pub(super) fn egress_header(&self) -> u64 {
        let netdev = self.netdev.as_ref();
        netdev.map_or(0, TableState::egress_header)
    }

    /// Whether there is anything of ours.
    pub(super) const fn is_empty(&self) -> bool {
        self.inet.is_none() && self.netdev.is_none()
    }

    /// A table by its family's name.
    pub(super) fn table(&self, family: &str) -> Option<&TableState> {
        match family {
            "inet" => self.inet.as_ref(),
            "netdev" => self.netdev.as_ref(),
            _ => None,
        }
    }

    /// Which counters these are: what the counter [`ORIGIN`] says. A packet is never counted there; 0 is
    /// what has been set back.
    pub(super) fn origin(&self) -> Option<u64> {
        let mut counters = self.inet.as_ref()?.named("counter");
        let (_, origin) = counters.find(|(name, _)| *name == ORIGIN)?;
        origin["packets"].as_u64().filter(|origin| *origin != 0)
    }

    /// What the last load said of itself.
    pub(super) fn seal(&self) -> Option<Seal> {
        let inet = self.inet.as_ref()?;
        let mut seals = inet
            .named("chain")
            .filter_map(|(name, _)| Seal::parse(name));
        // Two are none: one of them is not of the last load.
        seals.next().filter(|_| seals.next().is_none())
    }

    /// A number that differs where anything but the traffic's traces differs.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = Fnv::new();
        for table in [&self.inet, &self.netdev].into_iter().flatten() {
            for object in table.stripped() {
                hash.add(&object);
            }
        }
        hash.finish()
    }

    /// The remembered remotes, and how long ago the tunnel sent to each.
    pub(super) fn remotes(&self) -> BTreeMap<Remote, Duration> {
        let mut found = BTreeMap::new();
        for family in RuleFamily::BOTH {
            let Some(inet) = &self.inet else { break };
            let name = family.remotes();
            let mut sets = inet.named("set").filter(|(set, _)| *set == name);
            let timeout = sets.find_map(|(_, set)| set["timeout"].as_u64());
            for element in inet.elements(name) {
                let element = &element["elem"];
                let parts = &element["val"]["concat"];
                let address = parts[0].as_str().and_then(|text| text.parse().ok());
                let port = parts[1].as_u64().and_then(|port| u16::try_from(port).ok());
                if let (Some(address), Some(port)) = (address, port) {
                    let left = element["expires"].as_u64().or(timeout).unwrap_or(0);
                    let ago = timeout.unwrap_or(left).saturating_sub(left);
                    let ago = Duration::from_secs(ago);
                    // A packet that came while a load was being committed may have added one more.
                    found
                        .entry(Remote { address, port })
                        .and_modify(|other| *other = ago.min(*other))
                        .or_insert(ago);
                }
            }
        }
        found
    }

    /// The counters: those of a name in both tables together. `header` is [`Self::egress_header`] of
    /// the tables whole.
    pub(super) fn counters(&self, header: u64) -> BTreeMap<&str, CounterValue> {
        let mut sums = BTreeMap::<_, CounterValue>::new();
        for (table, link) in [(&self.inet, 0), (&self.netdev, header)] {
            let counters = table.iter().flat_map(|table| table.counters(link));
            for (name, value) in counters {
                let sum = sums.entry(name).or_default();
                sum.packets = sum.packets.saturating_add(value.packets);
                sum.bytes = sum.bytes.saturating_add(value.bytes);
            }
        }
        sums
    }
}

/// Runs a listing and gives its objects.
fn list(nft: &Program, words: &[&str]) -> Result<Vec<Value>, RunError> {
    let mut arguments = vec!["-j"];
    arguments.extend(words);
    let mut answer: Value = serde_json::from_str(&nft.call(&arguments, "")?)?;
    let objects = match answer["nftables"].take() {
        Value::Array(objects) => objects,
        _ => Vec::new(),
    };
    Ok(objects
        .into_iter()
        .filter(|object| object.get("metainfo").is_none())
        .collect())
}

impl TableState {
    /// One object more.
    #[cfg(test)]
    pub(super) fn push(&mut self, object: Value) {
        self.objects.push(object);
    }

    /// The objects of a kind, with their names.
    pub(super) fn named(&self, kind: &'static str) -> impl Iterator<Item = (&str, &Value)> {
        self.objects.iter().filter_map(move |object| {
            let body = object.get(kind)?;
            Some((body["name"].as_str()?, body))
        })
    }

    /// Whether a chain is bound to a device and does not say to which.
    fn lacks_devices(&self) -> bool {
        self.named("chain")
            .any(|(_, body)| body.get("hook").is_some() && body.get("dev").is_none())
    }

    /// Puts the devices that chains are bound to where they belong. The JSON of nft 1.0.6 is silent
    /// about them, its plain listing is not: `type filter hook ingress device "modem" priority …`.
    fn add_devices(&mut self, listing: &str) {
        let mut devices = BTreeMap::new();
        let mut chain = "";
        for line in listing.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("chain ") {
                chain = name.trim_end_matches(" {");
            } else if line.starts_with("type ")
                && let Some((_, rest)) = line.split_once(" device")
                && let Some((device, _)) = rest.split_once(" priority")
            {
                let between = ['"', ' ', '{', '}'];
                let device = device.trim_start_matches("s =").trim_matches(between);
                devices.insert(chain, device);
            }
        }
        for object in &mut self.objects {
            if let Some(body) = object.get_mut("chain").and_then(Value::as_object_mut) {
                body.remove("dev");
                let device = body.get("name").and_then(Value::as_str);
                if let Some(device) = device.and_then(|name| devices.get(name)) {
                    body.insert("dev".to_owned(), (*device).into());
                }
            }
        }
    }

    /// The kinds of all objects.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.objects
            .iter()
            .filter_map(|object| object.as_object()?.keys().next().map(String::as_str))
    }

    /// How many rules a chain has.
    pub(super) fn rules_in(&self, chain: &str) -> usize {
        self.objects
            .iter()
            .filter(|object| object["rule"]["chain"] == chain)
            .count()
    }

    /// The counters of ours in it; in those of what leaves by the modem a packet has `link` bytes more.
    pub(super) fn counters(&self, link: u64) -> impl Iterator<Item = (&str, CounterValue)> {
        self.named("counter")
            .filter(|(name, _)| is_counter_name(name))
            .map(move |(name, body)| {
                let value = |key: &str| body[key].as_u64().unwrap_or(0);
                let packets = value("packets");
                let link = if name.starts_with("modem-out/") {
                    link
                } else {
                    0
                };
                let bytes = value("bytes").saturating_sub(packets.saturating_mul(link));
                (name, CounterValue { packets, bytes })
            })
    }

    /// Bytes of link header that the egress chain's counters have in each packet.
    pub(super) fn egress_header(&self) -> u64 {
        self.named("chain")
            .find_map(|(name, _)| header_len(name))
            .unwrap_or(0)
    }

    /// The elements of a set.
    pub(super) fn elements(&self, set: &str) -> &[Value] {
        self.named("set")
            .find(|(name, _)| *name == set)
            .and_then(|(_, body)| body.get("elem")?.as_array())
            .map_or(&[], Vec::as_slice)
    }

    /// The objects without what traffic changes, without handles, without the seal; in an order
    /// that depends on nothing but them.
    fn stripped(&self) -> Vec<Value> {
        let mut objects: Vec<_> = self
            .objects
            .iter()
            .filter(|object| {
                !object["chain"]["name"]
                    .as_str()
                    .is_some_and(|name| name.starts_with(SEAL))
            })
            .cloned()
            .collect();
        for object in &mut objects {
            for (kind, body) in object.as_object_mut().into_iter().flatten() {
                let volatile: &[&str] = match kind.as_str() {
                    "counter" => &["handle", "packets", "bytes"],
                    "set" => &["handle", "elem"],
                    _ => &["handle"],
                };
                if let Some(body) = body.as_object_mut() {
                    body.retain(|key, _| !volatile.contains(&key.as_str()));
                }
            }
        }
        // Rules keep their order within their chain: the sort is stable.
        objects.sort_by_cached_key(|object| match object.get("rule") {
            Some(rule) => format!("rule {}", rule["chain"]),
            None => object.to_string(),
        });
        objects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(objects: &[Value]) -> TableState {
        TableState {
            objects: objects.to_vec(),
        }
    }

    fn counter(name: &str, packets: u64, bytes: u64) -> Value {
        json!({"counter": {"family": "inet", "name": name, "table": "lte_backup", "handle": 1,
            "packets": packets, "bytes": bytes}})
    }

    fn chain(name: &str) -> Value {
        json!({"chain": {"family": "netdev", "name": name, "table": "lte_backup", "handle": 9}})
    }

    #[test]
    fn counters_have_64_bits_and_no_link_header() {
        let inet = state(&[
            counter("modem-out/tunnel", 1, 60),
            counter("modem-in/reply", 1 << 40, 1 << 50),
            counter("somebody-elses", 1, 1),
        ]);
        let netdev = state(&[
            chain("egress_ethernet"),
            counter("modem-out/tunnel", 10, 740),
            counter("modem-in/neighbour", 2, 56),
        ]);
        let both = State {
            inet: Some(inet),
            netdev: Some(netdev),
        };
        let value = |packets, bytes| CounterValue { packets, bytes };
        let expected = [
            ("modem-in/neighbour", value(2, 56)),
            ("modem-in/reply", value(1 << 40, 1 << 50)),
            ("modem-out/tunnel", value(11, 660)),
        ];
        assert_eq!(both.counters(both.egress_header()), expected.into());
    }

    #[test]
    fn of_a_remote_that_is_there_twice_the_later_counts() {
        let element = |expires: u32| json!({"elem": {"val": {"concat": ["192.0.2.10", 51820]}, "expires": expires}});
        for expires in [[100, 240], [240, 100]] {
            let elements = expires.map(element);
            let set = json!({"set": {"name": "remote4", "timeout": 250, "elem": elements}});
            let state = State {
                inet: Some(state(&[set])),
                netdev: None,
            };
            let ago: Vec<Duration> = state.remotes().into_values().collect();
            assert_eq!(ago, [Duration::from_secs(10)]);
        }
    }

    #[test]
    fn traffic_leaves_no_trace_in_the_fingerprint_and_a_change_does() {
        let rule = |text: &str| {
            json!({"rule": {"family": "inet", "table": "lte_backup", "chain": "c", "handle": 3,
                "expr": [{"text": text}]}})
        };
        let set = |handle: u32, elements: &[u32]| json!({"set": {"name": "remote4", "handle": handle, "elem": elements, "timeout": 9}});
        let of = |objects: &[Value]| {
            let state = State {
                inet: Some(state(objects)),
                netdev: None,
            };
            state.fingerprint()
        };
        let before = of(&[counter("a/b", 1, 1), set(1, &[]), rule("x"), rule("y")]);
        let after = [
            chain("seal_1_2"),
            set(4, &[1, 2]),
            counter("a/b", 9, 9),
            rule("x"),
            rule("y"),
        ];
        let mut sealed = after.to_vec();
        assert_eq!(before, of(&sealed));
        sealed.swap(3, 4);
        assert_ne!(before, of(&sealed), "the order of rules");
        assert_ne!(before, of(&after[..4]), "a rule that is missing");
        assert_ne!(
            before,
            of(&[&after[..], &[chain("more")]].concat()),
            "a chain more"
        );
    }

    #[test]
    fn devices_are_read_from_both_listings_of_nft() {
        let listing = |hook: &str| {
            let mut table = state(&[chain("ingress"), chain("plain")]);
            let line = format!(
                "table netdev t {{\n\tchain ingress {{\n\t\ttype filter hook ingress {hook} \
                 priority -500; policy accept;\n\t}}\n\tchain plain {{\n\t}}\n}}\n",
            );
            table.add_devices(&line);
            let device = |name| {
                let (_, body) = table.named("chain").find(|(n, _)| *n == name)?;
                body.get("dev")?.as_str().map(str::to_owned)
            };
            (device("ingress"), device("plain"))
        };
        let modem = (Some("modem".to_owned()), None);
        assert_eq!(listing("device \"modem\""), modem);
        assert_eq!(listing("devices = { modem }"), modem);
        assert_eq!(listing("devices = { \"modem\" }"), modem);
        assert_eq!(listing(""), (None, None));
    }
}
