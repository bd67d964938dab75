//! Both backends, whole, against the corpus, by packets that are really sent: local ones through
//! the IP stack, where it takes them, forwarded ones in by another device, incoming ones in by the
//! modem. What came out, where, with what mark and in which counter, is printed side by side.
//!
//! Where nftables differ is in a list with reasons, and `docs/nft.md` gives them; a difference that
//! is not in it fails, and so does one in it that is none.
#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

mod differences;
mod nf_tables;
mod observer;
mod rig;
mod rows;
mod rows_of_senders;
mod senders;
mod sides;
mod verdict;

use std::collections::BTreeMap;

use lte_common::policy::Hook;
use lte_tests::backend::Backend;
use lte_tests::corpus::{Case, Site, cases};

use self::sides::Side;
use self::verdict::Verdict;

// Generated packets compare the backends on every kernel; here real WireGuard and real hosts do.
lte_tests::runs_on!(first_between);

/// The corpus in parts, each a test: one after the other they would take minutes under emulation.
const TUNNEL_OUT: Part = (
    Hook::ModemOut,
    &[
        "out: tunnel, NAT keepalive",
        "out: look-alikes, by who sends them",
    ],
);
const FRAGMENTS_OUT: Part = (Hook::ModemOut, &["out: fragments"]);
const OTHERS_OUT: Part = (
    Hook::ModemOut,
    &[
        "out: the modem itself",
        "out: anything else",
        "both: neighbours",
        "both: permits",
    ],
);
const BROKEN_OUT: Part = (Hook::ModemOut, &["broken packets"]);
const REPLIES_IN: Part = (Hook::ModemIn, &["in: reply"]);
const FRAGMENTS_IN: Part = (
    Hook::ModemIn,
    &["in: fragments", "both: permits", "both: neighbours"],
);
const ERRORS_IN: Part = (Hook::ModemIn, &["in: ICMP errors"]);
const OTHERS_IN: Part = (
    Hook::ModemIn,
    &["in: answers of the modem itself", "in: anything else"],
);
const BROKEN_IN: Part = (Hook::ModemIn, &["broken packets"]);
const TUNNEL_UP: Part = (Hook::UplinkOut, &["uplink: tunnel"]);
const OTHERS_UP: Part = (
    Hook::UplinkOut,
    &[
        "uplink: anything else",
        "out: look-alikes, by who sends them",
    ],
);

/// A hook, and rows of the corpus.
type Part = (Hook, &'static [&'static str]);

macro_rules! parts {
    ($($name:ident = $part:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                conform($part);
            }
        )+

        const PARTS: &[Part] = &[$($part),+];
    };
}

parts!(
    tunnel_out = TUNNEL_OUT,
    fragments_out = FRAGMENTS_OUT,
    others_out = OTHERS_OUT,
    broken_out = BROKEN_OUT,
    replies_in = REPLIES_IN,
    fragments_and_permits_in = FRAGMENTS_IN,
    errors_in = ERRORS_IN,
    others_in = OTHERS_IN,
    broken_in = BROKEN_IN,
    tunnel_on_an_uplink = TUNNEL_UP,
    others_on_an_uplink = OTHERS_UP,
);

#[test]
fn every_case_is_in_one_part_and_every_difference_has_a_case() {
    let cases = cases::all();
    for case in &cases {
        let parts = PARTS.iter().filter(|part| is_in(**part, case)).count();
        assert_eq!(parts, 1, "{parts} parts have {case}");
    }
    for (hook, name) in differences::names() {
        let found = cases
            .iter()
            .any(|case| case.hook == hook && case.name == name);
        assert!(found, "explained, and no case: {name}");
    }
}

fn is_in((hook, rows): Part, case: &Case) -> bool {
    case.hook == hook && rows.contains(&case.row)
}

/// Where the reasons are given.
const DOCS: [&str; 2] = [
    include_str!("../../../docs/nft.md"),
    include_str!("../../../docs/corpus.md"),
];

/// Shows a part's cases to both.
fn conform(part: Part) {
    let (hook, _) = part;
    let all = cases::all();
    let cases: Vec<_> = all.iter().filter(|case| is_in(part, case)).collect();
    let (ebpf, _) = judge(Side::ebpf().unwrap(), hook, &cases);
    let (nft, sees_what_leaves) = judge(Side::nft().unwrap(), hook, &cases);
    let mut wrong = Vec::new();
    let mut reasons = BTreeMap::<_, usize>::new();
    println!(
        "the table                    ebpf                         nft                          {}",
        hook.name()
    );
    for case in &cases {
        let want = Verdict::wanted(case);
        let (ebpf, nft) = (&ebpf[&case.name], &nft[&case.name]);
        let name = format!("{}: {}", case.row, case.name);
        let mut reason = "";
        for (side, found) in [(Backend::Ebpf, ebpf), (Backend::Nft, nft)] {
            let explained = differences::explained(side, case, sees_what_leaves);
            let kind = found.kind(&want);
            if let Some((_, why)) = explained {
                reason = why.row();
                assert!(
                    DOCS.iter()
                        .any(|docs| docs.contains(&format!("| {reason} |"))),
                    "no row of the docs begins with: {reason}"
                );
                *reasons.entry((side.to_string(), reason)).or_default() += 1;
            }
            if kind != explained.map(|(kind, _)| kind) {
                let words = found.difference(&want);
                wrong.push(format!(
                    "{name}: {side}: {kind:?}, explained is {explained:?}: {words}"
                ));
            }
        }
        println!("{want:<28} {ebpf:<28} {nft:<28} {name}");
        if !reason.is_empty() {
            println!("{:>86}   because: {reason}", "");
        }
    }
    println!("\n{} cases; differences by reason:", cases.len());
    for ((side, reason), count) in reasons {
        println!("{count:>5}  {side:<5} {reason}");
    }
    assert!(
        wrong.is_empty(),
        "{} are not as explained:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// One side's verdicts by the names of the cases, and whether it sees all that leaves.
fn judge(mut side: Side, hook: Hook, cases: &[&Case]) -> (BTreeMap<String, Verdict>, bool) {
    let mut sites = BTreeMap::<Site, Vec<&Case>>::new();
    for case in cases {
        sites.entry(case.site).or_default().push(case);
    }
    let mut verdicts = BTreeMap::new();
    for (site, cases) in sites {
        let judged = side.judge(site, hook, &cases).unwrap();
        let names = cases.iter().map(|case| case.name.clone());
        verdicts.extend(names.zip(judged));
    }
    (verdicts, side.sees_what_leaves().unwrap())
}
