//! Every kind of modem and of uplink, in real traffic: the tunnel goes by the modem alone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{
    CARRIER, LAN_HOST, LISTEN_PORT, MODEM, MODEM_GATEWAY, MODEM_GATEWAY6, MODEM_MAC, MODEM6, PEER,
    PEER_PORT, PEER6, TUNNEL_PEER, UPLINK, UPLINK_GATEWAY,
};
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::capture::Seen;
use lte_tests::for_each_backend;
use lte_tests::installation::Installation;
use lte_tests::netns::Netns;
use lte_tests::offload::set_tx_checksum;
use lte_tests::ping::Pinger;
use lte_tests::scene::{Scene, flush_rules, from_modem, rules, rules_back};
use lte_tests::topology::Options;
use lte_tests::traffic;
use lte_tests::tun::Cable;
use lte_tests::wait::{self, PATIENCE};
use nix::sys::signal::Signal;

for_each_backend!(
    vlan_uplink,
    vlan_uplink_guarded_below,
    source_port_changed_by_masquerade,
    point_to_point_modem,
    point_to_point_modem_of_two,
    point_to_point_modem_over_ipv6,
    headerless_modem,
    headerless_modem_over_ipv6,
    headerless_uplink,
    headerless_modem_and_uplink,
    modem_gone,
    modem_gone_behind_the_agents_back,
    modem_without_carrier,
    uplink_that_comes_and_goes,
    partial_checksums,
    partial_checksums_over_ipv6,
);

/// Twenty a second.
const QUICK: Duration = Duration::from_millis(50);

/// Nobody hides what leaks.
fn plain() -> Options {
    Options {
        masquerade: false,
        ..Options::default()
    }
}

/// The agent, stopped, without its rules, and pings under way: only the guard is left.
struct Alone {
    agent: Agent,
    rules: usize,
    left: usize,
    pinger: Pinger,
}

impl Alone {
    fn leave(scene: &Scene, agent: Agent) -> Result<Self> {
        Self::leave_with(scene, agent, 0, flush_rules)
    }

    /// With so many rules left by what takes them away.
    fn leave_with(
        scene: &Scene,
        agent: Agent,
        left: usize,
        flush: impl FnOnce(&Netns) -> Result<()>,
    ) -> Result<Self> {
        let router = &scene.lab.router;
        let count = rules(router)?;
        let pinger = Pinger::start(router, TUNNEL_PEER, QUICK)?;
        pinger.wait_for_more(3)?;
        agent.signal(Signal::SIGSTOP)?;
        flush(router)?;
        Ok(Self {
            agent,
            rules: count,
            left,
            pinger,
        })
    }

    /// Twenty pings' packets: as many outer packets as the carrier got of them.
    fn steered(&self, scene: &Scene) -> Result<usize> {
        let before = scene.at_carrier.count(outer)?;
        self.pinger.wait_for_more(20)?;
        ensure!(
            rules(&scene.lab.router)? == self.left,
            "somebody put the rules back"
        );
        Ok(scene.at_carrier.count(outer)? - before)
    }

    /// The agent goes on, and the tunnel answers again.
    fn back(self, scene: &Scene) -> Result<Agent> {
        self.agent.signal(Signal::SIGCONT)?;
        rules_back(&scene.lab.router, self.rules)?;
        drop(self.pinger);
        Pinger::start(&scene.lab.router, TUNNEL_PEER, QUICK)?.wait_for_answer(PATIENCE)?;
        Ok(self.agent)
    }
}

/// Without its rules the tunnel is steered, where the backend can without rule 1231.
fn expect_steered(backend: Backend, steered: usize) -> Result<()> {
    match backend {
        Backend::Ebpf => ensure!(
            steered >= 15,
            "of 20 packets without a rule only {steered} went by the modem"
        ),
        Backend::Nft => ensure!(steered == 0, "{steered} packets without a rule"),
    }
    Ok(())
}

/// An outer packet, whatever its ports.
fn outer(seen: &Seen) -> bool {
    from_modem(seen) && seen.packet.is_wireguard()
}

/// Over the modem alone, and seen by the peer as the modem's. Without the rules the strict filter
/// has dropped what came back, so that its count says nothing.
fn by_the_modem_alone(scene: &Scene) -> Result<()> {
    scene.nothing_leaked()?;
    let endpoint = scene.lab.vps.endpoint()?.map(|endpoint| endpoint.ip());
    ensure!(
        endpoint == Some(CARRIER.into()),
        "the peer sees {endpoint:?}"
    );
    Ok(())
}

