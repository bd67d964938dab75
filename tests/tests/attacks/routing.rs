//! Rules and routes of other administrators.

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{PEER, TUNNEL_PEER, UPLINK_GATEWAY};
use lte_tests::backend::Backend;
use lte_tests::ping::Pinger;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};

use crate::{QUICK, answered};

/// Another VPN that takes all, as `wg-quick` makes it way; and rules that catch everything. There is room for so
/// many at once.
const RULES: [&[&str]; 3] = [
    &[
        "not fwmark 0xca6c table 51820",
        "table main suppress_prefixlength 0",
    ],
    &["uidrange 0-4294967294 table 51820"],
    &["ipproto udp prohibit"],
];

/// Each is put before the agent's by the kernel, and is overtaken.
pub(crate) fn rules_before_the_agents(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    router.ip("link add vpn0 type dummy
               link set vpn0 up
               route add 10.88.88.0/24 dev wg-lte table 51820
               route add default dev vpn0 table 51820\n")?;
    installation.wait_in_place(backend)?;
    for rules in RULES {
        for rule in rules {
            router.ip(&format!("rule add {rule}\n"))?;
            overtaken(&scene).with_context(|| (*rule).to_owned())?;
        }
        installation.wait_in_place(backend)?;
        scene.tunnel_is_sound()?;
        for rule in rules {
            router.ip(&format!("rule del {rule}\n"))?;
        }
        installation.wait_in_place(backend)?;
    }
    answered(&scene)?;
    agent.interrupt()
}

/// The agent's rules are the first that lead anywhere, and the tunnel goes on.
fn overtaken(scene: &Scene) -> Result<()> {
    let router = &scene.lab.router;
    wait::until(TIMEOUT, "the agent's rules to be first", || {
        let shown = router.tool("ip", &["rule", "show"])?;
        let mut lines = shown.lines().filter(|line| !line.contains("lookup local"));
        let first = [(); 3].map(|()| lines.next().is_some_and(|l| l.contains("lookup 123")));
        Ok(first.iter().all(|ours| *ours).then_some(()))
    })?;
    let pinger = Pinger::start(router, TUNNEL_PEER, QUICK)?;
    pinger.wait_for_more(5)?;
    let pings = pinger.stop()?;
    ensure!(pings.lost() <= 1, "{pings}");
    Ok(())
}

/// It is reported with its text, and is no way for the tunnel.
pub(crate) fn a_route_in_the_agents_table(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    answered(&scene)?;
    scene.tunnel_is_sound()?;
    router.ip(&format!(
        "route add {PEER}/32 via {UPLINK_GATEWAY} dev wan table 123\n"
    ))?;
    let text = format!("the route `{PEER}/32 via {UPLINK_GATEWAY} dev wan`");
    agent.wait_logged(&text)?;
    for command in ["doctor", "status"] {
        let said = installation.run(Some(backend), &[command])?;
        ensure!(said.stdout.contains(&text), "{command}: {said:?}");
    }
    // As it is reported where the agent starts with it in place.
    let plan = installation.run(Some(backend), &["plan"])?;
    ensure!(plan.stdout.contains(&text), "plan: {plan:?}");
    let pinger = Pinger::start(router, TUNNEL_PEER, QUICK)?;
    pinger.wait_for_more(10)?;
    let pings = pinger.stop()?;
    ensure!(
        pings.lost() == pings.sent(),
        "the route does no harm, and is told: {pings}"
    );
    scene.nothing_leaked()?;
    router.ip(&format!("route del {PEER}/32 table 123\n"))?;
    answered(&scene)?;
    for command in ["doctor", "status"] {
        let said = installation.run(Some(backend), &[command])?;
        ensure!(!said.stdout.contains(&text), "{command}: {said:?}");
    }
    agent.interrupt()
}
