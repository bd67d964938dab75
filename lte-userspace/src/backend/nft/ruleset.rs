//! The desired tables: what the guard is to be, as rules. Pure.

use super::table::Table;
use super::terms::Terms;
use super::{inet, netdev};
use crate::backend::Guard;
use serde_json::Value;

/// What the running kernel has beyond what is required of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Features {
    /// The egress hook of the `netdev` family, kernel 5.16 and later.
    pub(super) egress: bool,
}

/// Both tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ruleset {
    /// What goes through the IP stack.
    pub(super) inet: Table,
    /// What goes round it.
    pub(super) netdev: Table,
}

impl Ruleset {
    /// The tables that keep a guard.
    pub(super) fn new(guard: &Guard, features: Features) -> Self {
        let terms = Terms { guard, features };
        Self {
            inet: inet::table(terms),
            netdev: netdev::table(terms),
        }
    }

    /// Both, in the order of loading.
    pub(super) const fn tables(&self) -> [&Table; 2] {
        [&self.inet, &self.netdev]
    }

    /// A number that differs where the rules differ.
    pub(super) fn fingerprint(&self) -> Result<u64, serde_json::Error> {
        let mut hash = Fnv::new();
        for table in self.tables() {
            for object in table.frame()?.into_iter().chain(table.rules()?) {
                hash.add(&object);
            }
        }
        Ok(hash.finish())
    }
}

/// FNV-1a, 64 bits: the standard library's hasher may change with the compiler, and this number
/// lives in the kernel longer than a build of the agent.
#[derive(Debug)]
pub(super) struct Fnv(u64);

impl Fnv {
    pub(super) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds a value by its text.
    pub(super) fn add(&mut self, value: &Value) {
        for byte in value.to_string().bytes().chain([b'\n']) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(super) const fn finish(self) -> u64 {
        self.0
    }
}
