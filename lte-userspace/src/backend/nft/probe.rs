//! Whether this machine can run the backend, and what its kernel has; nothing is changed.

use super::batch;
use super::ruleset::{Features, Ruleset};
use super::run::{Program, RunError};
use super::state::State;
use super::table::NAME;
use crate::backend::{BackendError, FamilyAddr, Guard, LinkHeader, Modem, Network};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The oldest nft that this was tried with: Debian 12's.
const OLDEST: [u32; 3] = [1, 0, 6];

/// Checks nft's version, and has the kernel check a ruleset without committing it. Where that shows
/// at once that the kernel has every feature, nothing more is tried.
pub(super) fn probe(nft: &Program) -> Result<Option<Features>, BackendError> {
    let text = nft
        .call(&["--version"], "")
        .map_err(|e| refused(e, "asking nft for its version"))?;
    let version = version(&text).ok_or_else(|| {
        BackendError::Unsupported(format!(
            "nft does not say its version (`nft --version`: {}): install nftables 1.0.6 or later",
            text.trim()
        ))
    })?;
    if version < OLDEST {
        let [a, b, c] = version;
        return Err(BackendError::Unsupported(format!(
            "nft {a}.{b}.{c} is too old: install nftables 1.0.6 or later"
        )));
    }
    let rules = Ruleset::new(&sample(), Features { egress: false });
    let rules = Ruleset {
        // Its chains are bound to a device, and there is none.
        netdev: super::table::Table::new(rules.netdev.family),
        ..rules
    };
    let mut load = batch::load(&rules, &State::default(), 1)
        .map_err(|e| BackendError::failed("writing a trial ruleset", e))?;
    // An earlier run's table may be there, with other set sizes and time-outs: the trial is for
    // a table made anew.
    if let Some(commands) = load["nftables"].as_array_mut() {
        let table = json!({"table": {"family": "inet", "name": NAME}});
        commands.splice(0..0, [json!({"add": table}), json!({"delete": table})]);
    }
    let mut with_egress = load.clone();
    if let Some(commands) = with_egress["nftables"].as_array_mut() {
        commands.extend(egress_trial());
    }
    if check(nft, &with_egress).is_ok() {
        return Ok(Some(Features { egress: true }));
    }
    check(nft, &load)
        .map(|()| None)
        .map_err(|e| refused(e, "checking a trial ruleset with nft"))
}

/// A chain on the egress hook.
fn egress_trial() -> [Value; 2] {
    let table = "lte_backup_trial";
    [
        json!({"add": {"table": {"family": "netdev", "name": table}}}),
        json!({"add": {"chain": {
            "family": "netdev", "table": table, "name": "trial", "type": "filter",
            "hook": "egress", "dev": "lo", "prio": 0, "policy": "accept",
        }}}),
    ]
}

/// What the kernel has.
pub(super) fn features(nft: &Program) -> Result<Features, RunError> {
    let trial = json!({"nftables": egress_trial()});
    match check(nft, &trial) {
        Ok(()) => Ok(Features { egress: true }),
        // The kernel does not know the hook.
        Err(error @ RunError::Refused(_)) if !error.is_forbidden() => {
            Ok(Features { egress: false })
        }
        Err(error) => Err(error),
    }
}

/// Has nft and the kernel check a transaction, which is not committed.
fn check(nft: &Program, transaction: &Value) -> Result<(), RunError> {
    nft.call(&["-c", "-j", "-f", "-"], &transaction.to_string())
        .map(|_| ())
}

fn version(text: &str) -> Option<[u32; 3]> {
    let (_, rest) = text.split_once(" v")?;
    let number = rest.split_whitespace().next()?;
    let mut parts = number.split('.').map(|part| {
        let digits = part
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(part.len());
        part[..digits].parse().ok()
    });
    let major = parts.next()??;
    let minor = parts.next()??;
    Some([major, minor, parts.next().flatten().unwrap_or(0)])
}

fn refused(error: RunError, context: &str) -> BackendError {
    BackendError::Unsupported(if error.is_forbidden() {
        "nftables may not be changed by this process: run as root (CAP_NET_ADMIN)".to_owned()
    } else if error.is_without_nf_tables() {
        format!("this kernel has no nf_tables (nft: {error}): load the module nf_tables")
    } else if let RunError::Refused(text) = error {
        format!(
            "this kernel refuses the rules (nft: {text}): it wants nf_tables with nft_ct, \
             nft_nat, nft_fib and nft_objref"
        )
    } else {
        return BackendError::failed(context, error);
    })
}

/// A guard that uses all that a guard can use.
pub(super) fn sample() -> Guard {
    Guard {
        modem: Some(Modem {
            index: 1,
            name: "lo".to_owned(),
            header: LinkHeader::Ethernet,
            v4: Some(FamilyAddr {
                address: Ipv4Addr::new(192, 0, 2, 2),
                gateway: None,
                admin: Some(Ipv4Addr::new(192, 0, 2, 1).into()),
            }),
            v6: Some(FamilyAddr {
                address: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
                gateway: None,
                admin: Some(Network {
                    address: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
                    prefix_len: 64,
                }),
            }),
        }),
        ..Guard::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_nft_says_them() {
        for (text, expected) in [
            ("nftables v1.0.6 (Lester Gooch #5)\n", Some([1, 0, 6])),
            (
                "nftables v1.1.3 (Commodore Bullmoose #4)\n",
                Some([1, 1, 3]),
            ),
            ("nftables v1.1 (x)", Some([1, 1, 0])),
            ("nftables v0.9.8-rc1 (E.D.S.)", Some([0, 9, 8])),
            ("busybox", None),
            ("", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
        assert!([0, 9, 8] < OLDEST && [1, 1, 0] > OLDEST);
    }

    #[test]
    fn refusals_say_what_to_do() {
        for (text, hint) in [
            (
                "Could not process rule: Operation not permitted",
                "run as root",
            ),
            (
                "netlink: Error: cache initialization failed: Operation not permitted",
                "run as root",
            ),
            (
                "netlink: Error: cache initialization failed: Invalid argument",
                "no nf_tables",
            ),
            (
                "mnl.c:60: Unable to initialize Netlink socket: Protocol not supported",
                "no nf_tables",
            ),
            (
                "Could not process rule: No such file or directory",
                "it wants nf_tables with",
            ),
        ] {
            let error = refused(RunError::Refused(text.to_owned()), "trying");
            assert!(matches!(error, BackendError::Unsupported(_)));
            let text = error.to_string();
            assert!(text.contains(hint), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }
}
