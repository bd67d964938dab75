//! The real systemd-networkd beside the agent. It takes rules, routes and addresses that it does not know
//! for leftovers: when it starts, and whenever an interface of its own appears, which is when the agent
//! sets the modem up. What it does when its uplink loses its carrier, the very hour that the tunnel is for,
//! depends on its version.

use std::thread;

use anyhow::{Context, Result};
use lte_tests::backend::Backend;
use lte_tests::networkd::Networkd;
use lte_tests::wait::PATIENCE;

use crate::damage::{Cuts, Damage, Harm, Notice};
use crate::each;
use crate::eyes::Aspect;
use crate::house::House;
use crate::plugged::REPLUG;

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

/// An owner who has not told networkd to keep its hands off the modem: it takes away what the modem has, and
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
    let house = House::open(backend)?;
    let restarted = Damage::new(
        "systemd-networkd restarted",
        Cuts::Way,
        Notice::Told,
        &[
            Aspect::Rules,
            Aspect::Routes,
            Aspect::Modem,
            Aspect::Tunnel,
            Aspect::Guard,
        ],
        Harm::Do(|house| restart(house, "ipv4")),
    );
    each::in_house(&house, &[restarted])?;
    // Where no udev has to see a new modem first, the question would be put within a few milliseconds of
    // the plug, and whether the modem is closed by then is a matter of luck.
    restart(&house, "no")?;
    let lab = &house.scene.lab;
    for _ in 0..TIMES {
        lab.isp.ip("link set cust0 down\n")?;
        carries(&house).context("the uplink has no carrier")?;
        lab.isp.ip("link set cust0 up\n")?;
        carries(&house).context("the uplink has its carrier again")?;
        let before = house.with_networkd(|networkd| Ok(networkd.removed()))?;
        lab.unplug_modem("modem")?;
        thread::sleep(REPLUG);
        lab.plug_modem("modem")?;
        house.with_networkd(|networkd| networkd.wait_removed(before + RULES))?;
        carries(&house).context("the modem was plugged in again")?;
    }
    house.close()
}

fn carries(house: &House) -> Result<()> {
    let pinger = house.scene.ping_tunnel()?;
    pinger.wait_for_answer(PATIENCE)?;
    house.all_in_place(PATIENCE)?;
    house.nothing_leaked()
}

/// It is killed, and another one starts: there is no bus to tell it to go.
fn restart(house: &House, dhcp: &str) -> Result<()> {
    let router = &house.scene.lab.router;
    house.keep_networkd(None)?;
    let mut networkd = Networkd::start(router, WAN, &modem(dhcp))?;
    networkd.wait_removed(RULES)?;
    house.keep_networkd(Some(networkd))
}
