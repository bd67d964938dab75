//! KVM where it really works, else emulation. That `/dev/kvm` opens says little: nested and
//! paravirtual hosts offer it and then hang in the kernel's first instructions. So the first boot
//! of a kernel is the probe, and what it showed is remembered until this machine boots again.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::tsc;
use crate::fetch::kernel::Series;
use crate::host::cache::Cache;
use crate::host::say;

/// How a machine is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Accel {
    /// The processor itself, with the model at this place in the list.
    Kvm(usize),
    /// Emulation.
    Tcg,
}

/// Models to try, best first. Some hosts refuse to set what `host` asks for.
const KVM_MODELS: [&str; 3] = ["host", "host,-arch-capabilities", "qemu64"];

impl Accel {
    /// QEMU's arguments.
    pub(crate) fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm(model) => ["-accel", "kvm", "-cpu", KVM_MODELS[model]],
            // One thread for all processors of a guest: with one each they run into instructions
            // that the kernel is just patching on another (int3 and protection faults that real
            // processors do not have), and three guests on two processors take a quarter longer.
            // QEMU 7.2 at times crashes newer kernels in cmpxchg16b; five-level page tables only
            // cost time.
            Self::Tcg => ["-accel", "tcg,thread=single", "-cpu", "max,-cx16,-la57"],
        }
    }

    /// The guest's kernel options because of it.
    pub(crate) fn kernel_options(self) -> String {
        match self {
            Self::Kvm(_) => String::new(),
            // Emulated code is translated per address: a program at a random one is translated
            // anew at each start, which was a third of all the time. And whether the timer's interrupts
            // come is asked within a few milliseconds that a busy host may not give: "IO-APIC + timer
            // doesn't work!" is a panic. Under KVM the kernel leaves that out by itself.
            Self::Tcg => {
                let rate = tsc::rate().map(|khz| format!(" tsc_early_khz={khz}"));
                format!("norandmaps no_timer_check{}", rate.unwrap_or_default())
            }
        }
    }

    /// How long until the guest says hello, before we take it that it never will.
    pub(crate) fn patience(self) -> Duration {
        match self {
            // A working one needs two seconds.
            Self::Kvm(_) => Duration::from_secs(10),
            Self::Tcg => Duration::from_mins(2),
        }
    }
}

impl std::fmt::Display for Accel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kvm(model) => write!(f, "KVM, CPU model {}", KVM_MODELS[*model]),
            Self::Tcg => f.write_str("emulation (TCG)"),
        }
    }
}

/// What boots of this machine's present run have shown.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// This run of the machine.
    boot: String,
    /// By kernel: the model that works, or `None`: no model does.
    kernels: BTreeMap<String, Option<usize>>,
}

impl Known {
    /// What to try for a kernel, in order; the last resort included.
    fn candidates(&self, kernel: &str) -> Vec<Accel> {
        let mut list = match self.kernels.get(kernel) {
            Some(Some(model)) => vec![Accel::Kvm(*model)],
            Some(None) => Vec::new(),
            None => {
                let works = self.kernels.values().flatten().next();
                let fails = self.kernels.values().any(Option::is_none);
                match (works, fails) {
                    (Some(model), _) => vec![Accel::Kvm(*model)],
                    // Where one kernel could not be booted at all, the others need not be tried.
                    (None, true) => Vec::new(),
                    (None, false) => (0..KVM_MODELS.len()).map(Accel::Kvm).collect(),
                }
            }
        };
        list.push(Accel::Tcg);
        list
    }
}

/// The ways to run a kernel on this machine, best first. More than one: go on to the next when
/// the guest never says hello.
pub(crate) fn candidates(cache: &Cache, kernel: Series) -> Result<Vec<Accel>> {
    match std::env::var("LTE_VM_ACCEL").as_deref() {
        Ok("tcg") => return Ok(vec![Accel::Tcg]),
        Ok("kvm") => return Ok((0..KVM_MODELS.len()).map(Accel::Kvm).collect()),
        Ok("") | Err(_) => {}
        Ok(other) => bail!("LTE_VM_ACCEL is `{other}`: kvm and tcg are what there is"),
    }
    if OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_err()
    {
        return Ok(vec![Accel::Tcg]);
    }
    Ok(known(cache).candidates(kernel.name()))
}

/// Remembers how a kernel came up.
pub(crate) fn remember(cache: &Cache, kernel: Series, accel: Accel) -> Result<()> {
    if std::env::var_os("LTE_VM_ACCEL").is_some() {
        return Ok(());
    }
    let model = match accel {
        Accel::Kvm(model) => Some(model),
        Accel::Tcg => None,
    };
    let mut known = known(cache);
    if known.kernels.get(kernel.name()) != Some(&model) {
        known.kernels.insert(kernel.name().to_owned(), model);
        // Another call may write at the same time; the last one counts, and at worst a kernel is
        // probed once more.
        fs::write(cache.path("kvm.json"), serde_json::to_vec(&known)?)?;
    }
    Ok(())
}

/// Says that a way did not work.
pub(crate) fn say_failed(kernel: Series, accel: Accel, why: &str) {
    say::warn(format_args!(
        "kernel {kernel} does not run with {accel}: {why}"
    ));
}

fn known(cache: &Cache) -> Known {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    fs::read(cache.path("kvm.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .filter(|known: &Known| known.boot == boot)
        .unwrap_or(Known {
            boot,
            kernels: BTreeMap::new(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(kernels: &[(&str, Option<usize>)]) -> Known {
        Known {
            boot: String::new(),
            kernels: kernels
                .iter()
                .map(|(name, model)| ((*name).to_owned(), *model))
                .collect(),
        }
    }

    #[test]
    fn an_untried_machine_tries_all_and_ends_with_emulation() {
        let list = known(&[]).candidates("6.1");
        assert_eq!(
            list,
            [Accel::Kvm(0), Accel::Kvm(1), Accel::Kvm(2), Accel::Tcg]
        );
    }

    #[test]
    fn what_worked_is_tried_and_what_failed_is_not() {
        let both = known(&[("6.1", Some(1)), ("7.2", None)]);
        assert_eq!(both.candidates("6.1"), [Accel::Kvm(1), Accel::Tcg]);
        assert_eq!(both.candidates("7.2"), [Accel::Tcg]);
        assert_eq!(both.candidates("5.10"), [Accel::Kvm(1), Accel::Tcg]);
        assert_eq!(known(&[("7.2", None)]).candidates("5.10"), [Accel::Tcg]);
    }
}
