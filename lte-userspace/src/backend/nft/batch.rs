//! The transactions: the commands by which nft makes the observed tables the desired ones.

use super::expr::RuleFamily;
use super::inet::whole_seconds;
use super::ruleset::Ruleset;
use super::seal::{SEAL, Seal};
use super::state::{State, TableState};
use super::table::{NAME, ORIGIN, Table, is_counter_name};
use crate::backend::Remote;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// The transaction that makes both tables what they are to be.
///
/// Where a table has the right chains and sets already, only its rules are replaced, and not a
/// packet is lost from its counters. Else it is made anew, with the counters and the remembered
/// remotes that were read just before.
///
/// `origin` is what new counters are known by; those whose values are taken over keep theirs.
pub(super) fn load(want: &Ruleset, have: &State, origin: u64) -> Result<Value, serde_json::Error> {
    let mut commands = Vec::new();
    for table in want.tables() {
        let family = table.family_name();
        let add = |kind: &str, body: Value| json!({"add": {kind: body}});
        let itself = json!({"family": family, "name": NAME});
        let old = have.table(family);
        if let Some(old) = old
            && table_has_structure(table, old)
        {
            commands.push(json!({"flush": {"table": itself}}));
            for (name, _) in old.named("chain").filter(|(name, _)| is_seal(name)) {
                commands.push(json!({"delete": {"chain": object(family, name)}}));
            }
            commands.extend(table.rules()?.into_iter().map(|rule| json!({"add": rule})));
            continue;
        }
        commands.push(add("table", itself.clone()));
        if old.is_some() {
            commands.push(json!({"delete": {"table": itself}}));
            commands.push(add("table", itself));
        }
        commands.extend(counters(table, old).map(|c| add("counter", c)));
        if table.has_origin() {
            let mut counter = object(family, ORIGIN);
            // With values that are taken over their origin is, too; where that is not known, none is made up.
            let kept = || have.origin().unwrap_or(0);
            let origin = if have.is_empty() { origin } else { kept() };
            counter["packets"] = origin.into();
            commands.push(add("counter", counter));
        }
        let structure_and_rules = table.structure()?.into_iter().chain(table.rules()?);
        commands.extend(structure_and_rules.map(|object| json!({"add": object})));
        commands.extend(
            old.into_iter()
                .flat_map(|old| elements(table, old))
                .map(|e| add("element", e)),
        );
    }
    Ok(json!({"nftables": commands}))
}

/// The command that seals what has been loaded.
pub(super) fn seal(seal: Seal) -> Value {
    json!({"nftables": [{"add": {"chain": object("inet", &seal.name())}}]})
}

/// The transaction that takes away what is there.
pub(super) fn remove(have: &State) -> Value {
    // `ingress` goes first: it takes off what another backend's guard has marked, and `prerouting`
    // has to be there still to mark it again.
    let commands: Vec<_> = [("netdev", &have.netdev), ("inet", &have.inet)]
        .into_iter()
        .filter(|(_, table)| table.is_some())
        .flat_map(|(family, _)| {
            let table = json!({"table": {"family": family, "name": NAME}});
            // Added first: that another process has deleted it is no failure.
            [json!({"add": table}), json!({"delete": table})]
        })
        .collect();
    json!({"nftables": commands})
}

fn object(family: &str, name: &str) -> Value {
    json!({"family": family, "table": NAME, "name": name})
}

fn is_seal(chain: &str) -> bool {
    chain.starts_with(SEAL)
}

/// Whether both tables have the chains, sets and counters that are wanted.
pub(super) fn has_structure(want: &Ruleset, have: &State) -> bool {
    want.tables().iter().all(|table| {
        have.table(table.family_name())
            .is_some_and(|old| table_has_structure(table, old))
    })
}

/// Whether a table that is there has the chains and sets that are wanted, and the counters.
fn table_has_structure(want: &Table, have: &TableState) -> bool {
    structure_differences(want, have).is_empty()
}

