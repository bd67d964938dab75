//! Modems without a gateway.

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{MODEM, MODEM_GATEWAY, MODEM_GATEWAY6, MODEM6, PEER6};
use lte_tests::backend::Backend;
use lte_tests::capture::Seen;
use lte_tests::for_each_backend;
use lte_tests::scene::Scene;
use lte_tests::scene::from_modem;
use lte_tests::topology::Options;

use crate::{nothing_at_the_provider, outer, plain, start, without_rules};

for_each_backend!(
    point_to_point_modem,
    point_to_point_modem_of_two,
    point_to_point_modem_over_ipv6,
);

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
    ensure!(
        scene
            .at_carrier
            .count(|seen| outer(seen) && from_own(seen))?
            > 0
    );
    scene
        .at_carrier
        .none("foreign packets on the modem", |seen| {
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
