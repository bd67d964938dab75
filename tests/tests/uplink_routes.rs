//! Every way out but the modem is closed to the tunnel, whatever routes lead there; its rules come before
//! everybody else's; and what others have put where it would put something is no reason to stop.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{
    ELSEWHERE, LISTEN_PORT, MODEM, PEER, TUNNEL_PEER, TUNNEL_ROUTER, UPLINK, UPLINK_GATEWAY,
};
use lte_tests::backend::Backend;
use lte_tests::capture::Capture;
use lte_tests::for_each_backend;
use lte_tests::netns::Netns;
use lte_tests::ping::Pinger;
use lte_tests::scene::{Scene, tunnel_out};
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use lte_tests::{sysctl, traffic};
use nix::sys::signal::Signal;

for_each_backend!(
    split_vpn,
    containers_come_and_go,
    rules_of_others,
    a_network_of_others,
    a_lan_of_the_modems_numbers,
    rules_and_address_of_an_older_version,
);

// The split VPN is met on every kernel: a route of somebody else that leads the tunnel elsewhere.
lte_tests::runs_on!(
    oldest, newest;
    containers_come_and_go,
    rules_of_others,
    a_network_of_others,
    a_lan_of_the_modems_numbers,
    rules_and_address_of_an_older_version,
);

const QUICK: Duration = Duration::from_millis(50);

/// Other VPNs, and a network of another kind: with and without a link header.
const VPNS: [&str; 5] = ["vpn-ether", "vpn-wg", "vpn-gre", "vpn-ipip", "vpn-sit"];

/// With the port rule gone, the server's address is routed into one VPN of the router after the other.
fn split_vpn(backend: Backend) -> Result<()> {
    // The modules of these tunnels would give each namespace to come a device of its own.
    fs::write("/proc/sys/net/core/fb_tunnels_only_for_init_net", "1")?;
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    // They appear while the agent runs, and none of them ever holds a default route.
    router.ip(&format!(
        "link add vpn-ether type dummy
         link add vpn-wg type wireguard
         link add vpn-gre type gre local {UPLINK} remote {UPLINK_GATEWAY}
         link add vpn-ipip type ipip local {UPLINK} remote {UPLINK_GATEWAY}
         link add vpn-sit type sit mode any local {UPLINK} remote {UPLINK_GATEWAY}\n"
    ))?;
    for vpn in VPNS {
        router.ip(&format!("link set {vpn} up\n"))?;
    }
    installation.wait_in_place(backend)?;
    agent.signal(Signal::SIGSTOP)?;
    router.ip("rule del pref 10\n")?;
    let there = Capture::start(router)?;
    let pinger = Pinger::start(router, TUNNEL_PEER, QUICK)?;
    for vpn in VPNS {
        would_be_seen(router, &there, vpn)?;
        router.ip(&format!("route replace {PEER}/32 dev {vpn}\n"))?;
        scene.forget_source()?;
        let before = scene.at_carrier.count(tunnel_out)?;
        pinger.wait_for_more(20)?;
        let steered = scene.at_carrier.count(tunnel_out)? - before;
        ensure!(
            steered >= 15,
            "{vpn}: of 20 packets only {steered} went by the modem"
        );
        there.none("outer packets on another VPN", |seen| {
            VPNS.contains(&&*seen.interface) && seen.packet.is_wireguard()
        })?;
    }
    pinger.stop()?;
    router.ip(&format!("route del {PEER}/32\n"))?;
    agent.signal(Signal::SIGCONT)?;
    scene.nothing_leaked()?;
    agent.interrupt()
}

