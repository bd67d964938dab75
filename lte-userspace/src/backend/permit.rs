//! What the agent opens for itself on the modem, for a time.

use std::fmt;
use std::net::IpAddr;

/// A protocol that a permit can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// ICMP echo.
    Icmp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMPv6 echo.
    IcmpV6,
}

impl Protocol {
    /// The number in the IP header (IANA, Protocol Numbers).
    pub const fn number(self) -> u8 {
        match self {
            Self::Icmp => 1,
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::IcmpV6 => 58,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::IcmpV6 => "icmpv6",
        })
    }
}

/// One flow of this machine over the modem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permit {
    /// Its protocol.
    pub protocol: Protocol,
    /// The port on this side, host byte order; an echo's identifier.
    pub local_port: u16,
    /// The remote address; `None`: any, as for a broadcast.
    pub remote: Option<IpAddr>,
    /// The remote port, host byte order; 0 with an echo.
    pub remote_port: u16,
}

impl fmt::Display for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from port {} to ", self.protocol, self.local_port)?;
        match self.remote {
            Some(remote) => write!(f, "{remote}")?,
            None => f.write_str("anybody")?,
        }
        write!(f, " port {}", self.remote_port)
    }
}
