//! The config file: read, checked as a whole, and only then used.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

mod budget;
mod check;
mod cidr;
mod endpoint;
mod error;
mod key;
mod raw;
mod suggest;
#[cfg(test)]
mod tests;

pub use budget::{Budget, Renews, parse_size};
pub use cidr::{Cidr, CidrError};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{ConfigError, Problem};
pub use key::{KEY_LEN, KeyError, KeyFileError, PrivateKey, PublicKey, read_private_key};
pub use raw::BackendChoice;

/// Everything the file says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Which backend keeps the guard.
    pub backend: BackendChoice,
    /// The way over the SIM.
    pub modem: Modem,
    /// The tunnel that alone may use it.
    pub tunnel: Tunnel,
    /// The numbers that steer the tunnel's packets.
    pub routing: Routing,
    /// Every other way out.
    pub uplinks: Uplinks,
    /// What the SIM may carry.
    pub budget: Option<Budget>,
}

/// The modem and its place in the carrier's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modem {
    /// How it is found.
    pub identity: ModemIdentity,
    /// IPv4 on it.
    pub v4: Option<InterfaceAddr>,
    /// IPv6 on it; `None`: nothing of IPv6 is set on it or passes.
    pub v6: Option<InterfaceAddr>,
    /// TCP ports of its admin page.
    pub admin_ports: Vec<u16>,
    /// Name servers that may be asked over the modem where the system knows no name.
    pub name_servers: Vec<IpAddr>,
}

impl Modem {
    /// Whether the modem has an address of the same family, so that this one can be reached.
    pub fn has_family(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.v4.is_some(),
            IpAddr::V6(_) => self.v6.is_some(),
        }
    }

    /// Its address in each configured family.
    pub fn interface_addrs(&self) -> impl Iterator<Item = InterfaceAddr> {
        [self.v4, self.v6].into_iter().flatten()
    }
}

/// How the modem is found among the interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModemIdentity {
    /// By its interface's name.
    Interface(String),
    /// By its hardware address, under whatever name.
    Mac([u8; 6]),
}

impl std::fmt::Display for ModemIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Interface(name) => f.write_str(name),
            Self::Mac(mac) => {
                let pairs: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
                f.write_str(&pairs.join(":"))
            }
        }
    }
}

/// The modem's address in one family, its gateway and its admin page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceAddr {
    /// The interface's address.
    pub address: Cidr,
    /// The modem's own address, the way out; `None` on a point-to-point modem. In IPv6 it may be
    /// link-local.
    pub gateway: Option<IpAddr>,
    /// Where the modem's own page and echo may be reached: an address, or a network; `None`: nowhere.
    pub admin: Option<Cidr>,
}

/// The WireGuard interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Its name.
    pub interface: String,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
    /// Its private key.
    pub private_key: PrivateKey,
    /// Its UDP port, host byte order; `None`: the kernel chooses once, and the choice is kept.
    pub listen_port: Option<u16>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// How long WireGuard sends handshakes to a silent peer at its own rate.
    pub handshake_retry_for: Duration,
    /// The pause between two attempts after that; zero: no pause.
    pub handshake_retry_interval: Duration,
    /// The peers, at least one.
    pub peers: Vec<Peer>,
}

/// A peer of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its public key.
    pub public_key: PublicKey,
    /// Where it is reached.
    pub endpoint: Endpoint,
    /// Networks behind it, host bits zero.
    pub allowed_ips: Vec<Cidr>,
    /// After how much silence a keepalive is sent; zero: never.
    pub persistent_keepalive: Duration,
}

/// The numbers that steer the tunnel's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routing {
    /// The routing table.
    pub table: u32,
    /// The mark's value, host byte order.
    pub mark: u32,
    /// The bits of a packet's mark that are ours.
    pub mask: u32,
    /// The priority of the first of our rules; the others follow.
    pub rule_priority: u32,
}

/// The usual uplinks. The guard does not depend on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uplinks {
    /// Whatever holds a default route.
    DefaultRoutes,
    /// These.
    Named(Vec<String>),
}

impl Config {
    /// Reads and checks a file. Nothing else is touched.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let source = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ConfigError::Missing(path.to_owned()),
            _ => ConfigError::Unreadable {
                path: path.to_owned(),
                reason: error.to_string(),
            },
        })?;
        Self::parse(&source, path)
    }

    /// Checks a file's content; `path` names it in errors, and relative names of other files are
    /// taken from its directory.
    pub fn parse(source: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut problems = error::Problems::new(source);
        let directory = path.parent().unwrap_or(Path::new("."));
        match toml::from_str(source) {
            Ok(raw) => {
                let config = check::check(raw, directory, &mut problems);
                if let Some(config) = config.filter(|_| problems.is_empty()) {
                    return Ok(config);
                }
            }
            Err(error) => problems.add(
                error.span().unwrap_or(0..0),
                suggest::reword(error.message()),
            ),
        }
        Err(ConfigError::Invalid {
            path: path.to_owned(),
            problems: problems.into_sorted(),
        })
    }

    /// How long after the last packet sent to a remote its replies are admitted.
    ///
    /// Long enough that the peer's next word after three lost keepalives still gets in, and never
    /// shorter than WireGuard's own session: 180 s, its REJECT_AFTER_TIME.
    pub fn flow_timeout(&self) -> Duration {
        let keepalive = self
            .tunnel
            .peers
            .iter()
            .map(|peer| peer.persistent_keepalive)
            .max()
            .unwrap_or_default();
        Duration::from_mins(3).max(keepalive * 3 + Duration::from_secs(10))
    }
}
