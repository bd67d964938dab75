//! The modem is made a part of something: it is taken off that again, and nothing passes meanwhile.

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::ROUTER_LAN;
use lte_tests::backend::Backend;
use lte_tests::netns::Netns;
use lte_tests::ping::{PACE, Pinger};
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use nix::sys::signal::Signal;

use crate::attack::{Targets, nobody_gets_out};

/// What a modem can be made a part of.
pub(crate) struct Master {
    pub(crate) name: &'static str,
    /// Lines of `ip` that make it, with the LAN in it where that can be.
    pub(crate) make: &'static str,
    /// And take it away again.
    pub(crate) unmake: &'static str,
    /// It takes in only what is down, and sets it up.
    of_what_is_down: bool,
    /// Whether the hardware addresses of its parts are theirs and its own.
    pub(crate) ethernet: bool,
}

pub(crate) const BRIDGE: Master = Master {
    name: "upper0",
    make: "link add upper0 type bridge forward_delay 0
           link set upper0 up
           addr del 192.168.77.1/24 dev lan0
           link set lan0 master upper0
           addr add 192.168.77.1/24 dev upper0\n",
    unmake: "link set lan0 nomaster
             link del upper0
             addr add 192.168.77.1/24 dev lan0\n",
    of_what_is_down: false,
    ethernet: true,
};

pub(crate) const BOND: Master = Master {
    name: "upper0",
    make: "link add upper0 type bond mode active-backup miimon 10
           link set upper0 up\n",
    unmake: "link del upper0\n",
    of_what_is_down: true,
    ethernet: true,
};

pub(crate) const VRF: Master = Master {
    name: "upper0",
    make: "link add upper0 type vrf table 77
           link set upper0 up\n",
    unmake: "link del upper0\n",
    of_what_is_down: false,
    ethernet: false,
};

impl Master {
    pub(crate) fn take_in(&self, router: &Netns, modem: &str) -> Result<()> {
        let name = self.name;
        let down = if self.of_what_is_down {
            format!("link set {modem} down\n")
        } else {
            String::new()
        };
        router
            .ip(&format!(
                "{down}link set {modem} master {name}\nlink set {modem} up\n"
            ))
            .map(drop)
    }
}

/// What an interface is a part of.
pub(crate) fn master(router: &Netns, interface: &str) -> Result<Option<String>> {
    let shown = router.tool("ip", &["-o", "link", "show", "dev", interface])?;
    let mut words = shown
        .split_whitespace()
        .skip_while(|word| *word != "master");
    Ok(words.nth(1).map(str::to_owned))
}

pub(crate) fn wait_alone(router: &Netns, modem: &str) -> Result<()> {
    wait::until(TIMEOUT, "the modem to be on its own", || {
        Ok(master(router, modem)?.is_none().then_some(()))
    })
}

/// The LAN is with its router, also behind another interface.
pub(crate) fn at_home(scene: &Scene) -> Result<()> {
    let pinger = Pinger::start(&scene.lab.lan, ROUTER_LAN, PACE)?;
    pinger
        .wait_for_answer(TIMEOUT)
        .context("the LAN does not reach the router")
}

/// The cable to the carrier carries again: a link that has been down takes up to a second.
fn carries(scene: &Scene) -> Result<()> {
    wait::until(TIMEOUT, "the carrier's end to be up", || {
        let shown = scene
            .lab
            .carrier
            .netns
            .tool("ip", &["-br", "link", "show", "dev", "modem0"])?;
        Ok(shown.contains(" UP ").then_some(()))
    })
}

pub(crate) fn taken_off(backend: Backend, to: &Master) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let router = &scene.lab.router;
    let targets = Targets::open(&scene.lab)?;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    router.ip(to.make)?;
    installation.wait_in_place(backend)?;
    at_home(&scene)?;

    // The agent has not heard of it yet.
    agent.signal(Signal::SIGSTOP)?;
    to.take_in(router, "modem")?;
    ensure!(master(router, "modem")?.as_deref() == Some(to.name));
    carries(&scene)?;
    if to.ethernet {
        targets.nobody_gets_in(&scene, "modem", to.name)?;
        nobody_gets_out(&scene)?;
    }
    agent.signal(Signal::SIGCONT)?;
    wait_alone(router, "modem")?;
    agent.wait_logged("set link modem nomaster")?;
    scene.ping_tunnel()?.wait_for_answer(TIMEOUT)?;
    installation.wait_in_place(backend)?;

    // And while it has: at once, whatever is sent meanwhile.
    to.take_in(router, "modem")?;
    carries(&scene)?;
    if to.ethernet {
        targets.nobody_gets_in(&scene, "modem", to.name)?;
        nobody_gets_out(&scene)?;
    }
    wait_alone(router, "modem")?;
    scene.ping_tunnel()?.wait_for_answer(TIMEOUT)?;
    installation.wait_in_place(backend)?;
    scene.nothing_leaked()?;
    agent.interrupt()
}
