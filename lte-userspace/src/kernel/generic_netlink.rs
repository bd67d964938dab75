//! Requests to generic netlink families; to WireGuard's, and whether it is there.
//!
//! Each request has a socket of its own, and an answer that does not come ends it: nothing is waited for
//! without an end. What is sent and what comes may hold the private key, and is wiped.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkSerializable, NlasIterator,
    Parseable as _,
};
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_wireguard::{WireguardAttribute, WireguardCmd, WireguardMessage};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, recv};
use zeroize::Zeroizing;

use super::{KernelError, NLM_F_DUMP_INTR, wireguard};
use crate::config::{KEY_LEN, PrivateKey};
use crate::desired::WireguardDevice;

/// How long the kernel may take to answer. It takes milliseconds, and longer where it loads a module first.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// No message of the kernel's is longer (`netlink_dump`, net/netlink/af_netlink.c).
const LONGEST: usize = 32 * 1024;
/// Lengths of the headers of linux/netlink.h and linux/genetlink.h.
const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
/// Types of linux/netlink.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// The number under which the kernel knows WireGuard. Asking loads the module, where there is one.
pub fn wireguard_family() -> Result<u16, KernelError> {
    family_id("wireguard")
        .map_err(|error| KernelError::new("asking the kernel for WireGuard", error))
}

/// The number under which the kernel knows a family.
pub(super) fn family_id(name: &str) -> io::Result<u16> {
    let request = GenlMessage::from_payload(GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName(name.to_owned())],
    });
    let mut family = None;
    let take = |attributes: &[u8]| {
        for attribute in NlasIterator::new(attributes).flatten() {
            if let Ok(GenlCtrlAttrs::FamilyId(id)) = GenlCtrlAttrs::parse(&attribute) {
                family = Some(id);
            }
        }
        Ok(())
    };
    send_request(NetlinkMessage::from(request), NLM_F_ACK, None, take)?;
    family.ok_or_else(|| io::Error::other("it answers without a number"))
}

/// Sets key and port, and no FwMark.
pub(super) fn set_device(device: &WireguardDevice) -> io::Result<()> {
    wireguard_request(
        key_and_port(device),
        NLM_F_ACK,
        Some(&device.private_key),
        |_| Ok(()),
    )
}

/// A request with a place for the private key at its end. The key itself goes into what is sent, and
/// nowhere else: a message that is put together leaves copies of its parts in freed memory.
fn key_and_port(device: &WireguardDevice) -> WireguardMessage {
    let settings = vec![
        WireguardAttribute::ListenPort(device.listen_port),
        WireguardAttribute::Fwmark(0),
        WireguardAttribute::PrivateKey([0; KEY_LEN]),
    ];
    wireguard::message(WireguardCmd::SetDevice, &device.interface, settings)
}

/// Has WireGuard list something: hands over the attributes of each message of its answer. `Interrupted`: it
/// changed meanwhile.
pub(super) fn list(
    message: WireguardMessage,
    take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    wireguard_request(message, NLM_F_DUMP, None, take)
}

fn wireguard_request(
    message: WireguardMessage,
    flags: u16,
    key: Option<&PrivateKey>,
    take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut message = GenlMessage::from_payload(message);
    message.set_resolved_family_id(wireguard_family().map_err(|error| error.source)?);
    send_request(NetlinkMessage::from(message), flags, key, take)
}

/// Sends one request and reads until its end.
pub(super) fn send_request<I: NetlinkSerializable>(
    request: NetlinkMessage<I>,
    flags: u16,
    key: Option<&PrivateKey>,
    take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let socket = Socket::new(NETLINK_GENERIC)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&serialized(request, flags, key), 0)?;
    read(&socket, Instant::now() + DEADLINE, take)
}

/// A request as it is sent; a private key takes the place that it has at its end.
fn serialized<I: NetlinkSerializable>(
    mut request: NetlinkMessage<I>,
    flags: u16,
    key: Option<&PrivateKey>,
) -> Zeroizing<Vec<u8>> {
    request.header.flags = NLM_F_REQUEST | flags;
    request.finalize();
    let mut buffer = Zeroizing::new(vec![0; request.buffer_len()]);
    request.serialize(&mut buffer);
    if let (Some(key), Some(place)) = (key, buffer.last_chunk_mut::<KEY_LEN>()) {
        place.copy_from_slice(key.expose());
    }
    buffer
}

