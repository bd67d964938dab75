//! What `doctor` prints.

use std::collections::BTreeSet;

use super::*;
use crate::backend::{BackendKind, Difference};
use crate::desired::Facts;
use crate::desired::tests::{config, facts};
use crate::golden;
use crate::kernel::wireguard::{ObservedDevice, ObservedPeer};
use crate::reconcile::{Comparison, Goal, Plan, Removal, RulePlacement, Snapshot, Step};

/// A usual home, where this is to be done and these peers have been set.
fn comparison(facts: Facts, steps: Vec<Step>, device: Option<ObservedDevice>) -> Comparison {
    let snapshot = Snapshot {
        device,
        ..Snapshot::default()
    };
    let plan = Plan {
        steps,
        ..Plan::default()
    };
    Comparison {
        snapshot,
        goal: Goal::default(),
        facts,
        placement: RulePlacement {
            first: 10,
            moved_for: None,
            before_ours: Vec::new(),
        },
        plan,
        faults: BTreeSet::new(),
        warnings: BTreeSet::new(),
    }
}

fn findings(dry_run: &dry_run::DryRun, running: bool) -> Vec<Finding> {
    let mut findings = datapath::findings(&config(), dry_run, running);
    findings.extend(peers::findings(&config(), &dry_run.comparison));
    findings
}

/// All is in place, but the peer has never answered.
fn in_place() -> Vec<Finding> {
    let peer = config().tunnel.peers[0].public_key;
    let device = ObservedDevice {
        peers: [(peer, ObservedPeer::default())].into(),
        ..ObservedDevice::default()
    };
    let dry_run = dry_run::DryRun {
        comparison: comparison(facts(), Vec::new(), Some(device)),
        notes: Vec::new(),
    };
    findings(&dry_run, true)
}

/// The agent is not there, nor the modem.
fn unplugged() -> Vec<Finding> {
    let facts = Facts {
        modem: None,
        ..facts()
    };
    let guard = crate::desired::guard(&config(), &facts);
    let missing = Difference("no program on wan egress".to_owned());
    let steps = vec![
        Step::set_guard(guard, vec![missing]),
        Step::remove(Removal::Guard(BackendKind::Nft)),
    ];
    let mut comparison = comparison(facts, steps, None);
    let fault = "somebody has stacked eth7 on wwan0";
    comparison.faults.insert(fault.to_owned());
    comparison
        .warnings
        .insert("somebody's rule is in front".to_owned());
    let dry_run = dry_run::DryRun {
        comparison,
        notes: vec!["no port is chosen yet".to_owned()],
    };
    [findings(&dry_run, false), findings(&dry_run, true)].concat()
}

#[test]
fn what_is_printed() {
    for (name, findings) in [("doctor", in_place()), ("doctor-unplugged", unplugged())] {
        golden::assert(
            &format!("src/cli/golden/{name}.txt"),
            &text(&findings, false),
        );
        let json = json(&findings).expect("it is made of texts");
        golden::assert(&format!("src/cli/golden/{name}.json"), &(json + "\n"));
    }
}

#[test]
fn on_a_terminal_only_the_grade_is_coloured() {
    let findings = [
        Finding::ok("config", "right"),
        Finding::fault("peer", "silent"),
    ];
    assert_eq!(
        text(&findings, true),
        "\x1b[32mok     \x1b[0m  config    right\n\x1b[31mfault  \x1b[0m  peer      silent\n"
    );
}
