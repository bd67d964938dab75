//! What the model claims of the kernel, one entry a claim: the model is held to it here, and the running kernel by
//! the test that is ignored unless it is asked for.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod addresses;
mod links;
mod on_the_kernel;
mod qdiscs;
mod requests;
mod routes;
mod rules;
mod third_party;
mod third_party_routing;
mod wireguard;

use super::dump::{changes, dump};
use super::sequence::take;
use super::{FakeKernel, STATIC};
use crate::kernel::KernelOperations;

/// The interfaces of which a claim may speak. All are down at first.
const SHOWN: [&str; 5] = ["modem", "wan", "br0", "wg", "wg2"];

/// One claim: after these steps, a last one has this answer and changes just this.
struct Claim {
    name: &'static str,
    before: &'static [&'static str],
    step: &'static str,
    /// 0, or the error number.
    answer: i32,
    /// What goes (`- `) and what comes (`+ `).
    changes: &'static [&'static str],
}

/// An answer that has no error number.
const NO_NUMBER: i32 = -1;

const fn claim(
    name: &'static str,
    before: &'static [&'static str],
    step: &'static str,
    answer: i32,
    changes: &'static [&'static str],
) -> Claim {
    Claim {
        name,
        before,
        step,
        answer,
        changes,
    }
}

/// All claims, by their subjects.
const CLAIMS: [(&str, &[Claim]); 7] = [
    ("links", links::CLAIMS),
    ("addresses", addresses::CLAIMS),
    ("routes", routes::REFUSED),
    ("routes", routes::DONE),
    ("rules", rules::CLAIMS),
    ("qdiscs", qdiscs::CLAIMS),
    ("wireguard", wireguard::CLAIMS),
];

/// Two Ethernet interfaces and a bridge.
fn world() -> FakeKernel {
    let kernel = FakeKernel::new();
    kernel.plug_in("modem", [2, 0, 0, 0, 0, 0xa]);
    kernel.plug_in("wan", [2, 0, 0, 0, 0, 0xb]);
    kernel.add_virtual("br0", "bridge", None);
    kernel
}

/// The answer of the last step of a claim, and what it changes.
async fn outcome<K: KernelOperations>(kernel: &K, claim: &Claim) -> (i32, Vec<String>) {
    for step in claim.before {
        let taken = take(kernel, step).await;
        taken.unwrap_or_else(|error| panic!("{}: {step}: {error}", claim.name));
    }
    let before = dump(kernel, &SHOWN).await.unwrap();
    let answer = match take(kernel, claim.step).await {
        Ok(()) => 0,
        Err(error) => error.errno().unwrap_or(NO_NUMBER),
    };
    let after = dump(kernel, &SHOWN).await.unwrap();
    (answer, changes(&before, &after))
}

#[tokio::test]
async fn the_model_does_what_is_claimed() {
    let mut wrong = Vec::new();
    for (subject, claims) in CLAIMS {
        for claim in claims {
            let found = outcome(&world(), claim).await;
            if (
                found.0,
                found.1.iter().map(String::as_str).collect::<Vec<_>>(),
            ) != (claim.answer, claim.changes.to_vec())
            {
                wrong.push(format!(
                    "{subject}: {}: answer {}, not {}\n{:#?}",
                    claim.name, found.0, claim.answer, found.1
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
