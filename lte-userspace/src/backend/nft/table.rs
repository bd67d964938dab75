//! One table as data, and the builder that rules are written with.

use super::expr::{Stmt, family_name};
use lte_common::policy::{Class, Hook};
use nftables::schema::{Chain, NfListObject, Rule, Set, SetFlag, SetType, SetTypeValue};
use nftables::stmt::Counter;
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde_json::Value;
use std::collections::BTreeSet;

/// The name of our tables, whatever their family.
pub(super) const NAME: &str = "lte_backup";

/// The name of a counter, in the table `inet`, that no rule names: its number of packets is a random number that was
/// drawn when the counters were made. It goes where they go, and tells them from others of the same names.
pub(super) const ORIGIN: &str = "origin";

/// The name of the counter of a class on a hook.
pub(super) fn counter_name(hook: Hook, class: Class) -> String {
    format!("{}/{}", hook.name(), class.name())
}

/// Whether a counter's name is one that [`counter_name`] gives.
pub(super) fn is_counter_name(name: &str) -> bool {
    name.split_once('/').is_some_and(|(hook, class)| {
        Hook::ALL.iter().any(|h| h.name() == hook) && Class::ALL.iter().any(|c| c.name() == class)
    })
}

/// A table as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// `inet` or `netdev`.
    pub(super) family: NfFamily,
    /// Its chains, in the order of their making.
    pub(super) chains: Vec<Chain<'static>>,
    /// Its named sets.
    pub(super) sets: Vec<Set<'static>>,
    /// Its rules, in the order of their chain.
    rules: Vec<Rule<'static>>,
}

impl Table {
    pub(super) const fn new(family: NfFamily) -> Self {
        Self {
            family,
            chains: Vec::new(),
            sets: Vec::new(),
            rules: Vec::new(),
        }
    }

    /// Adds a chain that others go to.
    pub(super) fn chain(&mut self, name: impl Into<String>) {
        self.chains.push(Chain {
            family: self.family,
            table: NAME.into(),
            name: name.into().into(),
            ..Chain::default()
        });
    }

    /// Adds a chain that a hook of the kernel enters. Its policy is to accept: it sees packets
    /// that are none of ours.
    pub(super) fn base_chain(
        &mut self,
        name: impl Into<String>,
        kind: NfChainType,
        hook: NfHook,
        priority: i32,
        device: Option<&str>,
    ) {
        self.chains.push(Chain {
            family: self.family,
            table: NAME.into(),
            name: name.into().into(),
            newname: None,
            handle: None,
            _type: Some(kind),
            hook: Some(hook),
            prio: Some(priority),
            dev: device.map(|d| d.to_owned().into()),
            policy: Some(NfChainPolicy::Accept),
        });
    }

    /// Appends a rule to a chain.
    pub(super) fn rule(&mut self, chain: impl Into<String>, parts: impl IntoIterator<Item = Stmt>) {
        self.rules.push(Rule {
            family: self.family,
            table: NAME.into(),
            chain: chain.into().into(),
            expr: parts.into_iter().collect::<Vec<_>>().into(),
            ..Rule::default()
        });
    }

    /// Adds a set whose elements expire. That rules add to it, nft finds out by itself, and has to:
    /// 1.0.6 does not know the flag `dynamic` in JSON.
    pub(super) fn expiring_set(
        &mut self,
        name: &'static str,
        of: Vec<SetType>,
        timeout: u32,
        size: u32,
    ) {
        self.set(name, of, Some(timeout), size);
    }

    /// Adds a set whose elements are added by the agent, each with a time of its own.
    pub(super) fn set_of_timed(&mut self, name: &'static str, of: Vec<SetType>, size: u32) {
        self.set(name, of, None, size);
    }

    fn set(&mut self, name: &'static str, of: Vec<SetType>, timeout: Option<u32>, size: u32) {
        self.sets.push(Set {
            family: self.family,
            table: NAME.into(),
            name: name.into(),
            set_type: SetTypeValue::Concatenated(of.into()),
            flags: Some([SetFlag::Timeout].into()),
            timeout,
            size: Some(size),
            handle: None,
            policy: None,
            elem: None,
            gc_interval: None,
            comment: None,
        });
    }

    /// The counters that the rules name.
    pub(super) fn counters(&self) -> BTreeSet<&str> {
        self.rules
            .iter()
            .flat_map(|rule| rule.expr.iter())
            .filter_map(|statement| match statement {
                Stmt::Counter(Counter::Named(name)) => Some(name.as_ref()),
                _ => None,
            })
            .collect()
    }

    /// Whether it has the counter [`ORIGIN`].
    pub(super) fn has_origin(&self) -> bool {
        self.family == NfFamily::INet
    }

    /// How many rules a chain has.
    pub(super) fn rules_in(&self, chain: &str) -> usize {
        self.rules.iter().filter(|r| r.chain == chain).count()
    }

    /// The family's name, as nft spells it.
    pub(super) const fn family_name(&self) -> &'static str {
        family_name(self.family)
    }

    /// Its sets and chains, in the order in which they are to be added.
    pub(super) fn structure(&self) -> Result<Vec<Value>, serde_json::Error> {
        let sets = self.sets.iter().cloned();
        let chains = self.chains.iter().cloned();
        sets.map(|set| NfListObject::Set(Box::new(set)))
            .chain(chains.map(NfListObject::Chain))
            .map(serde_json::to_value)
            .collect()
    }

    /// Its rules, in the order in which they are to be added, after the frame.
    pub(super) fn rules(&self) -> Result<Vec<Value>, serde_json::Error> {
        let rules = self.rules.iter().cloned();
        rules
            .map(NfListObject::Rule)
            .map(serde_json::to_value)
            .collect()
    }
}
