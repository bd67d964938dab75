//! An endpoint by name, in the hour when the system cannot resolve it: the agent asks over the modem,
//! for as long as it must, and no other traffic gets through beside it.

use std::ffi::CString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{CARRIER, ELSEWHERE, LISTEN_PORT, MODEM, PEER, PEER_PORT, TUNNEL};
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::capture::Seen;
use lte_tests::for_each_backend;
use lte_tests::installation::Installation;
use lte_tests::name_server::NameServer;
use lte_tests::scene::{Scene, foreign, from_modem, rules, rules_back};
use lte_tests::seccomp::in_place_of;
use lte_tests::topology::{Options, Uplink};
use lte_tests::wait::{self, TIMEOUT};
use nix::sys::signal::Signal;

for_each_backend!(
    a_name_is_asked_for_over_the_modem,
    a_tunnel_that_works_asks_nothing,
    without_name_servers_nothing_is_asked,
    the_last_good_address_serves_a_cold_start,
    an_address_that_fails_is_asked_for_anew,
    another_address_leaves_other_peers_alone,
    a_walled_garden_does_not_end_the_tunnel,
    a_resolver_that_hangs_holds_nothing_up,
);

// What asks, and by which way, rests on the guard; what it makes of the answers does not.
lte_tests::runs_on!(
    oldest, newest;
    a_name_is_asked_for_over_the_modem,
    a_tunnel_that_works_asks_nothing,
    without_name_servers_nothing_is_asked,
    the_last_good_address_serves_a_cold_start,
);
lte_tests::runs_on!(
    newest;
    an_address_that_fails_is_asked_for_anew,
    another_address_leaves_other_peers_alone,
    a_walled_garden_does_not_end_the_tunnel,
    a_resolver_that_hangs_holds_nothing_up,
);

const NAME: &str = "vpn.lab.test";
/// A provider's, to which its name servers resolve every name: no host answers WireGuard there.
const PORTAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
/// Of the second tunnel, at the server.
const SECOND_PORT: u16 = 51830;

/// No uplink, so that the system's resolver reaches no name server.
fn scene() -> Result<Scene> {
    Scene::open(&Options {
        uplink: Uplink::NoLease,
        ..Options::default()
    })
}

fn by_name(scene: &Scene, servers: &str) -> Result<Installation> {
    let mut installation = scene.installation()?;
    installation.config = installation
        .config
        .with(
            &format!("endpoint = \"{PEER}:{PEER_PORT}\""),
            &format!("endpoint = \"{NAME}:{PEER_PORT}\""),
        )?
        .with("[tunnel]\n", &format!("{servers}\n[tunnel]\n"))?;
    Ok(installation)
}

fn servers() -> String {
    format!("name_servers = [\"{ELSEWHERE}\"]\n")
}

fn is_question(seen: &Seen) -> bool {
    from_modem(seen)
        && seen.packet.destination() == Some(ELSEWHERE.into())
        && seen.packet.ports.is_some_and(|(_, to)| to == 53)
}

fn is_other(seen: &Seen) -> bool {
    foreign(seen) && !is_question(seen)
}

fn a_name_is_asked_for_over_the_modem(backend: Backend) -> Result<()> {
    let scene = scene()?;
    let server = NameServer::open(&scene.lab.vps.netns, ELSEWHERE, PEER)?;
    let agent = by_name(&scene, &servers())?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let endpoint = scene.lab.vps.endpoint()?.map(|endpoint| endpoint.ip());
    ensure!(endpoint == Some(CARRIER.into()), "at {endpoint:?}");
    ensure!(server.questions() > 0, "nobody was asked");
    scene
        .at_carrier
        .none("what is neither tunnel nor question", is_other)?;

    // The answer is there, and so the way is closed: from the agent's very port nothing leaves.
    let asked = scene.at_carrier.packets(is_question)?;
    let asked = asked.last().context("no question was seen")?;
    let (port, _) = asked.packet.ports.context("no ports")?;
    let before = scene.at_carrier.count(is_question)?;
    let socket = scene
        .lab
        .router
        .run(|| Ok(UdpSocket::bind(SocketAddrV4::new(MODEM, port))?))?;
    for _ in 0..5 {
        // nftables refuses it to the sender's face.
        socket.send_to(b"a question", (ELSEWHERE, 53)).ok();
    }
    thread::sleep(Duration::from_millis(500));
    let after = scene.at_carrier.count(is_question)?;
    ensure!(after == before, "{} questions more", after - before);
    Ok(())
}

