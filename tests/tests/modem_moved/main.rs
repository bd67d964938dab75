//! The modem put somewhere else: into a bridge, a bond or a VRF, below a VLAN or a macvlan, under another
//! name. Nothing gets in or out by that, before the agent has done anything about it and after.

mod attack;
mod found;
mod known;
mod masters;
mod renamed;
mod stacked;

use anyhow::Result;
use lte_tests::backend::Backend;
use lte_tests::for_each_backend;

for_each_backend!(
    in_a_bridge,
    in_a_bond,
    in_a_vrf,
    found_in_a_bridge,
    found_in_a_bond,
    known_by_its_address_in_a_bridge,
    known_by_its_address_in_a_bond,
    under_another_name,
    below_a_macvlan_or_vlan,
);

// A bridge is what a home has, and is met on every kernel.
lte_tests::runs_on!(
    oldest, newest;
    in_a_bond,
    in_a_vrf,
    found_in_a_bridge,
    found_in_a_bond,
    known_by_its_address_in_a_bridge,
    known_by_its_address_in_a_bond,
    under_another_name,
    below_a_macvlan_or_vlan,
);

fn in_a_bridge(backend: Backend) -> Result<()> {
    masters::taken_off(backend, &masters::BRIDGE)
}

fn in_a_bond(backend: Backend) -> Result<()> {
    masters::taken_off(backend, &masters::BOND)
}

fn in_a_vrf(backend: Backend) -> Result<()> {
    masters::taken_off(backend, &masters::VRF)
}

fn found_in_a_bridge(backend: Backend) -> Result<()> {
    found::and_restored(backend, &masters::BRIDGE)
}

fn found_in_a_bond(backend: Backend) -> Result<()> {
    found::and_restored(backend, &masters::BOND)
}

fn known_by_its_address_in_a_bridge(backend: Backend) -> Result<()> {
    known::by_its_address(backend, &masters::BRIDGE)
}

fn known_by_its_address_in_a_bond(backend: Backend) -> Result<()> {
    known::by_its_address(backend, &masters::BOND)
}

fn under_another_name(backend: Backend) -> Result<()> {
    renamed::stays_closed(backend)
}

fn below_a_macvlan_or_vlan(backend: Backend) -> Result<()> {
    stacked::nobody_uses_it(backend)
}
