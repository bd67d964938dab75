//! What the machine offers.

use std::fs;
use std::path::Path;

use super::finding::Finding;
use crate::backend::Backend;
use crate::backend::select::{Purpose, select};
use crate::cli::requirements;
use crate::config::BackendChoice;
use crate::kernel::qdisc::missing_modules::Module;

pub(super) fn wireguard() -> Finding {
    match requirements::require_wireguard() {
        Ok(()) => Finding::ok("kernel", "WireGuard is available"),
        Err(error) => Finding::fault("kernel", error.to_string()),
    }
}

/// The backend that is to keep the guard, and what there is to be said of it.
pub(super) fn backend(choice: BackendChoice) -> (Option<Box<dyn Backend>>, Vec<Finding>) {
    let selected = match select(choice, Purpose::Inspect) {
        Ok(selected) => selected,
        Err(error) => return (None, vec![Finding::fault("backend", error.to_string())]),
    };
    let mut backend = selected.backend;
    let kind = backend.kind();
    let mut findings = vec![match selected.why_not_ebpf {
        None => Finding::ok("backend", kind.to_string()),
        Some(why) => Finding::ok(
            "backend",
            format!("{kind}, since ebpf cannot run here: {why}"),
        ),
    }];
    match backend.unguarded() {
        Ok(lines) => {
            let lines = lines.into_iter();
            findings.extend(lines.map(|line| Finding::warning("backend", line)));
        }
        Err(error) => findings.push(Finding::fault("backend", error.to_string())),
    }
    (Some(backend), findings)
}

/// Whether the modules are there that the backstop needs, where the running kernel's are listed.
pub(super) fn backstop() -> Option<Finding> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let modules = Path::new("/lib/modules").join(release.trim());
    let list = |name: &str| fs::read_to_string(modules.join(name));
    let (loadable, built_in) = (list("modules.dep").ok()?, list("modules.builtin").ok()?);
    Some(backstop_finding(&format!("{loadable}\n{built_in}")))
}

fn backstop_finding(lists: &str) -> Finding {
    let vital = missing(&Module::REQUIRED.map(Module::name), lists);
    let queue = missing(&[Module::SchFqCodel.name()], lists);
    let (missing, so) = match (vital.is_empty(), queue.is_empty()) {
        (false, _) => (vital, "there is no backstop while the guard is missing"),
        (true, false) => (
            queue,
            "an upload through the tunnel delays its other traffic",
        ),
        (true, true) => return Finding::ok("kernel", "all modules of the backstop are available"),
    };
    let missing = missing.join(", ");
    Finding::warning(
        "kernel",
        format!(
            "this kernel lacks {missing}: {so}; install the package with its additional modules, if there is one"
        ),
    )
}

/// Which of these modules are not in the lists (lines of `path/name.ko[.xz]:` or `path/name.ko`).
fn missing(wanted: &[&'static str], lists: &str) -> Vec<&'static str> {
    let there = |wanted: &str| {
        lists.lines().any(|line| {
            let path = line.split(':').next().unwrap_or_default();
            let file = path.rsplit('/').next().unwrap_or_default();
            let name = file.split(".ko").next().unwrap_or_default();
            name.replace('-', "_") == wanted
        })
    };
    let mut missing = wanted.to_vec();
    missing.retain(|name| !there(name));
    missing
}

/// A handshake bears the time, and a peer refuses one that is not later than the last it has had
/// (WireGuard's paper, 5.1): after a power cut without an uplink nothing sets a clock that has stopped.
pub(super) fn clock() -> Finding {
    let mut clocks = fs::read_dir("/sys/class/rtc").into_iter().flatten();
    if clocks.next().is_some() {
        Finding::ok("clock", "system clock has a battery")
    } else {
        Finding::warning(
            "clock",
            "there is no hardware clock: after a power cut without an uplink the time may lie before the last handshake, and the peer then refuses the tunnel; save the time often (fake-hwclock, systemd-timesyncd) or add a clock",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_under_all_their_names() {
        let lists = "kernel/net/sched/sch_drr.ko.xz:\nkernel/net/sched/cls-fw.ko: kernel/x/cls_matchall.ko\nkernel/net/ipv4/built_in.ko";
        assert_eq!(
            missing(&["sch_drr", "cls_fw", "cls_matchall"], lists),
            ["cls_matchall"]
        );
        assert!(missing(&["built_in", "sch_drr"], lists).is_empty());
    }

    #[test]
    fn what_is_missing_of_the_backstop_is_reported() {
        let mut lists = String::new();
        let mut said = Vec::new();
        for module in ["sch_drr", "cls_fw", "cls_matchall", "sch_fq_codel"] {
            said.push(backstop_finding(&lists).text);
            lists.extend(["kernel/net/sched/", module, ".ko\n"]);
        }
        said.push(backstop_finding(&lists).text);
        assert!(
            said[0].contains("lacks sch_drr, cls_fw, cls_matchall: there is no"),
            "{said:?}"
        );
        assert!(
            said[2].contains("lacks cls_matchall: there is no"),
            "{said:?}"
        );
        assert!(
            said[3].contains("lacks sch_fq_codel: an upload"),
            "{said:?}"
        );
        assert!(said[4].contains("all modules"), "{said:?}");
    }
}
