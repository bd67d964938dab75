//! IPv6 on the modem: the tunnel goes by it as by IPv4, and nothing else does.

use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lte_tests::addresses::{
    CARRIER, ELSEWHERE6, LISTEN_PORT, MODEM, MODEM_GATEWAY, MODEM_GATEWAY6,
    MODEM_GATEWAY6_IN_SUBNET, MODEM_MAC_BYTES, MODEM6, PEER, PEER6, PEER_PORT, TUNNEL_PEER6,
    UPLINK6,
};
use lte_tests::backend::Backend;
use lte_tests::capture::Direction;
use lte_tests::corpus::packet::{Packet, icmp, tcp, udp};
use lte_tests::drops::{self, udp_received};
use lte_tests::packet::Kind;
use lte_tests::ping::{PACE, Pinger};
use lte_tests::scene::{
    Scene, flush_rules, from_modem, is_neighbour_discovery, others, rules, rules_back, tunnel_out,
};
use lte_tests::stranger::{Services, send_packet};
use lte_tests::topology::{Options, Uplink};
use lte_tests::wait::{self, PATIENCE};
use lte_tests::{for_each_backend, ping, traffic};
use nix::sys::signal::Signal;

for_each_backend!(
    up,
    up_without_ipv4,
    uplink_lost,
    cold_start_without_a_lease,
    rules_flushed,
    link_down_and_up,
    strangers_on_the_modem,
    only_the_tunnel_leaves,
    nothing_of_ipv6_where_it_is_not_set,
    interrupt_leaves_nothing,
);

/// Twenty a second: the rules are gone for milliseconds only.
const QUICK: Duration = Duration::from_millis(50);
/// The link's own nodes.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn options() -> Options {
    Options {
        ipv6: true,
        ..Options::default()
    }
}

fn open() -> Result<Scene> {
    Scene::open(&options())
}

/// Pings inside the tunnel, by IPv6.
fn ping_tunnel6(scene: &Scene, pace: Duration) -> Result<Pinger> {
    Pinger::start(&scene.lab.router, TUNNEL_PEER6, pace)
}

fn up(backend: Backend) -> Result<()> {
    let scene = open()?;
    let before = scene.lab.snapshot()?;
    let agent = scene.installation()?.start(backend)?;
    scene.prompt_handshake(&agent)?;
    for pinger in [scene.ping_tunnel()?, ping_tunnel6(&scene, PACE)?] {
        pinger.wait_for_more(5)?;
        let report = pinger.stop()?;
        ensure!(report.lost() == 0, "{report}");
    }
    scene.tunnel_is_sound()?;
    let difference = before.difference(&scene.lab.snapshot()?).only(others);
    ensure!(
        difference.is_empty(),
        "what is not the agent's has changed:\n{difference}"
    );
    // The whole way: the modem's neighbours were found, nobody's main table was asked.
    ensure!(
        scene
            .at_carrier
            .count(|seen| from_modem(seen) && is_neighbour_discovery(seen))?
            > 0,
        "the modem's gateway was found without neighbour discovery"
    );
    Ok(())
}

/// The gateway is in the subnet, as static set-ups have it, and there is no IPv4 on the modem.
fn up_without_ipv4(backend: Backend) -> Result<()> {
    let scene = open()?;
    let mut installation = scene.installation()?;
    installation.config = installation
        .config
        .with(&format!("\"{MODEM}/24\", "), "")?
        .with(
            &format!("\"{MODEM_GATEWAY}\", \"{MODEM_GATEWAY6}\""),
            &format!("\"{MODEM_GATEWAY6_IN_SUBNET}\""),
        )?;
    let agent = installation.start(backend)?;
    scene.prompt_handshake(&agent)?;
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_more(5)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    scene.tunnel_is_sound()?;
    let addresses = scene
        .lab
        .router
        .tool("ip", &["-4", "addr", "show", "modem"])?;
    ensure!(addresses.is_empty(), "IPv4 on the modem: {addresses}");
    scene.at_carrier.none("IPv4 on the modem", |seen| {
        from_modem(seen) && matches!(seen.packet.source(), Some(IpAddr::V4(_)))
    })
}

fn uplink_lost(backend: Backend) -> Result<()> {
    let scene = open()?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let pinger = ping_tunnel6(&scene, PACE)?;
    pinger.wait_for_more(5)?;
    scene.lab.lose_default_route()?;
    pinger.wait_for_more(10)?;
    scene.lab.unplug_uplink()?;
    pinger.wait_for_more(10)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    scene.tunnel_is_sound()
}