/// Containers' interfaces come and go faster than they are looked at. No program is reported to undo anything, and
/// what is undone then is mended at once.
fn containers_come_and_go(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    let said = agent.log().len();
    for number in 0..30 {
        router.ip(&format!(
            "link add c{number} type veth peer name d{number}\n"
        ))?;
        std::thread::sleep(Duration::from_millis(60));
        router.ip(&format!("link del c{number}\n"))?;
    }
    router.ip("rule del pref 10\n")?;
    stand_at(router, 10)?;
    installation.wait_in_place(backend)?;
    let log = agent.log();
    let complaints: Vec<_> = log[said..]
        .iter()
        .filter(|line| {
            !["set ", "remove ", "the datapath is in place"]
                .iter()
                .any(|news| line.starts_with(news))
        })
        .collect();
    ensure!(complaints.is_empty(), "{complaints:#?}");
    agent.interrupt()
}

/// That an outer packet would have been seen on it: a look-alike to another host goes there.
fn would_be_seen(router: &Netns, there: &Capture, vpn: &str) -> Result<()> {
    router.ip(&format!("route replace {ELSEWHERE}/32 dev {vpn}\n"))?;
    let to = std::net::SocketAddrV4::new(ELSEWHERE, 9);
    traffic::send_udp(router, 40000, &[to], &[traffic::shaped_as_data()])?;
    there.wait_for(TIMEOUT, "a look-alike on the VPN", |seen| {
        &*seen.interface == vpn && seen.packet.is_wireguard()
    })?;
    there.clear();
    router.ip(&format!("route del {ELSEWHERE}/32\n")).map(drop)
}

/// The priorities of the rules that lead to table 123.
fn priorities(router: &Netns) -> Result<Vec<u32>> {
    let shown = router.tool("ip", &["rule", "show"])?;
    let ours = shown.lines().filter(|line| line.contains("lookup 123"));
    ours.map(|line| {
        let priority = line.split(':').next().unwrap_or_default();
        priority.parse().context(line.to_owned())
    })
    .collect()
}

fn stand_at(router: &Netns, first: u32) -> Result<()> {
    let wanted = [first, first + 1, first + 2];
    wait::until(TIMEOUT, &format!("rules from {first} on"), || {
        Ok((priorities(router)? == wanted).then_some(()))
    })
}

/// Others' rules come before the agent's, by a number and without one; they are overtaken where there
/// is room, and reported where there is none.
fn rules_of_others(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    stand_at(router, 10)?;
    // As mwan3 has them: behind ours, and of no concern.
    router.ip("rule add pref 1001 iif wan lookup main\nrule add pref 2001 fwmark 0x100/0x3f00 lookup main\n")?;
    for (rule, first) in [
        ("pref 5 lookup main", 2),
        ("pref 11 to 192.0.2.0/24 lookup main", 8),
    ] {
        router.ip(&format!("rule add {rule}\n"))?;
        stand_at(router, first).context(rule)?;
        answered(&scene)?;
        router.ip(&format!("rule del {rule}\n"))?;
        stand_at(router, 10)?;
    }
    // The kernel puts it before all but the first.
    router.ip("rule add lookup main\n")?;
    stand_at(router, 6)?;
    answered(&scene)?;
    router.ip("rule del pref 9 lookup main\n")?;
    stand_at(router, 10)?;
    scene.tunnel_is_sound()?;

    router.ip("rule add pref 1 to 192.0.2.0/24 lookup main\n")?;
    let text = "1: from all to 192.0.2.0/24 lookup main";
    agent.wait_logged(text)?;
    for command in ["doctor", "status"] {
        let said = installation.run(Some(backend), &[command])?;
        ensure!(said.stdout.contains(text), "{command}: {said:?}");
    }
    router.ip("rule del pref 1\n")?;
    answered(&scene)?;
    agent.interrupt()?;
    ensure!(priorities(router)?.is_empty(), "rules are left");
    Ok(())
}

fn answered(scene: &Scene) -> Result<()> {
    let pinger = Pinger::start(&scene.lab.router, TUNNEL_PEER, QUICK)?;
    pinger.wait_for_more(10)?;
    let report = pinger.stop()?;
    ensure!(report.lost() <= 1, "{report}");
    Ok(())
}

