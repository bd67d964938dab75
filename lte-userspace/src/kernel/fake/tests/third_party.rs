//! What others do to interfaces, and what it brings along.

use super::world;
use crate::desired::{OffloadKey, SysctlKey};
use crate::kernel::KernelOperations as _;
use crate::kernel::fake::FakeKernel;
use crate::kernel::fake::dump::{TABLE, changes, dump};
use crate::kernel::fake::sequence::take;
use crate::kernel::hardware::Hardware;

/// The interfaces that are shown.
pub(super) const SHOWN: [&str; 6] = ["modem", "lte", "wan", "br0", "wg", "vlan"];

/// What a third party changes after these steps.
pub(super) async fn change(steps: &[&str], by: impl FnOnce(&FakeKernel)) -> Vec<String> {
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
async fn a_device_may_have_features_that_can_be_switched() {
    let kernel = world();
    let features = [(OffloadKey::Gro, 1), (OffloadKey::Lro, 1)];
    kernel.set_features("modem", &features).unwrap();
    take(&kernel, "offload modem rx-lro 0").await.unwrap();
    let modem = kernel.index("modem").await.unwrap();
    let found = kernel.offloads(modem).await.unwrap();
    assert_eq!(found, [(OffloadKey::Gro, 1), (OffloadKey::Lro, 0)].into());
    assert!(kernel.offloads(modem + 77).await.unwrap().is_empty());
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
