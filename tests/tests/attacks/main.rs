//! Who knows the guard and would like to get round it: docs/attacks.md has what was tried.
//! The carrier's tally says what left by the modem; what is sent in vain is sent once more with nothing in
//! its way, and gets through then, wherever that takes little.

mod admin;
mod arp;
mod container;
mod ipsec;
mod neighbours;
mod options;
mod program;
mod replies;
mod routing;
mod tally;
mod ways;

use std::time::Duration;

use anyhow::Result;
use lte_tests::addresses::{MODEM, TUNNEL_PEER};
use lte_tests::backend::Backend;
use lte_tests::for_each_backend;
use lte_tests::netns::Netns;
use lte_tests::ping::Pinger;
use lte_tests::scene::Scene;
use lte_tests::wait::TIMEOUT;

for_each_backend!(
    arp_is_of_the_modems_address_alone,
    replies_lead_nowhere_else,
    neighbour_solicitations_for_others,
    a_program_gets_nothing_out,
    the_admin_page_by_a_source_route,
    a_containers_wireguard,
    an_ipsec_policy_for_the_server,
    rules_before_the_agents,
    a_route_to_the_server_in_the_agents_table,
);

// Each is kept by the policy, which the corpus holds on every kernel; here it is tried with both ways of
// attaching programs, and with the first and the last series of nft.
lte_tests::runs_on!(oldest, newest);

const QUICK: Duration = Duration::from_millis(50);

fn arp_is_of_the_modems_address_alone(backend: Backend) -> Result<()> {
    arp::is_of_the_modems_address_alone(backend)
}

fn replies_lead_nowhere_else(backend: Backend) -> Result<()> {
    replies::lead_nowhere_else(backend)
}

fn neighbour_solicitations_for_others(backend: Backend) -> Result<()> {
    neighbours::solicitations_for_others(backend)
}

fn a_program_gets_nothing_out(backend: Backend) -> Result<()> {
    program::gets_nothing_out(backend)
}

fn the_admin_page_by_a_source_route(backend: Backend) -> Result<()> {
    admin::page_by_a_source_route(backend)
}

fn a_containers_wireguard(backend: Backend) -> Result<()> {
    container::goes_by_the_uplink(backend)
}

fn an_ipsec_policy_for_the_server(backend: Backend) -> Result<()> {
    ipsec::policy_for_the_server(backend)
}

fn rules_before_the_agents(backend: Backend) -> Result<()> {
    routing::rules_before_the_agents(backend)
}

fn a_route_to_the_server_in_the_agents_table(backend: Backend) -> Result<()> {
    routing::a_route_in_the_agents_table(backend)
}

/// The tunnel carries. What was sent before is decided over by then, and on the carrier's link where it left.
fn answered(scene: &Scene) -> Result<()> {
    let pinger = Pinger::start(&scene.lab.router, TUNNEL_PEER, QUICK)?;
    pinger.wait_for_answer(TIMEOUT)?;
    pinger.stop().map(drop)
}

/// The modem as anybody would set it up who has no guard: what was sent in vain gets through then.
fn open_house(router: &Netns) -> Result<()> {
    router
        .ip(&format!(
            "addr add {MODEM}/24 dev modem
             link set modem up
             route add default via 192.168.0.1 dev modem table 99
             rule add pref 99 from {MODEM} lookup 99\n"
        ))
        .map(drop)
}
