//! What the kernel lists over netlink, raw: quick enough to be asked hundreds of times a second, and
//! by none of the agent's code.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use crate::netns::Netns;

/// `NLM_F_REQUEST | NLM_F_DUMP`.
const LIST: u16 = 0x301;
/// `NLM_F_DUMP_INTR`: what was listed has changed meanwhile.
const DISTURBED: u16 = 0x10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;

/// A connection to one of the kernel's subsystems in a namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    /// Opens it: [`SockProtocol::NetlinkRoute`], [`SockProtocol::NetlinkNetFilter`].
    pub fn open(netns: &Netns, protocol: SockProtocol) -> Result<Self> {
        let socket = netns.run(|| {
            Ok(socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                protocol,
            )?)
        });
        Ok(Self {
            socket: socket.with_context(|| format!("netlink socket in {}", netns.name()))?,
        })
    }

    /// Lists objects: of each its fixed part and its attributes, as bytes. `fixed` is the fixed part
    /// of the question.
    pub fn list(&self, kind: u16, fixed: &[u8]) -> Result<Vec<Vec<u8>>> {
        for _ in 0..20 {
            if let Some(found) = self.once(kind, fixed)? {
                return Ok(found);
            }
        }
        bail!("netlink list of kind {kind}: it changes faster than it can be read")
    }

    /// `None`: the list was disturbed.
    fn once(&self, kind: u16, fixed: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        let fd = self.socket.as_raw_fd();
        let mut question = Vec::new();
        question.extend((HEADER as u32 + fixed.len() as u32).to_ne_bytes());
        question.extend(kind.to_ne_bytes());
        question.extend(LIST.to_ne_bytes());
        question.extend([0; 8]);
        question.extend(fixed);
        sendto(fd, &question, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut found = Vec::new();
        let mut disturbed = false;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = recv(fd, &mut buffer, MsgFlags::empty())?;
            let mut rest = &buffer[..length];
            while let Some(header) = rest.get(..HEADER) {
                let size = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
                let answer = u16::from_ne_bytes([header[4], header[5]]);
                let flags = u16::from_ne_bytes([header[6], header[7]]);
                let size = size as usize;
                let body = rest
                    .get(HEADER..size)
                    .context("a netlink message cut off")?;
                disturbed |= flags & DISTURBED != 0;
                match answer {
                    NLMSG_DONE => return Ok((!disturbed).then_some(found)),
                    NLMSG_ERROR => {
                        let error = number(body, 0).cast_signed();
                        let error = std::io::Error::from_raw_os_error(-error);
                        return Err(error).with_context(|| format!("netlink list of kind {kind}"));
                    }
                    _ => found.push(body.to_vec()),
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// The attributes after a fixed part of so many bytes, by their types.
pub fn attributes(body: &[u8], fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(fixed..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*rest.first()?, *rest.get(1)?]));
        let kind = u16::from_ne_bytes([*rest.get(2)?, *rest.get(3)?]) & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a type.
pub fn attribute(body: &[u8], fixed: usize, kind: u16) -> Option<&[u8]> {
    attributes(body, fixed)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// A number of 32 bits at an offset, in the machine's byte order; 0 where there is none.
pub fn number(body: &[u8], at: usize) -> u32 {
    let bytes = body.get(at..at + 4).and_then(|four| four.try_into().ok());
    bytes.map_or(0, u32::from_ne_bytes)
}

/// A text that ends with a zero byte.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn links_are_listed_with_their_names() {
        let netns = Netns::create("alone").unwrap();
        netns.ip("link add name a type veth peer name b\n").unwrap();
        let route = Netlink::open(&netns, SockProtocol::NetlinkRoute).unwrap();
        let links = route.list(libc::RTM_GETLINK, &[0; 16]).unwrap();
        let names: Vec<String> = links
            .iter()
            .map(|link| text(attribute(link, 16, libc::IFLA_IFNAME).unwrap()))
            .collect();
        assert_eq!(names, ["lo", "b", "a"]);
    }
}
