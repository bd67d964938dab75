//! Another WireGuard interface to the server, at the port at which the tunnel's peer is; it is not the agent's.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::addresses::{PEER, PEER_PORT};
use crate::keys;
use crate::netns::Netns;
use crate::process;
use crate::tempdir::TempDir;
use crate::topology::Lab;

/// The server inside it.
pub const OTHER_PEER: Ipv4Addr = Ipv4Addr::new(10, 88, 89, 2);
/// Its name.
pub const OTHER: &str = "wg-own";

/// Sets it up in a namespace, with a key of its own. One that was there before is replaced.
pub fn set_up(lab: &Lab, place: &Netns, listen_port: u16) -> Result<()> {
    let private = process::tool("wg", &["genkey"], "")?;
    let public = process::tool("wg", &["pubkey"], &private)?;
    let files = TempDir::new()?;
    let key = files.write("key", 0o600, &private)?;
    lab.vps
        .netns
        .ip(&format!("addr replace {OTHER_PEER}/24 dev wg0\n"))?;
    let words = [
        "set",
        "wg0",
        "peer",
        public.trim(),
        "allowed-ips",
        "10.88.89.1/32",
    ];
    lab.vps.netns.tool("wg", &words)?;
    let links = place.tool("ip", &["-br", "link", "show"])?;
    if links.lines().any(|line| line.starts_with(OTHER)) {
        place.ip(&format!("link del {OTHER}\n"))?;
    }
    place.ip(&format!(
        "link add {OTHER} type wireguard\naddr add 10.88.89.1/24 dev {OTHER}\n"
    ))?;
    place.tool(
        "wg",
        &[
            "set",
            OTHER,
            "listen-port",
            &listen_port.to_string(),
            "private-key",
            &key.to_string_lossy(),
            "peer",
            keys::SERVER.public,
            "endpoint",
            &format!("{PEER}:{PEER_PORT}"),
            "allowed-ips",
            &format!("{OTHER_PEER}/32"),
        ],
    )?;
    place.ip(&format!("link set {OTHER} up\n")).map(drop)
}
