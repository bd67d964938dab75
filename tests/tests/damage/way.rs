//! Damages to the tunnel's way: rules, routes, the modem.

use anyhow::Result;
use lte_tests::netns::Netns;

use crate::damage::{Cuts, Damage, Harm, Notice};
use crate::eyes::Aspect;
use crate::house::House;

/// The damage that a loosened reverse-path filter is.
pub(crate) const LOOSENED: &str = "rp_filter loosened";

const RULES: &[Aspect] = &[Aspect::Rules];
const ROUTES: &[Aspect] = &[Aspect::Routes];
const ALL_OF_THE_WAY: &[Aspect] = &[Aspect::Rules, Aspect::Routes, Aspect::Modem, Aspect::Tunnel];
const MODEM: &[Aspect] = &[Aspect::Modem];
const MODEM_AND_ROUTES: &[Aspect] = &[Aspect::Modem, Aspect::Routes];
const ALL_OF_THE_MODEM: &[Aspect] = &[Aspect::Modem, Aspect::Routes, Aspect::Guard];

/// To rules and routes.
pub(crate) fn damages() -> Vec<Damage> {
    let told =
        |name, shows, lines| Damage::new(name, Cuts::Way, Notice::Told, shows, Harm::Ip(lines));
    vec![
        told("port rule deleted", RULES, "rule del pref 10\n"),
        told("mark rule deleted", RULES, "rule del pref 11\n"),
        told("source rule deleted", RULES, "rule del pref 12\n"),
        told("rules flushed", RULES, "rule flush table 123\n"),
        told(
            "default route deleted",
            ROUTES,
            "route del default table 123\n",
        ),
        told(
            "subnet's route deleted",
            ROUTES,
            "route del 192.168.0.0/24 table 123\n",
        ),
        told("routes flushed", ROUTES, "route flush table 123\n"),
        // With ManageForeignRoutingPolicyRules= and ManageForeignRoutes= as they are by default, and the
        // addresses of interfaces that a .network file matches.
        told(
            "as systemd-networkd restarts",
            ALL_OF_THE_WAY,
            "rule del pref 10
             rule del pref 11
             rule del pref 12
             route flush table 123 proto 123
             addr flush dev modem
             addr flush dev wg-lte\n",
        ),
    ]
}

/// To the modem.
pub(crate) fn of_the_modem() -> Vec<Damage> {
    let told = |name, shows, harm| Damage::new(name, Cuts::Way, Notice::Told, shows, harm);
    let sysctl = |name, key, value| {
        let harm = Harm::Sysctl(key, value);
        Damage::new(name, Cuts::Way, Notice::Looks, MODEM, harm)
    };
    vec![
        told(
            "modem's address deleted",
            MODEM_AND_ROUTES,
            Harm::Ip("addr del 192.168.0.2/32 dev modem\n"),
        ),
        told(
            "modem set down",
            MODEM_AND_ROUTES,
            Harm::Ip("link set modem down\n"),
        ),
        told(
            "modem in another namespace",
            ALL_OF_THE_MODEM,
            Harm::Do(abroad),
        ),
        told(
            "modem unplugged and plugged in",
            ALL_OF_THE_MODEM,
            Harm::Do(replug),
        ),
        Damage::new(
            "backstop removed",
            Cuts::Neither,
            Notice::Told,
            MODEM,
            Harm::Tc("qdisc del dev modem root\n"),
        ),
        Damage::new(
            "backstop's filter removed",
            Cuts::Neither,
            Notice::Told,
            MODEM,
            Harm::Tc("filter del dev modem parent 7b: pref 1\n"),
        ),
        sysctl(
            "src_valid_mark reset",
            "ipv4/conf/modem/src_valid_mark",
            "0",
        ),
        sysctl("arp_ignore reset", "ipv4/conf/modem/arp_ignore", "0"),
        sysctl("arp_announce reset", "ipv4/conf/modem/arp_announce", "0"),
        sysctl("disable_xfrm reset", "ipv4/conf/modem/disable_xfrm", "0"),
        sysctl(
            "disable_policy reset",
            "ipv4/conf/modem/disable_policy",
            "0",
        ),
        sysctl("accept_ra set", "ipv6/conf/modem/accept_ra", "2"),
        sysctl(LOOSENED, "ipv4/conf/modem/rp_filter", "2"),
    ]
}

/// Its time starts when it is back.
fn abroad(house: &House) -> Result<()> {
    let elsewhere = Netns::create("elsewhere")?;
    let router = &house.scene.lab.router;
    router.ip(&format!("link set modem netns {}\n", elsewhere.path()))?;
    elsewhere
        .ip(&format!("link set modem netns {}\n", router.path()))
        .map(drop)
}

fn replug(house: &House) -> Result<()> {
    house.scene.lab.unplug_modem("modem")?;
    house.scene.lab.plug_modem("modem")
}
