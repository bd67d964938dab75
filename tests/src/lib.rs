//! The lab: a home router, its uplink, a carrier with NAT and a server, in network namespaces.
//!
//! ```text
//!   lan ──lan0── router ──wan───── isp ─────┐
//!                   │                      vps   kernel WireGuard, set up by `wg`
//!                   └────modem── carrier ───┘
//! ```
//!
//! Everything is counted from outside the agent: packet sockets on the far sides, pings, and the
//! kernel's own tables. Whatever is set up goes away with the value that set it up.

pub mod addresses;
pub mod agent;
pub mod another_wireguard;
pub mod backend;
pub mod background_traffic;
pub mod bpf;
pub mod capture;
pub mod carrier;
pub mod clock;
pub mod config;
pub mod corpus;
pub mod drops;
pub mod fallback;
pub mod figure;
pub mod flood;
pub mod frame_socket;
pub mod fwmark_baseline;
pub mod hidden_module;
pub mod installation;
pub mod kernel_version;
pub mod keys;
pub mod long_run;
pub mod name_server;
pub mod netlink;
pub mod netns;
pub mod networkd;
pub mod notify;
pub mod offload;
pub mod outside_host;
pub mod packet;
pub mod ping;
pub mod process;
pub mod properties;
pub mod rng;
pub mod ruleset;
pub mod runs_on;
pub mod scene;
pub mod seccomp;
pub mod snapshot;
pub mod stack;
pub mod stopped_thread;
pub mod sysctl;
pub mod systemd;
pub mod tempdir;
pub mod topology;
pub mod traffic;
pub mod tun;
pub mod tunnel_device;
pub mod vps;
pub mod wait;
pub mod wire;

// About the tests themselves.
runs_on!(newest);
