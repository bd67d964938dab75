//! Damages to rules, routes and the modem.

use anyhow::Result;
use lte_tests::netns::Netns;

use crate::damage::{Damage, Defeats, Detection, Fault};
use crate::fixture::Fixture;
use crate::probe::Aspect;

/// The damage that a loosened reverse-path filter is.
pub(crate) const LOOSENED: &str = "rp_filter loosened";

const RULES: &[Aspect] = &[Aspect::Rules];
const ROUTES: &[Aspect] = &[Aspect::Routes];
const ALL_OF_ROUTING: &[Aspect] = &[Aspect::Rules, Aspect::Routes, Aspect::Modem, Aspect::Tunnel];
const MODEM: &[Aspect] = &[Aspect::Modem];
const MODEM_AND_ROUTES: &[Aspect] = &[Aspect::Modem, Aspect::Routes];
const ALL_OF_THE_MODEM: &[Aspect] = &[Aspect::Modem, Aspect::Routes, Aspect::Guard];

/// To rules and routes.
pub(crate) fn damages() -> Vec<Damage> {
    let event = |name, shows, lines| {
        Damage::new(
            name,
            Defeats::Routing,
            Detection::Event,
            shows,
            Fault::Ip(lines),
        )
    };
    vec![
        event("port rule deleted", RULES, "rule del pref 10\n"),
        event("mark rule deleted", RULES, "rule del pref 11\n"),
        event("source rule deleted", RULES, "rule del pref 12\n"),
        event("rules flushed", RULES, "rule flush table 123\n"),
        event(
            "default route deleted",
            ROUTES,
            "route del default table 123\n",
        ),
        event(
            "subnet's route deleted",
            ROUTES,
            "route del 192.168.0.0/24 table 123\n",
        ),
        event("routes flushed", ROUTES, "route flush table 123\n"),
        // With ManageForeignRoutingPolicyRules= and ManageForeignRoutes= as they are by default, and the
        // addresses of interfaces that a .network file matches.
        event(
            "as systemd-networkd restarts",
            ALL_OF_ROUTING,
            "rule del pref 10
             rule del pref 11
             rule del pref 12
             route flush table 123 proto 123
             addr flush dev modem
             addr flush dev wg-lte\n",
        ),
    ]
}

/// To the modem that stays where it is.
pub(crate) fn modem_damages() -> Vec<Damage> {
    let event =
        |name, shows, fault| Damage::new(name, Defeats::Routing, Detection::Event, shows, fault);
    let sysctl = |name, key, value| {
        let fault = Fault::Sysctl(key, value);
        Damage::new(name, Defeats::Routing, Detection::Poll, MODEM, fault)
    };
    vec![
        event(
            "modem's address deleted",
            MODEM_AND_ROUTES,
            Fault::Ip("addr del 192.168.0.2/32 dev modem\n"),
        ),
        event(
            "modem set down",
            MODEM_AND_ROUTES,
            Fault::Ip("link set modem down\n"),
        ),
        Damage::new(
            "backstop removed",
            Defeats::Neither,
            Detection::Event,
            MODEM,
            Fault::Tc("qdisc del dev modem root\n"),
        ),
        Damage::new(
            "backstop's filter removed",
            Defeats::Neither,
            Detection::Event,
            MODEM,
            Fault::Tc("filter del dev modem parent 7b: pref 1\n"),
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

/// The modem goes, and comes back.
pub(crate) fn modem_gone() -> Vec<Damage> {
    let event = |name, fault| {
        Damage::new(
            name,
            Defeats::Routing,
            Detection::Event,
            ALL_OF_THE_MODEM,
            Fault::Do(fault),
        )
    };
    vec![
        event("modem in another namespace", move_between_namespaces),
        event("modem unplugged and plugged in", replug),
    ]
}

/// Its time starts when it is back.
fn move_between_namespaces(fixture: &Fixture) -> Result<()> {
    let elsewhere = Netns::create("elsewhere")?;
    let router = &fixture.scene.lab.router;
    router.ip(&format!("link set modem netns {}\n", elsewhere.path()))?;
    elsewhere
        .ip(&format!("link set modem netns {}\n", router.path()))
        .map(drop)
}

fn replug(fixture: &Fixture) -> Result<()> {
    fixture.scene.lab.unplug_modem("modem")?;
    fixture.scene.lab.plug_modem("modem")
}
