//! It heals: whatever of the agent's is changed or removed by others is put back, and until it is, the
//! datapath fails closed.
//!
//! There are two ways to the modem for the tunnel, rules and guard, and two nets that hold all else back,
//! the guard and the modem's root qdisc. What holds while one of two is cut is asked here; both at the
//! same time are not cut. All the while a default route leads the house to the modem.

mod chaos;
mod damage;
mod deaf;
mod each;
mod eyes;
mod fight;
mod first;
mod guard;
mod house;
mod names;
mod networkd;
mod plugged;
mod uplinks;
mod way;
mod wireguard;

use anyhow::Result;
use lte_tests::backend::Backend;
use lte_tests::for_each_backend;

for_each_backend!(
    each_alone_of_the_way,
    each_alone_of_the_modem,
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

fn each_alone_of_the_way(backend: Backend) -> Result<()> {
    each::alone(backend, &way::damages())
}

fn each_alone_of_the_modem(backend: Backend) -> Result<()> {
    each::alone(backend, &way::of_the_modem())
}

fn each_alone_of_wireguard(backend: Backend) -> Result<()> {
    each::alone(backend, &wireguard::damages())
}

fn each_alone_of_the_guard(backend: Backend) -> Result<()> {
    guard::each_alone(backend)
}

fn modem_under_another_name(backend: Backend) -> Result<()> {
    names::modem_under_another_name(backend)
}

fn uplinks(backend: Backend) -> Result<()> {
    uplinks::come_and_go(backend)
}

fn beside_networkd(backend: Backend) -> Result<()> {
    networkd::beside_it(backend)
}

fn a_new_modem_is_closed_first(backend: Backend) -> Result<()> {
    plugged::closed_first(backend)
}

fn another_port_by_the_uplink(backend: Backend) -> Result<()> {
    wireguard::another_port_by_the_uplink(backend)
}

fn full_buffer(backend: Backend) -> Result<()> {
    deaf::full_buffer(backend)
}

#[test]
fn fight_over_the_guard() -> Result<()> {
    fight::over_the_guard()
}

#[test]
fn another_before_the_guard() -> Result<()> {
    first::before_the_guard()
}

fn chaos(backend: Backend) -> Result<()> {
    chaos::chaos(backend)
}
