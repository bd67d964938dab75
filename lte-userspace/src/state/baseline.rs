//! The baseline: how the machine was found before anything was changed, so that it can be restored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backend::BackendKind;
use crate::kernel::qdisc::missing_modules::Module;

use super::{ModemDevices, StateError, file};

/// The baseline and its file.
#[derive(Debug, Clone)]
pub struct BaselineFile {
    path: PathBuf,
    saved: Baseline,
    /// What is to be saved next.
    pub baseline: Baseline,
}

/// How the machine was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// This boot and network namespace: interface numbers mean nothing in another.
    #[serde(rename = "world")]
    boot_and_netns: String,
    /// The WireGuard interface that we have made or are about to make.
    pub tunnel: Option<String>,
    /// `net.ipv4.conf.all.send_redirects` before the WireGuard interface goes up, which turns it off;
    /// forgotten once it is seen to be so again.
    pub send_redirects: Option<String>,
    /// Backends that have put a guard in place.
    pub guards: BTreeSet<BackendKind>,
    /// Interfaces that we have changed or are about to change, by index.
    pub interfaces: BTreeMap<u32, InterfaceBaseline>,
    /// The devices that have been the modem.
    #[serde(default)]
    pub devices: ModemDevices,
    /// Modules of the backstop that this kernel lacks.
    #[serde(default, rename = "lacking")]
    pub missing_modules: BTreeSet<Module>,
}

/// How an interface was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceBaseline {
    /// Its name then.
    pub name: String,
    /// Whether it was up.
    pub up: bool,
    /// The index of what it was a part of.
    #[serde(default)]
    pub master: Option<u32>,
    /// Its sysctls that are ours to set: value by name, as in `ipv4/src_valid_mark`.
    pub sysctls: BTreeMap<String, String>,
    /// What joined packets on it: value by name, as in `rx-gro`. Empty where it has not been changed.
    #[serde(default)]
    pub offloads: BTreeMap<String, u32>,
    /// Its addresses, as in `192.168.0.2/24`.
    pub addresses: Vec<String>,
    /// Addresses that we have added or are about to add.
    pub added: Vec<String>,
}

impl Baseline {
    /// Interfaces on which we have changed what joins packets, or are about to.
    pub fn with_offloads(&self) -> impl Iterator<Item = u32> {
        let with = |(index, before): (&u32, &InterfaceBaseline)| {
            (!before.offloads.is_empty()).then_some(*index)
        };
        self.interfaces.iter().filter_map(with)
    }
}

impl BaselineFile {
    /// Reads the baseline of this boot and network namespace; an empty one if there is none.
    pub fn load(run: &Path) -> Result<Self, StateError> {
        let path = run.join("before.json");
        let boot_and_netns = boot_and_netns();
        let parse = |text: &str| serde_json::from_str::<Baseline>(text).ok();
        let saved =
            file::read(&path, parse).filter(|baseline| baseline.boot_and_netns == boot_and_netns);
        let fresh = Baseline {
            boot_and_netns,
            ..Baseline::default()
        };
        let baseline = saved.unwrap_or(fresh);
        Ok(Self {
            path,
            saved: baseline.clone(),
            baseline,
        })
    }

    /// Writes the file if the baseline has changed.
    pub fn save(&mut self) -> Result<(), StateError> {
        if self.baseline != self.saved {
            let text = serde_json::to_string_pretty(&self.baseline)
                .map_err(|error| StateError::new("writing", &self.path)(error.into()))?;
            file::replace(&self.path, &text)?;
            self.saved = self.baseline.clone();
        }
        Ok(())
    }

    /// Forgets everything: all is as it was found.
    pub fn forget(&mut self) -> Result<(), StateError> {
        file::remove_all(&self.path)?;
        self.baseline = Baseline {
            boot_and_netns: std::mem::take(&mut self.baseline.boot_and_netns),
            ..Baseline::default()
        };
        self.saved = self.baseline.clone();
        Ok(())
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        let baseline = &self.baseline;
        baseline.tunnel.is_none() && baseline.interfaces.is_empty() && baseline.guards.is_empty()
    }
}

/// A name for this boot and this network namespace.
fn boot_and_netns() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::metadata("/proc/thread-self/ns/net").map_or(0, |metadata| metadata.ino());
    format!("{} net:{namespace}", boot.trim())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test's own files are there")]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_is_read_again_in_its_boot_and_namespace_only() {
        let run = std::env::temp_dir().join(format!("lte-before-{}", std::process::id()));
        fs::create_dir_all(&run).unwrap();
        let mut baseline_file = BaselineFile::load(&run).unwrap();
        assert!(baseline_file.is_empty());
        baseline_file.baseline.tunnel = Some("wg-lte".to_owned());
        baseline_file.save().unwrap();
        let again = BaselineFile::load(&run).unwrap();
        assert_eq!(again.baseline, baseline_file.baseline);

        let path = run.join("before.json");
        let text = fs::read_to_string(&path).unwrap().replace("net:", "net:9");
        fs::write(&path, text).unwrap();
        assert!(
            BaselineFile::load(&run).unwrap().is_empty(),
            "another world's"
        );

        baseline_file.forget().unwrap();
        assert!(!path.exists());
        baseline_file.forget().unwrap();
        fs::remove_dir_all(&run).unwrap();
    }

    /// What an earlier version has written is read, and it reads what this one writes.
    #[test]
    fn the_keys_of_the_file_are_those_of_earlier_versions() {
        let text = r#"{
  "world": "boot net:1",
  "tunnel": "wg-lte",
  "send_redirects": "1",
  "guards": [
    "ebpf"
  ],
  "interfaces": {
    "7": {
      "name": "wwan0",
      "up": false,
      "master": null,
      "sysctls": {},
      "offloads": {},
      "addresses": [],
      "added": [
        "192.168.0.2/32"
      ]
    }
  },
  "devices": {
    "identity": "wwan0",
    "known": [
      {
        "index": 7,
        "name": "wwan0",
        "address": "",
        "hardware": {
          "path": null,
          "product": null,
          "serial": null,
          "driver": null
        }
      }
    ]
  },
  "lacking": [
    "cls_fw"
  ]
}"#;
        let baseline: Baseline = serde_json::from_str(text).unwrap();
        assert_eq!(baseline.missing_modules, BTreeSet::from([Module::ClsFw]));
        assert_eq!(serde_json::to_string_pretty(&baseline).unwrap(), text);
    }
}
