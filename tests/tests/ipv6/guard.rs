//! What is not the tunnel neither leaves nor enters by IPv6.

use std::net::{IpAddr, SocketAddrV6};
use std::time::Duration;

use anyhow::{Result, ensure};
use lte_tests::addresses::{
    CARRIER, ELSEWHERE6, LISTEN_PORT, MODEM_GATEWAY6, MODEM_GATEWAY6_IN_SUBNET, MODEM6, PEER,
    PEER_PORT, PEER6,
};
use lte_tests::backend::Backend;
use lte_tests::drops::{self, udp_received};
use lte_tests::outside_host::Services;
use lte_tests::packet::Kind;
use lte_tests::ping::PACE;
use lte_tests::scene::{from_modem, is_neighbour_discovery};
use lte_tests::wait::{self, TIMEOUT};
use lte_tests::{for_each_backend, ping, traffic};

use crate::outside_host::{accepted, routes6, send_all, unsolicited_packets};
use crate::{open, ping_tunnel6};

for_each_backend!(
    unknown_senders_on_the_modem,
    only_the_tunnel_leaves,
    nothing_of_ipv6_where_it_is_not_set,
);

// The corpus holds the policy on every kernel; here real packets meet it.
lte_tests::runs_on!(last_between);

fn unknown_senders_on_the_modem(backend: Backend) -> Result<()> {
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

    let (before, datagrams) = (accepted(&scene)?, drops::ipv6(router, "Udp6InDatagrams")?);
    let received = udp_received(router)?;
    let table = routes6(&scene)?;
    send_all(&scene, &unsolicited_packets())?;
    // A real answer, sent after them, is let in: so they have all been decided over.
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_answer(TIMEOUT)?;
    let pings = pinger.stop()?.sent() as u64;
    ensure!(
        accepted(&scene)? == before,
        "advertisements, redirects, pings, queries: {before:?}, then {:?}",
        accepted(&scene)?
    );
    let given =
        drops::ipv6(router, "Udp6InDatagrams")? - datagrams + udp_received(router)? - received;
    ensure!(
        given <= pings,
        "{given} datagrams for sockets, of which {pings} are the tunnel's"
    );
    ensure!(services.visitors()? == (0, 0), "an unknown sender got in");
    let now = routes6(&scene)?;
    ensure!(now == table, "routes have changed:\n{table}\n{now}");
    scene.tunnel_is_sound()?;

    // The same words without a guard do get in: they were well said.
    agent.interrupt()?;
    router.ip("link set modem up\n")?;
    router.ip(&format!("addr add {MODEM6}/64 dev modem nodad\n"))?;
    send_all(&scene, &unsolicited_packets())?;
    wait::until(
        TIMEOUT,
        "the unknown senders at an unguarded router",
        || {
            let now = accepted(&scene)?;
            let each = before.iter().zip(now).all(|(before, now)| now > *before);
            Ok(each.then_some(()))
        },
    )
}

fn only_the_tunnel_leaves(backend: Backend) -> Result<()> {
    let scene = open()?;
    let router = &scene.lab.router;
    let mut installation = scene.installation()?;
    // The gateway of the config is another address of the modem's: link-local.
    installation.config = installation.config.with(
        "[modem]\n",
        &format!("[modem]\nadmin_address = \"{MODEM_GATEWAY6_IN_SUBNET}\"\n"),
    )?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    scene.lab.default_route6_on_modem()?;
    let way = router.tool("ip", &["route", "get", &ELSEWHERE6.to_string()])?;
    ensure!(
        way.contains("dev modem"),
        "the router is routed elsewhere: {way}"
    );
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
    pinger.wait_for_answer(TIMEOUT)?;
    pinger.stop()?;
    scene
        .at_carrier
        .none("foreign packets on the modem", |seen| {
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
    pinger.wait_for_answer(TIMEOUT)?;
    pinger.stop()?;

    let before = accepted(&scene)?;
    send_all(&scene, &unsolicited_packets())?;
    // The modem is given an address that the config does not have.
    router.ip(&format!("addr add {MODEM6}/64 dev modem nodad\n"))?;
    scene.lab.default_route6_on_modem()?;
    send_all(&scene, &unsolicited_packets())?;
    ensure!(!ping::answers(router, ELSEWHERE6)?, "a ping came back");
    ensure!(
        !ping::answers(router, MODEM_GATEWAY6_IN_SUBNET)?,
        "a ping came back"
    );
    let targets = [SocketAddrV6::new(PEER6, PEER_PORT, 0, 0)];
    traffic::send_udp(router, 40000, &targets, &[traffic::shaped_as_data()])?;
    ensure!(
        accepted(&scene)? == before,
        "advertisements, redirects, pings, queries: {before:?}, then {:?}",
        accepted(&scene)?
    );
    scene.at_carrier.none("IPv6 on the modem", |seen| {
        from_modem(seen) && matches!(seen.packet.source(), Some(IpAddr::V6(_)))
    })?;
    let endpoint = scene.lab.vps.endpoint()?.map(|endpoint| endpoint.ip());
    ensure!(
        endpoint == Some(CARRIER.into()),
        "the peer sees {endpoint:?}"
    );
    ensure!(scene.at_isp.count(|seen| seen.packet.is_wireguard())? == 0);
    Ok(())
}
