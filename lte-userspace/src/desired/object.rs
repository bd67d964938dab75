//! The kinds of objects that make up the datapath.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::{Cidr, PrivateKey, PublicKey};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpFamily {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The network that holds every address.
    pub const fn everything(self) -> Cidr {
        match self {
            Self::V4 => Cidr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0),
            Self::V6 => Cidr::new(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 0),
        }
    }
}

/// A setting under `/proc/sys/net` that belongs to one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SysctlKey {
    /// The reverse-path check looks routes up with the packet's mark.
    SrcValidMark,
    /// Whether router advertisements are believed.
    AcceptRa,
    /// Whether the interface refuses IPv6 addresses.
    DisableIpv6,
    /// Whether redirects are sent. Not ours to set: WireGuard turns it off for all interfaces when
    /// one of its own comes up, and so it is put back.
    SendRedirects,
    /// How strictly the reverse path is checked. Only put back where others have loosened it.
    RpFilter,
    /// For which addresses questions by ARP are answered: with 1 for the interface's own alone.
    ArpIgnore,
    /// With which address questions by ARP are asked: with 2 with the interface's own alone.
    ArpAnnounce,
    /// Whether what leaves by the interface is kept from IPsec.
    DisableXfrm,
    /// Whether what comes in by the interface needs no IPsec, whatever the policies say.
    DisablePolicy,
}

impl SysctlKey {
    /// Those of the modem that are ours to set.
    pub const MODEM: [Self; 7] = [
        Self::SrcValidMark,
        Self::ArpIgnore,
        Self::ArpAnnounce,
        Self::DisableXfrm,
        Self::DisablePolicy,
        Self::DisableIpv6,
        Self::AcceptRa,
    ];
    /// Those of the modem that are read, and recorded in the baseline.
    pub fn recorded() -> impl Iterator<Item = Self> {
        Self::MODEM.into_iter().chain([Self::RpFilter])
    }

    /// The family's directory and the file's name, as in `ipv4` and `src_valid_mark`.
    pub const fn path(self) -> (&'static str, &'static str) {
        match self {
            Self::SrcValidMark => ("ipv4", "src_valid_mark"),
            Self::AcceptRa => ("ipv6", "accept_ra"),
            Self::DisableIpv6 => ("ipv6", "disable_ipv6"),
            Self::SendRedirects => ("ipv4", "send_redirects"),
            Self::RpFilter => ("ipv4", "rp_filter"),
            Self::ArpIgnore => ("ipv4", "arp_ignore"),
            Self::ArpAnnounce => ("ipv4", "arp_announce"),
            Self::DisableXfrm => ("ipv4", "disable_xfrm"),
            Self::DisablePolicy => ("ipv4", "disable_policy"),
        }
    }
}

/// A sysctl of an interface with its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sysctl {
    /// The interface.
    pub interface: String,
    /// Which setting.
    pub key: SysctlKey,
    /// Its value as the file shows it, without the newline.
    pub value: String,
}

/// The modem's root qdisc, which drops what the guard has not marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backstop {
    /// The modem.
    pub interface: String,
    /// The mark that passes, host byte order.
    pub mark: u32,
    /// The bits of it that count.
    pub mask: u32,
    /// In what it waits for the modem.
    pub queue: Queue,
}

/// What waits for the modem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Each flow of the tunnel's in a queue of its own, none of them long.
    FqCodel,
    /// One short queue, where the kernel has nothing better.
    Fifo,
}

/// The WireGuard interface as a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// What the WireGuard interface itself is set to. It never has a FwMark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireguardDevice {
    /// The interface.
    pub interface: String,
    /// Its private key.
    pub private_key: PrivateKey,
    /// Its UDP port, host byte order.
    pub listen_port: u16,
}

/// A peer of the WireGuard interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The interface.
    pub interface: String,
    /// Its public key.
    pub public_key: PublicKey,
    /// Where it is reached; `None`: not known yet, and left as it is.
    pub endpoint: Option<SocketAddr>,
    /// The networks behind it, sorted.
    pub allowed_ips: Vec<Cidr>,
    /// After how much silence a keepalive is sent; zero: never.
    pub keepalive: Duration,
}

