//! Damages to the WireGuard interface.

use anyhow::Result;
use lte_tests::addresses::TUNNEL;
use lte_tests::backend::Backend;
use lte_tests::keys;
use lte_tests::wait::PATIENCE;

use crate::damage::{Cuts, Damage, Harm, Notice};
use crate::eyes::Aspect;
use crate::house::House;

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
        let harm = Harm::Ip(lines);
        Damage::new(name, Cuts::Neither, Notice::Told, shows, harm)
    };
    let set = |name, cuts, words: &[&str]| {
        let words = ["set", TUNNEL].iter().chain(words);
        let harm = Harm::Wg(words.map(ToString::to_string).collect());
        Damage::new(name, cuts, Notice::Looks, SETTINGS, harm)
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
        // The same for a packet with a mark of somebody's.
        set("mark set", Cuts::Neither, &["fwmark", "0x99"]),
        of_a_peer("peer removed", remove_peer),
        of_a_peer("stranger added", add_stranger),
        of_a_peer("allowed addresses changed", change_allowed),
        of_a_peer("private key changed", change_key),
    ]
}

/// What bears another port finds no rule: only the guard knows it, by where it goes.
fn another_port() -> Damage {
    let words = ["set", TUNNEL, "listen-port", "50000"];
    let harm = Harm::Wg(words.map(str::to_owned).to_vec());
    Damage::new(
        "listen port changed",
        Cuts::Way,
        Notice::Looks,
        SETTINGS,
        harm,
    )
}

/// The main table leads to the uplink, as it mostly does: not one of these packets leaves by it. While `wg`
/// runs, the tunnel sends from its new port and holds the old one (`wg_socket_reinit` waits for an RCU grace
/// period): its packets look like another WireGuard interface's then, but for the session.
pub(crate) fn another_port_by_the_uplink(backend: Backend) -> Result<()> {
    let house = House::open(backend)?;
    house.lead_to_the_uplink()?;
    let pinger = house.scene.ping_tunnel()?;
    pinger.wait_for_more(SESSION_KNOWN)?;
    pinger.stop()?;
    for _ in 0..TIMES {
        house.repair(&another_port())?;
        house.all_in_place(PATIENCE)?;
    }
    house.close()
}

fn of_a_peer(name: &'static str, what: fn(&House) -> Result<()>) -> Damage {
    Damage::new(name, Cuts::Neither, Notice::Looks, SETTINGS, Harm::Do(what))
}

fn set_peer(house: &House, key: &str, more: &[&str]) -> Result<()> {
    let words: Vec<&str> = ["set", TUNNEL, "peer", key]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    house.scene.lab.router.tool("wg", &words).map(drop)
}

fn remove_peer(house: &House) -> Result<()> {
    set_peer(house, keys::SERVER.public, &["remove"])
}

fn add_stranger(house: &House) -> Result<()> {
    let stranger = house.another_key();
    let public = lte_tests::process::tool("wg", &["pubkey"], &stranger)?;
    set_peer(house, public.trim(), &["allowed-ips", "10.99.0.0/16"])
}

fn change_allowed(house: &House) -> Result<()> {
    set_peer(house, keys::SERVER.public, &["allowed-ips", "10.99.0.0/16"])
}

fn change_key(house: &House) -> Result<()> {
    let key = house.another_key();
    let words = ["set", TUNNEL, "private-key", "/dev/stdin"];
    let router = &house.scene.lab.router;
    router.tool_with_input("wg", &words, &key).map(drop)
}
