//! It heals: whatever of the agent's is changed or removed by others is put back, and until it is, the
//! datapath fails closed.
//!
//! Two things lead outer packets to the modem, rules and guard, and two drop all others, the guard and the
//! backstop. Here one of two is damaged, never both at the same time. A default route leads the LAN to the
//! modem meanwhile.

mod chaos;
mod contention;
mod damage;
mod fixture;
mod guard;
mod hotplug;
mod modem_name;
mod networkd;
mod overrun;
mod probe;
mod program_order;
mod routing;
mod single;
mod uplinks;
mod wireguard;

use anyhow::Result;
use lte_tests::backend::Backend;
use lte_tests::for_each_backend;

for_each_backend!(
    each_alone_of_routing,
    each_alone_of_the_modem,
    each_alone_of_a_modem_that_was_gone,
    each_alone_of_wireguard,
    each_alone_of_the_guard,
    modem_under_another_name,
    uplinks,
    beside_networkd,
    a_new_modem_is_closed_first,
    full_buffer,
    another_port_by_the_uplink,
    chaos,
);

// On a model of the kernel, each is met by `model_tests::repairs`, alone and in pairs.
lte_tests::runs_on!(
    oldest, newest;
    each_alone_of_routing,
    each_alone_of_the_modem,
    each_alone_of_a_modem_that_was_gone,
    each_alone_of_wireguard,
);
// Long ones, on kernels that have fewer of the others.
lte_tests::runs_on!(
    first_between, last_between;
    beside_networkd,
    a_new_modem_is_closed_first,
    chaos,
    contention_over_the_guard,
);

fn each_alone_of_routing(backend: Backend) -> Result<()> {
    single::alone(backend, &routing::damages())
}

fn each_alone_of_the_modem(backend: Backend) -> Result<()> {
    single::alone(backend, &routing::modem_damages())
}

fn each_alone_of_a_modem_that_was_gone(backend: Backend) -> Result<()> {
    single::alone(backend, &routing::modem_gone())
}

fn each_alone_of_wireguard(backend: Backend) -> Result<()> {
    single::alone(backend, &wireguard::damages())
}

fn each_alone_of_the_guard(backend: Backend) -> Result<()> {
    guard::each_alone(backend)
}

fn modem_under_another_name(backend: Backend) -> Result<()> {
    modem_name::modem_under_another_name(backend)
}

fn uplinks(backend: Backend) -> Result<()> {
    uplinks::come_and_go(backend)
}

fn beside_networkd(backend: Backend) -> Result<()> {
    networkd::beside_it(backend)
}

fn a_new_modem_is_closed_first(backend: Backend) -> Result<()> {
    hotplug::closed_first(backend)
}

fn another_port_by_the_uplink(backend: Backend) -> Result<()> {
    wireguard::another_port_by_the_uplink(backend)
}

fn full_buffer(backend: Backend) -> Result<()> {
    overrun::full_buffer(backend)
}

#[test]
fn contention_over_the_guard() -> Result<()> {
    contention::over_the_guard()
}

#[test]
fn another_before_the_guard() -> Result<()> {
    program_order::before_the_guard()
}

fn chaos(backend: Backend) -> Result<()> {
    chaos::chaos(backend)
}
