//! The nftables backend alone, packet by packet: the tunnel is played by a UDP socket that sends
//! what WireGuard would, so that no WireGuard is needed in the kernel. What leaves is counted by
//! packet sockets at the far ends, what arrives by sockets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod beside_others;
mod in_by_the_modem;
mod ipv6;
mod keeping;
mod out_by_an_uplink;
mod out_by_the_modem;
mod permits;
mod rig;

// The first and the last series of nft.
lte_tests::runs_on!(oldest, newest);