/// No outer packet came to the uplink's provider, by whichever interface.
fn nothing_at_the_provider(scene: &Scene) -> Result<()> {
    scene
        .at_isp
        .none("outer packets on the uplink", |seen| seen.packet.is_wireguard())
}

/// That a packet of the tunnel's shape would have been seen there: the LAN sends one.
fn a_leak_would_be_seen(scene: &Scene) -> Result<()> {
    let to = std::net::SocketAddrV4::new(PEER, 9);
    let length = 28 + 32 + 16 * 37;
    let mut payload = traffic::shaped_as_data();
    payload.resize(length - 28, 0x5a);
    let sent = traffic::send_udp(&scene.lab.lan, 40000, &[to], &[payload])?;
    ensure!(sent == 1, "the LAN host could send nothing");
    scene
        .at_isp
        .wait_for(PATIENCE, "the LAN's packet on the uplink", |seen| {
            seen.packet.is_wireguard()
                && seen.packet.bytes == length
                && seen.packet.source() == Some(LAN_HOST.into())
        })?;
    scene.at_isp.clear();
    Ok(())
}

fn start(scene: &Scene, installation: &Installation, backend: Backend) -> Result<Agent> {
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    Ok(agent)
}

/// Takes the rules away, and gives them back; the tunnel leaves by the modem or not at all.
fn without_rules(scene: &Scene, agent: Agent, backend: Backend) -> Result<Agent> {
    let alone = Alone::leave(scene, agent)?;
    let steered = alone.steered(scene)?;
    nothing_at_the_provider(scene)?;
    expect_steered(backend, steered)?;
    alone.back(scene)
}

// Uplinks.

/// The provider wants its packets in VLAN 7.
fn lay_vlan(scene: &Scene) -> Result<()> {
    scene.lab.lose_lease()?;
    scene.lab.router.ip(&format!(
        "link add link wan name wan.7 type vlan id 7
         link set wan.7 up
         addr add {UPLINK}/24 dev wan.7
         route add default via {UPLINK_GATEWAY} dev wan.7 proto dhcp metric 100\n"
    ))?;
    scene
        .lab
        .isp
        .ip(&format!(
            "addr del {UPLINK_GATEWAY}/24 dev cust0
             link add link cust0 name cust0.7 type vlan id 7
             link set cust0.7 up
             addr add {UPLINK_GATEWAY}/24 dev cust0.7\n"
        ))
        .map(drop)
}

fn vlan_uplink(backend: Backend) -> Result<()> {
    vlan(backend, "")
}

/// The config names the device below the VLAN: its frames bear the tag.
fn vlan_uplink_guarded_below(backend: Backend) -> Result<()> {
    vlan(backend, "\n[uplinks]\ninterfaces = [\"wan\"]\n")
}

fn vlan(backend: Backend, uplinks: &str) -> Result<()> {
    let scene = Scene::open(&plain())?;
    lay_vlan(&scene)?;
    let mut installation = scene.installation()?;
    installation.config.0.push_str(uplinks);
    let agent = start(&scene, &installation, backend)?;
    a_leak_would_be_seen(&scene)?;
    without_rules(&scene, agent, backend)?;
    nothing_at_the_provider(&scene)?;
    scene.nothing_foreign()
}

/// A LAN host's flow has taken the listen port on the uplink, so that the masquerade must give the
/// tunnel's own packets another.
fn source_port_changed_by_masquerade(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let to = std::net::SocketAddrV4::new(PEER, PEER_PORT);
    traffic::send_udp(&scene.lab.lan, LISTEN_PORT, &[to], &[b"first".to_vec()])?;
    scene
        .at_isp
        .wait_for(PATIENCE, "the LAN's flow on the uplink", |seen| {
            seen.packet.addresses == Some((UPLINK.into(), PEER.into()))
                && seen.packet.ports == Some((LISTEN_PORT, PEER_PORT))
        })?;
    let agent = start(&scene, &scene.installation()?, backend)?;
    // The mark rule stays, by which the strict filter lets the answers in.
    let alone = Alone::leave_with(&scene, agent, 1, |router| {
        router.ip("rule del pref 1230\nrule del pref 1232\n").map(drop)
    })?;
    let steered = alone.steered(&scene)?;
    nothing_at_the_provider(&scene)?;
    ensure!(steered >= 15, "of 20 packets only {steered} went by the modem");
    let pings = alone.pinger.so_far();
    let last = &pings.probes[pings.sent() - 15..pings.sent() - 5];
    let answered = last.iter().filter(|ping| ping.answered.is_some()).count();
    ensure!(answered >= 8, "{answered} of 10 pings were answered: {pings}");
    let other_port = scene.at_carrier.count(|seen| {
        outer(seen)
            && seen
                .packet
                .ports
                .is_some_and(|(port, _)| port != LISTEN_PORT)
    })?;
    match backend {
        Backend::Ebpf => ensure!(other_port > 0, "the masquerade left the tunnel its port"),
        // It steers before the translation.
        Backend::Nft => ensure!(other_port == 0, "{other_port} packets of another port"),
    }
    scene.at_carrier.none("other addresses than the modem's", |seen| {
        outer(seen) && seen.packet.addresses != Some((MODEM.into(), PEER.into()))
    })?;
    alone.back(&scene)?;
    nothing_at_the_provider(&scene)
}

