//! IPv6 on the modem: the tunnel goes by it as by IPv4, and nothing else does.

use std::time::Duration;

use anyhow::Result;
use lte_tests::addresses::TUNNEL_PEER6;
use lte_tests::ping::Pinger;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;

mod guard;
mod outside_host;
mod tunnel;

pub(crate) fn options() -> Options {
    Options {
        ipv6: true,
        ..Options::default()
    }
}

pub(crate) fn open() -> Result<Scene> {
    Scene::open(&options())
}

/// Pings inside the tunnel, by IPv6.
pub(crate) fn ping_tunnel6(scene: &Scene, pace: Duration) -> Result<Pinger> {
    Pinger::start(&scene.lab.router, TUNNEL_PEER6, pace)
}