/// In what the chains, sets and counters of a table differ from what is wanted; rules aside.
pub(super) fn structure_differences(want: &Table, have: &TableState) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |kind: &str, want: BTreeMap<String, Value>, have: BTreeMap<String, Value>| {
        for (name, body) in &want {
            match have.get(name) {
                None => differences.push(format!("no {kind} {name}")),
                Some(other) if other != body => {
                    differences.push(format!("{kind} {name} was changed"));
                }
                Some(_) => {}
            }
        }
        let more = have.keys().filter(|name| !want.contains_key(*name));
        differences.extend(more.map(|name| format!("{kind} {name} is not ours")));
    };
    let chain = |body: &Value| pick(body, &["type", "hook", "prio", "policy", "dev"]);
    let set = |body: &Value| pick(body, &["type", "timeout", "size"]);
    let objects = want.structure().unwrap_or_default();
    let wanted = |kind: &str, pick: &dyn Fn(&Value) -> Value| {
        objects
            .iter()
            .filter_map(|object| object.get(kind))
            .filter_map(|body| Some((body["name"].as_str()?.to_owned(), pick(body))))
            .collect()
    };
    let found = |kind: &'static str, pick: &dyn Fn(&Value) -> Value| {
        have.named(kind)
            .filter(|(name, _)| !is_seal(name))
            .map(|(name, body)| (name.to_owned(), pick(body)))
            .collect()
    };
    compare("chain", wanted("chain", &chain), found("chain", &chain));
    compare("set", wanted("set", &set), found("set", &set));
    let there: BTreeSet<_> = have.named("counter").map(|(name, _)| name).collect();
    let missing = want.counters().into_iter().filter(|c| !there.contains(c));
    differences.extend(missing.map(|name| format!("no counter {name}")));
    if want.has_origin() && !there.contains(ORIGIN) {
        differences.push(format!("no counter {ORIGIN}"));
    }
    let is_ours = |name: &str| is_counter_name(name) || (name == ORIGIN && want.has_origin());
    let foreign = there.iter().filter(|name| !is_ours(name));
    differences.extend(foreign.map(|name| format!("counter {name} is not ours")));
    if have
        .named("table")
        .any(|(_, body)| body.get("flags").is_some())
    {
        differences.push("it has flags, perhaps `dormant`".to_owned());
    }
    let known = ["table", "chain", "set", "counter", "rule"];
    let others = have.kinds().filter(|kind| !known.contains(kind));
    differences.extend(others.map(|kind| format!("a {kind} that is not ours")));
    differences
}

/// Those keys of an object that it has.
fn pick(body: &Value, keys: &[&str]) -> Value {
    let parts = keys
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), body.get(key)?.clone())));
    Value::Object(parts.collect())
}

/// The counters of a table: those that its rules name, and with the values of the table that it
/// replaces all that were there. None is ever lost, also where no rule names it for a while.
fn counters<'a>(table: &'a Table, old: Option<&'a TableState>) -> impl Iterator<Item = Value> + 'a {
    let values: BTreeMap<_, _> = old
        .into_iter()
        .flat_map(|old| old.counters(old.egress_header()))
        .collect();
    let mut names = table.counters();
    names.extend(values.keys());
    let link = table
        .chains
        .iter()
        .find_map(|chain| super::netdev::header_len(&chain.name))
        .unwrap_or(0);
    names.into_iter().map(move |name| {
        let mut counter = object(table.family_name(), name);
        if let Some(value) = values.get(name) {
            let link = if name.starts_with("modem-out/") {
                link
            } else {
                0
            };
            let bytes = value
                .packets
                .saturating_mul(link)
                .saturating_add(value.bytes);
            counter["packets"] = value.packets.into();
            counter["bytes"] = bytes.into();
        }
        counter
    })
}

/// The commands that put remotes into the sets for as long as they are to be remembered still. One
/// that is there already keeps its time, which is later.
pub(super) fn add_remotes(
    remotes: &BTreeMap<Remote, Duration>,
    timeout: Duration,
    table: &Table,
) -> Vec<Value> {
    let mut commands = Vec::new();
    for (remote, ago) in remotes {
        let family = match remote.address {
            IpAddr::V4(_) => RuleFamily::V4,
            IpAddr::V6(_) => RuleFamily::V6,
        };
        let left = timeout.saturating_sub(*ago);
        if left.is_zero() || !table.sets.iter().any(|set| set.name == family.remotes()) {
            continue;
        }
        let mut element = object(table.family_name(), family.remotes());
        let val = json!({"concat": [remote.address.to_string(), remote.port]});
        let left = whole_seconds(left);
        element["elem"] =
            json!([{"elem": {"val": val, "timeout": whole_seconds(timeout), "expires": left}}]);
        commands.push(json!({"add": {"element": element}}));
    }
    commands
}

