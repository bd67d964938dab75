//! The generation of the namespace's nftables: a number that the kernel raises with each
//! transaction, whoever's it is. While it stays, nothing need be read again.

use netlink_sys::{Socket, SocketAddr};
use std::io;

/// `NETLINK_NETFILTER`.
const PROTOCOL: isize = 12;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN`.
const GET: u16 = 10 << 8 | 16;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN`.
const NEW: u16 = 10 << 8 | 15;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `NFTA_GEN_ID`, a number in network byte order.
const ID: u16 = 1;
/// Bytes of `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS: usize = 16 + 4;

/// Asks the kernel; `None` where it does not say.
pub(super) fn current() -> Option<u32> {
    parse(&ask().ok()?)
}

fn ask() -> io::Result<Vec<u8>> {
    let mut socket = Socket::new(PROTOCOL)?;
    socket.bind_auto()?;
    // The answer is there when the question has been sent.
    socket.set_non_blocking(true)?;
    let mut question = Vec::with_capacity(HEADERS);
    question.extend((HEADERS as u32).to_ne_bytes());
    question.extend(GET.to_ne_bytes());
    question.extend(REQUEST.to_ne_bytes());
    question.resize(HEADERS, 0);
    socket.send_to(&question, &SocketAddr::new(0, 0), 0)?;
    Ok(socket.recv_from_full()?.0)
}

fn parse(answer: &[u8]) -> Option<u32> {
    let short = |at: usize| Some(u16::from_ne_bytes([*answer.get(at)?, *answer.get(at + 1)?]));
    if short(4)? != NEW {
        return None;
    }
    let mut at = HEADERS;
    loop {
        let (length, kind) = (usize::from(short(at)?), short(at + 2)?);
        if kind == ID {
            let value = answer.get(at + 4..at + 8)?;
            return Some(u32::from_be_bytes(value.try_into().ok()?));
        }
        // Attributes are aligned to four bytes; one shorter than its header would never end.
        at += length.max(4).next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, attributes: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADERS, 0);
        for attribute in attributes {
            bytes.extend(*attribute);
        }
        bytes
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn the_number_is_found_behind_other_attributes() {
        let (name, id) = (attribute(3, b"nft.x"), attribute(ID, &[0, 0, 1, 2]));
        assert_eq!(parse(&message(NEW, &[&id])), Some(0x102));
        assert_eq!(parse(&message(NEW, &[&name, &id])), Some(0x102));
    }

    #[test]
    fn anything_else_is_no_number() {
        let id = attribute(ID, &[0, 0, 1, 2]);
        // `NLMSG_ERROR`, nothing, an attribute of no length, and each cut short.
        assert_eq!(parse(&message(2, &[&id])), None);
        assert_eq!(parse(&message(NEW, &[&[0; 4]])), None);
        let whole = message(NEW, &[&id]);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length} bytes");
        }
    }
}
