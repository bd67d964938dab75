//! `doctor`: what keeps the tunnel from working, or will on the day it is needed?

mod datapath;
mod finding;
mod peers;
mod platform;

use std::io::IsTerminal as _;

use anyhow::bail;
use clap::Args;

use super::{Common, dry_run, requirements};
use crate::backend::select;
use crate::config::Config;
use crate::state::Lock;
use finding::{Finding, Grade};

/// Look for what keeps the tunnel from working, or will when it is needed, and change nothing
///
/// Each line says what was found and what to do about it: a fault keeps the tunnel from working, a
/// warning is a weakness. With a fault the exit status is 1.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  sudo lte-userspace doctor --json | jq '.findings[] | select(.grade != \"ok\")'"
)]
pub(super) struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<()> {
        let findings = collect(common);
        if self.json {
            println!("{}", json(&findings)?);
        } else {
            let coloured =
                std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            print!("{}", text(&findings, coloured));
        }
        match count(&findings, Grade::Fault) {
            0 => Ok(()),
            1 => bail!("1 fault: the line above that begins with `fault` says what to do"),
            more => bail!("{more} faults: the lines that begin with `fault` say what to do"),
        }
    }
}

fn json(findings: &[Finding]) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&serde_json::json!({ "findings": findings }))
}

/// A line each.
fn text(findings: &[Finding], coloured: bool) -> String {
    let lines = findings.iter().map(|finding| finding.line(coloured));
    lines.map(|line| line.to_string() + "\n").collect()
}

fn count(findings: &[Finding], grade: Grade) -> usize {
    findings.iter().filter(|one| one.grade == grade).count()
}

/// Everything that can be found out: what cannot be asked without the config or without rights is left out,
/// and that is a fault then.
fn collect(common: &Common) -> Vec<Finding> {
    let mut findings = Vec::new();
    let config = match Config::load(&common.config) {
        Ok(config) => {
            let path = common.config.display();
            findings.push(Finding::ok(
                "config",
                format!("{path}: configuration valid"),
            ));
            Some(config)
        }
        Err(error) => {
            findings.push(Finding::fault("config", error.to_string()));
            None
        }
    };
    if let Err(error) = requirements::require_net_admin() {
        findings.push(Finding::fault("rights", error.to_string()));
        return findings;
    }
    let holder = Lock::holder(&common.dirs.run);
    let running = matches!(holder, Ok(Some(_)));
    findings.push(match holder {
        Ok(Some(_)) => Finding::ok("agent", "running"),
        Ok(None) => Finding::warning(
            "agent",
            "not running: what other programs change is not repaired; start it (sudo systemctl start lte-backup)",
        ),
        Err(error) => Finding::fault("agent", error.to_string()),
    });
    findings.push(platform::wireguard());
    findings.extend(platform::backstop());
    findings.push(platform::clock());
    let choice = common
        .backend
        .or_else(|| config.as_ref().map(|config| config.backend));
    let (active, found) = platform::backend(choice.unwrap_or_default());
    findings.extend(found);
    if let (Some(config), Some(active)) = (config, active) {
        let kind = active.kind();
        let mut backends = vec![active];
        backends.extend(select::others(&select::ThisMachine, Some(kind)));
        match dry_run::dry_run(&config, common, &mut backends) {
            Ok(dry_run) => {
                findings.extend(datapath::findings(&config, &dry_run, running));
                findings.extend(peers::findings(&config, &dry_run.comparison));
            }
            Err(error) => findings.push(Finding::fault("datapath", format!("{error:#}"))),
        }
    }
    findings
}

#[cfg(test)]
#[path = "print_tests.rs"]
mod tests;
