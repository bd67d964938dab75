//! Loading, reading back, noticing, mending, taking away.

use lte_tests::addresses::{PEER, PEER_PORT};
use lte_userspace::backend::Backend;

use crate::rig::{Rig, keepalive};

/// The whole ruleset of the router, traces of traffic and the order of tables aside.
fn ruleset(rig: &Rig) -> String {
    let list = ["-s", "list", "ruleset"];
    let listing = rig.lab.router.tool("nft", &list).unwrap();
    let tables = listing.trim_start_matches("table ").split("\ntable ");
    let mut tables: Vec<_> = tables
        .map(|body| format!("table {}", body.trim()))
        .collect();
    tables.sort_unstable();
    tables.join("\n")
}

fn remove(rig: &Rig) {
    rig.on_nft(|nft, _| nft.remove().map_err(|mut e| e.remove(0).into()));
}

#[test]
fn what_is_applied_is_there_and_what_is_removed_is_gone() {
    let rig = Rig::open();
    rig.nft("add table ip theirs; add set ip theirs s { type ipv4_addr; flags timeout; }");
    assert_eq!(rig.differences(), Vec::<String>::new());
    assert!(rig.on_nft(|nft, _| Ok(nft.present()?)));
    let loaded = ruleset(&rig);
    rig.apply();
    assert_eq!(ruleset(&rig), loaded);
    remove(&rig);
    assert!(!rig.on_nft(|nft, _| Ok(nft.present()?)));
    let without = ruleset(&rig);
    assert!(!without.contains("lte_backup"), "{without}");
    assert!(without.contains("table ip theirs"), "{without}");
    assert!(without.contains("table ip home"), "{without}");
    remove(&rig);
    assert!(!rig.differences().is_empty());
    rig.apply();
    assert_eq!(ruleset(&rig), loaded);
}

#[test]
fn every_damage_is_found_and_repaired_and_counters_are_kept() {
    let rig = Rig::open();
    rig.round_trip(&keepalive());
    let handle = |chain: &str| {
        let listing = rig
            .lab
            .router
            .tool("nft", &["-a", "list", "chain", "inet", "lte_backup", chain])
            .unwrap();
        let (_, last) = listing.rsplit_once("# handle ").unwrap();
        last.split_whitespace().next().unwrap().to_owned()
    };
    let damages: &[&dyn Fn() -> String] = &[
        &|| "flush table inet lte_backup".to_owned(),
        &|| "flush table netdev lte_backup".to_owned(),
        &|| "insert rule inet lte_backup prerouting accept".to_owned(),
        &|| "add rule inet lte_backup modem_out accept".to_owned(),
        &|| {
            format!(
                "delete rule inet lte_backup modem_in4 handle {}",
                handle("modem_in4")
            )
        },
        &|| {
            format!(
                "replace rule inet lte_backup forward handle {} accept",
                handle("forward")
            )
        },
        &|| "add chain inet lte_backup evil { type filter hook input priority 0; }".to_owned(),
        &|| "chain inet lte_backup prerouting { policy drop; }".to_owned(),
        &|| "add table inet lte_backup { flags dormant; }".to_owned(),
        &|| "add set inet lte_backup more { type ipv4_addr; }".to_owned(),
        &|| "add map inet lte_backup more { type ipv4_addr : verdict; }".to_owned(),
        &|| "add counter inet lte_backup more".to_owned(),
        &|| "add quota inet lte_backup more { over 1 mbytes }".to_owned(),
    ];
    for (mended, damage) in damages.iter().enumerate() {
        let damage = damage();
        rig.nft(&damage);
        assert!(!rig.differences().is_empty(), "not noticed: {damage}");
        rig.apply();
        assert_eq!(rig.differences(), Vec::<String>::new(), "after {damage}");
        rig.round_trip(&keepalive());
        let passed = 2 + mended as u64;
        assert_eq!(rig.counted("modem-out/tunnel"), passed, "after {damage}");
        assert_eq!(rig.counted("modem-in/reply"), passed, "after {damage}");
    }
    let of_netdev = if rig.has_egress() {
        "modem-out/tunnel"
    } else {
        "modem-in/fragment"
    };
    for (damage, kept) in [
        ("delete table netdev lte_backup", "modem-in/reply"),
        ("delete table inet lte_backup", of_netdev),
        ("flush ruleset", ""),
    ] {
        rig.nft(damage);
        assert!(!rig.differences().is_empty(), "not noticed: {damage}");
        let before = rig.counted(kept);
        rig.apply();
        assert_eq!(rig.differences(), Vec::<String>::new(), "after {damage}");
        assert_eq!(rig.counted(kept), before, "after {damage}");
        rig.round_trip(&keepalive());
    }
}

#[test]
fn counters_of_more_than_32_bits_and_remotes_outlast_a_new_guard() {
    let mut rig = Rig::open();
    rig.round_trip(&keepalive());
    rig.nft(
        "add table inet lte_backup
         add counter inet lte_backup modem-out/drop-not-ip { packets 5000000000 bytes 70000000000000; }",
    );
    // The kernels at both ends of the link say things of their own in IPv6 and ARP.
    let counters = |rig: &Rig| {
        let mut counters = rig.counters();
        counters.retain(|name, _| !name.ends_with("/drop-family") && !name.ends_with("/neighbour"));
        counters
    };
    let before = counters(&rig);
    let remotes = || {
        let listing = rig
            .lab
            .router
            .tool("nft", &["list", "set", "inet", "lte_backup", "remote4"])
            .unwrap();
        assert!(
            listing.contains(&format!("{PEER} . {PEER_PORT}")),
            "{listing}"
        );
    };
    remotes();
    rig.guard.admin_ports = vec![8080];
    assert!(!rig.differences().is_empty());
    rig.apply();
    remotes();
    // Another time-out makes another set.
    rig.guard.flow_timeout *= 2;
    assert!(!rig.differences().is_empty());
    rig.apply();
    remotes();
    assert_eq!(counters(&rig), before);
    assert!(before.values().any(|counter| counter.0 >= 5_000_000_000));
    let modem = rig.guard.modem.take();
    rig.apply();
    assert_eq!(rig.differences(), Vec::<String>::new());
    rig.guard.modem = modem;
    rig.apply();
    let after = counters(&rig);
    for (name, counter) in before {
        assert_eq!(after.get(&name), Some(&counter), "{name}");
    }
}

#[test]
fn a_device_that_comes_back_is_guarded_again() {
    let mut rig = Rig::open();
    let carrier = rig.lab.carrier.netns.path();
    rig.round_trip(&keepalive());
    rig.lab
        .router
        .ip(&format!(
            "link del modem
             link add modem type veth peer name modem0 netns {carrier}\n"
        ))
        .unwrap();
    rig.guard.modem.as_mut().unwrap().index += 1;
    rig.apply();
    assert_eq!(rig.differences(), Vec::<String>::new());
    assert_eq!(rig.counted("modem-out/tunnel"), 1);
    let mut frame = vec![0xff; 12];
    frame.extend([0x88, 0xcc]);
    frame.extend([0; 46]);
    rig.lab.router.ip("link set modem up\n").unwrap();
    rig.lab.carrier.netns.ip("link set modem0 up\n").unwrap();
    // A link needs a while to come up.
    lte_tests::wait::until(lte_tests::wait::TIMEOUT, "a frame at the ingress", || {
        crate::rig::send_frame(&rig.lab.carrier.netns, "modem0", &frame);
        Ok((rig.counted("modem-in/drop-not-ip") > 0).then_some(()))
    })
    .unwrap();
}
