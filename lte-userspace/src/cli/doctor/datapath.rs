//! What the agent keeps, and what stands in its way.

use super::finding::Finding;
use crate::cli::look::Look;
use crate::config::{Config, Uplinks};
use crate::reconcile::View;

pub(super) fn findings(config: &Config, look: &Look, running: bool) -> Vec<Finding> {
    let view = &look.view;
    let mut findings = vec![modem(config, view)];
    findings.extend(in_place(view, running));
    findings.extend(uplinks(config, view));
    findings.extend(foreign_default(view));
    let faults = view.faults.iter();
    findings.extend(faults.map(|line| Finding::fault("modem", line)));
    let lines = look.notes.iter().chain(&view.warnings);
    findings.extend(lines.map(|line| Finding::warning("datapath", line)));
    findings
}

fn modem(config: &Config, view: &View) -> Finding {
    let identity = &config.modem.identity;
    let Some(modem) = &view.facts.modem else {
        return Finding::fault(
            "modem",
            format!(
                "{identity}: there is no such interface: plug it in, or mend [modem] in the config (ip -br link shows what there is)"
            ),
        );
    };
    Finding::ok("modem", format!("{} is there", modem.name))
}

fn in_place(view: &View, running: bool) -> Vec<Finding> {
    let blocked = view.plan.blocked.iter();
    let mut findings: Vec<_> = blocked
        .map(|line| Finding::fault("datapath", line))
        .collect();
    match (view.plan.steps.len(), running) {
        (0, _) if findings.is_empty() => findings.push(Finding::ok("datapath", "all is in place")),
        (0, _) => {}
        (_, true) => findings.extend(view.plan.steps.iter().map(|step| {
            Finding::fault(
                "datapath",
                format!("the agent is running, and this is still to be done: {step}; its log says why"),
            )
        })),
        (steps, false) => findings.push(Finding::warning(
            "datapath",
            format!("not in place: {steps} steps are to be done (lte-userspace plan shows them, the agent does them)"),
        )),
    }
    findings
}

fn uplinks(config: &Config, view: &View) -> Vec<Finding> {
    let Uplinks::Named(names) = &config.uplinks else {
        return Vec::new();
    };
    let missing = names
        .iter()
        .filter(|name| view.observed.link(name).is_none());
    missing
        .map(|name| {
            Finding::warning(
                "uplinks",
                format!("{name}: there is no such interface now; mend uplinks.interfaces in the config if it has another name"),
            )
        })
        .collect()
}

/// A default route on the modem that somebody else has put there.
fn foreign_default(view: &View) -> Option<Finding> {
    let modem = view.facts.modem.as_ref()?;
    view.observed.routes.defaults.contains(&modem.index).then(|| {
        Finding::warning(
            "routes",
            format!(
                "somebody has put a default route on {0}: what follows it is dropped there, and the house may have no internet; tell whoever does it (NetworkManager, ModemManager, a DHCP client) to leave {0} alone",
                modem.name
            ),
        )
    })
}
