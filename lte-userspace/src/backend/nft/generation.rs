//! Whether anything has changed in the namespace's nftables since it was read: while nothing has,
//! nothing need be read again.
//!
//! The kernel raises a number with each transaction of any process. It does not where a chain goes
//! with its device, or with the device's move to another namespace, for which it sends no event either
//! (`nft_netdev_event`, before 6.16): those chains are looked at one by one.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;

use netlink_sys::{Socket, SocketAddr};

use super::events;

/// `NETLINK_NETFILTER`.
const PROTOCOL: isize = 12;
/// Of linux/netfilter/nf_tables.h: `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN` and so on.
const GET_GENERATION: u16 = 10 << 8 | 16;
const NEW_GENERATION: u16 = 10 << 8 | 15;
const GET_CHAIN: u16 = 10 << 8 | 4;
const NEW_CHAIN: u16 = 10 << 8 | 3;
/// `NFPROTO_NETDEV`.
const NETDEV: u8 = 5;
/// `NLM_F_REQUEST`, and with `NLM_F_DUMP`.
const ONE: u16 = 1;
const ALL: u16 = 0x301;
/// `NLM_F_DUMP_INTR`: what was listed has changed meanwhile.
const DISTURBED: u16 = 0x10;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NFTA_GEN_ID`, a number in network byte order.
const ID: u16 = 1;
/// Bytes of `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS: usize = 16 + 4;

/// A state of the rulesets: as long as it is the same, so are they.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation {
    /// The kernel's number.
    number: u32,
    /// Of our chains on devices.
    chains: u64,
}

/// Asks the kernel; `None` where it does not say.
pub(super) fn current() -> Option<Generation> {
    let mut socket = Socket::new(PROTOCOL).ok()?;
    socket.bind_auto().ok()?;
    // The answer is there when the question has been sent.
    socket.set_non_blocking(true).ok()?;
    let number = parse(&request(&socket, GET_GENERATION, ONE, 0).ok()?)?;
    request(&socket, GET_CHAIN, ALL, NETDEV).ok()?;
    let chains = chains(&socket)?;
    Some(Generation { number, chains })
}

/// Sends a question; the first datagram of the answer to one that has one, nothing to a listing.
fn request(socket: &Socket, kind: u16, flags: u16, family: u8) -> io::Result<Vec<u8>> {
    let mut question = Vec::with_capacity(HEADERS);
    question.extend((HEADERS as u32).to_ne_bytes());
    question.extend(kind.to_ne_bytes());
    question.extend(flags.to_ne_bytes());
    question.resize(16, 0);
    question.push(family);
    question.resize(HEADERS, 0);
    socket.send_to(&question, &SocketAddr::new(0, 0), 0)?;
    if flags == ALL {
        return Ok(Vec::new());
    }
    Ok(socket.recv_from_full()?.0)
}

/// Reads a listing of chains: a number of what it says of ours.
fn chains(socket: &Socket) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    loop {
        let (datagram, _) = socket.recv_from_full().ok()?;
        let mut rest = datagram.as_slice();
        while let Some(message) = first_message(rest) {
            match u16_at(message, 4)? {
                DONE => return Some(hasher.finish()),
                _ if u16_at(message, 6)? & DISTURBED != 0 => return None,
                ERROR => return None,
                NEW_CHAIN if events::is_about_our_table(message) => {
                    message.get(HEADERS..)?.hash(&mut hasher);
                }
                _ => {}
            }
            rest = rest
                .get(message.len().next_multiple_of(4)..)
                .unwrap_or_default();
        }
    }
}

/// The first message of a datagram.
fn first_message(datagram: &[u8]) -> Option<&[u8]> {
    let length = u32::from_ne_bytes(datagram.get(..4)?.try_into().ok()?) as usize;
    datagram.get(..length.max(16))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn parse(answer: &[u8]) -> Option<u32> {
    if u16_at(answer, 4)? != NEW_GENERATION {
        return None;
    }
    let mut at = HEADERS;
    loop {
        let (length, kind) = (usize::from(u16_at(answer, at)?), u16_at(answer, at + 2)?);
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
        assert_eq!(parse(&message(NEW_GENERATION, &[&id])), Some(0x102));
        assert_eq!(parse(&message(NEW_GENERATION, &[&name, &id])), Some(0x102));
    }

    #[test]
    fn anything_else_is_no_number() {
        let id = attribute(ID, &[0, 0, 1, 2]);
        // An error, nothing, an attribute of no length, and each cut short.
        assert_eq!(parse(&message(ERROR, &[&id])), None);
        assert_eq!(parse(&message(NEW_GENERATION, &[&[0; 4]])), None);
        let whole = message(NEW_GENERATION, &[&id]);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length} bytes");
        }
    }
}