/// An uplink like PPPoE's: no link header, whatever the modem has.
fn lay_headerless_uplink(scene: &Scene) -> Result<Cable> {
    let (router, isp) = (&scene.lab.router, &scene.lab.isp);
    router.ip("link del wan\n")?;
    let cable = Cable::lay([(router, "wan"), (isp, "cust0")])?;
    isp.ip(&format!(
        "addr add {UPLINK_GATEWAY}/24 dev cust0
         link set cust0 up\n"
    ))?;
    scene.lab.plug_uplink()?;
    scene.lab.gain_lease()?;
    Ok(cable)
}

fn headerless_uplink(backend: Backend) -> Result<()> {
    let scene = Scene::open(&plain())?;
    let _uplink = lay_headerless_uplink(&scene)?;
    let agent = start(&scene, &scene.installation()?, backend)?;
    a_leak_would_be_seen(&scene)?;
    without_rules(&scene, agent, backend)?;
    by_the_modem_alone(&scene)
}

/// A new interface takes the default route while the tunnel runs. It keeps its guard when it loses
/// that route, for it may come back faster than a guard.
fn uplink_that_comes_and_goes(backend: Backend) -> Result<()> {
    let scene = Scene::open(&plain())?;
    let (router, isp) = (&scene.lab.router, &scene.lab.isp);
    let agent = start(&scene, &scene.installation()?, backend)?;
    let default = "default via 198.51.101.1 dev wan2 metric 50\n";
    let plug = || -> Result<()> {
        router.ip(&format!(
            "link add wan2 type veth peer name cust2 netns {}
             addr add 198.51.101.2/24 dev wan2
             link set wan2 up\n",
            isp.path()
        ))?;
        isp.ip("addr add 198.51.101.1/24 dev cust2\nlink set cust2 up\n")?;
        Ok(())
    };
    let guarded = |agent: &Agent| {
        let log = agent.log();
        let lines = log
            .iter()
            .filter(|line| line.contains("set guard on modem") && line.contains(" wan2"));
        lines.count()
    };
    let wait_guarded = |agent: &Agent, before: usize| {
        wait::until(PATIENCE, "the guard on wan2", || {
            Ok((guarded(agent) > before).then_some(()))
        })
    };
    plug()?;
    let asked = Instant::now();
    router.ip(&format!("route add {default}"))?;
    wait_guarded(&agent, 0)?;
    eprintln!("measured: wan2 is guarded {:?} after its default route", asked.elapsed());
    let agent = without_rules(&scene, agent, backend)?;

    // The route goes and comes back while nobody watches.
    router.ip(&format!("route del {default}"))?;
    Pinger::start(router, TUNNEL_PEER, QUICK)?.wait_for_answer(PATIENCE)?;
    let alone = Alone::leave(&scene, agent)?;
    router.ip(&format!("route add {default}"))?;
    let steered = alone.steered(&scene)?;
    nothing_at_the_provider(&scene)?;
    expect_steered(backend, steered)?;
    let agent = alone.back(&scene)?;

    // The interface goes, with its guard; another of its name gets one anew.
    router.ip("link del wan2\n")?;
    let before = guarded(&agent);
    plug()?;
    router.ip(&format!("route add {default}"))?;
    wait_guarded(&agent, before)?;
    let agent = without_rules(&scene, agent, backend)?;
    nothing_at_the_provider(&scene)?;
    scene.nothing_foreign()?;
    agent.interrupt()
}

// Modems.

/// One address, and everything else is at the other end.
fn point_to_point_modem(backend: Backend) -> Result<()> {
    point_to_point(backend, "100.64.1.1/32")
}

fn point_to_point_modem_of_two(backend: Backend) -> Result<()> {
    point_to_point(backend, "100.64.1.0/31")
}

