//! The server: kernel WireGuard, set up with `ip` and `wg`, by none of the agent's code.

use std::net::SocketAddr;

use anyhow::{Context, Result};

use crate::addresses::{PEER_PORT, TUNNEL_PEER, TUNNEL_PEER6, TUNNEL_ROUTER, TUNNEL_ROUTER6};
use crate::keys;
use crate::netns::Netns;
use crate::process;
use crate::tempdir::TempDir;

/// The server's namespace. Towards the uplink's provider it has `isp0`, towards the carrier
/// `carrier0`, and the tunnel is `wg0`.
#[derive(Debug)]
pub struct Vps {
    /// Its namespace.
    pub netns: Netns,
}

impl Vps {
    pub(crate) fn open(netns: Netns, server: bool) -> Result<Self> {
        if server {
            let files = TempDir::new()?;
            let key = files.write("key", 0o600, keys::SERVER.private())?;
            netns
                .ip(&format!(
                    "link add wg0 type wireguard
                     addr add {TUNNEL_PEER}/24 dev wg0
                     addr add {TUNNEL_PEER6}/64 dev wg0
                     link set wg0 up\n"
                ))
                .context("WireGuard: has this kernel its module?")?;
            netns.tool(
                "wg",
                &[
                    "set",
                    "wg0",
                    "listen-port",
                    &PEER_PORT.to_string(),
                    "private-key",
                    &key.to_string_lossy(),
                    "peer",
                    keys::ROUTER.public,
                    "allowed-ips",
                    &format!("{TUNNEL_ROUTER}/32,{TUNNEL_ROUTER6}/128"),
                ],
            )?;
        }
        Ok(Self { netns })
    }

    /// A second tunnel to the router, of a key and at a port of its own. Nothing but keepalives is to go
    /// through it. Returns its public key.
    pub fn second_tunnel(&self, port: u16) -> Result<String> {
        let private = process::tool("wg", &["genkey"], "")?;
        let public = process::tool("wg", &["pubkey"], &private)?;
        let files = TempDir::new()?;
        let key = files.write("key", 0o600, &private)?;
        self.netns
            .ip("link add wg1 type wireguard\nlink set wg1 up\n")?;
        self.netns.tool(
            "wg",
            &[
                "set",
                "wg1",
                "listen-port",
                &port.to_string(),
                "private-key",
                &key.to_string_lossy(),
                "peer",
                keys::ROUTER.public,
            ],
        )?;
        Ok(public.trim().to_owned())
    }

    /// Where the server sees the router: the source of its last authenticated packet.
    pub fn endpoint(&self) -> Result<Option<SocketAddr>> {
        let shown = self.netns.tool("wg", &["show", "wg0", "endpoints"])?;
        Ok(value(&shown).and_then(|word| word.parse().ok()))
    }

    /// Unix time of the last completed handshake, in seconds.
    pub fn latest_handshake(&self) -> Result<Option<u64>> {
        let shown = self
            .netns
            .tool("wg", &["show", "wg0", "latest-handshakes"])?;
        Ok(value(&shown)
            .and_then(|word| word.parse().ok())
            .filter(|&seconds| seconds != 0))
    }
}

/// `wg show … <field>` prints one line a peer: key, then value. There is one peer.
fn value(shown: &str) -> Option<&str> {
    shown.split_whitespace().nth(1)
}