fn a_tunnel_that_works_asks_nothing(backend: Backend) -> Result<()> {
    let scene = scene()?;
    let server = NameServer::open(&scene.lab.vps.netns, ELSEWHERE, PEER)?;
    let installation = by_name(&scene, &servers())?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    is_kept(&installation, PEER)?;
    agent.terminate()?;
    let before = server.questions();
    // It knows the address from before, and the system's resolver fails at once.
    let agent = installation.start(backend)?;
    wait::until(TIMEOUT, "the agent to miss an answer", || {
        let log = agent.log();
        Ok(log.iter().any(|line| line.contains(NAME)).then_some(()))
    })?;
    thread::sleep(Duration::from_secs(2));
    ensure!(server.questions() == before, "it has asked all the same");
    Ok(())
}

fn without_name_servers_nothing_is_asked(backend: Backend) -> Result<()> {
    let scene = scene()?;
    let server = NameServer::open(&scene.lab.vps.netns, ELSEWHERE, PEER)?;
    let agent = by_name(&scene, "")?.start(backend)?;
    wait::until(TIMEOUT, "the agent to miss an answer", || {
        let log = agent.log();
        Ok(log.iter().any(|line| line.contains(NAME)).then_some(()))
    })?;
    thread::sleep(Duration::from_secs(2));
    ensure!(server.questions() == 0, "it has asked");
    scene.at_carrier.none("anything at all", foreign)
}

/// A boot without an uplink: no name server can be reached, and the address of the last run is used.
fn the_last_good_address_serves_a_cold_start(backend: Backend) -> Result<()> {
    let scene = scene()?;
    let server = NameServer::open(&scene.lab.vps.netns, ELSEWHERE, PEER)?;
    let mut installation = by_name(&scene, &servers())?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    is_kept(&installation, PEER)?;
    agent.interrupt()?;
    drop(server);
    installation.config = installation.config.with(&servers(), "")?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    scene.nothing_leaked_but(|_| false, is_question)?;
    agent.interrupt()
}

/// The address of the last run answers no more, and there is no uplink.
fn an_address_that_fails_is_asked_for_anew(backend: Backend) -> Result<()> {
    let scene = scene()?;
    let vps = &scene.lab.vps.netns;
    let server = NameServer::open(vps, ELSEWHERE, PEER)?;
    let installation = by_name(&scene, &servers())?;
    let agent = installation.start(backend)?;
    is_kept(&installation, PEER)?;
    agent.interrupt()?;
    drop(server);
    vps.ip(&format!("addr del {PEER}/32 dev lo\n"))?;
    let _server = NameServer::open(vps, ELSEWHERE, ELSEWHERE)?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    has_endpoint(&scene, ELSEWHERE)?;
    is_kept(&installation, ELSEWHERE)?;
    agent.interrupt()
}