/// An address on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub interface: String,
    /// The address.
    pub cidr: Cidr,
    /// Whether the kernel adds the subnet's route to the main table.
    pub prefix_route: bool,
}

/// Whether an interface is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkState {
    /// The interface.
    pub interface: String,
    /// Up or down.
    pub up: bool,
}

/// A unicast route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where to.
    pub destination: Cidr,
    /// The next hop; `None`: the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The interface.
    pub interface: String,
    /// The source address of the router's own packets.
    pub source: Option<IpAddr>,
    /// The table.
    pub table: u32,
}

/// A rule that sends packets to a table. What is `None` is not looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The family.
    pub family: IpFamily,
    /// Its place in the order; lower is asked first.
    pub priority: u32,
    /// Only the router's own packets (`iif lo`).
    pub local: bool,
    /// Only packets from here.
    pub source: Option<Cidr>,
    /// Only UDP from this port, host byte order.
    pub udp_source_port: Option<u16>,
    /// Only packets whose mark has this value under this mask, host byte order.
    pub mark: Option<(u32, u32)>,
    /// The table that is asked.
    pub table: u32,
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, name) = self.key.path();
        let Self {
            interface, value, ..
        } = self;
        write!(f, "sysctl net.{family}.conf.{interface}.{name} = {value}")
    }
}

impl fmt::Display for Backstop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            interface,
            mark,
            mask,
            queue,
        } = self;
        write!(
            f,
            "qdisc drr 7b: dev {interface} for fwmark {mark:#x}/{mask:#x} alone, {queue} in it"
        )
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FqCodel => "fq_codel",
            Self::Fifo => "a short pfifo",
        })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {} type wireguard mtu {}", self.name, self.mtu)
    }
}

impl fmt::Display for WireguardDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "wireguard {} private-key (hidden) listen-port {} fwmark off",
            self.interface,
            port(self.listen_port)
        )
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wireguard {} peer {}", self.interface, self.public_key)?;
        if let Some(endpoint) = self.endpoint {
            write!(f, " endpoint {endpoint}")?;
        }
        f.write_str(" allowed-ips ")?;
        for (n, net) in self.allowed_ips.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{net}")?;
        }
        match self.keepalive.as_secs() {
            0 => f.write_str(" persistent-keepalive off"),
            seconds => write!(f, " persistent-keepalive {seconds}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address {} dev {}", self.cidr, self.interface)?;
        if !self.prefix_route {
            f.write_str(" noprefixroute")?;
        }
        Ok(())
    }
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.up { "up" } else { "down" };
        write!(f, "link {} {state}", self.interface)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.destination.prefix_len {
            0 => f.write_str("route default")?,
            _ => write!(f, "route {}", self.destination)?,
        }
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        write!(f, " dev {}", self.interface)?;
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        match self.table {
            crate::kernel::MAIN_TABLE => f.write_str(" table main"),
            table => write!(f, " table {table}"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            IpFamily::V4 => "",
            IpFamily::V6 => " inet6",
        };
        write!(f, "rule{family} {}:", self.priority)?;
        if let Some(source) = self.source {
            write!(f, " from {source}")?;
        }
        if self.local {
            f.write_str(" iif lo")?;
        }
        if let Some(source) = self.udp_source_port {
            write!(f, " ipproto udp sport {}", port(source))?;
        }
        if let Some((mark, mask)) = self.mark {
            write!(f, " fwmark {mark:#x}/{mask:#x}")?;
        }
        write!(f, " lookup {}", self.table)
    }
}

/// A port's place where none is chosen yet. The agent never has it.
pub const NO_PORT: u16 = 0;

/// A port in words.
fn port(port: u16) -> String {
    match port {
        NO_PORT => "<chosen at the first start>".to_owned(),
        port => port.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_nobody_has_chosen_is_not_shown_as_a_number() {
        let mut device = WireguardDevice {
            interface: "wg-lte".to_owned(),
            private_key: PrivateKey::new(&[1; 32]),
            listen_port: 51820,
        };
        let shown = "wireguard wg-lte private-key (hidden) listen-port 51820 fwmark off";
        assert_eq!(device.to_string(), shown);
        device.listen_port = NO_PORT;
        let shown = shown.replace("51820", "<chosen at the first start>");
        assert_eq!(device.to_string(), shown);
    }
}
