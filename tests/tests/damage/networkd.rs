//! The real systemd-networkd beside the agent. It takes rules, routes and addresses that it does not know
//! for leftovers: when it starts, and whenever an interface of its own appears, which is when the agent
//! sets the modem up. What it does when its uplink loses its carrier, the very hour that the tunnel is for,
//! depends on its version.

use std::thread;

use anyhow::{Context, Result};
use lte_tests::backend::Backend;
use lte_tests::networkd::Networkd;
use lte_tests::wait::TIMEOUT;

use crate::damage::{Damage, Defeats, Detection, Fault};
use crate::fixture::Fixture;
use crate::hotplug::REPLUG;
use crate::probe::Aspect;
use crate::single;

/// The agent's rules in IPv4.
const RULES: usize = 3;
/// How often the uplink's cable and the modem are pulled.
const TIMES: usize = 2;

/// As the lab's uplink is.
const WAN: &str = "[Match]
Name=wan
[Network]
Address=198.51.100.2/24
Gateway=198.51.100.1
LinkLocalAddressing=no
IPv6AcceptRA=no
";

/// networkd is not configured to leave the modem alone: it removes what the modem has, and
/// may ask for an address there, which the guard does not let out.
fn modem(dhcp: &str) -> String {
    format!(
        "[Match]
Name=modem
[Network]
DHCP={dhcp}
LinkLocalAddressing=no
IPv6AcceptRA=no
"
    )
}

pub(crate) fn beside_it(backend: Backend) -> Result<()> {
    let fixture = Fixture::open(backend)?;
    let restarted = Damage::new(
        "systemd-networkd restarted",
        Defeats::Routing,
        Detection::Event,
        &[
            Aspect::Rules,
            Aspect::Routes,
            Aspect::Modem,
            Aspect::Tunnel,
            Aspect::Guard,
        ],
        Fault::Do(|fixture| restart(fixture, "ipv4")),
    );
    single::in_fixture(&fixture, &[restarted])?;
    // Where no udev has to see a new modem first, the question would be put within a few milliseconds of
    // the plug, and whether the modem is closed by then is a matter of luck.
    restart(&fixture, "no")?;
    let lab = &fixture.scene.lab;
    for _ in 0..TIMES {
        lab.isp.ip("link set cust0 down\n")?;
        carries(&fixture).context("the uplink has no carrier")?;
        lab.isp.ip("link set cust0 up\n")?;
        carries(&fixture).context("the uplink has its carrier again")?;
        let before = fixture.with_networkd(|networkd| Ok(networkd.removed()))?;
        lab.unplug_modem("modem")?;
        thread::sleep(REPLUG);
        lab.plug_modem("modem")?;
        fixture.with_networkd(|networkd| networkd.wait_removed(before + RULES))?;
        carries(&fixture).context("the modem was plugged in again")?;
    }
    fixture.close()
}

fn carries(fixture: &Fixture) -> Result<()> {
    let pinger = fixture.scene.ping_tunnel()?;
    pinger.wait_for_answer(TIMEOUT)?;
    fixture.all_in_place(TIMEOUT)?;
    fixture.nothing_leaked()
}

/// It is killed, and another one starts: there is no bus to stop it by.
fn restart(fixture: &Fixture, dhcp: &str) -> Result<()> {
    let router = &fixture.scene.lab.router;
    fixture.keep_networkd(None)?;
    let mut networkd = Networkd::start(router, WAN, &modem(dhcp))?;
    networkd.wait_removed(RULES)?;
    fixture.keep_networkd(Some(networkd))
}
