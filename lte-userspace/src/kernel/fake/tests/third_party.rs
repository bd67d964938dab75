//! What others do, and what it brings along.

use std::time::{Duration, SystemTime};

use super::{STATIC, world};
use crate::config::PublicKey;
use crate::desired::{IpFamily, OffloadKey, Peer, Route, Rule, SysctlKey};
use crate::kernel::fake::FakeKernel;
use crate::kernel::fake::sequence::{TABLE, changes, dump, take};
use crate::kernel::hardware::Hardware;
use crate::kernel::qdisc::missing_modules::Module;
use crate::kernel::{KernelOperations, MAIN_TABLE};

const SHOWN: [&str; 6] = ["modem", "lte", "wan", "br0", "wg", "vlan"];
const KEY: PublicKey = PublicKey([2; 32]);

/// What a third party changes after these steps.
async fn change(steps: &[&str], by: impl FnOnce(&FakeKernel)) -> Vec<String> {
    let kernel = world();
    for step in steps {
        take(&kernel, step).await.unwrap();
    }
    let before = dump(&kernel, &SHOWN).await.unwrap();
    let requests = kernel.requests();
    by(&kernel);
    assert_eq!(
        kernel.requests(),
        requests,
        "it is no request of the agent's"
    );
    changes(&before, &dump(&kernel, &SHOWN).await.unwrap())
}

fn route(to: &str, table: u32) -> Route {
    Route {
        destination: to.parse().unwrap(),
        gateway: None,
        interface: "wan".to_owned(),
        source: None,
        table,
    }
}

fn rule() -> Rule {
    Rule {
        family: IpFamily::V4,
        priority: 11,
        local: false,
        source: None,
        udp_source_port: None,
        mark: Some((123, 0xff)),
        table: TABLE,
    }
}

