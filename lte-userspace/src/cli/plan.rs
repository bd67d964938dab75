//! `plan`: what would be done?

use std::fmt;

use clap::Args;
use serde::Serialize;

use super::{Common, dry_run, requirements};
use crate::backend::select;
use crate::config::Config;
use crate::reconcile::{self, Step};

/// Print what the agent would do now, and change nothing
///
/// Where all is in place, it says so.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo lte-userspace plan --json | jq '.steps[]'")]
pub(super) struct Plan {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Plan {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<()> {
        let config = Config::load(&common.config)?;
        requirements::require_net_admin()?;
        requirements::require_wireguard()?;
        let mut backends = vec![requirements::backend(
            &config,
            common.backend,
            select::Purpose::Inspect,
        )?];
        let kind = backends[0].kind();
        backends.extend(select::others(&select::ThisMachine, Some(kind)));
        let dry_run::DryRun {
            comparison,
            mut notes,
        } = dry_run::dry_run(&config, common, &mut backends)?;
        if comparison.facts.modem.is_none() {
            notes.push(format!(
                "modem {}: there is no such interface now; what needs it is set when it is plugged in",
                config.modem.identity
            ));
        }
        notes.extend(comparison.warnings.iter().cloned());
        let report = Report::new(&comparison.plan, notes);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{report}");
        }
        Ok(())
    }
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    /// What cannot be done.
    blocked: Vec<String>,
    notes: Vec<String>,
    /// The steps in words, for people.
    steps: Vec<String>,
    /// The same steps, for programs.
    changes: Vec<Change>,
}

/// A step.
#[derive(Debug, Serialize)]
struct Change {
    /// `set`, `restore` or `remove`.
    action: &'static str,
    /// The kind of the object.
    kind: &'static str,
    /// The identity of the object, with its kind.
    object: String,
    /// What differs, where the object is the guard.
    differences: Vec<String>,
    /// The objects that have to be there before.
    needs: Vec<String>,
}

impl Change {
    fn new(step: &Step) -> Self {
        let id = step.id();
        Self {
            action: id.verb.name(),
            kind: id.object.kind(),
            object: id.object.to_string(),
            differences: step.differences.iter().map(ToString::to_string).collect(),
            needs: step.needs.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Report {
    fn new(plan: &reconcile::Plan, notes: Vec<String>) -> Self {
        Self {
            steps: plan.steps.iter().map(ToString::to_string).collect(),
            changes: plan.steps.iter().map(Change::new).collect(),
            blocked: plan.blocked.clone(),
            notes,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        for line in &self.blocked {
            writeln!(f, "blocked: {line}")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        if self.steps.is_empty() && self.blocked.is_empty() {
            writeln!(f, "nothing to do")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{BackendKind, Difference};
    use crate::desired::tests::{config, facts};
    use crate::desired::{Object, desired};
    use crate::golden;
    use crate::reconcile::{Plan, Removal};

    /// A usual home before the first start, where the other backend has left its guard.
    fn first_start() -> Report {
        let config = config();
        let tunnel = Some(config.tunnel.interface.as_str());
        let put = |object| match object {
            Object::Guard(guard) => {
                let missing = ["no program on modem egress", "no program on modem ingress"];
                let missing = missing.map(|text| Difference(text.to_owned()));
                Step::set_guard(guard, missing.into())
            }
            object => Step::set(object, tunnel),
        };
        let mut steps: Vec<Step> = desired(&config, &facts()).into_iter().map(put).collect();
        steps.push(Step::remove(Removal::Guard(BackendKind::Nft)));
        let plan = Plan {
            steps,
            blocked: vec!["wg-tmp: somebody else's interface has the name".to_owned()],
        };
        Report::new(&plan, vec!["the reverse-path filter is off".to_owned()])
    }

    #[test]
    fn what_is_printed() {
        let report = first_start();
        golden::assert("src/cli/golden/plan.txt", &report.to_string());
        let json = serde_json::to_string_pretty(&report).expect("it is made of texts");
        golden::assert("src/cli/golden/plan.json", &(json + "\n"));
    }

    #[test]
    fn nothing_to_do_is_reported() {
        let empty = Report::new(&Plan::default(), Vec::new());
        assert_eq!(empty.to_string(), "nothing to do\n");
    }
}
