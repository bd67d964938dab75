//! A modem known by its hardware address is itself under any name.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lte_tests::addresses::{MODEM_MAC, TUNNEL_PEER};
use lte_tests::backend::Backend;
use lte_tests::figure::figure;
use lte_tests::ping::Pinger;
use lte_tests::wait::TIMEOUT;

use crate::fixture::Fixture;

/// Twenty a second.
const QUICK: Duration = Duration::from_millis(50);
/// From a name to the next.
const NAMES: [&str; 5] = ["modem", "wwan0", "usb1", "wwan0", "modem"];

pub(crate) fn modem_under_another_name(backend: Backend) -> Result<()> {
    let fixture = Fixture::open_with(backend, |config| {
        config.with("interface = \"modem\"", &format!("mac = \"{MODEM_MAC}\""))
    })?;
    let lab = &fixture.scene.lab;
    let mut times = Vec::new();
    for (n, pair) in NAMES.windows(2).enumerate() {
        let (old, new) = (pair[0], pair[1]);
        let begun = if n % 2 == 0 {
            lab.unplug_modem(old)?;
            lab.plug_modem(new)?;
            Instant::now()
        } else {
            // A modem's name changes while it is down.
            let begun = Instant::now();
            lab.router
                .ip(&format!("link set {old} down\nlink set {old} name {new}\n"))?;
            begun
        };
        Pinger::start(&lab.router, TUNNEL_PEER, QUICK)?
            .wait_for_answer(TIMEOUT)
            .with_context(|| format!("{old} has become {new}: {:#?}", fixture.agent.log()))?;
        times.push(begun.elapsed().as_millis());
        fixture.route_by_modem(new)?;
        thread::sleep(Duration::from_millis(500));
        fixture.nothing_leaked()?;
    }
    times.sort_unstable();
    figure(
        "time until the tunnel answers, ms",
        &format!("modem under another name ({backend})"),
        format!("{} / {}", times[times.len() / 2], times[times.len() - 1]),
    );
    fixture.close()
}