#[tokio::test]
async fn an_interface_that_is_renamed_keeps_all_that_is_on_it() {
    let steps = [
        "up modem",
        "+address modem 192.168.0.2/24",
        "sysctl modem rp_filter 2",
    ];
    let found = change(&steps, |kernel| {
        assert_eq!(kernel.rename("modem", "wan"), Err(libc::EEXIST));
        kernel.rename("modem", "lte").unwrap();
    })
    .await;
    let (gone, come): (Vec<_>, Vec<_>) = found.iter().partition(|line| line.starts_with('-'));
    let renamed = gone
        .iter()
        .map(|line| line.replace("modem", "lte").replacen('-', "+", 1));
    assert_eq!(
        renamed.collect::<Vec<_>>(),
        come.into_iter().cloned().collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_device_that_is_plugged_in_again_is_another_interface() {
    let kernel = world();
    let hardware = Hardware {
        serial: Some("0123".to_owned()),
        ..Hardware::default()
    };
    kernel.set_hardware("modem", hardware.clone()).unwrap();
    let fresh = dump(&kernel, &SHOWN).await.unwrap();
    for step in [
        "up modem",
        "+address modem 192.168.0.2/24",
        "+route modem 10.0.0.0/8 table 123",
        "sysctl modem rp_filter 2",
        "master modem br0",
        "+backstop modem",
    ] {
        take(&kernel, step).await.unwrap();
    }
    let before = kernel.index("modem").await.unwrap();
    let index = kernel.replug("modem").unwrap();
    assert_ne!(index, before);
    assert_eq!(dump(&kernel, &SHOWN).await.unwrap(), fresh);
    let links = kernel.links().await.unwrap();
    let modem = links.iter().find(|link| link.index == index).unwrap();
    assert_eq!(modem.permanent_mac, Some(vec![2, 0, 0, 0, 0, 0xa]));
    assert_eq!(kernel.hardware(modem), hardware);
    kernel.unplug("modem").unwrap();
    assert_eq!(kernel.unplug("modem"), Err(libc::ENODEV));
    assert_eq!(kernel.hardware(modem), Hardware::default());
}

#[tokio::test]
async fn a_device_is_not_deleted_and_what_is_stacked_on_it_goes_with_it() {
    let kernel = world();
    kernel.add_virtual("vlan", "vlan", Some("modem"));
    assert_eq!(kernel.delete("modem"), Err(libc::EOPNOTSUPP));
    kernel.unplug("modem").unwrap();
    assert!(kernel.index("vlan").await.is_err());
}

#[tokio::test]
async fn what_is_done_to_an_interface() {
    let found = change(&["sysctl modem disable_ipv6 1"], |kernel| {
        kernel.set_link("modem", true).unwrap();
        kernel.change_mtu("modem", 1400).unwrap();
        kernel.change_alias("modem", Some("mine")).unwrap();
        kernel.enslave("modem", Some("br0")).unwrap();
        kernel
            .change_sysctl("modem", SysctlKey::RpFilter, "2")
            .unwrap();
        kernel.change_offload("modem", OffloadKey::Gro, 0).unwrap();
        kernel
            .give_address("modem", "192.168.0.2/24".parse().unwrap())
            .unwrap();
    })
    .await;
    assert_eq!(
        found,
        [
            "- link modem down mtu 1500",
            "- offload modem rx-gro 1",
            "- sysctl modem rp_filter 0",
            "+ address modem 192.168.0.2/24",
            "+ link modem up mtu 1400 master br0 alias mine",
            "+ offload modem rx-gro 0",
            "+ qdisc modem Default",
            "+ route 192.168.0.0/24 dev modem src 192.168.0.2 table 254 of the kernel",
            "+ sysctl modem rp_filter 2",
        ]
    );
    let found = change(
        &["+address modem 192.168.0.2/24", "master modem br0"],
        |kernel| {
            kernel.enslave("modem", None).unwrap();
            kernel
                .take_address("modem", "192.168.0.2/24".parse().unwrap())
                .unwrap();
        },
    )
    .await;
    assert_eq!(
        found,
        [
            "- address modem 192.168.0.2/24",
            "- link modem down mtu 1500 master br0",
            "+ link modem down mtu 1500",
        ]
    );
}

#[tokio::test]
async fn a_vrf_and_a_bond_take_an_interface_in_their_own_ways() {
    let kernel = world();
    kernel.add_virtual("vrf0", "vrf", None);
    kernel.add_virtual("bond0", "bond", None);
    for step in [
        "up modem",
        "+address modem 192.168.0.2/24",
        "+route modem 10.0.0.0/8 table 123",
    ] {
        take(&kernel, step).await.unwrap();
    }
    kernel.enslave("modem", Some("vrf0")).unwrap();
    let routes = kernel.routes_of_others_in(TABLE).await.unwrap();
    assert!(routes.is_empty() && kernel.routes(&[].into()).await.unwrap().ours.is_empty());
    kernel.enslave("modem", None).unwrap();
    assert_eq!(kernel.enslave("modem", Some("bond0")), Err(libc::EPERM));
    // The agent sets it down first, and the bond sets it up.
    take(&kernel, "master modem bond0").await.unwrap();
    let links = kernel.links().await.unwrap();
    let modem = links.iter().find(|link| link.name == "modem").unwrap();
    assert!(modem.up && modem.master.is_some());
}

#[tokio::test]
async fn all_interfaces_are_told_of_ipv6_and_of_nothing_else() {
    let found = change(&["up wan"], |kernel| {
        kernel
            .change_sysctl("all", SysctlKey::DisableIpv6, "1")
            .unwrap();
        kernel
            .change_sysctl("all", SysctlKey::RpFilter, "2")
            .unwrap();
        kernel
            .change_sysctl("default", SysctlKey::RpFilter, "1")
            .unwrap();
    })
    .await;
    assert_eq!(
        found,
        [
            "- address wan fe80::ff:fe00:b/64",
            "- route fe80::/64 dev wan metric 256 table 254 of the kernel",
            "- sysctl br0 disable_ipv6 0",
            "- sysctl modem disable_ipv6 0",
            "- sysctl wan disable_ipv6 0",
            "+ sysctl br0 disable_ipv6 1",
            "+ sysctl modem disable_ipv6 1",
            "+ sysctl wan disable_ipv6 1",
        ]
    );
}

#[tokio::test]
async fn routes_of_others() {
    let steps = ["up wan", "+route wan 10.0.0.0/8 table 123"];
    let found = change(&steps, |kernel| {
        assert_eq!(
            kernel.give_route(&route("10.0.0.0/8", TABLE), STATIC, 0),
            Err(libc::EEXIST)
        );
        kernel
            .give_route(&route("10.0.0.0/8", TABLE), STATIC, 5)
            .unwrap();
        kernel
            .give_route(&route("0.0.0.0/0", MAIN_TABLE), STATIC, 0)
            .unwrap();
        kernel
            .give_route(&route("2001:db8::/32", MAIN_TABLE), STATIC, 0)
            .unwrap();
    })
    .await;
    assert_eq!(
        found,
        [
            "+ default of others wan",
            "+ route 10.0.0.0/8 dev wan metric 5 table 123 of 4",
            "+ route 2001:db8::/32 dev wan metric 1024 table 254 of 4",
        ]
    );
    // In the agent's table its own takes the place of another's, and says nothing.
    let kernel = world();
    kernel.set_link("wan", true).unwrap();
    kernel.set_link("modem", true).unwrap();
    kernel
        .give_route(&route("10.0.0.0/8", TABLE), STATIC, 0)
        .unwrap();
    take(&kernel, "+route modem 10.0.0.0/8 table 123")
        .await
        .unwrap();
    assert!(kernel.routes_of_others_in(TABLE).await.unwrap().is_empty());
}

#[tokio::test]
async fn routes_that_others_remove() {
    let steps = [
        "up wan",
        "+route wan 10.0.0.0/8 table 123",
        "+route wan 10.0.0.0/8",
        "+route wan default table 123",
        "+route wan default6 table 123",
    ];
    let found = change(&steps, |kernel| {
        kernel
            .delete_route("10.0.0.0/8".parse().unwrap(), MAIN_TABLE)
            .unwrap();
        kernel
            .delete_route("0.0.0.0/0".parse().unwrap(), TABLE)
            .unwrap();
        let again = kernel.delete_route("0.0.0.0/0".parse().unwrap(), TABLE);
        assert_eq!(again, Err(libc::ESRCH));
    })
    .await;
    let gone = [
        "- route 10.0.0.0/8 dev wan table 254 of ours",
        "- route default dev wan table 123 of ours",
    ];
    assert_eq!(found, gone);
    let found = change(&steps, |kernel| kernel.flush_table(TABLE)).await;
    let gone = [
        "- route 10.0.0.0/8 dev wan table 123 of ours",
        "- route default dev wan metric 1024 table 123 of ours",
        "- route default dev wan table 123 of ours",
    ];
    assert_eq!(found, gone);
}

#[tokio::test]
async fn rules_of_others() {
    let found = change(&["+rule v4 11 mark 123"], |kernel| {
        kernel.give_rule(&rule(), STATIC).unwrap();
        assert_eq!(kernel.give_rule(&rule(), STATIC), Err(libc::EEXIST));
    })
    .await;
    let come = ["+ rule Inet 11: from all fwmark 0x7b/0xff lookup 123 of 4"];
    assert_eq!(found, come);
    let found = change(&["+rule v4 11 mark 123"], |kernel| {
        kernel.delete_rule(IpFamily::V4, 11).unwrap();
        assert_eq!(kernel.delete_rule(IpFamily::V4, 11), Err(libc::ENOENT));
        assert_eq!(kernel.delete_rule(IpFamily::V6, 11), Err(libc::ENOENT));
    })
    .await;
    let gone = ["- rule Inet 11: from all fwmark 0x7b/0xff lookup 123 of ours"];
    assert_eq!(found, gone);
    let kernel = world();
    kernel.flush_rules();
    let rules = kernel.rules().await.unwrap();
    assert_eq!((rules.ours.len(), rules.others.len()), (0, 2));
}

#[tokio::test]
async fn root_qdiscs_of_others() {
    let whole =
        "- qdisc modem Backstop(Some(BackstopState { passes: (123, 255), queue: Ours(FqCodel) }))";
    let steps = ["sysctl modem disable_ipv6 1", "up modem", "+backstop modem"];
    let found = change(&steps, |kernel| kernel.replace_queue("modem").unwrap()).await;
    let come = "+ qdisc modem Backstop(Some(BackstopState { passes: (123, 255), queue: Foreign }))";
    assert_eq!(found, [whole, come]);
    let found = change(&steps, |kernel| kernel.delete_filters("modem").unwrap()).await;
    assert_eq!(found, [whole, "+ qdisc modem Backstop(None)"]);
    let found = change(&steps, |kernel| kernel.delete_root("modem").unwrap()).await;
    assert_eq!(found, [whole, "+ qdisc modem Default"]);
    let found = change(&steps, |kernel| {
        kernel.replace_root("modem", "htb").unwrap()
    })
    .await;
    assert_eq!(found, [whole, "+ qdisc modem Foreign(\"htb\")"]);
    // It stays when the interface goes down, and the backstop does not take its place.
    let kernel = world();
    assert_eq!(kernel.delete_root("modem"), Err(libc::ENOENT));
    kernel.replace_root("modem", "htb").unwrap();
    let error = take(&kernel, "+backstop modem").await.unwrap_err();
    assert_eq!(error.errno(), Some(libc::EEXIST));
    let error = take(&kernel, "-backstop modem").await.unwrap_err();
    assert_eq!(error.errno(), Some(libc::EINVAL));
}

#[tokio::test]
async fn modules_that_the_kernel_lacks() {
    for module in Module::REQUIRED {
        let kernel = world();
        kernel.lack(module);
        take(&kernel, "+backstop modem").await.unwrap();
        assert_eq!(kernel.missing_modules(), [module].into());
        assert!(kernel.root_qdiscs().await.unwrap().is_empty(), "{module}");
        kernel.install(module);
        kernel.retry_modules();
        assert!(kernel.missing_modules().is_empty());
        take(&kernel, "+backstop modem").await.unwrap();
        assert_eq!(kernel.root_qdiscs().await.unwrap().len(), 1);
    }
    let kernel = world();
    kernel.lack(Module::SchFqCodel);
    take(&kernel, "+backstop modem").await.unwrap();
    assert_eq!(kernel.missing_modules(), [Module::SchFqCodel].into());
    let dump = dump(&kernel, &SHOWN).await.unwrap();
    assert!(dump.iter().any(|line| line.contains("queue: Ours(Fifo)")));
    // Another agent knows of none.
    kernel.recover();
    assert!(kernel.missing_modules().is_empty());
}

#[tokio::test]
async fn peers_and_settings_of_wireguard() {
    let peer = Peer {
        interface: "wg".to_owned(),
        public_key: KEY,
        endpoint: None,
        allowed_ips: Vec::new(),
        keepalive: Duration::ZERO,
    };
    let from = "198.51.100.7:51820".parse().unwrap();
    let steps = ["create wg 1380", "device wg 1 51820"];
    let found = change(&steps, |kernel| {
        kernel.give_peer(&peer).unwrap();
        kernel
            .hear_peer("wg", KEY, from, SystemTime::UNIX_EPOCH)
            .unwrap();
        kernel
            .change_wireguard("wg", |device| device.fwmark = 7)
            .unwrap();
    })
    .await;
    assert_eq!(
        found,
        [
            "- device wg key true port 51820 mark 0",
            "+ device wg key true port 51820 mark 7",
            "+ peer wg 2 Some(198.51.100.7:51820) [] 0ns",
        ]
    );
    let found = change(&["create wg 1380", "+peer wg 2"], |kernel| {
        kernel.take_peer("wg", KEY).unwrap();
    })
    .await;
    assert_eq!(found, ["- peer wg 2 None [] 0ns"]);
    let kernel = world();
    for step in steps {
        take(&kernel, step).await.unwrap();
    }
    kernel.take_port(51820);
    let error = take(&kernel, "up wg").await.unwrap_err();
    assert_eq!(error.errno(), Some(libc::EADDRINUSE));
    kernel.free_port(51820);
    take(&kernel, "up wg").await.unwrap();
    // Without one of its own it is given one, which is another.
    take(&kernel, "create wg2 1380").await.unwrap();
    take(&kernel, "up wg2").await.unwrap();
    let port = kernel.wireguard("wg2").await.unwrap().listen_port;
    assert!(port != 0 && port != 51820);
}

#[tokio::test]
async fn without_ipv6_nothing_of_it_is_there() {
    let kernel = FakeKernel::without_ipv6();
    kernel.plug_in("modem", [2, 0, 0, 0, 0, 0xa]);
    take(&kernel, "up modem").await.unwrap();
    let lines = dump(&kernel, &SHOWN).await.unwrap();
    let of_ipv6 = |line: &&String| {
        ["fe80", "Inet6", "accept_ra", "disable_ipv6"]
            .iter()
            .any(|word| line.contains(word))
    };
    assert_eq!(lines.iter().find(of_ipv6), None);
    for (step, errno) in [
        ("+address modem 2001:db8::2/64", libc::EOPNOTSUPP),
        ("-address modem 2001:db8::2/64", libc::EOPNOTSUPP),
        ("+route modem 2001:db8::/64", libc::EOPNOTSUPP),
        ("+rule v6 10 mark 1", libc::EAFNOSUPPORT),
        ("sysctl modem accept_ra 0", libc::ENOENT),
    ] {
        assert_eq!(
            take(&kernel, step).await.unwrap_err().errno(),
            Some(errno),
            "{step}"
        );
    }
}
