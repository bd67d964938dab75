//! What `doctor` prints.

use std::collections::BTreeSet;

use super::*;
use crate::backend::{Difference, Kind};
use crate::desired::tests::{config, facts};
use crate::desired::{Facts, desired};
use crate::golden;
use crate::kernel::wireguard::{Found, FoundPeer};
use crate::reconcile::{Observed, Plan, Removal, Standing, Step, View};

/// A usual home, where this is to be done and these peers have been set.
fn view(facts: Facts, steps: Vec<Step>, device: Option<Found>) -> View {
    let observed = Observed {
        device,
        ..Observed::default()
    };
    let plan = Plan {
        steps,
        ..Plan::default()
    };
    View {
        observed,
        want: desired(&config(), &facts),
        facts,
        standing: Standing {
            first: 10,
            moved_for: None,
            in_front: Vec::new(),
        },
        plan,
        faults: BTreeSet::new(),
        warnings: BTreeSet::new(),
    }
}

fn findings(look: &look::Look, running: bool) -> Vec<Finding> {
    let mut findings = datapath::findings(&config(), look, running);
    findings.extend(peers::findings(&config(), &look.view));
    findings
}

/// All is in place, but the peer has never answered.
fn in_place() -> Vec<Finding> {
    let peer = config().tunnel.peers[0].public_key;
    let device = Found {
        peers: [(peer, FoundPeer::default())].into(),
        ..Found::default()
    };
    let look = look::Look {
        view: view(facts(), Vec::new(), Some(device)),
        notes: Vec::new(),
    };
    findings(&look, true)
}

/// The agent is not there, nor the modem.
fn unplugged() -> Vec<Finding> {
    let facts = Facts {
        modem: None,
        ..facts()
    };
    let guard = desired(&config(), &facts).swap_remove(0);
    let missing = Difference("no program on wan egress".to_owned());
    let steps = vec![
        Step::Guard(Box::new(guard), vec![missing]),
        Step::Remove(Removal::Guard(Kind::Nft)),
    ];
    let mut view = view(facts, steps, None);
    let fault = "somebody has stacked eth7 on wwan0";
    view.faults.insert(fault.to_owned());
    view.warnings
        .insert("somebody's rule is in front".to_owned());
    let look = look::Look {
        view,
        notes: vec!["no port is chosen yet".to_owned()],
    };
    [findings(&look, false), findings(&look, true)].concat()
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
