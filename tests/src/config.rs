//! The agent's configuration as the lab writes it.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::addresses::{
    LISTEN_PORT, MODEM, MODEM_GATEWAY, MODEM_GATEWAY6, MODEM6, PEER, PEER_PORT, PEER6, TUNNEL,
    TUNNEL_PEER, TUNNEL_PEER6, TUNNEL_ROUTER, TUNNEL_ROUTER6,
};

/// The text of a configuration file.
#[derive(Debug, Clone)]
pub struct Config(pub String);

impl Config {
    /// The lab's own.
    pub fn new(key_file: &Path, peer_public_key: &str) -> Self {
        Self(format!(
            r#"[modem]
interface = "modem"
address = "{MODEM}/24"
gateway = "{MODEM_GATEWAY}"

[tunnel]
interface = "{TUNNEL}"
address = ["{TUNNEL_ROUTER}/24"]
private_key_file = "{key_file}"
listen_port = {LISTEN_PORT}
mtu = 1380

[[tunnel.peer]]
public_key = "{peer_public_key}"
endpoint = "{PEER}:{PEER_PORT}"
allowed_ips = ["{TUNNEL_PEER}/32"]
persistent_keepalive = 80
"#,
            key_file = key_file.display(),
        ))
    }

    /// The same with one passage changed. An error if the passage is not there, since a test
    /// that changes nothing shows nothing.
    pub fn with(mut self, passage: &str, instead: &str) -> Result<Self> {
        ensure!(self.0.contains(passage), "no `{passage}` in the config");
        self.0 = self.0.replace(passage, instead);
        Ok(self)
    }

    /// The same with IPv6, too: on the modem, with the gateway link-local, inside the tunnel, and
    /// outside of it, for the peer is reached by IPv6.
    pub fn over_ipv6(self) -> Result<Self> {
        self.with(
            &format!("address = \"{MODEM}/24\"\ngateway = \"{MODEM_GATEWAY}\""),
            &format!(
                "address = [\"{MODEM}/24\", \"{MODEM6}/64\"]\ngateway = [\"{MODEM_GATEWAY}\", \"{MODEM_GATEWAY6}\"]"
            ),
        )?
        .with(
            &format!("[\"{TUNNEL_ROUTER}/24\"]"),
            &format!("[\"{TUNNEL_ROUTER}/24\", \"{TUNNEL_ROUTER6}/64\"]"),
        )?
        .with(
            &format!("[\"{TUNNEL_PEER}/32\"]"),
            &format!("[\"{TUNNEL_PEER}/32\", \"{TUNNEL_PEER6}/128\"]"),
        )?
        .with(
            &format!("\"{PEER}:{PEER_PORT}\""),
            &format!("\"[{PEER6}]:{PEER_PORT}\""),
        )
    }
}