/// The elements of the old table's sets, for as long as they had left.
fn elements<'a>(table: &'a Table, old: &'a TableState) -> impl Iterator<Item = Value> + 'a {
    table.sets.iter().filter_map(|set| {
        let elements = old.elements(&set.name);
        if elements.is_empty() {
            return None;
        }
        let mut all = object(table.family_name(), &set.name);
        all["elem"] = elements.into();
        Some(all)
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::backend::nft::probe::sample;
    use crate::backend::nft::ruleset::Features;
    use crate::backend::{Guard, LinkHeader};

    fn rules(guard: &Guard) -> Ruleset {
        Ruleset::new(guard, Features { egress: true })
    }

    /// The state that a load into nothing would make, with some traffic on it.
    fn loaded(guard: &Guard) -> State {
        let load = load(&rules(guard), &State::default(), 5).unwrap();
        let mut state = State {
            inet: Some(TableState::default()),
            netdev: Some(TableState::default()),
        };
        for command in load["nftables"].as_array().unwrap() {
            let mut object = command["add"].clone();
            for kind in ["counter", "set"] {
                let Some(body) = object.get_mut(kind) else {
                    continue;
                };
                if body["name"] == ORIGIN {
                    continue;
                }
                if kind == "counter" {
                    body["packets"] = 10.into();
                    body["bytes"] = (1u64 << 40).into();
                } else if body["name"] == "remote4" {
                    body["elem"] = json!([{"elem": {"val": "x", "expires": 7}}]);
                }
            }
            let (_, body) = object.as_object().unwrap().iter().next().unwrap();
            let netdev = body["family"] == "netdev";
            let table = if netdev {
                &mut state.netdev
            } else {
                &mut state.inet
            };
            table.as_mut().unwrap().push(object);
        }
        state
    }

    fn words(transaction: &Value) -> Vec<String> {
        let commands = transaction["nftables"].as_array().unwrap();
        commands.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn where_the_structure_is_right_only_rules_are_replaced() {
        let have = loaded(&sample());
        let mut guard = sample();
        guard.listen_port += 1;
        let words = words(&load(&rules(&guard), &have, 7).unwrap());
        assert_eq!(
            words
                .iter()
                .filter(|w| w.starts_with(r#"{"flush""#))
                .count(),
            2
        );
        assert!(
            words.iter().all(
                |w| w.starts_with(r#"{"flush":{"table""#) || w.starts_with(r#"{"add":{"rule""#)
            ),
            "{words:#?}"
        );
    }

    #[test]
    fn a_new_structure_takes_over_counters_and_remotes() {
        let mut have = loaded(&sample());
        have.netdev
            .as_mut()
            .unwrap()
            .push(json!({"chain": {"name": "evil"}}));
        let mut guard = sample();
        guard.flow_timeout *= 2;
        guard.modem.as_mut().unwrap().header = LinkHeader::None;
        let words = words(&load(&rules(&guard), &have, 7).unwrap());
        assert_eq!(
            words
                .iter()
                .filter(|w| w.starts_with(r#"{"delete":{"table""#))
                .count(),
            2
        );
        let has = |parts: &[&str]| words.iter().any(|w| parts.iter().all(|p| w.contains(p)));
        let whole = (1u64 << 40).to_string();
        assert!(has(&["element", "remote4", r#""expires":7"#]), "{words:#?}");
        assert!(
            has(&["counter", "inet", "modem-in/reply", &whole]),
            "{words:#?}"
        );
        // The new device has no link header to count.
        let bare = ((1u64 << 40) - 140).to_string();
        assert!(
            has(&["counter", "netdev", "modem-out/tunnel", &bare]),
            "{words:#?}"
        );
    }

    /// The number that a load gives the counters, if it makes them.
    fn origin_after(want: &Guard, have: &State) -> Option<u64> {
        let load = load(&rules(want), have, 7).unwrap();
        let commands = load["nftables"].as_array().unwrap().iter();
        let mut origins = commands.filter(|c| c["add"]["counter"]["name"] == ORIGIN);
        let origin = origins.next()?["add"]["counter"]["packets"].as_u64();
        assert!(origins.next().is_none());
        origin
    }

    #[test]
    fn counters_are_known_by_their_origin_as_long_as_they_have_their_values() {
        let mut longer = sample();
        longer.flow_timeout *= 2;
        assert_eq!(origin_after(&sample(), &State::default()), Some(7));
        let have = loaded(&sample());
        assert_eq!(have.origin(), Some(5));
        assert_eq!(origin_after(&sample(), &have), None, "they stay");
        assert_eq!(origin_after(&longer, &have), Some(5));
        let mut half = have.clone();
        half.inet = None;
        assert_eq!(origin_after(&longer, &half), Some(0), "some are kept");
        half = have;
        half.netdev = None;
        assert_eq!(origin_after(&longer, &half), Some(5));
    }

    #[test]
    fn counters_are_kept_while_there_is_no_modem() {
        let mut guard = sample();
        guard.modem = None;
        let words = words(&load(&rules(&guard), &loaded(&sample()), 7).unwrap());
        let kept = |w: &&String| w.contains("counter") && w.contains("modem-out/tunnel");
        assert_eq!(words.iter().filter(kept).count(), 1, "{words:#?}");
    }

    #[test]
    fn another_structure_is_described() {
        let want = rules(&sample());
        let right = loaded(&sample());
        assert!(table_has_structure(
            &want.inet,
            right.inet.as_ref().unwrap()
        ));
        assert!(table_has_structure(
            &want.netdev,
            right.netdev.as_ref().unwrap()
        ));
        let found = structure_differences(&want.inet, right.netdev.as_ref().unwrap());
        for line in [
            "no chain prerouting",
            "chain ingress is not ours",
            "no set remote4",
            "no counter origin",
            "no counter modem-in/reply",
        ] {
            assert!(found.iter().any(|f| f == line), "{line} in {found:#?}");
        }
        let mut flags = right.inet.unwrap();
        flags.push(json!({"table": {"name": NAME, "flags": "dormant"}}));
        flags.push(json!({"flowtable": {"name": "fast"}}));
        let found = structure_differences(&want.inet, &flags);
        assert_eq!(
            found,
            [
                "it has flags, perhaps `dormant`",
                "a flowtable that is not ours"
            ]
        );
    }
}
