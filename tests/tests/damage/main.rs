//! It heals: whatever of the agent's is changed or removed by others is put back, and until it is, the
//! datapath fails closed.
//!
//! There are two nets, one under the other: the rules and routes that send the tunnel to the modem, and
//! the guard. What holds while one of them is cut is asked here; both at the same time are not cut. A
//! guard that is gone holds nobody else back, so then nothing else may lead to the modem: how much would
//! leave if something did is a figure.

mod chaos;
mod damage;
mod each;
mod eyes;
mod fight;
mod guard;
mod house;
mod names;
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

#[test]
fn fight_over_the_guard() -> Result<()> {
    fight::over_the_guard()
}

fn chaos(backend: Backend) -> Result<()> {
    chaos::chaos(backend)
}
