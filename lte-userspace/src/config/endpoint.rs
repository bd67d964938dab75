//! Where a peer is reached: `address:port` or `name:port`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// A peer's endpoint as written in the config.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// An address; an IPv6 one is written in brackets.
    Address(SocketAddr),
    /// A name to look up.
    Name {
        /// The host's name.
        host: String,
        /// The UDP port, host byte order.
        port: u16,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No port.
    #[error("the port is missing: write it as in 203.0.113.10:51820 or vps.example.org:51820")]
    NoPort,
    /// The port is no port.
    #[error("the port must be a whole number from 1 to 65535")]
    Port,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address goes in brackets: [2001:db8::1]:51820")]
    Brackets,
    /// Neither an address nor a name.
    #[error("neither an IP address nor a host name stands before the port")]
    Host,
    /// An IPv4 address in IPv6's notation (`::ffff:0:0/96`).
    #[error("an IPv4 address is written as one: {0}")]
    Mapped(Ipv4Addr),
    /// An address at which no host can be reached.
    #[error("this address is not one a server can be reached at")]
    Unreachable,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            let ip = address.ip();
            let nobodys = match ip {
                IpAddr::V4(v4) => v4.is_broadcast(),
                // Link-local ones are not reached through a gateway.
                IpAddr::V6(v6) => v6.is_unicast_link_local(),
            };
            if let IpAddr::V6(v6) = ip
                && let Some(v4) = v6.to_ipv4_mapped()
            {
                return Err(EndpointError::Mapped(v4));
            }
            return match address.port() {
                0 => Err(EndpointError::Port),
                _ if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || nobodys => {
                    Err(EndpointError::Unreachable)
                }
                _ => Ok(Self::Address(address)),
            };
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(EndpointError::NoPort);
        }
        let (host, port) = text.rsplit_once(':').ok_or(EndpointError::NoPort)?;
        if host.contains(':') {
            return Err(EndpointError::Brackets);
        }
        let port = match port.parse::<u16>() {
            Ok(port) if port != 0 && port.to_string() == text[host.len() + 1..] => port,
            _ => return Err(EndpointError::Port),
        };
        if !is_host_name(host) {
            return Err(EndpointError::Host);
        }
        Ok(Self::Name {
            host: host.to_owned(),
            port,
        })
    }
}

/// Letters, digits and hyphens in labels of 1 to 63, 253 in all; the last label is no number, or
/// a mistyped address would be taken for a name.
fn is_host_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    host.len() <= 253
        && host.split('.').all(label)
        && !host
            .rsplit('.')
            .next()
            .is_none_or(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    reason = "a wrong literal in a test is to fail it"
)]
mod tests {
    use super::*;

    #[test]
    fn takes_addresses_and_names() {
        for text in [
            "203.0.113.10:51820",
            "[2001:db8::1]:51820",
            "vps.example.org:51820",
            "vps:1",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_the_rest() {
        for (text, why) in [
            ("203.0.113.10", EndpointError::NoPort),
            ("2001:db8::1", EndpointError::NoPort),
            ("vps.example.org", EndpointError::NoPort),
            ("203.0.113.10:0", EndpointError::Port),
            ("vps.example.org:70000", EndpointError::Port),
            ("vps.example.org:+1", EndpointError::Port),
            ("fe80:::51820", EndpointError::Brackets),
            ("203.0.113.300:51820", EndpointError::Host),
            ("-x.example.org:51820", EndpointError::Host),
            (":51820", EndpointError::Host),
            ("0.0.0.0:51820", EndpointError::Unreachable),
            ("255.255.255.255:51820", EndpointError::Unreachable),
            ("[fe80::1]:51820", EndpointError::Unreachable),
            ("[ff02::1]:51820", EndpointError::Unreachable),
            (
                "[::ffff:203.0.113.10]:51820",
                EndpointError::Mapped(Ipv4Addr::new(203, 0, 113, 10)),
            ),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(why), "{text}");
        }
    }
}
