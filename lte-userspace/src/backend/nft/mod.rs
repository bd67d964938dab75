//! The nftables backend: the same promises as the eBPF programs, without eBPF.
//!
//! - `ruleset`, `inet`, `netdev`: the desired tables, pure; `rule_context`, `expr` and `table` are their
//!   words; `permits`: what the agent opens for a time.
//! - `batch`: the transactions; `seal`: how the rules are known again after a restart.
//! - `run`, `state`, `probe`: nft itself, what it says of our tables, and what it can do here;
//!   `generation`: whether it need be asked; `events`: that another process has changed it.

mod batch;
mod events;
mod expr;
mod generation;
mod inet;
mod netdev;
mod permits;
mod probe;
mod rule_context;
mod ruleset;
mod run;
mod seal;
mod state;
mod table;

use super::{
    Backend, BackendError, BackendKind, CounterSet, Difference, Guard, NamedCounter, Permit,
    Remote, Watch,
};
use generation::Generation;
use ruleset::{Features, Ruleset};
use run::{Program, RunError};
use seal::Seal;
use serde_json::Value;
use state::State;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

/// The families of the tables that have permits.
const PERMIT_TABLES: [&str; 2] = ["inet", "netdev"];

/// The guard as two nftables tables.
#[derive(Debug)]
pub struct Nft {
    program: Program,
    /// Asked of the kernel once; it does not change while the machine runs.
    features: Cell<Option<Features>>,
    cached: Option<CachedState>,
    /// The guard that was in place, in that generation of the rulesets: asked for again, as it is
    /// all the time, it need not be thought out again.
    applied: Option<(Generation, Box<Guard>)>,
    /// Bytes of link header in each packet that the egress chain counts, as it was loaded here.
    header: Option<u64>,
    /// Remotes that another backend remembers.
    inherited: BTreeMap<Remote, Duration>,
}

/// What was read last.
#[derive(Debug)]
struct CachedState {
    /// The generation of the rulesets then.
    generation: Generation,
    /// The tables. Only what traffic changes in them is out of date.
    state: State,
}

impl Nft {
    /// Finds nft; nothing is run yet.
    pub fn new() -> Result<Self, BackendError> {
        let program = Program::find().ok_or_else(|| {
            BackendError::Unsupported(
                "no nft in PATH or in sbin: install the package nftables, 1.0.6 or later"
                    .to_owned(),
            )
        })?;
        Ok(Self {
            program,
            features: Cell::new(None),
            cached: None,
            applied: None,
            header: None,
            inherited: BTreeMap::new(),
        })
    }

    fn features(&mut self) -> Result<Features, BackendError> {
        if let Some(features) = self.features.get() {
            return Ok(features);
        }
        let features = probe::features(&self.program)
            .map_err(|e| BackendError::failed("asking what this kernel's nftables can do", e))?;
        self.features.set(Some(features));
        Ok(features)
    }

    fn desired(&mut self, want: &Guard) -> Result<(Ruleset, u64), BackendError> {
        let rules = Ruleset::new(want, self.features()?);
        let number = rules
            .fingerprint()
            .map_err(|e| BackendError::failed("writing the rules as JSON", e))?;
        Ok((rules, number))
    }

    fn read(&self) -> Result<State, BackendError> {
        match State::read(&self.program) {
            // `down`, and the other backend, ask on every machine.
            Err(error) if error.is_without_nf_tables() => Ok(State::default()),
            read => {
                read.map_err(|e| BackendError::failed("reading the nftables tables lte_backup", e))
            }
        }
    }

    /// The tables, with counters and sets perhaps out of date: nft is asked only where another process
    /// has changed a ruleset since it was asked last.
    fn cached(&mut self) -> Result<State, BackendError> {
        // Asked before reading: what changes meanwhile is of a later generation.
        let generation = generation::current();
        if let Some(cached) = &self.cached
            && Some(cached.generation) == generation
        {
            return Ok(cached.state.clone());
        }
        let state = self.read()?;
        self.cached = generation.map(|generation| CachedState {
            generation,
            state: state.clone(),
        });
        Ok(state)
    }

    fn commit(&self, transaction: &Value, context: &str) -> Result<(), BackendError> {
        self.call(transaction)
            .map_err(|e| BackendError::failed(context, e))
    }

    fn call(&self, transaction: &Value) -> Result<(), RunError> {
        self.program
            .call(&["-j", "-f", "-"], &transaction.to_string())
            .map(|_| ())
    }
}

impl Backend for Nft {
    fn kind(&self) -> BackendKind {
        BackendKind::Nft
    }

    fn probe(&self) -> Result<(), BackendError> {
        if let Some(features) = probe::probe(&self.program)? {
            self.features.set(Some(features));
        }
        Ok(())
    }

    fn observe(&mut self, want: &Guard) -> Result<Vec<Difference>, BackendError> {
        if let (Some((then, guard)), Some(now)) = (&self.applied, generation::current())
            && *then == now
            && **guard == *want
        {
            return Ok(Vec::new());
        }
        let (rules, wanted_hash) = self.desired(want)?;
        let found = differences(&rules, wanted_hash, &self.cached()?);
        self.applied = self
            .cached
            .as_ref()
            .filter(|_| found.is_empty())
            .map(|cached| (cached.generation, Box::new(want.clone())));
        Ok(found)
    }

