//! `doctor`: it finds what is wrong and says what to do, and it changes nothing.

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{MODEM_GATEWAY, PEER, PEER_PORT};
use lte_tests::backend::Backend;
use lte_tests::installation::Installation;
use lte_tests::keys;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use lte_tests::{for_each_backend, kernel_version, sysctl};
use serde_json::Value;

for_each_backend!(
    weaknesses_and_faults_are_told_apart,
    silence_is_a_fault,
    a_peer_that_another_interface_has_too
);

// What it reads of the kernel has changed its form between these two.
lte_tests::runs_on!(oldest, newest);

/// A public key that the server does not have.
const NOBODYS: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// What it said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Said {
    fn by(installation: &Installation, backend: Backend) -> Result<Self> {
        let ended = installation.run(Some(backend), &["doctor", "--json"])?;
        let said: Value =
            serde_json::from_str(&ended.stdout).with_context(|| format!("no JSON: {ended:?}"))?;
        let findings = said["findings"].as_array().context("no findings")?;
        Ok(Self {
            code: ended.status.code(),
            findings: findings.clone(),
        })
    }

    fn of(&self, grade: &str) -> Vec<&Value> {
        let all = self.findings.iter();
        all.filter(|finding| finding["grade"] == grade).collect()
    }

    fn has(&self, grade: &str, about: &str, words: &str) -> Result<()> {
        let there = self.of(grade).iter().any(|finding| {
            finding["about"] == about
                && finding["text"]
                    .as_str()
                    .is_some_and(|text| text.contains(words))
        });
        ensure!(there, "no {grade} about {about} with `{words}`: {self:#?}");
        Ok(())
    }

    fn no_fault(&self) -> Result<()> {
        ensure!(self.of("fault").is_empty(), "{self:#?}");
        ensure!(self.code == Some(0), "{self:#?}");
        Ok(())
    }

    /// One fault, and it is this one.
    fn one_fault(&self, about: &str, words: &str) -> Result<()> {
        self.has("fault", about, words)?;
        ensure!(self.of("fault").len() == 1, "{self:#?}");
        ensure!(self.code == Some(1), "{self:#?}");
        Ok(())
    }
}

fn weaknesses_and_faults_are_told_apart(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let before = scene.lab.snapshot()?;
    let mut installation = scene.installation()?;

    let said = Said::by(&installation, backend)?;
    said.no_fault()?;
    said.has("warning", "agent", "not running")?;
    said.has("warning", "datapath", "not in place")?;
    before.assert_same(&scene.lab.router)?;

    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    let running = scene.lab.snapshot()?;
    let said = Said::by(&installation, backend)?;
    said.no_fault()?;
    said.has("ok", "agent", "running")?;
    said.has("ok", "datapath", "everything in place")?;
    said.has("ok", "peer", "last handshake")?;
    let blind = said.has("warning", "backend", "packet socket");
    let expected = backend == Backend::Nft && kernel_version::running()? < (5, 16);
    ensure!(blind.is_ok() == expected, "{said:#?}");
    running.assert_same(&scene.lab.router)?;

    // What is not ours to change is no fault: the tunnel goes on.
    let router = &scene.lab.router;
    sysctl::set(router, &[("ipv4/conf/all/rp_filter", "2")])?;
    router.ip(&format!(
        "route add default via {MODEM_GATEWAY} dev modem metric 9 onlink\n"
    ))?;
    let said = Said::by(&installation, backend)?;
    said.no_fault()?;
    said.has("warning", "datapath", "is loose")?;
    said.has("warning", "routes", "default route on modem")?;
    sysctl::set(router, &[("ipv4/conf/all/rp_filter", "1")])?;
    router.ip("route del default metric 9\n")?;

    let right = installation.config.clone();
    installation.config = right.clone().with("mtu = 1380", "mtu = 1381")?;
    Said::by(&installation, backend)?.one_fault("datapath", "is pending")?;
    installation.config = right
        .clone()
        .with("interface = \"modem\"", "interface = \"modam\"")?;
    Said::by(&installation, backend)?.has("fault", "modem", "there is no such interface")?;
    installation.config = right.clone().with("mtu = 1380", "mut = 1380")?;
    Said::by(&installation, backend)?.one_fault("config", "unknown key `mut`")?;
    installation.config = right;

    agent.interrupt()?;
    before.assert_same(&scene.lab.router)
}

/// The server does not answer who takes it for another.
fn silence_is_a_fault(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let mut installation = scene.installation()?;
    installation.config = installation.config.with(keys::SERVER.public, NOBODYS)?;
    let agent = installation.start(backend)?;
    let said = Said::by(&installation, backend)?;
    said.one_fault("peer", "has never answered")?;
    agent.interrupt()
}

/// Many routers have it so, and nothing is wrong with it.
fn a_peer_that_another_interface_has_too(backend: Backend) -> Result<()> {
    const TOO: &str = "is a peer of wg-home, too";
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    let home = |peer: &str, endpoint: &str| {
        let settings = ["set", "wg-home", "listen-port", "40000", "peer", peer];
        let endpoint = ["endpoint", endpoint];
        router.tool("wg", &[&settings[..], &endpoint[..]].concat())
    };
    router.ip("link add wg-home type wireguard\n")?;
    let server = format!("{PEER}:{PEER_PORT}");
    home(NOBODYS, &format!("{PEER}:{}", PEER_PORT + 1))?;
    // The guard goes on every new interface, and that takes its time.
    let said = wait::until(TIMEOUT, "all to be in place", || {
        let said = Said::by(&installation, backend)?;
        Ok(said.no_fault().is_ok().then_some(said))
    })?;
    ensure!(said.has("ok", "peer", TOO).is_err(), "{said:#?}");

    // The very peer, by its own key.
    home(keys::SERVER.public, &server)?;
    let before = scene.lab.snapshot()?;
    let said = Said::by(&installation, backend)?;
    said.no_fault()?;
    said.has("ok", "peer", TOO)?;
    before.assert_same(router)?;
    agent.interrupt()
}
