//! Damages whose events are lost, since the agent's netlink buffer overruns.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use lte_tests::backend::Backend;
use nix::sys::signal::Signal;

use crate::fixture::Fixture;

/// Events in a storm. A socket's buffer (`net.core.rmem_default`) holds some hundred.
const STORM: u32 = 2000;
/// How often, and how soon all has to be back: sooner than the agent looks without a reason, which
/// is once a minute, so that not every one of these can be that.
const TIMES: usize = 3;
const SOON: Duration = Duration::from_secs(15);

/// Others' routes are not the agent's: it looks because events were lost.
pub(crate) fn full_buffer(backend: Backend) -> Result<()> {
    let fixture = Fixture::open(backend)?;
    let router = &fixture.scene.lab.router;
    let mut storm = String::new();
    for number in 0..STORM {
        let (high, low) = (number / 256, number % 256);
        writeln!(storm, "route add 10.50.{high}.{low}/32 dev lo table 99")?;
    }
    for _ in 0..TIMES {
        fixture.agent.signal(Signal::SIGSTOP)?;
        router.ip(&storm)?;
        router.ip("rule del priority 10\nrule del priority 11\nroute flush table 123\n")?;
        router.ip("route flush table 99\n")?;
        fixture.agent.signal(Signal::SIGCONT)?;
        fixture.all_in_place(SOON)?;
    }
    let log = fixture.agent.log();
    ensure!(
        log.iter().any(|line| line.contains("buffer full")),
        "its buffer was never full: {log:#?}"
    );
    fixture.close()
}