/// Also: nobody waits until the modem's addresses are known to be nobody else's.
fn cold_start_without_a_lease(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options {
        uplink: Uplink::NoLease,
        ..options()
    })?;
    let agent = scene.installation()?.start(backend)?;
    scene.prompt_handshake(&agent)?;
    let pinger = ping_tunnel6(&scene, PACE)?;
    pinger.wait_for_answer(PATIENCE)?;
    let from = Instant::now();
    pinger.wait_for_more(5)?;
    let report = pinger.stop()?.between(from, Instant::now());
    ensure!(report.lost() == 0, "{report}");
    scene.tunnel_is_sound()
}

fn rules_flushed(backend: Backend) -> Result<()> {
    let scene = open()?;
    let router = &scene.lab.router;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let all = rules(router)?;
    ensure!(all == 6, "the agent has {all} rules, not three a family");
    let pinger = ping_tunnel6(&scene, QUICK)?;
    pinger.wait_for_more(5)?;
    for _ in 0..5 {
        flush_rules(router)?;
        pinger.wait_for_more(3)?;
    }
    rules_back(router, all)?;

    // An agent that cannot put them back leaves it to the guard alone.
    agent.signal(Signal::SIGSTOP)?;
    flush_rules(router)?;
    let way = router.tool("ip", &["route", "get", &PEER6.to_string()])?;
    ensure!(way.contains("dev wan"), "the peer is not by the uplink: {way}");
    let before = scene.at_carrier.count(tunnel_out)?;
    pinger.wait_for_more(20)?;
    ensure!(rules(router)? == 0, "somebody put the rules back");
    let steered = scene.at_carrier.count(tunnel_out)? - before;
    match backend {
        Backend::Ebpf => ensure!(
            steered >= 15,
            "of 20 packets without a rule only {steered} went by the modem"
        ),
        // Its steering needs rule 1231.
        Backend::Nft => ensure!(steered == 0, "{steered} packets without a rule"),
    }
    agent.signal(Signal::SIGCONT)?;
    rules_back(router, all)?;
    ping_tunnel6(&scene, QUICK)?.wait_for_answer(PATIENCE)?;
    pinger.stop()?;
    scene.nothing_leaked()?;
    let endpoint = scene.lab.vps.endpoint()?.map(|endpoint| endpoint.ip());
    ensure!(
        endpoint == Some(MODEM6.into()),
        "the peer sees {endpoint:?}, the uplink is {UPLINK6}"
    );
    Ok(())
}

/// A link that goes down loses its IPv6 addresses and the routes over it; nobody is told of the
/// routes.
fn link_down_and_up(backend: Backend) -> Result<()> {
    let scene = open()?;
    let router = &scene.lab.router;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let table = || router.tool("ip", &["-6", "route", "show", "table", "123"]);
    let before = table()?;
    ensure!(before.contains("default via fe80::1"), "{before}");
    for _ in 0..3 {
        router.ip("link set modem down\n")?;
        router.ip("link set modem up\n")?;
        wait::until(PATIENCE, "the routes to be back", || {
            Ok((table()? == before).then_some(()))
        })?;
    }
    let pinger = ping_tunnel6(&scene, PACE)?;
    pinger.wait_for_answer(PATIENCE)?;
    let from = Instant::now();
    pinger.wait_for_more(5)?;
    let report = pinger.stop()?.between(from, Instant::now());
    ensure!(report.lost() == 0, "{report}");
    scene.tunnel_is_sound()
}

/// Everything a stranger on the carrier's link can say in IPv6.
fn strange_words() -> Vec<Packet> {
    let gateway: IpAddr = MODEM_GATEWAY6.into();
    let (modem, elsewhere): (IpAddr, IpAddr) = (MODEM6.into(), ELSEWHERE6.into());
    // Router for half an hour; a prefix to take an address from (RFC 4861, 4.6.2).
    let mut advertisement = vec![0; 8];
    advertisement.extend([3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0]);
    advertisement.extend(Ipv6Addr::new(0x2001, 0xdb8, 0x66, 0, 0, 0, 0, 0).octets());
    let advertisement =
        icmp(gateway, ALL_NODES.into(), (134, 0), [64, 0, 7, 8], advertisement).hop_limit(255);
    let mut redirect = MODEM_GATEWAY6.octets().to_vec();
    redirect.extend(PEER6.octets());
    let redirect = icmp(gateway, modem, (137, 0), [0; 4], redirect).hop_limit(255);
    let listeners = icmp(gateway, ALL_NODES.into(), (130, 0), [0; 4], [0; 20]).hop_limit(1);
    vec![
        advertisement,
        redirect,
        listeners,
        icmp(gateway, ALL_NODES.into(), (133, 0), [0; 4], []).hop_limit(255),
        icmp(elsewhere, modem, (128, 0), [0; 4], [0; 8]),
        icmp(gateway, ALL_NODES.into(), (128, 0), [0; 4], [0; 8]),
        udp((elsewhere, 4000), (modem, 8080), b"hello"),
        udp((PEER6.into(), PEER_PORT), (modem, 8080), b"hello"),
        udp(
            (PEER6.into(), PEER_PORT + 1),
            (modem, LISTEN_PORT),
            traffic::shaped_as_data(),
        ),
        udp(
            (elsewhere, PEER_PORT),
            (modem, LISTEN_PORT),
            traffic::shaped_as_initiation(),
        ),
        tcp((elsewhere, 4000), (modem, 8080), 2),
    ]
}

