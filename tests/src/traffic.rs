//! Traffic that is not the tunnel's, some of it made to look as if it were.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::addresses::{ELSEWHERE, LISTEN_PORT, PEER, PEER_PORT};
use crate::netns::Netns;
use crate::topology::Lab;
use crate::wait::{self, TIMEOUT};

/// A payload of WireGuard's shape: transport data, as long as a keepalive.
pub fn shaped_as_data() -> Vec<u8> {
    let mut payload = vec![0x5a; 32];
    payload[..4].copy_from_slice(&[4, 0, 0, 0]);
    payload
}

/// A payload of WireGuard's shape: a handshake initiation.
pub fn shaped_as_initiation() -> Vec<u8> {
    let mut payload = vec![0x5a; 148];
    payload[..4].copy_from_slice(&[1, 0, 0, 0]);
    payload
}

/// Binds. The last user of the port may have it for a moment yet: a process that was started
/// meanwhile inherits the socket until it executes its program.
fn bind(address: SocketAddr) -> Result<UdpSocket> {
    wait::until(TIMEOUT, "a port to be free", || {
        match UdpSocket::bind(address) {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
}

/// Sends UDP from a port of choice, each payload once to each destination, all of one family. Errors of sending are
/// no errors here: that the kernel has no route is one way of a packet not to leave.
pub fn send_udp(
    netns: &Netns,
    from_port: u16,
    to: &[impl Into<SocketAddr> + Copy],
    payloads: &[Vec<u8>],
) -> Result<usize> {
    let to: Vec<SocketAddr> = to.iter().map(|to| (*to).into()).collect();
    let any: IpAddr = match to.first() {
        Some(SocketAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    let socket = netns
        .run(|| bind((any, from_port).into()))
        .with_context(|| format!("UDP port {from_port} in {}", netns.name()))?;
    let mut accepted = 0;
    for to in to {
        for payload in payloads {
            if socket.send_to(payload, to).is_ok() {
                accepted += 1;
            }
        }
    }
    Ok(accepted)
}

/// LAN hosts and local programs that would go by the modem, where the default route leads there,
/// until stopped; how many packets were sent.
pub fn by_the_modem(lab: &Lab, stop: &AtomicBool) -> Result<usize> {
    let targets = [
        SocketAddrV4::new(ELSEWHERE, 53),
        SocketAddrV4::new(PEER, PEER_PORT),
    ];
    let payloads = [shaped_as_data(), b"a question".to_vec()];
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        for port in [LISTEN_PORT, 40000] {
            sent += send_udp(&lab.lan, port, &targets, &payloads)?;
        }
        sent += send_udp(&lab.router, 40001, &targets, &payloads)?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(sent)
}

/// Whether a TCP connection comes about.
pub fn connects(netns: &Netns, to: impl Into<SocketAddr>, within: Duration) -> Result<bool> {
    let to = to.into();
    netns.run(|| Ok(TcpStream::connect_timeout(&to, within).is_ok()))
}
