//! The usual recipe, by hand: a firewall mark, a table, a loosened filter. The control group.

use anyhow::{Context, Result};

use crate::addresses::{
    LISTEN_PORT, MODEM, MODEM_GATEWAY, PEER, PEER_PORT, TUNNEL, TUNNEL_PEER, TUNNEL_ROUTER,
};
use crate::keys;
use crate::netns::Netns;
use crate::sysctl;
use crate::tempdir::TempDir;

/// The modem's reverse-path filter in the recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReversePath {
    /// `rp_filter = 1`, as it is everywhere else.
    Strict,
    /// `rp_filter = 2`, as the recipe has it.
    Loose,
}

/// Sets it up in the router's namespace.
pub fn set_up(router: &Netns, reverse_path: ReversePath) -> Result<()> {
    if reverse_path == ReversePath::Loose {
        sysctl::set(router, &[("ipv4/conf/modem/rp_filter", "2")])?;
    }
    let files = TempDir::new()?;
    let key = files.write("key", 0o600, keys::ROUTER.private())?;
    router
        .ip(&format!(
            "addr add {MODEM}/24 dev modem
             link set modem up
             route add default via {MODEM_GATEWAY} dev modem table 123
             rule add fwmark 0x7b lookup 123
             link add {TUNNEL} type wireguard\n"
        ))
        .context("the recipe (has this kernel WireGuard?)")?;
    router.tool(
        "wg",
        &[
            "set",
            TUNNEL,
            "listen-port",
            &LISTEN_PORT.to_string(),
            "fwmark",
            "0x7b",
            "private-key",
            &key.to_string_lossy(),
            "peer",
            keys::SERVER.public,
            "endpoint",
            &format!("{PEER}:{PEER_PORT}"),
            "allowed-ips",
            &format!("{TUNNEL_PEER}/32"),
            "persistent-keepalive",
            "80",
        ],
    )?;
    router
        .ip(&format!(
            "addr add {TUNNEL_ROUTER}/24 dev {TUNNEL}
             link set {TUNNEL} mtu 1380 up\n"
        ))
        .map(drop)
}

/// Another program flushes the rules.
pub fn flush_rules(router: &Netns) -> Result<()> {
    router.ip("rule del fwmark 0x7b lookup 123\n").map(drop)
}