/// What IPv6 of the router has taken in, as far as a stranger can add to it.
fn taken_in(scene: &Scene) -> Result<[u64; 4]> {
    let router = &scene.lab.router;
    Ok([
        drops::ipv6(router, "Icmp6InRouterAdvertisements")?,
        drops::ipv6(router, "Icmp6InRedirects")?,
        drops::ipv6(router, "Icmp6InEchos")?,
        drops::ipv6(router, "Icmp6InGroupMembQueries")?,
    ])
}

/// Routes but for those to the router's own addresses: its link-local one on the modem takes a
/// second to be sure of itself.
fn routes6(scene: &Scene) -> Result<String> {
    let shown = scene
        .lab
        .router
        .tool("ip", &["-6", "route", "show", "table", "all"])?;
    let lines: Vec<&str> = shown
        .lines()
        .filter(|line| !line.contains("table local"))
        .collect();
    Ok(lines.join("\n"))
}

/// Says all of it, and waits until it is on the modem's link.
fn say(scene: &Scene, words: &[Packet]) -> Result<()> {
    let carrier = &scene.lab.carrier.netns;
    let said = |seen: &lte_tests::capture::Seen| {
        &*seen.interface == "modem0"
            && seen.direction == Direction::Out
            && matches!(seen.packet.source(), Some(IpAddr::V6(_)))
            && !seen.packet.is_wireguard()
            && !is_neighbour_discovery(seen)
    };
    let before = scene.at_carrier.count(said)?;
    for word in words {
        send_packet(carrier, "modem0", MODEM_MAC_BYTES, word)?;
    }
    // Two are of WireGuard's shape.
    let plain = words.len() - 2;
    wait::until(PATIENCE, "the stranger's packets on the link", || {
        Ok((scene.at_carrier.count(said)? >= before + plain).then_some(()))
    })
}

fn strangers_on_the_modem(backend: Backend) -> Result<()> {
    let scene = open()?;
    let router = &scene.lab.router;
    // A host that would believe the advertisement, forwarding as it is.
    lte_tests::sysctl::set(router, &[("ipv6/conf/modem/accept_ra", "2")])?;
    let services = Services::open(router, 8080)?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let pinger = ping_tunnel6(&scene, PACE)?;
    pinger.wait_for_more(2)?;
    ensure!(pinger.stop()?.lost() == 0);

    let (before, datagrams) = (taken_in(&scene)?, drops::ipv6(router, "Udp6InDatagrams")?);
    let received = udp_received(router)?;
    let table = routes6(&scene)?;
    say(&scene, &strange_words())?;
    // A real answer, sent after them, is let in: so they have all been decided over.
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_answer(PATIENCE)?;
    let pings = pinger.stop()?.sent() as u64;
    ensure!(
        taken_in(&scene)? == before,
        "advertisements, redirects, pings, queries: {before:?}, then {:?}",
        taken_in(&scene)?
    );
    let given = drops::ipv6(router, "Udp6InDatagrams")? - datagrams + udp_received(router)? - received;
    ensure!(
        given <= pings,
        "{given} datagrams for sockets, of which {pings} are the tunnel's"
    );
    ensure!(services.visitors()? == (0, 0), "a stranger got in");
    let now = routes6(&scene)?;
    ensure!(now == table, "routes have changed:\n{table}\n{now}");
    scene.tunnel_is_sound()?;

    // The same words without a guard do get in: they were well said.
    agent.interrupt()?;
    router.ip("link set modem up\n")?;
    router.ip(&format!("addr add {MODEM6}/64 dev modem nodad\n"))?;
    say(&scene, &strange_words())?;
    wait::until(PATIENCE, "the strangers in an open house", || {
        let now = taken_in(&scene)?;
        let each = before.iter().zip(now).all(|(before, now)| now > *before);
        Ok(each.then_some(()))
    })
}

