//! Damages to the WireGuard interface.

use anyhow::Result;
use lte_tests::addresses::TUNNEL;
use lte_tests::backend::Backend;
use lte_tests::keys;
use lte_tests::wait::TIMEOUT;

use crate::damage::{Damage, Defeats, Detection, Fault};
use crate::fixture::Fixture;
use crate::probe::Aspect;

/// How often the port is changed.
const TIMES: usize = 3;

/// Pings in which every processor has come to know the session: its own copy of what is known of a remote is
/// a second behind at most.
const SESSION_KNOWN: usize = 15;

const TUNNEL_ITSELF: &[Aspect] = &[Aspect::Tunnel];
const SETTINGS: &[Aspect] = &[Aspect::Settings];
const BOTH: &[Aspect] = &[Aspect::Tunnel, Aspect::Settings];

pub(crate) fn damages() -> Vec<Damage> {
    let told = |name, shows, lines| {
        let fault = Fault::Ip(lines);
        Damage::new(name, Defeats::Neither, Detection::Event, shows, fault)
    };
    let set = |name, defeats, words: &[&str]| {
        let words = ["set", TUNNEL].iter().chain(words);
        let fault = Fault::Wg(words.map(ToString::to_string).collect());
        Damage::new(name, defeats, Detection::Poll, SETTINGS, fault)
    };
    vec![
        told("tunnel set down", TUNNEL_ITSELF, "link set wg-lte down\n"),
        told(
            "tunnel's address deleted",
            TUNNEL_ITSELF,
            "addr del 10.88.88.1/24 dev wg-lte\n",
        ),
        told("tunnel deleted", BOTH, "link del wg-lte\n"),
        another_port(),
        // The same for a packet with another's mark.
        set("mark set", Defeats::Neither, &["fwmark", "0x99"]),
        of_a_peer("peer removed", remove_peer),
        of_a_peer("unknown peer added", add_unknown_peer),
        of_a_peer("allowed addresses changed", change_allowed),
        of_a_peer("private key changed", change_key),
    ]
}

/// What bears another port finds no rule: only the guard knows it, by where it goes.
fn another_port() -> Damage {
    let words = ["set", TUNNEL, "listen-port", "50000"];
    let fault = Fault::Wg(words.map(str::to_owned).to_vec());
    Damage::new(
        "listen port changed",
        Defeats::Routing,
        Detection::Poll,
        SETTINGS,
        fault,
    )
}

/// The main table leads to the uplink, as it mostly does: not one of these packets leaves by it. While `wg`
/// runs, the tunnel sends from its new port and holds the old one (`wg_socket_reinit` waits for an RCU grace
/// period): its packets look like another WireGuard interface's then, but for the session.
pub(crate) fn another_port_by_the_uplink(backend: Backend) -> Result<()> {
    let fixture = Fixture::open(backend)?;
    fixture.route_by_uplink()?;
    let pinger = fixture.scene.ping_tunnel()?;
    pinger.wait_for_more(SESSION_KNOWN)?;
    pinger.stop()?;
    for _ in 0..TIMES {
        fixture.repair(&another_port())?;
        fixture.all_in_place(TIMEOUT)?;
    }
    fixture.close()
}

fn of_a_peer(name: &'static str, what: fn(&Fixture) -> Result<()>) -> Damage {
    Damage::new(
        name,
        Defeats::Neither,
        Detection::Poll,
        SETTINGS,
        Fault::Do(what),
    )
}

fn set_peer(fixture: &Fixture, key: &str, more: &[&str]) -> Result<()> {
    let words: Vec<&str> = ["set", TUNNEL, "peer", key]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    fixture.scene.lab.router.tool("wg", &words).map(drop)
}

fn remove_peer(fixture: &Fixture) -> Result<()> {
    set_peer(fixture, keys::SERVER.public, &["remove"])
}

fn add_unknown_peer(fixture: &Fixture) -> Result<()> {
    let key = fixture.another_key();
    let public = lte_tests::process::tool("wg", &["pubkey"], &key)?;
    set_peer(fixture, public.trim(), &["allowed-ips", "10.99.0.0/16"])
}

fn change_allowed(fixture: &Fixture) -> Result<()> {
    set_peer(
        fixture,
        keys::SERVER.public,
        &["allowed-ips", "10.99.0.0/16"],
    )
}

fn change_key(fixture: &Fixture) -> Result<()> {
    let key = fixture.another_key();
    let words = ["set", TUNNEL, "private-key", "/dev/stdin"];
    let router = &fixture.scene.lab.router;
    router.tool_with_input("wg", &words, &key).map(drop)
}