/// The carrier answers for everybody.
fn point_to_point(backend: Backend, address: &str) -> Result<()> {
    let scene = Scene::open(&plain())?;
    let carrier = &scene.lab.carrier.netns;
    let own = address.split('/').next().context("an address")?;
    lte_tests::sysctl::set(carrier, &[("ipv4/conf/modem0/proxy_arp", "1")])?;
    carrier.ip(&format!("route add {own}/32 dev modem0\n"))?;
    let mut installation = scene.installation()?;
    installation.config = installation.config.with(
        &format!("address = \"{MODEM}/24\"\ngateway = \"{MODEM_GATEWAY}\""),
        &format!("address = \"{address}\""),
    )?;
    let agent = start(&scene, &installation, backend)?;
    without_rules(&scene, agent, backend)?;
    nothing_at_the_provider(&scene)?;
    let from_own = |seen: &Seen| seen.packet.source() == own.parse().ok();
    ensure!(scene.at_carrier.count(|seen| outer(seen) && from_own(seen))? > 0);
    scene.at_carrier.none("foreign packets on the modem", |seen| {
        let ours = outer(seen) && from_own(seen);
        from_modem(seen) && !ours && seen.packet.kind != lte_tests::packet::Kind::Arp
    })
}

fn point_to_point_modem_over_ipv6(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options {
        ipv6: true,
        ..plain()
    })?;
    let carrier = &scene.lab.carrier.netns;
    lte_tests::sysctl::set(carrier, &[("ipv6/conf/modem0/proxy_ndp", "1")])?;
    carrier.tool(
        "ip",
        &["neigh", "add", "proxy", &PEER6.to_string(), "dev", "modem0"],
    )?;
    let mut installation = scene.installation()?;
    installation.config = installation
        .config
        .with(&format!("\"{MODEM6}/64\""), &format!("\"{MODEM6}/128\""))?
        .with(&format!(", \"{MODEM_GATEWAY6}\""), "")?;
    let agent = start(&scene, &installation, backend)?;
    without_rules(&scene, agent, backend)?;
    scene.tunnel_is_sound()
}

/// Raw IP, as `qmi_wwan` and PPP have it. The carrier's side of the link is made anew.
fn lay_headerless_modem(scene: &Scene) -> Result<Cable> {
    let (router, carrier) = (&scene.lab.router, &scene.lab.carrier.netns);
    router.ip("link del modem\n")?;
    let cable = Cable::lay([(router, "modem"), (carrier, "modem0")])?;
    router.ip("link set modem up\nlink set modem down\n")?;
    carrier.ip(&format!(
        "addr add {MODEM_GATEWAY}/24 dev modem0
         link set modem0 up\n"
    ))?;
    if scene.lab.ipv6 {
        carrier.ip("addr add fe80::1/64 dev modem0\naddr add 2001:db8:2::1/64 dev modem0\n")?;
    }
    Ok(cable)
}

fn headerless_modem(backend: Backend) -> Result<()> {
    let scene = Scene::open(&plain())?;
    let _modem = lay_headerless_modem(&scene)?;
    let before = scene.lab.snapshot()?;
    let agent = start(&scene, &scene.installation()?, backend)?;
    let agent = without_rules(&scene, agent, backend)?;
    by_the_modem_alone(&scene)?;
    scene.at_carrier.none("ARP on a link without addresses", |seen| {
        from_modem(seen) && seen.packet.kind == lte_tests::packet::Kind::Arp
    })?;
    agent.interrupt()?;
    before.assert_same(&scene.lab.router)
}

fn headerless_modem_over_ipv6(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options {
        ipv6: true,
        ..plain()
    })?;
    let _modem = lay_headerless_modem(&scene)?;
    let agent = start(&scene, &scene.installation()?, backend)?;
    without_rules(&scene, agent, backend)?;
    scene.tunnel_is_sound()
}

fn headerless_modem_and_uplink(backend: Backend) -> Result<()> {
    let scene = Scene::open(&plain())?;
    let _modem = lay_headerless_modem(&scene)?;
    let _uplink = lay_headerless_uplink(&scene)?;
    let agent = start(&scene, &scene.installation()?, backend)?;
    without_rules(&scene, agent, backend)?;
    by_the_modem_alone(&scene)
}

/// Somebody pulls the modem out.
fn unplug_modem(scene: &Scene) -> Result<()> {
    scene.lab.router.ip("link del modem\n").map(drop)
}

/// And puts it in again, and the carrier gives it what it had.
fn plug_modem(scene: &Scene) -> Result<()> {
    scene.lab.router.ip(&format!(
        "link add modem address {MODEM_MAC} type veth peer name modem0 netns {}\n",
        scene.lab.carrier.netns.path()
    ))?;
    scene
        .lab
        .carrier
        .netns
        .ip(&format!(
            "addr add {MODEM_GATEWAY}/24 dev modem0
             link set modem0 up\n"
        ))
        .map(drop)
}