/// Another program has a route to a network behind the tunnel: the agent is ready, and watches as usual.
fn a_network_of_others(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    let mut installation = scene.installation()?;
    installation.config = installation.config.with(
        &format!("[\"{TUNNEL_PEER}/32\"]"),
        &format!("[\"{TUNNEL_PEER}/32\", \"10.99.0.0/24\"]"),
    )?;
    router.ip("route add 10.99.0.0/24 dev lan0\n")?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    agent.wait_logged("`10.99.0.0/24 dev lan0`")?;
    // What the kernel sends no event for is still found.
    sysctl::set(router, &[("ipv4/conf/modem/src_valid_mark", "0")])?;
    wait::until(TIMEOUT, "the sysctl to be mended", || {
        let now = router.run(|| {
            Ok(fs::read_to_string(
                "/proc/sys/net/ipv4/conf/modem/src_valid_mark",
            )?)
        })?;
        Ok((now.trim() == "1").then_some(()))
    })?;
    let doctor = installation.run(Some(backend), &["doctor"])?;
    ensure!(doctor.status.success(), "{doctor:?}");
    router.ip("route del 10.99.0.0/24 dev lan0\n")?;
    wait::until(TIMEOUT, "the route into the tunnel", || {
        let shown = router.tool("ip", &["route", "show", "10.99.0.0/24"])?;
        Ok(shown.contains("dev wg-lte").then_some(()))
    })?;
    agent.interrupt()
}

/// The modem's subnet is often the LAN's, too. Its broadcasts stay the LAN's.
fn a_lan_of_the_modems_numbers(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    router.ip("addr add 192.168.0.10/24 brd + dev lan0\n")?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    for device in ["lan0", "modem"] {
        router.ip(&format!("link set {device} down\nlink set {device} up\n"))?;
        for to in ["192.168.0.255", "192.168.0.0", "192.168.0.50"] {
            let got = router.tool("ip", &["route", "get", to])?;
            ensure!(
                got.contains(" dev lan0 "),
                "{to} after {device}'s flap: {got}"
            );
        }
    }
    let pinger = Pinger::start(router, TUNNEL_PEER, QUICK)?;
    pinger.wait_for_answer(TIMEOUT)?;
    agent.interrupt()
}

/// An agent of before had its rules from 1230 on, and the modem's address with its subnet. Both are
/// replaced while the peer speaks, and no answer is missing.
fn rules_and_address_of_an_older_version(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let router = &scene.lab.router;
    let before = scene.lab.snapshot()?;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    agent.terminate()?;
    router.ip(&format!(
        "addr add {MODEM}/24 dev modem noprefixroute brd +
         addr del {MODEM}/32 dev modem
         rule add pref 1230 iif lo ipproto udp sport {LISTEN_PORT} lookup 123 protocol 123
         rule add pref 1231 fwmark 0x7b/0xff lookup 123 protocol 123
         rule add pref 1232 iif lo from {MODEM} lookup 123 protocol 123
         rule del pref 10
         rule del pref 11
         rule del pref 12\n"
    ))?;
    let record = installation.path().join("run/before.json");
    let text = fs::read_to_string(&record)?;
    ensure!(text.contains(&format!("{MODEM}/32")), "{text}");
    fs::write(
        &record,
        text.replace(&format!("{MODEM}/32"), &format!("{MODEM}/24")),
    )?;

    let pinger = Pinger::start(&scene.lab.vps.netns, TUNNEL_ROUTER, QUICK)?;
    pinger.wait_for_answer(TIMEOUT)?;
    let since = Instant::now();
    let agent = installation.start(backend)?;
    stand_at(router, 10)?;
    pinger.wait_for_more(5)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    scene.session_kept(since)?;
    let addresses = router.tool("ip", &["-o", "-4", "addr", "show", "dev", "modem"])?;
    ensure!(
        addresses.lines().count() == 1 && addresses.contains(&format!("{MODEM}/32")),
        "{addresses}"
    );
    agent.interrupt()?;
    before.assert_same(router)
}