/// Reads an answer to its end.
fn read(
    socket: impl AsFd,
    until: Instant,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = Zeroizing::new(vec![0; LONGEST]);
    let mut interrupted = false;
    loop {
        let length = receive(&socket, &mut buffer, until)?;
        let mut rest = &buffer[..length];
        while let Some(header) = rest.first_chunk::<HEADER>() {
            let [a, b, c, d, kind_a, kind_b, flags_a, flags_b, ..] = *header;
            let length = u32::from_ne_bytes([a, b, c, d]) as usize;
            let body = rest.get(HEADER..length).ok_or_else(truncated)?;
            let code = body.first_chunk().map(|code| i32::from_ne_bytes(*code));
            interrupted |= u16::from_ne_bytes([flags_a, flags_b]) & NLM_F_DUMP_INTR != 0;
            match (u16::from_ne_bytes([kind_a, kind_b]), code) {
                (NLMSG_ERROR | NLMSG_DONE, Some(code)) if code < 0 => {
                    return Err(io::Error::from_raw_os_error(-code));
                }
                (NLMSG_ERROR | NLMSG_DONE, _) if interrupted => {
                    let why = "it changes faster than it can be read";
                    return Err(io::Error::new(io::ErrorKind::Interrupted, why));
                }
                (NLMSG_ERROR | NLMSG_DONE, _) => return Ok(()),
                _ => take(body.get(GENERIC_HEADER..).ok_or_else(truncated)?)?,
            }
            // Messages are aligned to four bytes.
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn receive(socket: impl AsFd, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // A time-out of zero would be none.
        let left = left.max(Duration::from_millis(1));
        set_socket_timeout(&socket, Timeout::Recv, Some(left))?;
        match recv(&socket, &mut *buffer, RecvFlags::TRUNC) {
            Ok((_, length)) if length > buffer.len() => return Err(truncated()),
            Ok((length, _)) => return Ok(length),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(timed_out(DEADLINE)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The kernel has not answered.
pub(super) fn timed_out(within: Duration) -> io::Error {
    let why = format!("no answer within {} s", within.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, why)
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer that is cut off")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// What is read of these datagrams, within so long.
    fn answers(datagrams: &[Vec<u8>], within: Duration) -> io::Result<Vec<Vec<u8>>> {
        let (kernel, us) = UnixDatagram::pair().unwrap();
        for datagram in datagrams {
            kernel.send(datagram).unwrap();
        }
        let mut answers = Vec::new();
        read(&us, Instant::now() + within, |body| {
            answers.push(body.to_vec());
            Ok(())
        })
        .map(|()| answers)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn an_answer_in_pieces_is_read_to_its_end() {
        let first = [
            message(40, 0, &[0, 0, 0, 0, 1]),
            message(40, 0, &[0, 0, 0, 0, 2, 3]),
        ]
        .concat();
        let second = message(NLMSG_DONE, 0, &[0; 4]);
        assert_eq!(
            answers(&[first, second], LONG).unwrap(),
            [vec![1], vec![2, 3]]
        );
    }

    #[test]
    fn an_answer_that_never_comes_is_not_waited_for() {
        let piece = message(40, 0, &[0, 0, 0, 0, 1]);
        for said in [vec![], vec![piece]] {
            let error = answers(&said, Duration::from_millis(50)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        }
    }

    #[test]
    fn a_refusal_is_the_kernels_own_and_nonsense_is_no_answer() {
        let refusal = message(NLMSG_ERROR, 0, &(-19_i32).to_ne_bytes());
        let error = answers(&[refusal], LONG).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(19));
        let mut cut = message(40, 0, &[0; 8]);
        cut.truncate(HEADER + 4);
        let error = answers(&[cut], LONG).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_listing_that_was_disturbed_is_said_to_be() {
        let piece = message(40, NLM_F_DUMP_INTR, &[0; 4]);
        let end = message(NLMSG_DONE, 0, &[0; 4]);
        let error = answers(&[piece, end], LONG).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn the_key_is_in_its_place() {
        let device = WireguardDevice {
            interface: "wg-lte".to_owned(),
            private_key: PrivateKey::new(&[7; KEY_LEN]),
            listen_port: 51820,
        };
        let request = NetlinkMessage::from(GenlMessage::from_payload(key_and_port(&device)));
        let sent = serialized(request, NLM_F_ACK, Some(&device.private_key));
        let attributes = NlasIterator::new(&sent[HEADER + GENERIC_HEADER..]);
        let attributes: Vec<_> = attributes
            .map(|attribute| WireguardAttribute::parse(&attribute.unwrap()).unwrap())
            .collect();
        let own = [
            WireguardAttribute::IfName("wg-lte".to_owned()),
            WireguardAttribute::ListenPort(51820),
            WireguardAttribute::Fwmark(0),
            WireguardAttribute::PrivateKey([7; KEY_LEN]),
        ];
        assert_eq!(attributes, own);
    }
}