    fn apply(&mut self, want: &Guard) -> Result<(), BackendError> {
        let (rules, wanted_hash) = self.desired(want)?;
        let mut have = self.cached()?;
        if differences(&rules, wanted_hash, &have).is_empty() {
            return Ok(());
        }
        if !batch::has_structure(&rules, &have) {
            // Counters and sets are made anew, with the values that they have now.
            have = self.read()?;
        }
        let mut load = batch::load(&rules, &have, new_origin())
            .map_err(|e| BackendError::failed("writing the rules as JSON", e))?;
        let inherited = std::mem::take(&mut self.inherited);
        if let Some(commands) = load["nftables"].as_array_mut() {
            commands.extend(batch::add_remotes(
                &inherited,
                want.flow_timeout,
                &rules.inet,
            ));
        }
        self.commit(&load, "loading the nftables tables lte_backup")?;
        let loaded = self.read()?;
        self.header = Some(loaded.egress_header());
        let wrong = contents(&rules, &loaded);
        if let Some(first) = wrong.first() {
            return Err(BackendError::failed(
                "reading back what was just loaded",
                format!("{first}: another program changes the tables lte_backup"),
            ));
        }
        let seal = Seal {
            wanted_hash,
            loaded_hash: loaded.fingerprint(),
        };
        self.commit(&batch::seal(seal), "sealing the table inet lte_backup")
    }

    fn present(&mut self) -> Result<bool, BackendError> {
        Ok(!self.cached()?.is_empty())
    }

    fn remove(&mut self) -> Result<(), Vec<BackendError>> {
        let have = self.read().map_err(|e| vec![e])?;
        if have.is_empty() {
            return Ok(());
        }
        self.commit(
            &batch::remove(&have),
            "deleting the nftables tables lte_backup",
        )
        .map_err(|e| vec![e])
    }

    fn permit(&mut self, permit: &Permit, time: Duration) -> Result<(), BackendError> {
        let open = permits::open(permit, time, &PERMIT_TABLES);
        let context = || format!("permit {permit}");
        match self.call(&open) {
            Err(error) if error.is_missing() => Err(BackendError::failed(
                context(),
                "no guard is in place that could let it pass",
            )),
            called => called.map_err(|e| BackendError::failed(context(), e)),
        }
    }

    fn revoke(&mut self, permit: &Permit) -> Result<(), BackendError> {
        let close = permits::close(permit, &PERMIT_TABLES);
        match self.call(&close) {
            Err(error) if error.is_missing() => Ok(()),
            called => called.map_err(|e| BackendError::failed(format!("withdraw {permit}"), e)),
        }
    }

    fn unguarded(&mut self) -> Result<Vec<String>, BackendError> {
        if self.features()?.egress {
            return Ok(Vec::new());
        }
        Ok(vec![
            "frames of packet sockets (DHCP clients, sniffers that send) leave by the modem \
             unseen, and fragments and ARP uncounted: nftables has the egress hook from kernel \
             5.16 on"
                .to_owned(),
        ])
    }

    fn remotes(&mut self) -> Result<BTreeMap<Remote, Duration>, BackendError> {
        Ok(self.read()?.remotes())
    }

    fn import_remotes(&mut self, remotes: BTreeMap<Remote, Duration>) {
        self.inherited = remotes;
    }

    fn watch(&self) -> Option<Watch> {
        events::watch()
            .inspect_err(|error| log::debug!("listening for changes of nftables: {error}"))
            .ok()
    }

    fn counter_sets(&mut self) -> Result<Vec<CounterSet>, BackendError> {
        let state = match self.header {
            Some(_) => State::read_counters(&self.program).map_err(|e| {
                BackendError::failed("reading the counters of the tables lte_backup", e)
            })?,
            None => self.read()?,
        };
        let header = self.header.unwrap_or_else(|| state.egress_header());
        let counter = |(name, value): (&str, state::CounterValue)| NamedCounter {
            name: name.to_owned(),
            packets: value.packets,
            bytes: value.bytes,
        };
        if state.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![CounterSet {
            origin: state.origin(),
            counters: state.counters(header).into_iter().map(counter).collect(),
        }])
    }
}

/// A number for counters that are made anew; not 0, and no more than JSON numbers hold exactly (2^53).
fn new_origin() -> u64 {
    let mut bytes = [0; 8];
    // At boot, before the kernel's generator is seeded, it is as good as any number.
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::INSECURE).ok();
    (u64::from_ne_bytes(bytes) >> 11).max(1)
}

/// In what the tables differ from what is desired.
fn differences(want: &Ruleset, wanted_hash: u64, have: &State) -> Vec<Difference> {
    let mut found = contents(want, have);
    if found.is_empty() {
        let whole = match have.seal() {
            None => Some("no seal: a load was interrupted, or the seal deleted"),
            Some(seal) if seal.wanted_hash != wanted_hash => {
                Some("the rules are for other settings")
            }
            Some(seal) if seal.loaded_hash != have.fingerprint() => Some("a rule was changed"),
            Some(_) => None,
        };
        found.extend(whole.map(|words| format!("table inet lte_backup: {words}")));
    }
    found.into_iter().map(Difference).collect()
}

/// In what chains, sets, counters and numbers of rules differ from what is desired.
fn contents(want: &Ruleset, have: &State) -> Vec<String> {
    let mut found = Vec::new();
    for table in want.tables() {
        let family = table.family_name();
        let Some(state) = have.table(family) else {
            found.push(format!("no table {family} lte_backup"));
            continue;
        };
        let structure = batch::structure_differences(table, state);
        let there = |name: &str| state.named("chain").any(|(other, _)| other == name);
        let chains = table.chains.iter().filter(|chain| there(&chain.name));
        let rules = chains.filter_map(|chain| {
            let (want, have) = (table.rules_in(&chain.name), state.rules_in(&chain.name));
            (want != have).then(|| format!("chain {} has {have} rules, not {want}", chain.name))
        });
        let all = structure.into_iter().chain(rules);
        found.extend(all.map(|words| format!("table {family} lte_backup: {words}")));
    }
    found
}
