//! The real systemd-networkd beside the agent. It takes rules and routes that it does not know for
//! leftovers: when it starts, and when an interface of its own loses its carrier, which is the very hour
//! that the tunnel is for.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use lte_tests::backend::Backend;
use lte_tests::networkd::Networkd;
use lte_tests::wait::PATIENCE;

use crate::damage::{Cuts, Damage, Harm, Notice};
use crate::each;
use crate::eyes::Aspect;
use crate::house::House;

/// The agent's rules in IPv4.
const RULES: usize = 3;
/// How often the uplink's cable is pulled.
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

/// An owner who has not told networkd to keep its hands off the modem: it takes away what the modem has,
/// and asks for an address there, which the guard does not let out.
const MODEM: &str = "[Match]
Name=modem
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
";

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
        Harm::Do(restart),
    );
    each::in_house(&house, &[restarted])?;
    for _ in 0..TIMES {
        let before = house.with_networkd(|networkd| Ok(networkd.removed()))?;
        let isp = &house.scene.lab.isp;
        isp.ip("link set cust0 down\n")?;
        house.with_networkd(|networkd| networkd.wait_removed(before + RULES))?;
        house.all_in_place(PATIENCE)?;
        let pinger = house.scene.ping_tunnel()?;
        pinger
            .wait_for_answer(PATIENCE)
            .context("the uplink has no carrier, and the tunnel does not carry")?;
        isp.ip("link set cust0 up\n")?;
        thread::sleep(Duration::from_secs(1));
        house.all_in_place(PATIENCE)?;
        house.nothing_leaked()?;
    }
    house.close()
}

/// It is killed, and another one starts: there is no bus to tell it to go.
fn restart(house: &House) -> Result<()> {
    let router = &house.scene.lab.router;
    house.keep_networkd(None)?;
    let mut networkd = Networkd::start(router, WAN, MODEM)?;
    networkd.wait_removed(RULES)?;
    house.keep_networkd(Some(networkd))
}
