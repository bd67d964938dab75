//! Changes of nftables, as the kernel reports them to its multicast group.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use netlink_sys::{Socket, SocketAddr};

use crate::backend::watch::{EventSource, Watch};

/// `NETLINK_NETFILTER`.
const PROTOCOL: isize = 12;
/// `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`, the upper byte of a message's type.
const SUBSYSTEM: u16 = 10;
/// Bytes of `struct nlmsghdr`, and with `struct nfgenmsg` behind it.
const HEADER: usize = 16;
const HEADERS: usize = HEADER + 4;
/// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE`, `NFTA_SET_TABLE`,
/// `NFTA_SET_ELEM_LIST_TABLE`, `NFTA_OBJ_TABLE`: all of this number.
const TABLE: u16 = 1;

/// The socket's buffer was full.
const ENOBUFS: i32 = 105;

/// A netlink socket that hears of them.
#[derive(Debug)]
struct Events(Socket);

/// Listens, in the calling thread's network namespace.
pub(super) fn watch() -> io::Result<Watch> {
    let mut socket = Socket::new(PROTOCOL)?;
    socket.set_non_blocking(true)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.add_membership(GROUP)?;
    Ok(Watch::new(Events(socket)))
}

impl EventSource for Events {
    fn read(&mut self) -> io::Result<bool> {
        let mut ours = false;
        loop {
            match self.0.recv_from_full() {
                Ok((datagram, _)) => ours |= concerns(&datagram),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(ours),
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => ours = true,
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Whether a datagram reports a change to tables of ours.
fn concerns(datagram: &[u8]) -> bool {
    let mut rest = datagram;
    while let Some(length) = u32_at(rest, 0)
        .map(|length| length as usize)
        .filter(|length| (HEADER..=rest.len()).contains(length))
    {
        if is_about_our_table(&rest[..length]) {
            return true;
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

/// The table that a message is about bears our name.
pub(super) fn is_about_our_table(message: &[u8]) -> bool {
    if u16_at(message, 4).is_none_or(|kind| kind >> 8 != SUBSYSTEM) {
        return false;
    }
    let mut at = HEADERS;
    while let (Some(length), Some(kind)) = (u16_at(message, at), u16_at(message, at + 2)) {
        let length = usize::from(length).max(4);
        if kind == TABLE {
            let name = message.get(at + 4..at + length).unwrap_or_default();
            return name.strip_suffix(&[0]).unwrap_or(name) == super::table::NAME.as_bytes();
        }
        at += length.next_multiple_of(4);
    }
    false
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(subsystem: u16, attribute: u16, text: &[u8]) -> Vec<u8> {
        let mut body = (4 + text.len() as u16).to_ne_bytes().to_vec();
        body.extend(attribute.to_ne_bytes());
        body.extend(text);
        let mut bytes = ((HEADERS + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend((subsystem << 8 | 2).to_ne_bytes());
        bytes.resize(HEADERS, 0);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_change_to_our_tables_is_told_from_others() {
        assert!(concerns(&message(SUBSYSTEM, TABLE, b"lte_backup\0")));
        assert!(!concerns(&message(SUBSYSTEM, TABLE, b"lte_backup2\0")));
        assert!(!concerns(&message(SUBSYSTEM, TABLE, b"nat\0")));
        assert!(!concerns(&message(SUBSYSTEM, 2, b"lte_backup\0")));
        assert!(!concerns(&message(1, TABLE, b"lte_backup\0")));
        let mut two = message(SUBSYSTEM, TABLE, b"nat\0");
        two.extend(message(SUBSYSTEM, TABLE, b"lte_backup\0"));
        assert!(concerns(&two));
    }

    #[test]
    fn what_is_cut_short_is_nobodys() {
        let whole = message(SUBSYSTEM, TABLE, b"lte_backup\0");
        for length in 0..whole.len() - 4 {
            assert!(!concerns(&whole[..length]), "{length} bytes");
        }
    }
}