/// The server moves; the tunnel to another one goes on as if nothing were.
fn another_address_leaves_other_peers_alone(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let second = scene.lab.vps.second_tunnel(SECOND_PORT)?;
    let mut installation = by_name(&scene, "")?;
    let end = "persistent_keepalive = 80\n";
    installation.config = installation.config.with(
        end,
        &format!(
            "{end}
[[tunnel.peer]]
public_key = \"{second}\"
endpoint = \"{PEER}:{SECOND_PORT}\"
allowed_ips = [\"10.88.89.2/32\"]
persistent_keepalive = 80
"
        ),
    )?;
    let hosts = installation.files().write("hosts", 0o644, &host(PEER))?;
    let file = CString::new(hosts.as_os_str().as_bytes())?;
    let agent = installation
        .launch_prepared(Some(backend), |command| {
            in_place_of(command, c"/etc/hosts", file);
        })?
        .wait_ready(TIMEOUT)?;
    scene.handshake_after(agent.started())?;
    let made = wait::until(TIMEOUT, "the second tunnel's handshake", || {
        handshake(&scene, &second)
    })?;
    // Written where it is: another file would not be the one that the agent sees.
    fs::write(&hosts, host(ELSEWHERE))?;
    agent.signal(Signal::SIGHUP)?;
    has_endpoint(&scene, ELSEWHERE)?;
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_more(3)?;
    pinger.stop()?;
    ensure!(
        handshake(&scene, &second)? == Some(made),
        "the second tunnel's session has ended"
    );
    agent.interrupt()
}

/// The uplink's name servers lie: an agent that adopts the datapath stays where the peer is heard, and one
/// that starts from nothing goes where it was heard last.
fn a_walled_garden_does_not_end_the_tunnel(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let installation = by_name(&scene, "")?;
    let hosts = installation.files().write("hosts", 0o644, &host(PEER))?;
    let start = || -> Result<Agent> {
        let file = CString::new(hosts.as_os_str().as_bytes())?;
        installation
            .launch_prepared(Some(backend), |command| {
                in_place_of(command, c"/etc/hosts", file);
            })?
            .wait_ready(TIMEOUT)
    };
    let mut agent = start()?;
    is_kept(&installation, PEER)?;
    fs::write(&hosts, host(PORTAL))?;
    for adopts in [true, false] {
        if adopts {
            agent.terminate()?;
        } else {
            agent.interrupt()?;
        }
        agent = start()?;
        let pinger = scene.ping_tunnel()?;
        pinger.wait_for_answer(TIMEOUT)?;
        thread::sleep(Duration::from_secs(3));
        has_endpoint(&scene, PEER)?;
        let report = pinger.stop()?;
        ensure!(!adopts || report.lost() == 0, "{report}");
    }
    scene.nothing_leaked()?;
    agent.interrupt()
}

/// The system's resolver waits for a name server that never answers: the datapath comes up, is repaired and is
/// taken down meanwhile.
fn a_resolver_that_hangs_holds_nothing_up(backend: Backend) -> Result<()> {
    let scene = scene()?;
    let silent = scene
        .lab
        .router
        .run(|| Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 53))?))?;
    silent.set_read_timeout(Some(TIMEOUT))?;
    let installation = by_name(&scene, "")?;
    let resolver = installation
        .files()
        .write("resolv.conf", 0o644, "nameserver 127.0.0.1\n")?;
    let file = CString::new(resolver.as_os_str().as_bytes())?;
    let agent = installation
        .launch_prepared(Some(backend), |command| {
            in_place_of(command, c"/etc/resolv.conf", file);
        })?
        .wait_ready(TIMEOUT)?;
    let (_, asker) = silent
        .recv_from(&mut [0; 512])
        .context("the system's resolver was not asked")?;
    let router = &scene.lab.router;
    let count = rules(router)?;
    let port = LISTEN_PORT.to_string();
    router.tool(
        "ip",
        &[
            "rule", "del", "sport", &port, "lookup", "123", "ipproto", "udp",
        ],
    )?;
    rules_back(router, count)?;
    let told = agent.log().into_iter().find(|line| line.contains(NAME));
    ensure!(told.is_none(), "it no longer waits for {asker}: {told:?}");
    let asked_to_go = Instant::now();
    agent.interrupt()?;
    let took = asked_to_go.elapsed();
    ensure!(took < Duration::from_secs(8), "it took {took:?} to end");
    Ok(())
}

/// A line of `/etc/hosts`.
fn host(address: Ipv4Addr) -> String {
    format!("{address} {NAME}\n")
}

/// Waits until the first peer has an endpoint.
fn has_endpoint(scene: &Scene, address: Ipv4Addr) -> Result<()> {
    let wanted = format!("{address}:{PEER_PORT}");
    wait::until(TIMEOUT, &format!("endpoint {wanted}"), || {
        let shown = scene
            .lab
            .router
            .tool("wg", &["show", TUNNEL, "endpoints"])?;
        Ok(shown.contains(&wanted).then_some(()))
    })
}

/// Waits until an address is kept for the next start.
fn is_kept(installation: &Installation, address: Ipv4Addr) -> Result<()> {
    let file = installation.path().join("state/endpoints.json");
    wait::until(TIMEOUT, &format!("{address} to be kept"), || {
        let kept = fs::read_to_string(&file).unwrap_or_default();
        Ok(kept.contains(&address.to_string()).then_some(()))
    })
}

/// When a peer's last handshake was made, Unix time.
fn handshake(scene: &Scene, public_key: &str) -> Result<Option<u64>> {
    let words = ["show", TUNNEL, "latest-handshakes"];
    let shown = scene.lab.router.tool("wg", &words)?;
    let of_this = shown.lines().find(|line| line.starts_with(public_key));
    let seconds = of_this.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    Ok(seconds.filter(|seconds| *seconds != 0))
}
