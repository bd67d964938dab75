//! The datapath, and what conflicts with it.

use super::finding::Finding;
use crate::cli::dry_run::DryRun;
use crate::config::{Config, Uplinks};
use crate::reconcile::Comparison;

pub(super) fn findings(config: &Config, dry_run: &DryRun, running: bool) -> Vec<Finding> {
    let comparison = &dry_run.comparison;
    let mut findings = vec![modem(config, comparison)];
    findings.extend(in_place(comparison, running));
    findings.extend(uplinks(config, comparison));
    findings.extend(foreign_default(comparison));
    let faults = comparison.faults.iter();
    findings.extend(faults.map(|line| Finding::fault("modem", line)));
    let lines = dry_run.notes.iter().chain(&comparison.warnings);
    findings.extend(lines.map(|line| Finding::warning("datapath", line)));
    findings
}

fn modem(config: &Config, comparison: &Comparison) -> Finding {
    let identity = &config.modem.identity;
    let Some(modem) = &comparison.facts.modem else {
        return Finding::fault(
            "modem",
            format!(
                "{identity}: there is no such interface: plug it in, or correct [modem] in the config (ip -br link shows what there is)"
            ),
        );
    };
    Finding::ok("modem", format!("{} is plugged in", modem.name))
}

fn in_place(comparison: &Comparison, running: bool) -> Vec<Finding> {
    let blocked = comparison.plan.blocked.iter();
    let mut findings: Vec<_> = blocked
        .map(|line| Finding::fault("datapath", line))
        .collect();
    match (comparison.plan.steps.len(), running) {
        (0, _) if findings.is_empty() => findings.push(Finding::ok("datapath", "everything in place")),
        (0, _) => {}
        (_, true) => findings.extend(comparison.plan.steps.iter().map(|step| {
            Finding::fault(
                "datapath",
                format!("the agent is running, and this step is pending: {step}; the log has the reason"),
            )
        })),
        (steps, false) => findings.push(Finding::warning(
            "datapath",
            format!("not in place: {steps} pending steps (lte-userspace plan lists them, the agent takes them)"),
        )),
    }
    findings
}

fn uplinks(config: &Config, comparison: &Comparison) -> Vec<Finding> {
    let Uplinks::Named(names) = &config.uplinks else {
        return Vec::new();
    };
    let missing = names
        .iter()
        .filter(|name| comparison.snapshot.link(name).is_none());
    missing
        .map(|name| {
            Finding::warning(
                "uplinks",
                format!("{name}: there is no such interface now; correct uplinks.interfaces in the config if it has another name"),
            )
        })
        .collect()
}

/// A third party's default route on the modem.
fn foreign_default(comparison: &Comparison) -> Option<Finding> {
    let modem = comparison.facts.modem.as_ref()?;
    comparison.snapshot.routes.defaults.contains(&modem.index).then(|| {
        Finding::warning(
            "routes",
            format!(
                "another program has put a default route on {0}: packets that follow it are dropped, and the LAN may have no internet access; configure that program (NetworkManager, ModemManager, a DHCP client) to ignore {0}",
                modem.name
            ),
        )
    })
}
