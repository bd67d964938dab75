//! The whole tunnel beside other people's rulesets: theirs work, and stay as they are.

use anyhow::{Result, ensure};
use lte_tests::addresses::{ELSEWHERE, LISTEN_PORT};
use lte_tests::backend::Backend;
use lte_tests::scene::{Scene, rules, rules_back};
use lte_tests::topology::Options;
use lte_tests::{for_each_backend, ping};

for_each_backend!(
    a_firewall_manager,
    a_handwritten_ruleset,
    masquerading_on_everything,
    a_qdisc_on_the_modem
);

// One series of nft: what others do with it does not depend on ours.
lte_tests::runs_on!(first_between);

/// As a firewall manager's: zones, hooks at its own priorities, drop by default.
const MANAGER: &str = "table inet firewalld {
    chain mangle_PREROUTING { type filter hook prerouting priority -140; policy accept; }
    chain nat_PREROUTING { type nat hook prerouting priority -90; policy accept; }
    chain nat_POST_external {
        meta nfproto ipv4 oifname != \"lo\" masquerade
    }
    chain nat_POSTROUTING { type nat hook postrouting priority 110; policy accept;
        oifname \"wan\" goto nat_POST_external
    }
    chain filter_PREROUTING { type filter hook prerouting priority 10; policy accept;
        icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
        meta nfproto ipv6 fib saddr . mark . iif oif missing drop
    }
    chain filter_INPUT { type filter hook input priority 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname lo accept
        ct state invalid drop
        iifname lan0 accept
        iifname \"wg-lte\" accept
        reject with icmpx admin-prohibited
    }
    chain filter_FORWARD { type filter hook forward priority 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname lo accept
        ct state invalid drop
        iifname lan0 oifname wan accept
        reject with icmpx admin-prohibited
    }
    chain filter_OUTPUT { type filter hook output priority 10; policy accept;
        ct state { established, related } accept
        oifname lo accept
    }
}";

/// As people write them: drop by default, a set, a counter, a log line.
const BY_HAND: &str = "table inet filter {
    set admins { type ipv4_addr; elements = { 192.168.77.10 } }
    counter refused { }
    chain input { type filter hook input priority 0; policy drop;
        iif lo accept
        ct state established,related accept
        ct state invalid drop
        ip saddr @admins tcp dport 22 accept
        iifname \"wg-lte\" icmp type echo-request accept
        counter name refused
    }
    chain forward { type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname lan0 oifname wan accept
    }
    chain output { type filter hook output priority 0; policy accept; }
}
table ip nat {
    chain postrouting { type nat hook postrouting priority 100;
        oifname \"wan\" masquerade fully-random
    }
}";

/// Whatever leaves by whatever way.
const EVERYTHING: &str = "table ip nat {
    chain prerouting { type nat hook prerouting priority -100; }
    chain postrouting { type nat hook postrouting priority 100; masquerade; }
}
table inet filter {
    chain input { type filter hook input priority 0; policy drop;
        iif lo accept
        ct state established,related accept
        iifname \"wg-lte\" accept
    }
}";

fn a_firewall_manager(backend: Backend) -> Result<()> {
    beside(backend, MANAGER)
}

fn a_handwritten_ruleset(backend: Backend) -> Result<()> {
    beside(backend, BY_HAND)
}

fn masquerading_on_everything(backend: Backend) -> Result<()> {
    beside(backend, EVERYTHING)
}

/// It stays, and it is said that it stands where ours would.
fn a_qdisc_on_the_modem(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    let shape = "qdisc add dev modem root handle 1: tbf rate 5mbit burst 10kb latency 50ms\n";
    router.tool_with_input("tc", &["-batch", "-"], shape)?;
    let before = scene.lab.snapshot()?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    agent.wait_logged("modem has a root qdisc tbf of another program")?;
    let shown = router.tool("tc", &["qdisc", "show", "dev", "modem", "root"])?;
    ensure!(shown.starts_with("qdisc tbf 1:"), "{shown}");
    scene.tunnel_is_sound()?;
    agent.interrupt()?;
    before.assert_same(router)
}

fn beside(backend: Backend, theirs: &str) -> Result<()> {
    let scene = Scene::open(&Options {
        masquerade: false,
        ..Options::default()
    })?;
    let router = &scene.lab.router;
    router.tool_with_input("nft", &["-f", "-"], theirs)?;
    let before = scene.lab.snapshot()?;
    let listed = others_tables(&scene)?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_more(5)?;
    ensure!(
        others_tables(&scene)? == listed,
        "their tables have changed"
    );

    // The port rule goes; the guard steers until the agent has put it back.
    let all = rules(router)?;
    let port = LISTEN_PORT.to_string();
    router.tool(
        "ip",
        &[
            "rule", "del", "ipproto", "udp", "sport", &port, "lookup", "123",
        ],
    )?;
    rules_back(router, all)?;
    pinger.wait_for_more(5)?;
    // Their own work goes on.
    ensure!(
        ping::answers(&scene.lab.lan, ELSEWHERE)?,
        "the LAN is cut off"
    );
    scene.lab.lose_lease()?;
    pinger.wait_for_more(5)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    ensure!(
        others_tables(&scene)? == listed,
        "their tables have changed"
    );
    scene.tunnel_is_sound()?;

    scene.lab.gain_lease()?;
    agent.interrupt()?;
    before.assert_same(router)
}

/// What is not ours of the router's ruleset, counters aside.
fn others_tables(scene: &Scene) -> Result<Vec<String>> {
    let router = &scene.lab.router;
    let mut tables = Vec::new();
    for line in router.tool("nft", &["list", "tables"])?.lines() {
        if !line.contains("lte_backup") {
            let words: Vec<_> = ["-s", "-a", "list"]
                .into_iter()
                .chain(line.split(' '))
                .collect();
            tables.push(router.tool("nft", &words)?);
        }
    }
    ensure!(!tables.is_empty(), "they have no tables");
    Ok(tables)
}