/// The agent has seen it go: the rules lead to an empty table, and then there are none.
fn modem_gone(backend: Backend) -> Result<()> {
    let scene = Scene::open(&plain())?;
    let agent = start(&scene, &scene.installation()?, backend)?;
    a_leak_would_be_seen(&scene)?;
    let pinger = Pinger::start(&scene.lab.router, TUNNEL_PEER, QUICK)?;
    pinger.wait_for_answer(PATIENCE)?;
    unplug_modem(&scene)?;
    pinger.wait_for_more(20)?;
    wait::until(PATIENCE, "the agent to have seen it", || {
        let log = agent.log();
        let seen = log.iter().any(|line| line.contains("waiting for the modem"));
        Ok(seen.then_some(()))
    })?;
    let alone = Alone::leave(&scene, agent)?;
    alone.pinger.wait_for_more(20)?;
    nothing_at_the_provider(&scene)?;
    plug_modem(&scene)?;
    alone.back(&scene)?;
    nothing_at_the_provider(&scene)?;
    scene.nothing_foreign()
}

/// It goes while the agent is stopped: the guard on the uplink still names it.
fn modem_gone_behind_the_agents_back(backend: Backend) -> Result<()> {
    let scene = Scene::open(&plain())?;
    let agent = start(&scene, &scene.installation()?, backend)?;
    a_leak_would_be_seen(&scene)?;
    let alone = Alone::leave(&scene, agent)?;
    unplug_modem(&scene)?;
    alone.pinger.wait_for_more(20)?;
    nothing_at_the_provider(&scene)?;
    plug_modem(&scene)?;
    alone.pinger.wait_for_more(10)?;
    nothing_at_the_provider(&scene)?;
    alone.back(&scene)?;
    nothing_at_the_provider(&scene)?;
    scene.nothing_foreign()
}

/// It is there and up, and has lost its network.
fn modem_without_carrier(backend: Backend) -> Result<()> {
    let scene = Scene::open(&plain())?;
    let carrier = &scene.lab.carrier.netns;
    let agent = start(&scene, &scene.installation()?, backend)?;
    a_leak_would_be_seen(&scene)?;
    let pinger = Pinger::start(&scene.lab.router, TUNNEL_PEER, QUICK)?;
    pinger.wait_for_answer(PATIENCE)?;
    carrier.ip("link set modem0 down\n")?;
    pinger.wait_for_more(20)?;
    nothing_at_the_provider(&scene)?;
    let alone = Alone::leave(&scene, agent)?;
    alone.pinger.wait_for_more(20)?;
    nothing_at_the_provider(&scene)?;
    carrier.ip("link set modem0 up\n")?;
    alone.back(&scene)?;
    scene.nothing_leaked()
}

// Checksums.

fn partial_checksums(backend: Backend) -> Result<()> {
    checksums(backend, plain())
}

fn partial_checksums_over_ipv6(backend: Backend) -> Result<()> {
    checksums(
        backend,
        Options {
            ipv6: true,
            ..plain()
        },
    )
}

/// The uplink puts checksums in and the modem does not: a steered packet comes to the modem with
/// the sum of its addresses only, and the kernel completes it there.
fn checksums(backend: Backend, options: Options) -> Result<()> {
    let scene = Scene::open(&options)?;
    let router = &scene.lab.router;
    let agent = start(&scene, &scene.installation()?, backend)?;
    let unfinished = |seen: &Seen| outer(seen) && seen.packet.checksum == Some(false);
    ensure!(
        scene.at_carrier.count(unfinished)? > 0,
        "no checksum was left to the modem: the lab shows nothing"
    );
    set_tx_checksum(router, "modem", false)?;
    let alone = Alone::leave(&scene, agent)?;
    scene.at_carrier.clear();
    let steered = alone.steered(&scene)?;
    expect_steered(backend, steered)?;
    let right = |seen: &Seen| outer(seen) && seen.packet.checksum == Some(true);
    ensure!(
        scene.at_carrier.count(right)? >= steered,
        "of {steered} steered packets not all have a right checksum"
    );
    scene
        .at_carrier
        .none("wrong checksums on the modem", |seen| {
            outer(seen) && seen.packet.checksum != Some(true)
        })?;
    nothing_at_the_provider(&scene)?;
    alone.back(&scene)?;
    scene.nothing_leaked()
}
