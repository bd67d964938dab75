//! Links without a link header, as raw IP and PPP are: the modem, the uplink, both.

use anyhow::Result;
use lte_tests::addresses::{MODEM_GATEWAY, UPLINK_GATEWAY};
use lte_tests::backend::Backend;
use lte_tests::for_each_backend;
use lte_tests::scene::{Scene, from_modem};
use lte_tests::topology::Options;
use lte_tests::tun::Cable;

use crate::{a_leak_would_be_seen, by_the_modem_alone, plain, start, without_rules};

for_each_backend!(
    headerless_modem,
    headerless_modem_over_ipv6,
    headerless_modem_and_uplink,
    headerless_uplink,
);

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
    scene
        .at_carrier
        .none("ARP on a link without addresses", |seen| {
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
