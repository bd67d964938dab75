//! What others do to routes, rules, root qdiscs and WireGuard, and what it brings along.

use std::time::{Duration, SystemTime};

use super::third_party::{SHOWN, change};
use super::{STATIC, world};
use crate::config::PublicKey;
use crate::desired::{IpFamily, Peer, Route, Rule};
use crate::kernel::fake::dump::{TABLE, dump};
use crate::kernel::fake::sequence::take;
use crate::kernel::qdisc::RootQdisc;
use crate::kernel::qdisc::missing_modules::Module;
use crate::kernel::{KernelOperations as _, MAIN_TABLE};

const KEY: PublicKey = PublicKey([2; 32]);

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
        kernel.replace_root("modem", "htb").unwrap();
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
        let modem = kernel.index("modem").await.unwrap();
        let root = kernel.root_qdiscs().await.unwrap().remove(&modem);
        assert_eq!(root, None, "{module}");
        kernel.install(module);
        kernel.retry_modules();
        assert!(kernel.missing_modules().is_empty());
        take(&kernel, "+backstop modem").await.unwrap();
        let root = kernel.root_qdiscs().await.unwrap().remove(&modem);
        assert!(matches!(root, Some(RootQdisc::Backstop(Some(_)))));
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