fn only_the_tunnel_leaves(backend: Backend) -> Result<()> {
    let scene = open()?;
    let router = &scene.lab.router;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    scene.lab.default_route6_on_modem()?;
    let way = router.tool("ip", &["route", "get", &ELSEWHERE6.to_string()])?;
    ensure!(way.contains("dev modem"), "the router is routed elsewhere: {way}");
    let targets = [
        SocketAddrV6::new(ELSEWHERE6, 53, 0, 0),
        SocketAddrV6::new(PEER6, PEER_PORT, 0, 0),
    ];
    let payloads = [traffic::shaped_as_data(), b"a question".to_vec()];
    for (netns, port) in [
        (&scene.lab.lan, 40000),
        (&scene.lab.lan, LISTEN_PORT),
        (router, 40000),
    ] {
        traffic::send_udp(netns, port, &targets, &payloads)?;
        ensure!(!ping::answers(netns, ELSEWHERE6)?, "a ping came back");
        let tcp = SocketAddrV6::new(ELSEWHERE6, 443, 0, 0);
        ensure!(!traffic::connects(netns, tcp, Duration::from_millis(300))?);
    }
    // The modem itself may be asked, and is found anew each time.
    router.ip("neigh flush dev modem\n")?;
    ensure!(
        ping::answers(router, MODEM_GATEWAY6_IN_SUBNET)?,
        "the modem's gateway does not answer"
    );
    let pinger = ping_tunnel6(&scene, PACE)?;
    pinger.wait_for_more(3)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "through the tunnel: {report}");
    // Reports of multicast listeners, solicitations of routers: the kernel says them by itself.
    router.ip("link set modem down\nlink set modem up\n")?;
    let pinger = ping_tunnel6(&scene, PACE)?;
    pinger.wait_for_answer(PATIENCE)?;
    pinger.stop()?;
    scene.at_carrier.none("foreign packets on the modem", |seen| {
        let echo = matches!(seen.packet.kind, Kind::Icmp6(128))
            && seen.packet.destination() == Some(MODEM_GATEWAY6_IN_SUBNET.into());
        lte_tests::scene::foreign(seen) && !is_neighbour_discovery(seen) && !echo
    })
}

/// The carrier has IPv6, the config has not.
fn nothing_of_ipv6_where_it_is_not_set(backend: Backend) -> Result<()> {
    let scene = open()?;
    let router = &scene.lab.router;
    lte_tests::sysctl::set(router, &[("ipv6/conf/modem/accept_ra", "2")])?;
    let mut installation = scene.installation()?;
    installation.config = installation
        .config
        .with(&format!(", \"{MODEM6}/64\""), "")?
        .with(&format!(", \"{MODEM_GATEWAY6}\""), "")?
        .with(
            &format!("\"[{PEER6}]:{PEER_PORT}\""),
            &format!("\"{PEER}:{PEER_PORT}\""),
        )?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    let shown = router.tool("ip", &["-6", "rule", "show"])?;
    ensure!(!shown.contains("lookup 123"), "IPv6 rules: {shown}");
    // Inside the tunnel IPv6 goes all the same.
    let pinger = ping_tunnel6(&scene, PACE)?;
    pinger.wait_for_answer(PATIENCE)?;
    pinger.stop()?;

    let before = taken_in(&scene)?;
    say(&scene, &strange_words())?;
    // Somebody gives the modem what the config does not.
    router.ip(&format!("addr add {MODEM6}/64 dev modem nodad\n"))?;
    scene.lab.default_route6_on_modem()?;
    say(&scene, &strange_words())?;
    ensure!(!ping::answers(router, ELSEWHERE6)?, "a ping came back");
    ensure!(!ping::answers(router, MODEM_GATEWAY6_IN_SUBNET)?, "a ping came back");
    let targets = [SocketAddrV6::new(PEER6, PEER_PORT, 0, 0)];
    traffic::send_udp(router, 40000, &targets, &[traffic::shaped_as_data()])?;
    ensure!(
        taken_in(&scene)? == before,
        "advertisements, redirects, pings, queries: {before:?}, then {:?}",
        taken_in(&scene)?
    );
    scene.at_carrier.none("IPv6 on the modem", |seen| {
        from_modem(seen) && matches!(seen.packet.source(), Some(IpAddr::V6(_)))
    })?;
    let endpoint = scene.lab.vps.endpoint()?.map(|endpoint| endpoint.ip());
    ensure!(endpoint == Some(CARRIER.into()), "the peer sees {endpoint:?}");
    ensure!(scene.at_isp.count(|seen| seen.packet.is_wireguard())? == 0);
    Ok(())
}

fn interrupt_leaves_nothing(backend: Backend) -> Result<()> {
    let scene = open()?;
    // A machine that has switched IPv6 off on the modem.
    lte_tests::sysctl::set(&scene.lab.router, &[("ipv6/conf/modem/disable_ipv6", "1")])?;
    let before = scene.lab.snapshot()?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    ensure!(scene.at_carrier.count(|seen| {
        tunnel_out(seen) && seen.packet.source() == Some(MODEM6.into())
    })? > 0);
    agent.interrupt()?;
    before.assert_same(&scene.lab.router)?;
    scene.nothing_leaked()
}
