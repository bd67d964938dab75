//! Checksums that are left to the device.

use anyhow::{Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::capture::Seen;
use lte_tests::for_each_backend;
use lte_tests::offload::{self, Offload};
use lte_tests::scene::Scene;
use lte_tests::topology::Options;

use crate::{Alone, expect_steered, nothing_at_the_provider, outer, plain, start};

for_each_backend!(partial_checksums, partial_checksums_over_ipv6,);

fn partial_checksums(backend: Backend) -> Result<()> {
    checksums(backend, &plain())
}

fn partial_checksums_over_ipv6(backend: Backend) -> Result<()> {
    checksums(
        backend,
        &Options {
            ipv6: true,
            ..plain()
        },
    )
}

/// The uplink puts checksums in and the modem does not: a steered packet comes to the modem with
/// the sum of its addresses only, and the kernel completes it there.
fn checksums(backend: Backend, options: &Options) -> Result<()> {
    let scene = Scene::open(options)?;
    let router = &scene.lab.router;
    let agent = start(&scene, &scene.installation()?, backend)?;
    let unfinished = |seen: &Seen| outer(seen) && seen.packet.checksum == Some(false);
    ensure!(
        scene.at_carrier.count(unfinished)? > 0,
        "no checksum was left to the modem: the lab shows nothing"
    );
    offload::set(router, "modem", Offload::TxChecksum, false)?;
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
