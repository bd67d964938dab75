//! How things were found before anything was changed, so that they can be put back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backend::Kind;
use crate::kernel::qdisc::lacking::Module;

use super::{Devices, StateError, file};

/// The record, and where it is kept.
#[derive(Debug, Clone)]
pub struct Before {
    path: PathBuf,
    saved: Record,
    /// What is to be saved next.
    pub record: Record,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// This boot and network namespace: interface numbers mean nothing in another.
    world: String,
    /// The WireGuard interface that we have made or are about to make.
    pub tunnel: Option<String>,
    /// `net.ipv4.conf.all.send_redirects` before the WireGuard interface goes up, which turns it off;
    /// forgotten once it is seen to be so again.
    pub send_redirects: Option<String>,
    /// Backends that have put a guard in place.
    pub guards: BTreeSet<Kind>,
    /// Interfaces that we have changed or are about to change, by index.
    pub interfaces: BTreeMap<u32, InterfaceBefore>,
    /// The devices that have been the modem.
    #[serde(default)]
    pub devices: Devices,
    /// What this kernel has been found to lack of what the backstop below the guard is made of.
    #[serde(default)]
    pub lacking: BTreeSet<Module>,
}

/// How an interface was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceBefore {
    /// Its name then.
    pub name: String,
    /// Whether it was up.
    pub up: bool,
    /// The index of what it was a part of.
    #[serde(default)]
    pub master: Option<u32>,
    /// Its sysctls that are ours to set: value by name, as in `ipv4/src_valid_mark`.
    pub sysctls: BTreeMap<String, String>,
    /// What joined packets on it: value by name, as in `rx-gro`. Empty where nobody has changed it.
    #[serde(default)]
    pub offloads: BTreeMap<String, u32>,
    /// Its addresses, as in `192.168.0.2/24`.
    pub addresses: Vec<String>,
    /// Addresses that we have added or are about to add.
    pub added: Vec<String>,
}

impl Record {
    /// Interfaces on which we have changed what joins packets, or are about to.
    pub fn with_offloads(&self) -> impl Iterator<Item = u32> {
        let with = |(index, before): (&u32, &InterfaceBefore)| {
            (!before.offloads.is_empty()).then_some(*index)
        };
        self.interfaces.iter().filter_map(with)
    }
}

impl Before {
    /// Reads the record of this boot and network namespace; an empty one where there is none.
    pub fn load(run: &Path) -> Result<Self, StateError> {
        let path = run.join("before.json");
        let world = world();
        let parse = |text: &str| serde_json::from_str::<Record>(text).ok();
        let saved = file::read(&path, parse).filter(|record| record.world == world);
        let fresh = Record {
            world,
            ..Record::default()
        };
        let record = saved.unwrap_or(fresh);
        Ok(Self {
            path,
            saved: record.clone(),
            record,
        })
    }

    /// Writes the record down if it has changed.
    pub fn save(&mut self) -> Result<(), StateError> {
        if self.record != self.saved {
            let text = serde_json::to_string_pretty(&self.record)
                .map_err(|error| StateError::new("writing", &self.path)(error.into()))?;
            file::replace(&self.path, &text)?;
            self.saved = self.record.clone();
        }
        Ok(())
    }

    /// Forgets everything: all is as it was found.
    pub fn forget(&mut self) -> Result<(), StateError> {
        file::forget(&self.path)?;
        self.record = Record {
            world: std::mem::take(&mut self.record.world),
            ..Record::default()
        };
        self.saved = self.record.clone();
        Ok(())
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        let record = &self.record;
        record.tunnel.is_none() && record.interfaces.is_empty() && record.guards.is_empty()
    }
}

/// A name for this boot and this network namespace.
fn world() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::metadata("/proc/thread-self/ns/net").map_or(0, |metadata| metadata.ino());
    format!("{} net:{namespace}", boot.trim())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test's own files are there")]
mod tests {
    use super::*;

    #[test]
    fn a_record_outlives_its_writer_but_not_its_world() {
        let run = std::env::temp_dir().join(format!("lte-before-{}", std::process::id()));
        fs::create_dir_all(&run).unwrap();
        let mut before = Before::load(&run).unwrap();
        assert!(before.is_empty());
        before.record.tunnel = Some("wg-lte".to_owned());
        before.save().unwrap();
        let again = Before::load(&run).unwrap();
        assert_eq!(again.record, before.record);

        let path = run.join("before.json");
        let text = fs::read_to_string(&path).unwrap().replace("net:", "net:9");
        fs::write(&path, text).unwrap();
        assert!(Before::load(&run).unwrap().is_empty(), "another world's");

        before.forget().unwrap();
        assert!(!path.exists());
        before.forget().unwrap();
        fs::remove_dir_all(&run).unwrap();
    }
}
